package blobs

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lapis/cli/cloud"
)

// The signatures are those of azure-storage-blob 12.31 for the same requests.
func TestSharedKeyIsThatOfTheRealClient(t *testing.T) {
	common := map[string]string{"x-ms-date": "Sun, 01 Nov 2026 12:00:00 GMT", "x-ms-version": "2023-11-03"}
	for _, tt := range []struct {
		method, url string
		header      map[string]string
		length      int
		want        string
	}{
		{"PUT", "https://acct.blob.core.windows.net/c/hello.txt",
			map[string]string{"x-ms-blob-type": "BlockBlob", "If-None-Match": "*", "Content-Type": "application/octet-stream"}, 12, "oW6cOa8qgMBhSIvgkL2/YykCGOb2Anwml5HKmH6ql6E="},
		{"GET", "https://acct.blob.core.windows.net/c?restype=container&comp=list&maxresults=5000&prefix=a%20b%2Fc", nil, 0, "HWVwG0vgCeYraTNU5vcuXIIAFoHYAfzqTLYd+WnVwIg="},
		{"PUT", "https://acct.blob.core.windows.net/c/d%C3%A9/a%20b.txt?comp=metadata", map[string]string{"x-ms-meta-name": "n"}, 0, "DDYobHxEpJU1FIxqA3v1kdxNsiAwCBHq72blupXT9qc="},
		{"GET", "https://acct.blob.core.windows.net/c/x", map[string]string{"x-ms-range": "bytes=0-33554431"}, 0, "zxzGTOKnj8R8zNEjPdNkrAzRIdtYO2yQQDFsAnaCrCE="},
	} {
		u, err := url.Parse(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{}
		for _, m := range []map[string]string{common, tt.header} {
			for name, value := range m {
				header.Set(name, value)
			}
		}
		got, err := sign("acct", "a2V5LWZvci10ZXN0cy1vbmx5", tt.method, u, header, tt.length)
		if err != nil || got != tt.want {
			t.Errorf("%s %s: %s %v, want %s", tt.method, tt.url, got, err, tt.want)
		}
	}
	if _, err := sign("a", "not base64!", "GET", &url.URL{}, http.Header{}, 0); err == nil || strings.Contains(err.Error(), "not base64!") {
		t.Errorf("a wrong key: %v", err)
	}
}

func client(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &Client{Session: &cloud.Session{HTTP: server.Client()}, Endpoint: server.URL, Account: "acct", SAS: "sv=1&sig=canary"}
}

func TestLargeFilesGoUpInBlocks(t *testing.T) {
	var mu sync.Mutex
	blocks := map[string][]byte{}
	var joined []byte
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		switch q := r.URL.Query(); {
		case r.Method == "HEAD":
			w.Header().Set("x-ms-error-code", "BlobNotFound")
			w.WriteHeader(404)
		case q.Get("comp") == "block":
			blocks[q.Get("blockid")] = body
			w.WriteHeader(201)
		case q.Get("comp") == "blocklist":
			for _, part := range strings.Split(string(body), "<Latest>")[1:] {
				id, _, _ := strings.Cut(part, "<")
				joined = append(joined, blocks[id]...)
			}
			w.WriteHeader(201)
		default:
			t.Errorf("%s %s", r.Method, r.URL)
		}
	})
	name := filepath.Join(t.TempDir(), "large")
	data := bytes.Repeat([]byte("0123456789abcdef"), (singleLimit+3*blockSize/2)/16)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UploadFile(t.Context(), "c", "b", name, UploadOptions{}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(joined, data) {
		t.Errorf("%d bytes arrived, want %d, or in another order", len(joined), len(data))
	}
}

func TestDownloadReadsRangesAndEmptyBlobs(t *testing.T) {
	content := ""
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		text := r.Header.Get("x-ms-range")
		if text == "" {
			fmt.Fprint(w, content)
			return
		}
		var from, to int
		fmt.Sscanf(text, "bytes=%d-%d", &from, &to)
		if from >= len(content) {
			w.Header().Set("x-ms-error-code", "InvalidRange")
			w.WriteHeader(416)
			return
		}
		part := content[from:min(to+1, len(content), from+4)] // a service may give less than asked
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+len(part)-1, len(content)))
		w.WriteHeader(206)
		fmt.Fprint(w, part)
	})
	for _, content = range []string{"", "abc", "hello world!"} {
		var got strings.Builder
		props, err := c.Download(t.Context(), "c", "b", &got)
		if err != nil || got.String() != content || props.Length != int64(len(content)) {
			t.Errorf("%q: %q, %d, %v", content, got.String(), props.Length, err)
		}
	}
}

func TestConnectionStrings(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Connection
		ok   bool
	}{
		{"DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5PT0=;EndpointSuffix=core.windows.net", Connection{"a", "a2V5PT0=", "", "https://a.blob.core.windows.net"}, true},
		{"BlobEndpoint=http://127.0.0.1:10000/a/;AccountName=a;AccountKey=k", Connection{"a", "k", "", "http://127.0.0.1:10000/a"}, true},
		{"BlobEndpoint=https://a.blob.core.windows.net;SharedAccessSignature=?sv=1&sig=x", Connection{"a", "", "sv=1&sig=x", "https://a.blob.core.windows.net"}, true},
		{"AccountName=a", Connection{}, false},
		{"nonsense", Connection{}, false},
	} {
		got, err := ParseConnection(tt.text)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: %+v %v", tt.text, got, err)
		}
	}
}

func TestTheSignatureCoversAllThatIsSent(t *testing.T) {
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		length, _ := io.Copy(io.Discard, r.Body)
		want, err := sign("acct", "a2V5", r.Method, r.URL, r.Header, int(length))
		if err != nil || r.Header.Get("Authorization") != "SharedKey acct:"+want {
			t.Errorf("%s %s: %s, want %s (%v)", r.Method, r.URL, r.Header.Get("Authorization"), want, err)
		}
	})
	c.SAS, c.Key = "", "a2V5"
	if _, err := c.CreateContainer(t.Context(), "c", map[string]string{"k": "v"}); err != nil {
		t.Error(err)
	}
	if _, err := c.Upload(t.Context(), "c", "a b/é.txt", []byte("x"), UploadOptions{ContentType: "text/plain"}); err != nil {
		t.Error(err)
	}
}

func TestSignatureStaysOutOfErrors(t *testing.T) {
	c := client(t, func(http.ResponseWriter, *http.Request) {})
	c.Endpoint = "http://127.0.0.1:1"
	c.Session.Settings = &cloud.Settings{}
	_, err := c.Head(t.Context(), "c", "b")
	if err == nil || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}
