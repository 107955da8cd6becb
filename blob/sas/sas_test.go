package sas

import (
	"encoding/base64"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"lapis/secret"
)

var key = secret.New(base64.StdEncoding.EncodeToString([]byte("key")))

func TestStringToSignByVersion(t *testing.T) {
	token := Token{
		Permissions: "sp", Start: "st", Expiry: "se", IP: "sip", Protocol: "spr", EncryptionScope: "ses", Resource: "b", Identifier: "si",
		Snapshot: "snap", Override: Override{"rscc", "rscd", "rsce", "rscl", "rsct"},
	}
	for version, want := range map[string]string{
		"2015-04-05": "sp|st|se|/blob/acct/c/d/e|si|sip|spr|2015-04-05|rscc|rscd|rsce|rscl|rsct",
		"2018-03-28": "sp|st|se|/blob/acct/c/d/e|si|sip|spr|2018-03-28|rscc|rscd|rsce|rscl|rsct",
		"2018-11-09": "sp|st|se|/blob/acct/c/d/e|si|sip|spr|2018-11-09|b|snap|rscc|rscd|rsce|rscl|rsct",
		"2020-10-02": "sp|st|se|/blob/acct/c/d/e|si|sip|spr|2020-10-02|b|snap|rscc|rscd|rsce|rscl|rsct",
		"2020-12-06": "sp|st|se|/blob/acct/c/d/e|si|sip|spr|2020-12-06|b|snap|ses|rscc|rscd|rsce|rscl|rsct",
		"2026-06-06": "sp|st|se|/blob/acct/c/d/e|si|sip|spr|2026-06-06|b|snap|ses|rscc|rscd|rsce|rscl|rsct",
	} {
		token.Version = version
		if got := strings.ReplaceAll(token.StringToSign("acct", "c", "d/e"), "\n", "|"); got != want {
			t.Errorf("%s: %s", version, got)
		}
	}
	account := Token{Permissions: "sp", Services: "ss", ResourceTypes: "srt", Start: "st", Expiry: "se", IP: "sip", Protocol: "spr", EncryptionScope: "ses"}
	for version, want := range map[string]string{
		"2018-11-09": "acct|sp|ss|srt|st|se|sip|spr|2018-11-09|",
		"2020-12-06": "acct|sp|ss|srt|st|se|sip|spr|2020-12-06|ses|",
	} {
		account.Version = version
		if got := strings.ReplaceAll(account.StringToSign("acct", "c", "b"), "\n", "|"); got != want {
			t.Errorf("account %s: %s", version, got)
		}
	}
}

func parsed(t *testing.T, query string) Token {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	token, err := Parse(q)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestMadeTokensVerify(t *testing.T) {
	expiry := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	query, err := Service{Permissions: "rl", Expiry: expiry}.Sign("acct", "c", key)
	if err != nil {
		t.Fatal(err)
	}
	token := parsed(t, query)
	other := secret.New("b3RoZXI=")
	for name, c := range map[string]struct {
		keys               []secret.String
		account, container string
		want               bool
	}{
		"same":            {[]secret.String{key}, "acct", "c", true},
		"second key":      {[]secret.String{other, key}, "acct", "c", true},
		"other key":       {[]secret.String{other}, "acct", "c", false},
		"no key":          {[]secret.String{{}}, "acct", "c", false},
		"other container": {[]secret.String{key}, "acct", "d", false},
		"other account":   {[]secret.String{key}, "acct2", "c", false},
	} {
		if got := token.Verify(c.keys, c.account, c.container, "any"); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if _, err := (Service{Permissions: "r"}).Sign("acct", "c", key); err == nil {
		t.Error("a token without an end was made")
	}
	if _, err := (Account{Expiry: expiry}).Sign("acct", key); err == nil {
		t.Error("a token without permissions was made")
	}
}

func TestTimes(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		start, expiry string
		good          bool
	}{
		{"", "2026-01-02T12:00:01Z", true},
		{"", "2026-01-02T12:00:00Z", false},
		{"", "2026-01-02T12:01Z", true},
		{"", "2026-01-03", true},
		{"", "2026-01-02", false},
		{"", "2026-01-02T12:00:00.5Z", true},
		{"2026-01-02T12:00:00Z", "2027-01-01", true},
		{"2026-01-02T12:00:01Z", "2027-01-01", false},
		{"2026-01-03", "2027-01-01", false},
		{"soon", "2027-01-01", false},
		{"", "", false},
		{"", "tomorrow", false},
	} {
		if err := (Token{Start: c.start, Expiry: c.expiry}).CheckTime(now); (err == nil) != c.good {
			t.Errorf("%s to %s: %v", c.start, c.expiry, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		ip, addr string
		good     bool
	}{
		{"", "1.2.3.4", true},
		{"1.2.3.4", "1.2.3.4", true},
		{"1.2.3.4", "::ffff:1.2.3.4", true},
		{"1.2.3.4", "1.2.3.5", false},
		{"1.2.3.0-1.2.3.9", "1.2.3.5", true},
		{"1.2.3.0-1.2.3.9", "1.2.3.10", false},
		{"1.2.3.9-1.2.3.0", "1.2.3.5", false},
		{"1.2.3.0-", "1.2.3.5", false},
		{"0.0.0.0-255.255.255.255", "::1", false},
		{"anything", "1.2.3.4", false},
	} {
		if got := (Token{IP: c.ip}).AllowsAddress(netip.MustParseAddr(c.addr)); got != c.good {
			t.Errorf("%s from %s: %v", c.ip, c.addr, got)
		}
	}
	if (Token{IP: "1.2.3.4"}).AllowsAddress(netip.Addr{}) {
		t.Error("an unknown address was let in")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("sv=2021-12-02&sr=c&sp=r&se=2030-01-01&sig=AAAA")
	f.Add("sv=2021-12-02&ss=b&srt=sco&sp=r&se=2030-01-01T00:00:00Z&st=x&sip=1.1.1.1-2&spr=https&sig=%2B")
	f.Add("sv=2021-12-02&sr=b&skoid=x&sig=")
	f.Add("sv=2020-12-06&sr=c&sp=r&se=2030-01-01&skoid=o&sktid=t&skt=2029-12-31T00:00:00Z&ske=2030-01-01&sks=b&skv=2020-12-06&sig=AAAA")
	f.Add("sv=2026-10-06&sr=b&sp=rw&se=2030-01-01&skoid=o&sktid=t&skt=x&ske=y&sks=b&skv=z&scid=c&sduoid=d&srh=h&sig=AAAA")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		token, err := Parse(q)
		if err != nil {
			return
		}
		_ = token.CheckTime(time.Unix(0, 0))
		_ = token.AllowsAddress(netip.MustParseAddr("1.2.3.4"))
		_ = token.Key.CheckTime(time.Unix(0, 0))
		if token.Delegated && token.Key.checkFields() != nil {
			t.Errorf("%q was taken with the key %+v", query, token.Key)
		}
		if token.VerifyDelegated(key, "acct", "c", "b") || token.Verify([]secret.String{key, {}}, "acct", "c", "b") {
			t.Errorf("%q verifies", query)
		}
	})
}
