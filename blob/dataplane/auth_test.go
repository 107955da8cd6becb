package dataplane_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lapis/blob"
	"lapis/blob/dataplane"
	"lapis/blob/sas"
	"lapis/fault"
)

// naive signs a request a second time, straight from the rules, with nothing
// of package sharedkey in it.
func naive(key string, r *http.Request, account string) string {
	lines := []string{r.Method}
	for _, name := range []string{"Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type", "Date",
		"If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range"} {
		value := r.Header.Get(name)
		if name == "Content-Length" && r.ContentLength > 0 {
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		if name == "Date" && r.Header.Get("x-ms-date") != "" {
			value = ""
		}
		lines = append(lines, value)
	}
	var headers []string
	for name, value := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-ms-") {
			headers = append(headers, name+":"+value[0])
		}
	}
	slices.Sort(headers)
	lines = append(lines, headers...)
	path, _, _ := strings.Cut(strings.TrimPrefix(r.URL.String(), "https://"+r.Host), "?")
	lines = append(lines, "/"+account+path)
	byName := map[string][]string{}
	for name, values := range r.URL.Query() {
		name = strings.ToLower(name)
		byName[name] = append(byName[name], values...)
	}
	var params []string
	for name, values := range byName {
		slices.Sort(values)
		params = append(params, name+":"+strings.Join(values, ","))
	}
	slices.Sort(params)
	lines = append(lines, params...)
	raw, _ := base64.StdEncoding.DecodeString(key)
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte(strings.Join(lines, "\n")))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// signed sends a request signed with a key.
func (w *world) signed(key, method, path, body string, header map[string]string) *http.Response {
	w.t.Helper()
	r := httptest.NewRequest(method, "https://"+accountHost+path, strings.NewReader(body))
	r.Header.Set("x-ms-version", "2021-12-02")
	r.Header.Set("x-ms-date", w.clock().Format(http.TimeFormat))
	for name, value := range header {
		r.Header.Set(name, value)
	}
	if value, ok := header["x-ms-date"]; ok && value == "" {
		r.Header.Del("x-ms-date")
	}
	r.Header.Set("Authorization", "SharedKey "+accountName+":"+naive(key, r, accountName))
	return w.send(r)
}

func (w *world) send(r *http.Request) *http.Response {
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec.Result()
}

func expect(t *testing.T, what string, res *http.Response, status int, code string) {
	t.Helper()
	if got := res.Header.Get("x-ms-error-code"); res.StatusCode != status || got != code {
		t.Errorf("%s: %d %s, not %d %s: %s", what, res.StatusCode, got, status, code, text(res))
	}
}

func TestSharedKeyOpensEverything(t *testing.T) {
	w := newWorld(t)
	expect(t, "create", w.signed(accountKey, "PUT", "/data?restype=container", "", nil), 201, "")
	block := map[string]string{"x-ms-blob-type": "BlockBlob", "Content-Type": "text/plain", "Content-MD5": sum("hello"), "x-ms-meta-a-b": "1", "x-ms-meta-ab": "2"}
	delete(block, "x-ms-meta-a-b")
	expect(t, "put", w.signed(accountKey, "PUT", "/data/a%20b%2Bc/%C3%A4", "hello", block), 201, "")
	expect(t, "range", w.signed(accountKey, "GET", "/data/a%20b%2Bc/%C3%A4", "", map[string]string{"Range": "bytes=1-2"}), 206, "")
	expect(t, "list", w.signed(accountKey, "GET", "/data?restype=container&comp=list&include=metadata&include=copy&prefix=a%20b", "", nil), 200, "")
	expect(t, "mixed case", w.signed(accountKey, "GET", "/data?RESTYPE=container&restype=container&comp=list", "", nil), 200, "")
	expect(t, "Date alone", w.signed(accountKey, "GET", "/?comp=list", "", map[string]string{"x-ms-date": "", "Date": w.clock().Format(http.TimeFormat)}), 200, "")
	expect(t, "second key", w.signed(w.account.Keys[1].Reveal(), "GET", "/?comp=list", "", nil), 200, "")
}

func TestSharedKeyLite(t *testing.T) {
	w := newWorld(t)
	date := w.clock().Format(http.TimeFormat)
	text := "GET\n\n\n\nx-ms-date:" + date + "\nx-ms-version:2021-12-02\n/" + accountName + "/?comp=list"
	raw, _ := base64.StdEncoding.DecodeString(accountKey)
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte(text))
	header := map[string]string{"x-ms-date": date, "Authorization": "SharedKeyLite " + accountName + ":" + base64.StdEncoding.EncodeToString(mac.Sum(nil))}
	expect(t, "lite", w.do(call{method: "GET", path: "/?comp=list", header: header}), 200, "")
	expect(t, "lite for another path", w.do(call{method: "GET", path: "/?restype=service&comp=properties", header: header}), 403, "AuthenticationFailed")
}

func TestSharedKeyNegatives(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.put("/data/b", "secret")
	other := base64.StdEncoding.EncodeToString([]byte("another key"))
	res := w.signed(other, "GET", "/data/b", "", nil)
	body := text(res)
	if res.StatusCode != 403 || !strings.Contains(body, "Server used following string to sign: 'GET") || !strings.Contains(body, "/"+accountName+"/data/b'") {
		t.Errorf("wrong key: %d %s", res.StatusCode, body)
	}
	if strings.Contains(body, accountKey) || strings.Contains(body, naive(accountKey, httptest.NewRequest("GET", "/data/b", nil), accountName)) {
		t.Error("the answer helps to forge")
	}
	at := func(d time.Duration) map[string]string {
		return map[string]string{"x-ms-date": w.clock().Add(d).Format(http.TimeFormat)}
	}
	expect(t, "old", w.signed(accountKey, "GET", "/data/b", "", at(-16*time.Minute)), 403, "AuthenticationFailed")
	expect(t, "ahead", w.signed(accountKey, "GET", "/data/b", "", at(16*time.Minute)), 403, "AuthenticationFailed")
	expect(t, "14 minutes old", w.signed(accountKey, "GET", "/data/b", "", at(-14*time.Minute)), 200, "")
	expect(t, "no date", w.signed(accountKey, "GET", "/data/b", "", map[string]string{"x-ms-date": ""}), 403, "AuthenticationFailed")
	expect(t, "date is none", w.signed(accountKey, "GET", "/data/b", "", map[string]string{"x-ms-date": "now"}), 403, "AuthenticationFailed")

	tamper := func(change func(*http.Request)) *http.Response {
		r := httptest.NewRequest("GET", "https://"+accountHost+"/data/b", nil)
		r.Header.Set("x-ms-date", w.clock().Format(http.TimeFormat))
		r.Header.Set("x-ms-version", "2021-12-02")
		r.Header.Set("Authorization", "SharedKey "+accountName+":"+naive(accountKey, r, accountName))
		change(r)
		return w.send(r)
	}
	expect(t, "untouched", tamper(func(*http.Request) {}), 200, "")
	expect(t, "other method", tamper(func(r *http.Request) { r.Method = "DELETE" }), 403, "AuthenticationFailed")
	expect(t, "other path", tamper(func(r *http.Request) { r.URL.Path = "/data/c" }), 403, "AuthenticationFailed")
	expect(t, "other query", tamper(func(r *http.Request) { r.URL.RawQuery = "comp=metadata" }), 403, "AuthenticationFailed")
	expect(t, "another header", tamper(func(r *http.Request) { r.Header.Set("x-ms-meta-a", "b") }), 403, "AuthenticationFailed")
	expect(t, "a second value", tamper(func(r *http.Request) { r.Header.Add("x-ms-version", "2019-12-12") }), 403, "AuthenticationFailed")
	expect(t, "a range", tamper(func(r *http.Request) { r.Header.Set("Range", "bytes=0-1") }), 403, "AuthenticationFailed")
	expect(t, "two credentials", tamper(func(r *http.Request) { r.Header.Add("Authorization", "Bearer token-of-owner") }), 400, "InvalidAuthenticationInfo")
	expect(t, "other account", tamper(func(r *http.Request) {
		r.Header.Set("Authorization", "SharedKey other:"+naive(accountKey, r, "other"))
	}), 403, "AuthenticationFailed")
	expect(t, "no such account", tamper(func(r *http.Request) { r.Host = "nobody.blob.core.windows.net" }), 404, "ResourceNotFound")
	for _, bad := range []string{"SharedKey", "SharedKey x", "SharedKey " + accountName + ":", "SharedKey " + accountName + ":AAAA", "Basic abc", "x"} {
		expect(t, bad, tamper(func(r *http.Request) { r.Header.Set("Authorization", bad) }), 400, "InvalidAuthenticationInfo")
	}

	w.account.AllowSharedKey = false
	expect(t, "keys off", w.signed(accountKey, "GET", "/data/b", "", nil), 403, "KeyBasedAuthenticationNotPermitted")
}

func (w *world) containerSAS(container string, s sas.Service) string {
	w.t.Helper()
	if s.Expiry.IsZero() {
		s.Expiry = w.clock().Add(time.Hour)
	}
	token, err := blob.SignContainerSAS(w.account, container, s)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func (w *world) accountSAS(s sas.Account) string {
	w.t.Helper()
	if s.Expiry.IsZero() {
		s.Expiry = w.clock().Add(time.Hour)
	}
	token, err := blob.SignAccountSAS(w.account, s)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

var putHeader = map[string]string{"x-ms-blob-type": "BlockBlob"}

func TestServiceSASGrantsWhatItSays(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.container("other")
	w.put("/data/b", "x")
	w.put("/data/c", "x")
	w.put("/other/b", "x")
	read := w.containerSAS("data", sas.Service{Permissions: "r"})
	one := w.containerSAS("data", sas.Service{Permissions: "rwd", Blob: "b"})
	create := w.containerSAS("data", sas.Service{Permissions: "c"})
	write := w.containerSAS("data", sas.Service{Permissions: "w"})
	list := w.containerSAS("data", sas.Service{Permissions: "l"})
	all := w.containerSAS("data", sas.Service{Permissions: "racwdl"})
	later := w.containerSAS("data", sas.Service{Permissions: "r", Start: w.clock().Add(time.Minute)})
	past := w.containerSAS("data", sas.Service{Permissions: "r", Expiry: w.clock()})
	away := w.containerSAS("data", sas.Service{Permissions: "r", IP: "10.0.0.1-10.0.0.9"})
	here := w.containerSAS("data", sas.Service{Permissions: "r", IP: "192.0.2.0-192.0.2.255"}) // httptest's address
	for _, c := range []struct {
		what   string
		call   call
		token  string
		status int
		code   string
	}{
		{"read", get("/data/b?"), read, 200, ""},
		{"read another container", get("/other/b?"), read, 403, "AuthenticationFailed"},
		{"write with read", call{method: "PUT", path: "/data/b?", header: putHeader}, read, 403, "AuthorizationPermissionMismatch"},
		{"delete with read", call{method: "DELETE", path: "/data/b?"}, read, 403, "AuthorizationPermissionMismatch"},
		{"list with read", get("/data?restype=container&comp=list&"), read, 403, "AuthorizationPermissionMismatch"},
		{"list", get("/data?restype=container&comp=list&"), list, 200, ""},
		{"read with list", get("/data/b?"), list, 403, "AuthorizationPermissionMismatch"},
		{"its blob", get("/data/b?"), one, 200, ""},
		{"another blob", get("/data/c?"), one, 403, "AuthenticationFailed"},
		{"list with a blob's", get("/data?restype=container&comp=list&"), one, 403, "AuthenticationFailed"},
		{"create what is new", call{method: "PUT", path: "/data/new?", header: putHeader}, create, 201, ""},
		{"create what is there", call{method: "PUT", path: "/data/new?", header: putHeader}, create, 403, "UnauthorizedBlobOverwrite"},
		{"replace with write", call{method: "PUT", path: "/data/new?", header: putHeader}, write, 201, ""},
		{"block with create", call{method: "PUT", path: "/data/n2?comp=block&blockid=MDAx&", body: "x"}, create, 403, "AuthorizationPermissionMismatch"},
		{"metadata with write", call{method: "PUT", path: "/data/new?comp=metadata&"}, write, 200, ""},
		{"delete the container", call{method: "DELETE", path: "/data?restype=container&"}, all, 403, "AuthorizationPermissionMismatch"},
		{"container properties", get("/data?restype=container&"), all, 403, "AuthorizationPermissionMismatch"},
		{"the service", get("/?comp=list&"), all, 403, "AuthenticationFailed"},
		{"too early", get("/data/b?"), later, 403, "AuthenticationFailed"},
		{"expired", get("/data/b?"), past, 403, "AuthenticationFailed"},
		{"wrong address", get("/data/b?"), away, 403, "AuthorizationSourceIPMismatch"},
		{"right address", get("/data/b?"), here, 200, ""},
		{"more permissions than signed", get("/data?restype=container&comp=list&"), strings.Replace(read, "sp=r", "sp=rl", 1), 403, "AuthenticationFailed"},
		{"longer than signed", get("/data/b?"), strings.Replace(past, "2026-06-01", "2027-06-01", 1), 403, "AuthenticationFailed"},
		{"unsigned address", get("/data/b?"), read + "&sip=192.0.2.1", 403, "AuthenticationFailed"},
		{"twice the permissions", get("/data/b?"), read + "&sp=rwdl", 403, "AuthenticationFailed"},
		{"policy we do not have", get("/data/b?"), read + "&si=p", 403, "AuthenticationFailed"},
		{"user delegation", get("/data/b?"), read + "&skoid=x", 403, "AuthenticationFailed"},
		{"signature cut", get("/data/b?"), read[:len(read)-4], 403, "AuthenticationFailed"},
		{"empty signature", get("/data/b?"), "sv=2021-12-02&sr=c&sp=r&se=2030-01-01&sig=", 403, "AuthenticationFailed"},
		{"no version", get("/data/b?"), "sr=c&sp=r&se=2030-01-01&sig=AAAA", 403, "AuthenticationFailed"},
	} {
		c.call.path += c.token
		res := w.do(c.call)
		expect(t, c.what, res, c.status, c.code)
	}
	w.account.AllowSharedKey = false
	expect(t, "keys off", w.do(get("/data/b?"+read)), 403, "KeyBasedAuthenticationNotPermitted")
}

func TestSASOverridesHeaders(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.put("/data/b", "x")
	token := w.containerSAS("data", sas.Service{Permissions: "r", Override: sas.Override{ContentType: "image/png", ContentDisposition: "attachment"}})
	res := w.do(get("/data/b?" + token))
	if res.Header.Get("Content-Type") != "image/png" || res.Header.Get("Content-Disposition") != "attachment" {
		t.Errorf("headers %v", res.Header)
	}
}

func TestSASNeedsTLSWhereItSaysSo(t *testing.T) {
	w := newWorld(t, func(c *dataplane.Config) { c.Secure = nil })
	w.container("data")
	w.put("/data/b", "x")
	r := httptest.NewRequest("GET", "http://"+accountHost+"/data/b?"+w.containerSAS("data", sas.Service{Permissions: "r", Protocol: "https"}), nil)
	expect(t, "https only", w.send(r), 403, "AuthorizationProtocolMismatch")
	r = httptest.NewRequest("GET", "http://"+accountHost+"/data/b?"+w.containerSAS("data", sas.Service{Permissions: "r"}), nil)
	expect(t, "any", w.send(r), 200, "")
}

func TestAccountSASGrantsWhatItSays(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.put("/data/b", "x")
	all := w.accountSAS(sas.Account{Permissions: "rwdlac"})
	for _, c := range []struct {
		what   string
		call   call
		token  string
		status int
		code   string
	}{
		{"list containers", get("/?comp=list&"), all, 200, ""},
		{"create container", call{method: "PUT", path: "/made?restype=container&"}, all, 201, ""},
		{"delete container", call{method: "DELETE", path: "/made?restype=container&"}, all, 202, ""},
		{"read", get("/data/b?"), all, 200, ""},
		{"acl", get("/data?restype=container&comp=acl&"), all, 403, "AuthorizationPermissionMismatch"},
		{"objects only", get("/data?restype=container&comp=list&"), w.accountSAS(sas.Account{Permissions: "rl", ResourceTypes: "o"}), 403, "AuthorizationResourceTypeMismatch"},
		{"containers only", get("/data/b?"), w.accountSAS(sas.Account{Permissions: "rl", ResourceTypes: "c"}), 403, "AuthorizationResourceTypeMismatch"},
		{"queues only", get("/data/b?"), w.accountSAS(sas.Account{Permissions: "rl", Services: "q"}), 403, "AuthorizationServiceMismatch"},
		{"write with read", call{method: "PUT", path: "/data/b?", header: putHeader}, w.accountSAS(sas.Account{Permissions: "r"}), 403, "AuthorizationPermissionMismatch"},
		{"expired", get("/data/b?"), w.accountSAS(sas.Account{Permissions: "r", Expiry: w.clock()}), 403, "AuthenticationFailed"},
		{"with sr", get("/data/b?"), all + "&sr=c", 403, "AuthenticationFailed"},
	} {
		c.call.path += c.token
		expect(t, c.what, w.do(c.call), c.status, c.code)
	}
}

func TestReaderCannotWrite(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.container("other")
	w.put("/data/b", "x")
	w.put("/other/b", "x")
	read := "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
	w.grant("reader", read, w.account.ContainerScope("data"))
	as := func(principal string, c call) call {
		return withHeader(c, "Authorization", "Bearer token-of-"+principal)
	}
	expect(t, "read", w.do(as("reader", get("/data/b"))), 200, "")
	expect(t, "list", w.do(as("reader", get("/data?restype=container&comp=list"))), 200, "")
	expect(t, "read elsewhere", w.do(as("reader", get("/other/b"))), 403, "AuthorizationPermissionMismatch")
	expect(t, "write", w.do(as("reader", call{method: "PUT", path: "/data/b", header: putHeader})), 403, "AuthorizationPermissionMismatch")
	expect(t, "delete", w.do(as("reader", call{method: "DELETE", path: "/data/b"})), 403, "AuthorizationPermissionMismatch")
	expect(t, "containers", w.do(as("reader", get("/?comp=list"))), 403, "AuthorizationPermissionMismatch")
	expect(t, "missing blob, no role", w.do(as("stranger", get("/data/missing"))), 403, "AuthorizationPermissionMismatch")
	expect(t, "copy from where it may not read", w.do(as("reader", call{method: "PUT", path: "/data/x", header: map[string]string{"x-ms-copy-source": "https://" + accountHost + "/other/b"}})), 403, "AuthorizationPermissionMismatch")

	res := w.do(as("stranger", get("/data/b")))
	var lacks fault.Denial
	if err := json.Unmarshal([]byte(res.Header.Get("x-lapis-denied")), &lacks); err != nil || lacks.Principal != "stranger" ||
		lacks.Role != "Storage Blob Data Reader" || lacks.RoleScope != w.account.ID.String() || lacks.Action != read {
		t.Errorf("x-lapis-denied: %q %v", res.Header.Get("x-lapis-denied"), err)
	}
	if body := text(res); !strings.Contains(body, "<Remedy>az role assignment create") || !strings.Contains(body, "<AuthorizationErrorDetail>stranger needs") {
		t.Errorf("body %s", body)
	}
	w.mu.Lock()
	w.roles = map[string]bool{}
	w.mu.Unlock()
	expect(t, "role taken back", w.do(as("reader", get("/data/b"))), 403, "AuthorizationPermissionMismatch")
}

func TestAddOnlyMakesNewBlobs(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.grant("adder", "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action", w.account.ID)
	put := call{method: "PUT", path: "/data/new", header: map[string]string{"x-ms-blob-type": "BlockBlob", "Authorization": "Bearer token-of-adder"}}
	expect(t, "new", w.do(put), 201, "")
	expect(t, "there", w.do(put), 403, "UnauthorizedBlobOverwrite")
}

func TestBadTokensAreChallenged(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.put("/data/b", "x")
	challenge := "Bearer authorization_uri=" + authorize + " resource_id=https://storage.azure.com"
	for what, c := range map[string]call{
		"none":    get("/data/b"),
		"expired": withHeader(get("/data/b"), "Authorization", "Bearer expired"),
		"empty":   withHeader(get("/data/b"), "Authorization", "Bearer "),
	} {
		res := w.do(c)
		want := "InvalidAuthenticationInfo"
		if what == "none" {
			want = "NoAuthenticationInformation"
		}
		if res.Header.Get("WWW-Authenticate") != challenge {
			t.Errorf("%s: challenge %q", what, res.Header.Get("WWW-Authenticate"))
		}
		expect(t, what, res, 401, want)
	}
	c := withHeader(get("/data/b"), "Authorization", "Bearer token-of-owner")
	c.header["x-ms-version"] = "none"
	expect(t, "no version", w.do(c), 403, "AuthenticationFailed")
}

func TestFailureOfTheVerifierIsNotTheCallersFault(t *testing.T) {
	w := newWorld(t)
	_ = w
	broken := newWorld(t, func(c *dataplane.Config) {
		c.Verify = func(context.Context, string) (string, error) {
			return "", fault.E(fault.Unavailable, "ServerBusy", "keys cannot be read")
		}
	})
	expect(t, "busy", broken.do(withHeader(get("/data/b"), "Authorization", "Bearer x")), 503, "ServerBusy")
}

// TestLogsHoldNoSecrets sends every kind of credential, good and bad, and
// looks for any of it in the log and in the answers.
func TestLogsHoldNoSecrets(t *testing.T) {
	var log strings.Builder
	w := newWorld(t, func(c *dataplane.Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	w.container("data")
	w.put("/data/b", "x")
	token := w.containerSAS("data", sas.Service{Permissions: "r"})
	signature := token[strings.Index(token, "sig=")+4:][:20]
	lent := w.delegated(w.lentKey("lender"), sas.Service{Permissions: "r"})
	value := w.lentKey("lender").Value(w.account.Delegation).Reveal()
	lentSignature := lent[strings.Index(lent, "sig=")+4:][:20]
	var answers []string
	for _, c := range []call{
		get("/data/b?" + lent), {method: "DELETE", path: "/data/b?" + lent}, get("/data/b?" + lent + "&scid=x"),
		get("/data/b?" + token), {method: "DELETE", path: "/data/b?" + token}, get("/other/b?" + token),
		{method: "PUT", path: "/data/c", header: map[string]string{"x-ms-copy-source": "https://" + accountHost + "/data/b?" + token + "&sp=rw"}},
		withHeader(get("/data/b"), "Authorization", "Bearer canary"), withHeader(get("/data/b"), "Authorization", "SharedKey stlapis:canary"),
	} {
		answers = append(answers, text(w.do(c)))
	}
	answers = append(answers, text(w.signed("Y2FuYXJ5", "GET", "/data/b?"+token, "", nil)))
	answers = append(answers, text(w.signed("Y2FuYXJ5", "PUT", "/data/c", "", map[string]string{"x-ms-copy-source": "https://" + accountHost + "/data/b?" + token})))
	for _, canary := range []string{signature, lentSignature, value, w.account.Delegation.Reveal(), "canary", accountKey, "token-of-owner"} {
		if strings.Contains(log.String(), canary) {
			t.Errorf("%q is in the log:\n%s", canary, log.String())
		}
		for _, answer := range answers {
			if strings.Contains(answer, canary) {
				t.Errorf("%q is in an answer: %s", canary, answer)
			}
		}
	}
	if !strings.Contains(log.String(), `operation="Get Blob" method=GET account=stlapis container=data blob=b status=200 as=sas`) {
		t.Errorf("log:\n%s", log.String())
	}
}
