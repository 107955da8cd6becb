// Package sas reads and makes shared access signatures of the blob service:
// the account and service kinds, signed with an account key, and the user
// delegation kind, signed with a key that a principal asked for.
//
// It checks form, time, address and signature of a token and says what the
// token grants; which grant a request needs is decided elsewhere. Rules:
// "Create an account SAS" and "Create a service SAS" in the Storage reference.
package sas

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Token is a parsed signature. Texts are as they were sent, because they are signed so.
type Token struct {
	Version         string // sv
	Permissions     string // sp
	Start           string // st
	Expiry          string // se
	IP              string // sip
	Protocol        string // spr
	EncryptionScope string // ses

	Services      string // ss, account SAS only
	ResourceTypes string // srt, account SAS only

	Resource   string // sr, service SAS only
	Identifier string // si: a stored access policy
	Snapshot   string
	Delegated  bool     // signed with a user delegation key
	Key        Key      // which one
	Override   Override // headers that the answer to a read carries instead of the blob's

	delegation delegation
	signature  string
}

// Override is what a service SAS puts in place of the blob's own headers.
type Override struct {
	CacheControl, ContentDisposition, ContentEncoding, ContentLanguage, ContentType string
}

// Present reports whether a query carries a signature.
func Present(q url.Values) bool { return q.Has("sig") }

const (
	oldestVersion = "2015-04-05"
	withResource  = "2018-11-09" // sr and snapshot time are signed from here on
	withScope     = "2020-12-06" // ses is signed from here on
)

// Parse reads a token. Its errors are for the user, and never hold the signature.
func Parse(q url.Values) (Token, error) {
	t := Token{
		Version: q.Get("sv"), Permissions: q.Get("sp"), Start: q.Get("st"), Expiry: q.Get("se"),
		IP: q.Get("sip"), Protocol: q.Get("spr"), EncryptionScope: q.Get("ses"),
		Services: q.Get("ss"), ResourceTypes: q.Get("srt"),
		Resource: q.Get("sr"), Identifier: q.Get("si"), Snapshot: q.Get("snapshot"), Delegated: q.Has("skoid"),
		Key:      Key{q.Get("skoid"), q.Get("sktid"), q.Get("skt"), q.Get("ske"), q.Get("sks"), q.Get("skv")},
		Override: Override{q.Get("rscc"), q.Get("rscd"), q.Get("rsce"), q.Get("rscl"), q.Get("rsct")},

		delegation: delegation{
			authorized: q.Get("saoid"), unauthorized: q.Get("suoid"), correlation: q.Get("scid"),
			delegatedTenant: q.Get("skdutid"), delegatedUser: q.Get("sduoid"), headers: q.Get("srh"), parameters: q.Get("srq"),
		},
		signature: q.Get("sig"),
	}
	for _, name := range signedNames() {
		if len(q[name]) > 1 {
			return t, fmt.Errorf("%s is given more than once", name)
		}
	}
	if _, err := time.Parse(time.DateOnly, t.Version); err != nil {
		return t, errors.New("sv is mandatory and must be a date such as 2021-12-02")
	}
	if t.Version < oldestVersion {
		return t, fmt.Errorf("sv %s is too old; %s and later are supported", t.Version, oldestVersion)
	}
	return t, t.checkFields()
}

// signedNames are the parameters of which each says one thing.
func signedNames() []string {
	return []string{
		"sv", "sp", "st", "se", "sip", "spr", "ses", "ss", "srt", "sr", "si", "sig", "skoid", "sktid", "skt", "ske", "sks", "skv",
		"saoid", "suoid", "scid", "skdutid", "sduoid", "srh", "srq",
	}
}

func (t Token) checkFields() error {
	if err := t.checkKind(); err != nil {
		return err
	}
	if t.Delegated {
		return t.checkDelegated()
	}
	return nil
}

func (t Token) checkKind() error {
	switch {
	case t.signature == "":
		return errors.New("sig is empty")
	case t.Protocol != "" && t.Protocol != "https" && t.Protocol != "https,http":
		return errors.New("spr must be 'https' or 'https,http'")
	case t.IsAccount() && t.Delegated:
		return t.checkDelegated()
	case t.IsAccount() && t.Resource != "":
		return errors.New("sr belongs to a service SAS, ss and srt to an account SAS; a token is one of the two")
	case t.IsAccount() && (t.Services == "" || t.ResourceTypes == "" || t.Permissions == ""):
		return errors.New("an account SAS needs ss, srt and sp")
	case t.IsAccount() && t.Identifier != "":
		return errors.New("an account SAS cannot name a stored access policy (si)")
	case !t.IsAccount() && t.Resource != "b" && t.Resource != "c":
		return fmt.Errorf("sr must be 'b' (blob) or 'c' (container), not %q", t.Resource)
	case t.Identifier == "" && (t.Permissions == "" || t.Expiry == ""):
		return errors.New("sp and se are mandatory")
	}
	return nil
}

// IsAccount reports whether the token is an account SAS.
func (t Token) IsAccount() bool { return t.Services != "" || t.ResourceTypes != "" }

// CheckTime holds the token's lifetime against now.
func (t Token) CheckTime(now time.Time) error {
	expiry, err := parseTime(t.Expiry)
	if err != nil {
		return fmt.Errorf("se: %w", err)
	}
	if !now.Before(expiry) {
		return fmt.Errorf("signature not valid in the specified time frame: it expired at %s, and now is %s", t.Expiry, show(now))
	}
	if t.Start == "" {
		return nil
	}
	start, err := parseTime(t.Start)
	if err != nil {
		return fmt.Errorf("st: %w", err)
	}
	if now.Before(start) {
		return fmt.Errorf("signature not valid in the specified time frame: it begins at %s, and now is %s", t.Start, show(now))
	}
	return nil
}

func show(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func parseTime(text string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04Z07:00", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 2026-01-31T12:00:00Z", text)
}

// AllowsProtocol reports whether the token may be used over TLS, or without.
func (t Token) AllowsProtocol(tls bool) bool { return tls || t.Protocol != "https" }

// AllowsAddress reports whether the token may be used from addr. sip is one
// address, or two with a hyphen between them.
func (t Token) AllowsAddress(addr netip.Addr) bool {
	if t.IP == "" {
		return true
	}
	first, last, isRange := strings.Cut(t.IP, "-")
	if !isRange {
		last = first
	}
	lo, err1 := netip.ParseAddr(first)
	hi, err2 := netip.ParseAddr(last)
	addr = addr.Unmap()
	return err1 == nil && err2 == nil && addr.IsValid() && addr.BitLen() == lo.BitLen() &&
		lo.Compare(addr) <= 0 && addr.Compare(hi) <= 0
}

// Grants reports whether the token has one of the permission letters.
func (t Token) Grants(letters string) bool { return strings.ContainsAny(t.Permissions, letters) }

// Grants only some services and resource types.
func (t Token) ForService(letter string) bool      { return strings.Contains(t.Services, letter) }
func (t Token) ForResourceType(letter string) bool { return strings.Contains(t.ResourceTypes, letter) }
