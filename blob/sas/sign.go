package sas

import (
	"net/url"
	"strings"
	"time"

	"lapis/blob/sharedkey"
	"lapis/secret"
)

// StringToSign returns the text that the token's signature covers. container
// and blob are the decoded names that the request is about; an account SAS
// ignores them, a container's SAS ignores blob.
func (t Token) StringToSign(account, container, blob string) string {
	if t.IsAccount() {
		fields := []string{account, t.Permissions, t.Services, t.ResourceTypes, t.Start, t.Expiry, t.IP, t.Protocol, t.Version}
		if t.Version >= withScope {
			fields = append(fields, t.EncryptionScope)
		}
		return strings.Join(fields, "\n") + "\n"
	}
	resource := "/blob/" + account + "/" + container
	if t.Resource == "b" {
		resource += "/" + blob
	}
	fields := []string{t.Permissions, t.Start, t.Expiry, resource}
	if t.Delegated {
		fields = append(fields, t.delegated()...)
	} else {
		fields = append(fields, t.Identifier)
	}
	fields = append(fields, t.IP, t.Protocol, t.Version)
	if t.Version >= withResource {
		fields = append(fields, t.Resource, t.Snapshot)
	}
	if t.Version >= withScope {
		fields = append(fields, t.EncryptionScope)
	}
	if t.Delegated && t.Version >= withRequests {
		fields = append(fields, t.delegation.headers, t.delegation.parameters)
	}
	o := t.Override
	fields = append(fields, o.CacheControl, o.ContentDisposition, o.ContentEncoding, o.ContentLanguage, o.ContentType)
	return strings.Join(fields, "\n")
}

// Verify reports whether one of the keys signed the token for this account,
// container and blob.
func (t Token) Verify(keys []secret.String, account, container, blob string) bool {
	return !t.Delegated && sharedkey.Verify(keys, []string{t.StringToSign(account, container, blob)}, t.signature)
}

// The version of tokens that we make.
const madeVersion = "2021-12-02"

// Account is an account SAS to be made. Services and ResourceTypes default to
// the blob service and all of "sco".
type Account struct {
	Services      string
	ResourceTypes string
	Permissions   string    // such as rl
	Start         time.Time // zero: at once
	Expiry        time.Time
	Protocol      string // "" or https
	IP            string
}

// Sign returns the token as a query, without '?'.
func (a Account) Sign(account string, key secret.String) (string, error) {
	t := Token{
		Version: madeVersion, Permissions: a.Permissions, Start: stamp(a.Start), Expiry: stamp(a.Expiry),
		IP: a.IP, Protocol: a.Protocol, Services: a.Services, ResourceTypes: a.ResourceTypes,
	}
	if t.Services == "" {
		t.Services = "b"
	}
	if t.ResourceTypes == "" {
		t.ResourceTypes = "sco"
	}
	return t.sign(account, "", "", key)
}

// Service is a service SAS to be made, for a container or, with Blob set, for one blob in it.
type Service struct {
	Blob        string
	Permissions string
	Start       time.Time // zero: at once
	Expiry      time.Time
	Protocol    string // "" or https
	IP          string
	Override    Override
}

// Sign returns the token as a query, without '?'.
func (s Service) Sign(account, container string, key secret.String) (string, error) {
	return s.token().sign(account, container, s.Blob, key)
}

// token is what is to be signed.
func (s Service) token() Token {
	t := Token{
		Version: madeVersion, Permissions: s.Permissions, Start: stamp(s.Start), Expiry: stamp(s.Expiry),
		IP: s.IP, Protocol: s.Protocol, Resource: "c", Override: s.Override,
	}
	if s.Blob != "" {
		t.Resource = "b"
	}
	return t
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (t Token) sign(account, container, blob string, key secret.String) (string, error) {
	signature, err := sharedkey.Sign(key, t.StringToSign(account, container, blob))
	if err != nil {
		return "", err
	}
	t.signature = signature
	if err := t.checkFields(); err != nil {
		return "", err
	}
	q := url.Values{}
	for name, value := range map[string]string{
		"skoid": t.Key.ObjectID, "sktid": t.Key.TenantID, "skt": t.Key.Start, "ske": t.Key.Expiry, "sks": t.Key.Service, "skv": t.Key.Version,
		"sv": t.Version, "sp": t.Permissions, "st": t.Start, "se": t.Expiry, "sip": t.IP, "spr": t.Protocol,
		"ss": t.Services, "srt": t.ResourceTypes, "sr": t.Resource, "sig": t.signature,
		"rscc": t.Override.CacheControl, "rscd": t.Override.ContentDisposition, "rsce": t.Override.ContentEncoding,
		"rscl": t.Override.ContentLanguage, "rsct": t.Override.ContentType,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q.Encode(), nil
}
