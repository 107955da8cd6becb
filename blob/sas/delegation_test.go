package sas

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"lapis/secret"
)

var (
	seed = secret.New("a secret of the account")
	noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
)

func delegationKey() Key {
	return NewKey("object", "tenant", "2026-06-06", noon, noon.Add(time.Hour))
}

// The texts are those that azure-storage-blob 12.26 (2025-07-05) and 12.31
// (2026-10-06) sign, and the reference's for the versions before.
func TestDelegatedStringToSignByVersion(t *testing.T) {
	token := Token{
		Permissions: "sp", Start: "st", Expiry: "se", IP: "sip", Protocol: "spr", EncryptionScope: "ses", Resource: "b", Snapshot: "snap",
		Delegated: true, Key: Key{"skoid", "sktid", "skt", "ske", "sks", "skv"},
		delegation: delegation{"saoid", "suoid", "scid", "skdutid", "sduoid", "srh", "srq"},
		Override:   Override{"rscc", "rscd", "rsce", "rscl", "rsct"},
	}
	const head = "sp|st|se|/blob/acct/c/d/e|skoid|sktid|skt|ske|sks|skv|"
	for version, want := range map[string]string{
		"2018-11-09": "sip|spr|2018-11-09|b|snap|rscc|rscd|rsce|rscl|rsct",
		"2020-02-10": "saoid|suoid|scid|sip|spr|2020-02-10|b|snap|rscc|rscd|rsce|rscl|rsct",
		"2020-12-06": "saoid|suoid|scid|sip|spr|2020-12-06|b|snap|ses|rscc|rscd|rsce|rscl|rsct",
		"2025-07-05": "saoid|suoid|scid|skdutid|sduoid|sip|spr|2025-07-05|b|snap|ses|rscc|rscd|rsce|rscl|rsct",
		"2026-02-06": "saoid|suoid|scid|skdutid|sduoid|sip|spr|2026-02-06|b|snap|ses|rscc|rscd|rsce|rscl|rsct",
		"2026-04-06": "saoid|suoid|scid|skdutid|sduoid|sip|spr|2026-04-06|b|snap|ses|srh|srq|rscc|rscd|rsce|rscl|rsct",
	} {
		token.Version = version
		if got := strings.ReplaceAll(token.StringToSign("acct", "c", "d/e"), "\n", "|"); got != head+want {
			t.Errorf("%s: %s", version, got)
		}
	}
}

// TestKeyIsBoundToAllItsFields: no two keys that differ in anything have one value.
func TestKeyIsBoundToAllItsFields(t *testing.T) {
	k := delegationKey()
	values := map[string]string{k.Value(seed).Reveal(): "the key", k.Value(secret.New("another")).Reveal(): "another account"}
	for what, change := range map[string]func(*Key){
		"object": func(k *Key) { k.ObjectID = "other" }, "tenant": func(k *Key) { k.TenantID = "other" },
		"start": func(k *Key) { k.Start = "2026-01-01T00:00:00Z" }, "expiry": func(k *Key) { k.Expiry = "2027-01-01T00:00:00Z" },
		"service": func(k *Key) { k.Service = "q" }, "version": func(k *Key) { k.Version = "2020-12-06" },
		"text moved to the next field": func(k *Key) { k.ObjectID, k.TenantID = "objectten", "ant" },
	} {
		other := k
		change(&other)
		value := other.Value(seed).Reveal()
		if same, ok := values[value]; ok {
			t.Errorf("%s has the value of %s", what, same)
		}
		values[value] = what
	}
	written := k
	written.Start = "2026-01-02T12:00:00.0000000Z"
	if written.Value(seed) != k.Value(seed) {
		t.Error("another way to write the same time makes another key")
	}
}

func TestDelegatedTokensVerify(t *testing.T) {
	query, err := Service{Permissions: "rl", Expiry: noon.Add(time.Hour)}.SignDelegated("acct", "c", delegationKey(), seed)
	if err != nil {
		t.Fatal(err)
	}
	token := parsed(t, query)
	if !token.Delegated || token.Key != delegationKey() {
		t.Errorf("read back as %+v", token.Key)
	}
	for what, ok := range map[string]bool{
		"itself":            token.VerifyDelegated(seed, "acct", "c", "any"),
		"another secret":    !token.VerifyDelegated(secret.New("other"), "acct", "c", "any"),
		"no secret":         !token.VerifyDelegated(secret.String{}, "acct", "c", "any"),
		"another container": !token.VerifyDelegated(seed, "acct", "d", "any"),
		"another account":   !token.VerifyDelegated(seed, "acct2", "c", "any"),
		"as key-signed":     !token.Verify([]secret.String{token.Key.Value(seed)}, "acct", "c", "any"),
	} {
		if !ok {
			t.Error(what)
		}
	}
	plain, err := Service{Permissions: "rl", Expiry: noon.Add(time.Hour)}.Sign("acct", "c", key)
	if err != nil {
		t.Fatal(err)
	}
	if parsed(t, plain).VerifyDelegated(key, "acct", "c", "any") {
		t.Error("a token signed with the account's key passes for a delegated one")
	}
}

// TestNoFieldOfADelegatedTokenCanChange changes each parameter in turn.
func TestNoFieldOfADelegatedTokenCanChange(t *testing.T) {
	query, err := Service{
		Blob: "b", Permissions: "r", Start: noon, Expiry: noon.Add(time.Hour), Protocol: "https", IP: "1.2.3.4",
		Override: Override{"1", "2", "3", "4", "5"},
	}.SignDelegated("acct", "c", delegationKey(), seed)
	if err != nil {
		t.Fatal(err)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	for name := range values {
		for _, change := range []string{"", "other", "2026-01-02T13:00:01Z", "2021-12-03", "c", "https,http"} {
			tampered, err := url.ParseQuery(query)
			if err != nil {
				t.Fatal(err)
			}
			tampered.Set(name, change)
			if change == values.Get(name) {
				continue
			}
			token, err := Parse(tampered)
			if err == nil && token.VerifyDelegated(seed, "acct", "c", "b") {
				t.Errorf("%s=%s verifies", name, change)
			}
		}
		twice := query + "&" + name + "=" + url.QueryEscape(values.Get(name))
		if v, err := url.ParseQuery(twice); err == nil && !strings.HasPrefix(name, "rs") {
			if _, err := Parse(v); err == nil {
				t.Errorf("%s was taken twice", name)
			}
		}
	}
}

func TestDelegatedFieldsAreChecked(t *testing.T) {
	const good = "sv=2021-12-02&sr=c&sp=r&se=2030-01-01&skoid=o&sktid=t&skt=2029-01-01&ske=2030-01-01&sks=b&skv=2021-12-02&sig=AAAA"
	parsed(t, good)
	parsed(t, good+"&scid=11111111-2222-3333-4444-555555555555")
	for _, c := range []struct{ query, want string }{
		{strings.Replace(good, "&sktid=t", "", 1), "sktid is mandatory"},
		{strings.Replace(good, "skoid=o", "skoid=", 1), "skoid is mandatory"},
		{strings.Replace(good, "&ske=2030-01-01", "", 1), "ske is mandatory"},
		{strings.Replace(good, "sks=b", "sks=q", 1), "sks must be 'b'"},
		{strings.Replace(good, "sv=2021-12-02", "sv=2017-11-09", 1), "knows no user delegation"},
		{strings.Replace(good, "&se=2030-01-01", "", 1), "sp and se"},
		{good + "&si=policy", "stored access policy"},
		{strings.Replace(good, "sr=c", "ss=b&srt=o", 1), "account SAS"},
		{strings.Replace(good, "sr=c", "sr=d&sdd=1", 1), "sr must be"},
		{good + "&saoid=x", "hierarchical namespace"}, {good + "&suoid=x", "hierarchical namespace"},
		{good + "&sduoid=x", "sduoid"}, {good + "&srh=x", "srh"}, {good + "&srq=x", "srq"},
	} {
		q, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(q); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, not %q", c.query, err, c.want)
		}
	}
}

func TestKeyTimes(t *testing.T) {
	for _, c := range []struct {
		start, expiry string
		good          bool
	}{
		{"2026-01-02T12:00:00Z", "2026-01-02T12:00:01Z", true},
		{"2026-01-02T12:00:01Z", "2026-01-03", false},
		{"2026-01-01", "2026-01-02T12:00:00Z", false},
		{"soon", "2027-01-01", false},
		{"2026-01-01", "later", false},
	} {
		if err := (Key{Start: c.start, Expiry: c.expiry}).CheckTime(noon); (err == nil) != c.good {
			t.Errorf("%s to %s: %v", c.start, c.expiry, err)
		}
	}
}
