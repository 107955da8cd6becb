package blobs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
)

// signedHeaders are the headers of Shared Key's text, in its order. The length
// is filled in apart.
var signedHeaders = [...]string{
	"Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type", "Date",
	"If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range",
}

// sign returns the Shared Key signature of a request.
func sign(account, key, method string, u *url.URL, header http.Header, length int) (string, error) {
	secret, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		return "", errors.New("the account key is not base64; take it from az storage account keys list")
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(stringToSign(account, method, u, header, length)))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
}

func stringToSign(account, method string, u *url.URL, header http.Header, length int) string {
	var text strings.Builder
	text.WriteString(method + "\n")
	for _, name := range signedHeaders {
		value := header.Get(name)
		if name == "Content-Length" { // of the body, and nothing for none
			value = strings.TrimPrefix(strconv.Itoa(length), "0")
		}
		text.WriteString(value + "\n")
	}
	var names []string
	for name := range header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ms-") {
			names = append(names, lower)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		text.WriteString(name + ":" + strings.TrimSpace(header.Get(name)) + "\n")
	}
	text.WriteString("/" + account + u.EscapedPath())
	params := map[string][]string{}
	for name, values := range u.Query() {
		params[strings.ToLower(name)] = append(params[strings.ToLower(name)], values...)
	}
	keys := make([]string, 0, len(params))
	for name := range params {
		keys = append(keys, name)
	}
	sort.Strings(keys)
	for _, name := range keys {
		sort.Strings(params[name])
		text.WriteString("\n" + name + ":" + strings.Join(params[name], ","))
	}
	return text.String()
}
