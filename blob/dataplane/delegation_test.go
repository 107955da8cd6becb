package dataplane_test

import (
	"encoding/xml"
	"net/http"
	"strings"
	"testing"
	"time"

	"lapis/blob"
	"lapis/blob/sas"
	"lapis/secret"
)

const (
	blobProvider = "Microsoft.Storage/storageAccounts/blobServices/"
	delegate     = blobProvider + "generateUserDelegationKey/action"
	readAction   = blobProvider + "containers/blobs/read"
	writeAction  = blobProvider + "containers/blobs/write"
	addAction    = blobProvider + "containers/blobs/add/action"
)

type delegationKey struct {
	SignedOid, SignedTid, SignedStart, SignedExpiry, SignedService, SignedVersion, Value string
}

// askKey asks for a key; times are what is written in the body.
func (w *world) askKey(credential, start, expiry string) *http.Response {
	w.t.Helper()
	body := "<KeyInfo><Start>" + start + "</Start><Expiry>" + expiry + "</Expiry></KeyInfo>"
	if start == "" {
		body = "<KeyInfo><Expiry>" + expiry + "</Expiry></KeyInfo>"
	}
	return w.do(call{method: "POST", path: "/?restype=service&comp=userdelegationkey", body: body,
		header: map[string]string{"Authorization": credential, "x-ms-version": "2026-06-06"}})
}

func (w *world) stamp(d time.Duration) string { return w.clock().Add(d).Format(time.RFC3339) }

// lentKey is the key that a principal gets for an hour.
func (w *world) lentKey(principal string) sas.Key {
	w.t.Helper()
	w.grant(principal, delegate, w.account.ID)
	res := w.askKey("Bearer token-of-"+principal, w.stamp(0), w.stamp(time.Hour))
	var key delegationKey
	if err := xml.Unmarshal([]byte(text(res)), &key); res.StatusCode != 200 || err != nil {
		w.t.Fatalf("%d %v", res.StatusCode, err)
	}
	return sas.Key{ObjectID: key.SignedOid, TenantID: key.SignedTid, Start: key.SignedStart, Expiry: key.SignedExpiry, Service: key.SignedService, Version: key.SignedVersion}
}

func (w *world) delegated(key sas.Key, s sas.Service) string {
	w.t.Helper()
	if s.Expiry.IsZero() {
		s.Expiry = w.clock().Add(30 * time.Minute)
	}
	token, err := blob.SignDelegatedSAS(w.account, "data", key, s)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func TestDelegationKeyNeedsTheRightAndAToken(t *testing.T) {
	w := newWorld(t)
	good := []string{w.stamp(-time.Minute), w.stamp(time.Hour)}
	expect(t, "without the role", w.askKey("Bearer token-of-nobody", good[0], good[1]), 403, "AuthorizationPermissionMismatch")
	w.grant("reader", delegate, w.account.ID)
	res := w.askKey("Bearer token-of-reader", good[0], good[1])
	body := text(res)
	var key delegationKey
	if err := xml.Unmarshal([]byte(body), &key); err != nil || res.StatusCode != 200 {
		t.Fatalf("%d %v %s", res.StatusCode, err, body)
	}
	want := delegationKey{"reader", tenant, good[0], good[1], "b", "2026-06-06", key.Value}
	if key != want || len(key.Value) != 44 {
		t.Errorf("%+v", key)
	}
	expect(t, "with the account's key", w.signed(accountKey, "POST", "/?restype=service&comp=userdelegationkey", "<KeyInfo/>", nil), 403, "AuthenticationFailed")
	expect(t, "with an account SAS", w.do(call{method: "POST", path: "/?restype=service&comp=userdelegationkey&" + w.accountSAS(sas.Account{Permissions: "rwdlac"})}), 403, "AuthorizationPermissionMismatch")
	old := withHeader(call{method: "POST", path: "/?restype=service&comp=userdelegationkey"}, "Authorization", "Bearer token-of-reader")
	expect(t, "an old version", w.do(withHeader(old, "x-ms-version", "2017-11-09")), 400, "InvalidHeaderValue")
}

func TestDelegationKeysLiveSevenDaysAtMost(t *testing.T) {
	w := newWorld(t)
	w.grant("reader", delegate, w.account.ID)
	const day = 24 * time.Hour
	for _, c := range []struct {
		what, start, expiry string
		status              int
		code                string
	}{
		{"seven days", w.stamp(0), w.stamp(7 * day), 200, ""},
		{"from now", "", w.stamp(time.Hour), 200, ""},
		{"from tomorrow", w.stamp(day), w.stamp(2 * day), 200, ""},
		{"more than seven days", w.stamp(0), w.stamp(7*day + time.Second), 400, "InvalidXmlNodeValue"},
		{"begun too long ago", w.stamp(-8 * day), w.stamp(time.Hour), 400, "InvalidXmlNodeValue"},
		{"begins too late", w.stamp(8 * day), w.stamp(9 * day), 400, "InvalidXmlNodeValue"},
		{"past", w.stamp(-2 * time.Hour), w.stamp(-time.Hour), 400, "InvalidXmlNodeValue"},
		{"ends before it begins", w.stamp(2 * time.Hour), w.stamp(time.Hour), 400, "InvalidXmlNodeValue"},
		{"no end", w.stamp(0), "", 400, "InvalidXmlNodeValue"},
		{"no time", "soon", w.stamp(time.Hour), 400, "InvalidXmlNodeValue"},
		{"no XML", "<", "", 400, "InvalidXmlDocument"},
	} {
		expect(t, c.what, w.askKey("Bearer token-of-reader", c.start, c.expiry), c.status, c.code)
	}
	res := w.do(withHeader(call{method: "POST", path: "/?restype=service&comp=userdelegationkey", body: "<Other/>"}, "Authorization", "Bearer token-of-reader"))
	expect(t, "another document", res, 400, "InvalidXmlDocument")
}

// TestDelegatedSASIsWorthWhatItsSignerMayDo: both the token and the roles of
// whom it was made by must allow a request, at the time of the request.
func TestDelegatedSASIsWorthWhatItsSignerMayDo(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.container("other")
	w.put("/data/b", "text")
	w.put("/data/c", "text")
	w.account.AllowSharedKey = false // keys are not what these are signed with
	key := w.lentKey("signer")
	read, all := w.delegated(key, sas.Service{Permissions: "r"}), w.delegated(key, sas.Service{Permissions: "racwdl"})
	one := w.delegated(key, sas.Service{Permissions: "r", Blob: "b"})
	put := call{method: "PUT", path: "/data/new?", header: putHeader}
	try := func(what string, c call, token string, status int, code string) *http.Response {
		t.Helper()
		c.path += token
		res := w.do(c)
		expect(t, what, res, status, code)
		return res
	}
	scope := w.account.ContainerScope("data")
	res := try("without a role", get("/data/b?"), read, 403, "AuthorizationPermissionMismatch")
	if denied := res.Header.Get("X-Lapis-Denied"); !strings.Contains(denied, "signer") || !strings.Contains(denied, readAction) {
		t.Errorf("the refusal says %q", denied)
	}
	w.grant("signer", readAction, scope)
	try("with it", get("/data/b?"), read, 200, "")
	try("listing with all", get("/data?restype=container&comp=list&"), all, 200, "")
	try("listing with read", get("/data?restype=container&comp=list&"), read, 403, "AuthorizationPermissionMismatch")
	try("writing with read", put, read, 403, "AuthorizationPermissionMismatch")
	try("writing without the role", put, all, 403, "AuthorizationPermissionMismatch")
	try("one blob", get("/data/b?"), one, 200, "")
	try("another blob", get("/data/c?"), one, 403, "AuthenticationFailed")
	try("another container", get("/other/b?"), read, 403, "AuthenticationFailed")
	w.grant("signer", addAction, scope)
	try("making with the role to add", put, all, 201, "")
	try("replacing with the role to add", put, all, 403, "UnauthorizedBlobOverwrite")
	w.grant("signer", writeAction, scope)
	try("replacing with the role to write", put, all, 201, "")
	try("replacing with permission to create", put, w.delegated(key, sas.Service{Permissions: "c"}), 403, "UnauthorizedBlobOverwrite")
	try("deleting without the role", call{method: "DELETE", path: "/data/b?"}, all, 403, "AuthorizationPermissionMismatch")
	try("what no such SAS can", call{method: "DELETE", path: "/data?restype=container&"}, all, 403, "AuthorizationPermissionMismatch")
	clear(w.roles)
	try("the role taken away", get("/data/b?"), read, 403, "AuthorizationPermissionMismatch")
}

func TestDelegatedSASNegatives(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.put("/data/b", "text")
	key := w.lentKey("signer")
	other := key
	other.ObjectID = "admin"
	for _, who := range []string{"signer", "admin"} {
		w.grant(who, readAction, w.account.ID)
	}
	read := w.delegated(key, sas.Service{Permissions: "r"})
	expect(t, "as made", w.do(get("/data/b?"+read)), 200, "")
	swap := func(from, to string) string { return strings.Replace(read, from, to, 1) }
	short, late := w.lentKey("signer"), w.lentKey("signer")
	short.Expiry, late.Start = w.stamp(time.Minute), w.stamp(30*time.Minute)
	forged, err := sas.Service{Permissions: "r", Expiry: w.clock().Add(time.Hour)}.SignDelegated(accountName, "data", other, secret.New("guessed"))
	if err != nil {
		t.Fatal(err)
	}
	for what, token := range map[string]string{
		"another signer":         swap("skoid=signer", "skoid=admin"),
		"another tenant":         swap("sktid=1", "sktid=2"),
		"a longer key":           swap("ske=2026-06-01T13", "ske=2026-06-01T14"),
		"an earlier key":         swap("skt=2026-06-01T12", "skt=2026-06-01T11"),
		"more permissions":       swap("sp=r", "sp=rw"),
		"a longer token":         swap("se=2026-06-01T12%3A30", "se=2026-06-01T12%3A59"),
		"another version":        swap("sv=2021-12-02", "sv=2020-12-06"),
		"a correlation unsigned": read + "&scid=x",
		"a guessed secret":       forged,
		"a key that begins late": w.delegated(late, sas.Service{Permissions: "r"}),
		"an agent":               read + "&saoid=x",
		"twice a signer":         read + "&skoid=admin",
	} {
		expect(t, what, w.do(get("/data/b?"+token)), 403, "AuthenticationFailed")
	}
	brief := w.delegated(short, sas.Service{Permissions: "r"})
	ends := w.delegated(key, sas.Service{Permissions: "r", Expiry: w.clock().Add(2 * time.Minute)})
	expect(t, "a brief key", w.do(get("/data/b?"+brief)), 200, "")
	w.advance(time.Minute)
	expect(t, "the key has expired", w.do(get("/data/b?"+brief)), 403, "AuthenticationFailed")
	expect(t, "another has not", w.do(get("/data/b?"+ends)), 200, "")
	w.advance(time.Minute)
	expect(t, "the token has expired", w.do(get("/data/b?"+ends)), 403, "AuthenticationFailed")

	w.account.Delegation = secret.New("revoked")
	expect(t, "all keys revoked", w.do(get("/data/b?"+read)), 403, "AuthenticationFailed")
}

// TestDelegatedSASOpensACopysSource: the source of a copy is read with the
// rights of whom its token was made by.
func TestDelegatedSASOpensACopysSource(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.put("/data/b", "text")
	read := w.delegated(w.lentKey("signer"), sas.Service{Permissions: "r"})
	source := map[string]string{"x-ms-copy-source": "https://" + accountHost + "/data/b?" + read}
	expect(t, "without the role", w.do(w.owner(call{method: "PUT", path: "/data/c", header: source})), 403, "CannotVerifyCopySource")
	w.grant("signer", readAction, w.account.ID)
	expect(t, "with it", w.do(w.owner(call{method: "PUT", path: "/data/c", header: source})), 202, "")
}

func FuzzKeyInfo(f *testing.F) {
	f.Add("<KeyInfo><Start>2026-06-01T12:00:00Z</Start><Expiry>2026-06-02T12:00:00Z</Expiry></KeyInfo>")
	f.Add("<KeyInfo><Expiry>2026-06-02T12:00:00.5+01:00</Expiry></KeyInfo>")
	f.Add("<!DOCTYPE x [<!ENTITY e 'x'>]><KeyInfo><Expiry>&e;</Expiry></KeyInfo>")
	f.Add("<KeyInfo>")
	w := newWorld(f)
	w.grant("reader", delegate, w.account.ID)
	f.Fuzz(func(t *testing.T, body string) {
		w.t = t
		res := w.do(withHeader(call{method: "POST", path: "/?restype=service&comp=userdelegationkey", body: body}, "Authorization", "Bearer token-of-reader"))
		if res.StatusCode != 200 && res.StatusCode != 400 && res.StatusCode != 501 {
			t.Errorf("%q: status %d", body, res.StatusCode)
		}
		var key delegationKey
		if res.StatusCode != 200 {
			return
		}
		if err := xml.Unmarshal([]byte(text(res)), &key); err != nil {
			t.Fatal(err)
		}
		expiry, err := time.Parse(time.RFC3339, key.SignedExpiry)
		if err != nil || expiry.After(w.clock().Add(sas.MaxKeyLife)) || expiry.Before(w.clock()) {
			t.Errorf("%q: a key until %q", body, key.SignedExpiry)
		}
	})
}
