package sas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"lapis/blob/sharedkey"
	"lapis/secret"
)

// MaxKeyLife is how long a user delegation key may live from now on.
const MaxKeyLife = 7 * 24 * time.Hour

// Key names a user delegation key: whose it is, and when it is good. Its value
// follows from these and a secret of the account, so that it is kept nowhere,
// and a token cannot change any of them. Rules: "Create a user delegation SAS"
// in the Storage reference.
type Key struct {
	ObjectID string // skoid: the principal whose rights the key lends
	TenantID string // sktid
	Start    string // skt
	Expiry   string // ske
	Service  string // sks: b
	Version  string // skv
}

// keyService is the blob service, the only one here that takes such keys.
const keyService = "b"

// NewKey names a key of a principal. Times are cut to seconds, as clients write them.
func NewKey(objectID, tenantID, version string, start, expiry time.Time) Key {
	return Key{
		ObjectID: objectID, TenantID: tenantID, Start: stamp(start), Expiry: stamp(expiry), Service: keyService, Version: version,
	}
}

// Value returns the key itself, in base64, under the secret of an account.
func (k Key) Value(seed secret.String) secret.String {
	mac := hmac.New(sha256.New, []byte(seed.Reveal()))
	for _, field := range []string{k.ObjectID, k.TenantID, canonical(k.Start), canonical(k.Expiry), k.Service, k.Version} {
		var length [8]byte // so that no text can move from one field to the next
		binary.BigEndian.PutUint64(length[:], uint64(len(field)))
		mac.Write(length[:])
		mac.Write([]byte(field))
	}
	return secret.New(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// canonical is a time as NewKey writes it; clients may write it otherwise.
func canonical(text string) string {
	t, err := parseTime(text)
	if err != nil {
		return text
	}
	return stamp(t)
}

// checkFields holds a key's fields against the rules.
func (k Key) checkFields() error {
	for _, f := range []struct{ name, value string }{
		{"skoid", k.ObjectID}, {"sktid", k.TenantID}, {"skt", k.Start}, {"ske", k.Expiry}, {"sks", k.Service}, {"skv", k.Version},
	} {
		if f.value == "" {
			return fmt.Errorf("%s is mandatory in a user delegation SAS", f.name)
		}
	}
	if k.Service != keyService {
		return fmt.Errorf("sks must be '%s' (blob), not %q", keyService, k.Service)
	}
	return nil
}

// CheckTime holds the key's lifetime against now.
func (k Key) CheckTime(now time.Time) error {
	start, err := parseTime(k.Start)
	if err != nil {
		return fmt.Errorf("skt: %w", err)
	}
	expiry, err := parseTime(k.Expiry)
	if err != nil {
		return fmt.Errorf("ske: %w", err)
	}
	if now.Before(start) {
		return fmt.Errorf("the user delegation key begins at %s, and now is %s", k.Start, show(now))
	}
	if !now.Before(expiry) {
		return fmt.Errorf("the user delegation key expired at %s, and now is %s: ask for another", k.Expiry, show(now))
	}
	return nil
}

// delegation is what a token signed with such a key may have besides.
type delegation struct {
	authorized, unauthorized       string // saoid, suoid
	correlation                    string // scid
	delegatedTenant, delegatedUser string // skdutid, sduoid
	headers, parameters            string // srh, srq
}

// The versions from which the parts of a user delegation SAS are signed.
const (
	withAgents   = "2020-02-10" // saoid, suoid, scid
	withUser     = "2025-07-05" // skdutid, sduoid
	withRequests = "2026-04-06" // srh, srq
)

// checkDelegated holds a user delegation SAS against the rules.
func (t Token) checkDelegated() error {
	d := t.delegation
	switch {
	case t.IsAccount():
		return errors.New("ss and srt belong to an account SAS, which no user delegation key signs")
	case t.Identifier != "":
		return errors.New("a user delegation SAS cannot name a stored access policy (si)")
	case t.Permissions == "" || t.Expiry == "":
		return errors.New("sp and se are mandatory")
	case t.Version < withResource:
		return fmt.Errorf("sv %s knows no user delegation SAS; %s and later do", t.Version, withResource)
	case d.authorized != "" || d.unauthorized != "":
		return errors.New("saoid and suoid go with accounts with a hierarchical namespace, which this one has not")
	case d.delegatedTenant != "" || d.delegatedUser != "":
		return errors.New("a SAS that is bound to another user (sduoid, skdutid) is not supported here")
	case d.headers != "" || d.parameters != "":
		return errors.New("a SAS that is bound to headers or parameters of the request (srh, srq) is not supported here")
	}
	return t.Key.checkFields()
}

// delegated are the lines of a string to sign that name the key.
func (t Token) delegated() []string {
	k, d := t.Key, t.delegation
	fields := []string{k.ObjectID, k.TenantID, k.Start, k.Expiry, k.Service, k.Version}
	if t.Version >= withAgents {
		fields = append(fields, d.authorized, d.unauthorized, d.correlation)
	}
	if t.Version >= withUser {
		fields = append(fields, d.delegatedTenant, d.delegatedUser)
	}
	return fields
}

// VerifyDelegated reports whether the key that the token names signed it, for
// this account, container and blob.
func (t Token) VerifyDelegated(seed secret.String, account, container, blob string) bool {
	if seed.IsZero() || !t.Delegated {
		return false
	}
	value := t.Key.Value(seed)
	return sharedkey.Verify([]secret.String{value}, []string{t.StringToSign(account, container, blob)}, t.signature)
}

// SignDelegated returns the token signed with a user delegation key of the
// account, as a query without '?'.
func (s Service) SignDelegated(account, container string, k Key, seed secret.String) (string, error) {
	t := s.token()
	t.Delegated, t.Key = true, k
	return t.sign(account, container, s.Blob, k.Value(seed))
}
