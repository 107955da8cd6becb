package msi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"lapis/fault"
	"lapis/identity"
	"lapis/secret"
	"lapis/token"
)

const (
	host    = "/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.MachineLearningServices/workspaces/ws1/onlineEndpoints/ep1"
	storage = "https://storage.azure.com/"
)

func principal(n int) identity.Principal {
	return identity.Principal{
		ObjectID: fmt.Sprintf("0a000000-0000-4000-8000-00000000000%d", n), ClientID: fmt.Sprintf("0c000000-0000-4000-8000-00000000000%d", n),
		Kind:       identity.UserAssigned,
		ResourceID: fmt.Sprintf("/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id%d", n),
	}
}

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// issue is a token source that writes what it was asked into the token.
func issue(_ context.Context, principal, audience, host string) (token.Token, error) {
	switch audience {
	case "https://unknown.example":
		return token.Token{}, fault.E(fault.Invalid, "AADSTS500011", "no such resource")
	case "https://busy.example":
		return token.Token{}, fault.E(fault.Throttled, "TooMany", "slow down")
	case "https://down.example":
		return token.Token{}, fault.E(fault.Unavailable, "Down", "later")
	case "https://broken.example":
		return token.Token{}, io.ErrUnexpectedEOF
	}
	if strings.HasSuffix(principal, "9") {
		return token.Token{}, fault.E(fault.NotFound, "PrincipalNotFound", "deleted")
	}
	return token.Token{
		Raw: secret.New(principal + "|" + audience + "|" + host), Audience: audience,
		IssuedAt: at.Add(-5 * time.Minute), ExpiresAt: at.Add(24 * time.Hour),
	}, nil
}

type fixture struct {
	*Listener
	log *syncBuffer
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func start(t testing.TB, in Instance) fixture {
	t.Helper()
	log := &syncBuffer{}
	s := New(Config{Tokens: issue, Now: func() time.Time { return at }, Log: slog.New(slog.NewTextHandler(log, nil))})
	t.Cleanup(func() { _ = s.Close() })
	if in.Identities == nil {
		in.Identities = []identity.Principal{principal(1), principal(2), principal(9)}
	}
	if in.ID == "" {
		in.ID, in.Host = "ep1/blue/0", host
	}
	l, err := s.Open(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{l, log}
}

func env(l *Listener) map[string]string {
	m := map[string]string{}
	for _, e := range l.Env() {
		k, v, _ := strings.Cut(e, "=")
		m[k] = v
	}
	return m
}

// get sends a request with headers, given as name, value, name, value.
func get(t testing.TB, method, url string, headers ...string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header[http.CanonicalHeaderKey(headers[i])] = append(req.Header[http.CanonicalHeaderKey(headers[i])], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := map[string]any{}
	if method != http.MethodHead {
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
	}
	if resp.Header.Get("Cache-Control") != "no-store" {
		t.Error("the answer may be cached")
	}
	return resp.StatusCode, body
}

func TestEnvironmentNamesOnlyTheFormsAskedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		forms Forms
		want  []string
	}{
		"by itself":   {0, []string{"MSI_ENDPOINT", "MSI_SECRET", "DEFAULT_IDENTITY_CLIENT_ID"}},
		"App Service": {AppService, []string{"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "DEFAULT_IDENTITY_CLIENT_ID"}},
		"both":        {AzureML | AppService, []string{"MSI_ENDPOINT", "MSI_SECRET", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "DEFAULT_IDENTITY_CLIENT_ID"}},
		"IMDS":        {IMDS, []string{"AZURE_POD_IDENTITY_AUTHORITY_HOST", "DEFAULT_IDENTITY_CLIENT_ID"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := env(start(t, Instance{Forms: tc.forms}).Listener)
			if len(got) != len(tc.want) {
				t.Errorf("got %v", got)
			}
			for _, name := range tc.want {
				if got[name] == "" {
					t.Errorf("%s is missing", name)
				}
			}
		})
	}
	got := env(start(t, Instance{}).Listener)
	if !strings.HasPrefix(got["MSI_ENDPOINT"], "http://127.0.0.1:") || !strings.HasSuffix(got["MSI_ENDPOINT"], "/MSI/auth") {
		t.Errorf("MSI_ENDPOINT=%s", got["MSI_ENDPOINT"])
	}
	if got["DEFAULT_IDENTITY_CLIENT_ID"] != principal(1).ClientID {
		t.Errorf("default %s", got["DEFAULT_IDENTITY_CLIENT_ID"])
	}
}

func TestAzureMLFormAnswersSDKAndScript(t *testing.T) {
	l := start(t, Instance{})
	e := env(l.Listener)
	for name, tc := range map[string]struct {
		query    string
		who      int
		audience string
	}{
		"SDK":                      {"?api-version=2017-09-01&resource=https://storage.azure.com", 1, "https://storage.azure.com"},
		"SDK, client id":           {"?api-version=2017-09-01&clientid=" + principal(2).ClientID + "&resource=https%3A%2F%2Fstorage.azure.com", 2, "https://storage.azure.com"},
		"script by hand":           {"?clientid=" + principal(2).ClientID + "&resource=https://storage.azure.com/", 2, storage},
		"script, variable not set": {"?clientid=&resource=https://storage.azure.com/", 1, storage},
		"newer version":            {"?api-version=2018-02-01&resource=" + storage, 1, storage},
		"any version":              {"?api-version=whatever&resource=" + storage, 1, storage},
		"client_id":                {"?client_id=" + principal(2).ClientID + "&resource=" + storage, 2, storage},
		"client id in capitals":    {"?ClientId=" + strings.ToUpper(principal(2).ClientID) + "&Resource=" + storage, 2, storage},
		"object id":                {"?object_id=" + principal(2).ObjectID + "&resource=" + storage, 2, storage},
		"mi_res_id":                {"?mi_res_id=" + principal(2).ResourceID + "&resource=" + storage, 2, storage},
		"msi_res_id, other case":   {"?msi_res_id=" + strings.ToLower(principal(2).ResourceID) + "/&resource=" + storage, 2, storage},
		"resource_id":              {"?resource_id=" + principal(2).ResourceID + "&resource=" + storage, 2, storage},
		"two names for one":        {"?client_id=" + principal(2).ClientID + "&object_id=" + principal(2).ObjectID + "&resource=" + storage, 2, storage},
		"the default by name":      {"?clientid=" + e["DEFAULT_IDENTITY_CLIENT_ID"] + "&resource=" + storage, 1, storage},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := get(t, "GET", e["MSI_ENDPOINT"]+tc.query, "secret", e["MSI_SECRET"], "Metadata", "true")
			want := map[string]any{
				"access_token": principal(tc.who).ObjectID + "|" + tc.audience + "|" + host, "client_id": principal(tc.who).ClientID,
				"expires_in": float64(86400), "expires_on": float64(at.Unix() + 86400), "resource": tc.audience, "token_type": "Bearer",
			}
			if status != 200 || fmt.Sprint(body) != fmt.Sprint(want) {
				t.Errorf("%d %v", status, body)
			}
		})
	}
}

func TestStringFormsAnswer(t *testing.T) {
	l := start(t, Instance{Forms: AppService | IMDS})
	e := env(l.Listener)
	imds := e["AZURE_POD_IDENTITY_AUTHORITY_HOST"] + "/metadata/identity/oauth2/token"
	for name, tc := range map[string]struct {
		url     string
		headers []string
	}{
		"App Service": {e["IDENTITY_ENDPOINT"] + "?api-version=2019-08-01&resource=" + storage, []string{"X-IDENTITY-HEADER", e["IDENTITY_HEADER"], "Metadata", "true"}},
		"IMDS":        {imds + "?api-version=2018-02-01&resource=" + storage, []string{"Metadata", "true"}},
		"IMDS newer":  {imds + "?api-version=2021-02-01&resource=" + storage, []string{"Metadata", "true"}},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := get(t, "GET", tc.url, tc.headers...)
			for field, want := range map[string]string{
				"expires_in": "86400", "ext_expires_in": "86400", "expires_on": fmt.Sprint(at.Unix() + 86400), "not_before": fmt.Sprint(at.Unix() - 300),
				"resource": storage, "token_type": "Bearer", "client_id": principal(1).ClientID, "access_token": principal(1).ObjectID + "|" + storage + "|" + host,
			} {
				if body[field] != want {
					t.Errorf("%s = %#v, want %q", field, body[field], want)
				}
			}
			if status != 200 {
				t.Errorf("status %d", status)
			}
		})
	}
	status, body := get(t, "GET", e["AZURE_POD_IDENTITY_AUTHORITY_HOST"]+"/metadata/versions", "Metadata", "true")
	if status != 200 || len(body["apiVersions"].([]any)) == 0 {
		t.Errorf("versions: %d %v", status, body)
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	l := start(t, Instance{Forms: AzureML | AppService | IMDS})
	other := start(t, Instance{})
	e := env(l.Listener)
	ml, as := e["MSI_ENDPOINT"], e["IDENTITY_ENDPOINT"]
	base := e["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
	imds := base + "/metadata/identity/oauth2/token"
	secret := []string{"secret", e["MSI_SECRET"]}
	meta := []string{"Metadata", "true"}
	plus := func(h []string, more ...string) []string { return append(append([]string(nil), h...), more...) }
	q := "?resource=" + storage
	for name, tc := range map[string]struct {
		method, url string
		headers     []string
		status      int
		code, says  string
	}{
		"no secret":                     {"GET", ml + q, nil, 401, "unauthorized", "secret"},
		"wrong secret":                  {"GET", ml + q, []string{"secret", "x"}, 401, "unauthorized", ""},
		"empty secret":                  {"GET", ml + q, []string{"secret", ""}, 401, "unauthorized", ""},
		"secret of another instance":    {"GET", ml + q, []string{"secret", env(other.Listener)["MSI_SECRET"]}, 401, "unauthorized", ""},
		"secret twice":                  {"GET", ml + q, plus(secret, secret...), 401, "unauthorized", ""},
		"secret and a wrong one":        {"GET", ml + q, plus(secret, "secret", "x"), 401, "unauthorized", ""},
		"secret cut short":              {"GET", ml + q, []string{"secret", e["MSI_SECRET"][:42]}, 401, "unauthorized", ""},
		"secret in the query":           {"GET", ml + q + "&secret=" + e["MSI_SECRET"], nil, 401, "unauthorized", ""},
		"App Service's header here":     {"GET", ml + q, []string{"X-IDENTITY-HEADER", e["MSI_SECRET"]}, 401, "unauthorized", ""},
		"ML's header at App Service":    {"GET", as + q, secret, 401, "unauthorized", ""},
		"metadata header is no secret":  {"GET", as + q, meta, 401, "unauthorized", ""},
		"no resource":                   {"GET", ml, secret, 400, "invalid_request", "resource"},
		"empty resource":                {"GET", ml + "?resource=", secret, 400, "invalid_request", "resource"},
		"unknown resource":              {"GET", ml + "?resource=https://unknown.example", secret, 400, "invalid_resource", "AADSTS500011"},
		"unknown client id":             {"GET", ml + q + "&clientid=" + host[1:3], secret, 400, "invalid_request", "Identity not found"},
		"identity of another instance":  {"GET", ml + q + "&clientid=" + principal(3).ClientID, secret, 400, "invalid_request", "Identity not found"},
		"unknown resource id":           {"GET", ml + q + "&mi_res_id=/subscriptions/x", secret, 400, "invalid_request", "Identity not found"},
		"object id as client id":        {"GET", ml + q + "&client_id=" + principal(1).ObjectID, secret, 400, "invalid_request", "Identity not found"},
		"deleted identity":              {"GET", ml + q + "&clientid=" + principal(9).ClientID, secret, 400, "invalid_request", "Identity not found"},
		"two identities":                {"GET", ml + q + "&clientid=" + principal(1).ClientID + "&object_id=" + principal(2).ObjectID, secret, 400, "invalid_request", "two"},
		"resource twice":                {"GET", ml + q + "&resource=x", secret, 400, "invalid_request", "more than once"},
		"resource twice, other case":    {"GET", ml + q + "&Resource=x", secret, 400, "invalid_request", "more than once"},
		"client id twice":               {"GET", ml + q + "&clientid=a&clientid=a", secret, 400, "invalid_request", "more than once"},
		"query with a bad escape":       {"GET", ml + q + "&a=%zz", secret, 400, "invalid_request", "query"},
		"query with a semicolon":        {"GET", ml + q + ";a=b", secret, 400, "invalid_request", "query"},
		"forwarded":                     {"GET", ml + q, plus(secret, "X-Forwarded-For", "10.0.0.1"), 400, "bad_request", "X-Forwarded-For"},
		"forwarded, empty":              {"GET", imds + q + "&api-version=2018-02-01", plus(meta, "X-Forwarded-For", ""), 400, "bad_request", "X-Forwarded-For"},
		"POST":                          {"POST", ml + q, secret, 405, "method_not_allowed", "GET"},
		"PUT":                           {"PUT", imds + q + "&api-version=2018-02-01", meta, 405, "method_not_allowed", "GET"},
		"DELETE":                        {"DELETE", as + q, secret, 405, "method_not_allowed", ""},
		"OPTIONS":                       {"OPTIONS", ml + q, secret, 405, "method_not_allowed", ""},
		"Host of the internet":          {"GET", ml + q, plus(secret, "Host", "evil.example"), 400, "bad_request", "Host"},
		"Host that looks local":         {"GET", ml + q, plus(secret, "Host", "127.0.0.1.evil.example"), 400, "bad_request", "Host"},
		"Host of the network":           {"GET", ml + q, plus(secret, "Host", "10.0.0.1"), 400, "bad_request", "Host"},
		"unknown path":                  {"GET", base + "/", meta, 404, "not_found", ""},
		"path below":                    {"GET", ml + "/x" + q, secret, 404, "not_found", ""},
		"IMDS without header":           {"GET", imds + q + "&api-version=2018-02-01", nil, 400, "bad_request_102", "Required metadata header not specified"},
		"IMDS with True":                {"GET", imds + q + "&api-version=2018-02-01", []string{"Metadata", "True"}, 400, "bad_request_102", ""},
		"IMDS with false":               {"GET", imds + q + "&api-version=2018-02-01", []string{"Metadata", "false"}, 400, "bad_request_102", ""},
		"IMDS with the header twice":    {"GET", imds + q + "&api-version=2018-02-01", plus(meta, meta...), 400, "bad_request_102", ""},
		"IMDS without version":          {"GET", imds + q, meta, 400, "bad_request", "api-version"},
		"IMDS with an unknown version":  {"GET", imds + q + "&api-version=2000-01-01", meta, 400, "bad_request", "api-version"},
		"IMDS with the version twice":   {"GET", imds + q + "&api-version=2018-02-01&api-version=2018-02-01", meta, 400, "invalid_request", "more than once"},
		"versions without header":       {"GET", base + "/metadata/versions", nil, 400, "bad_request_102", ""},
		"issuer throttles":              {"GET", ml + "?resource=https://busy.example", secret, 429, "too_many_requests", ""},
		"issuer is down":                {"GET", ml + "?resource=https://down.example", secret, 503, "unavailable", ""},
		"issuer fails":                  {"GET", ml + "?resource=https://broken.example", secret, 500, "unknown", ""},
		"very long identity":            {"GET", ml + q + "&clientid=" + strings.Repeat("a", 9000), secret, 400, "invalid_request", "Identity not found"},
		"control characters, resource":  {"GET", ml + "?resource=%00%0a&clientid=x", secret, 400, "invalid_request", ""},
		"percent-encoded path elements": {"GET", base + "/%4dSI%2fauth" + q, secret, 200, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := get(t, tc.method, tc.url, tc.headers...)
			if status != tc.status {
				t.Fatalf("%d %v", status, body)
			}
			if status == 200 {
				return
			}
			text, _ := body["error_description"].(string)
			if body["error"] != tc.code || !strings.Contains(text, tc.says) || body["message"] != text || body["statusCode"] != float64(status) {
				t.Errorf("%v", body)
			}
			if body["access_token"] != nil || strings.Contains(fmt.Sprint(body), e["MSI_SECRET"]) || strings.Contains(fmt.Sprint(body), "EOF") {
				t.Errorf("the error says too much: %v", body)
			}
		})
	}
	for _, secret := range []string{e["MSI_SECRET"], env(other.Listener)["MSI_SECRET"]} {
		if strings.Contains(l.log.String(), secret) {
			t.Error("the log holds a secret")
		}
	}
	if !strings.Contains(l.log.String(), "EOF") {
		t.Error("the log lacks the cause of the failure")
	}
}

func TestLogHasOneLineARequestAndNoToken(t *testing.T) {
	l := start(t, Instance{})
	e := env(l.Listener)
	before := strings.Count(l.log.String(), "\n")
	_, body := get(t, "GET", e["MSI_ENDPOINT"]+"?resource="+storage, "secret", e["MSI_SECRET"])
	line := l.log.String()
	if strings.Count(line, "\n") != before+1 || !strings.Contains(line, principal(1).ObjectID) || !strings.Contains(line, "ep1/blue/0") {
		t.Errorf("log: %s", line)
	}
	if strings.Contains(line, body["access_token"].(string)) || strings.Contains(line, e["MSI_SECRET"]) {
		t.Errorf("the log says too much: %s", line)
	}
}

func TestIMDSIsClosedUnlessAskedFor(t *testing.T) {
	l := start(t, Instance{Forms: AzureML | AppService})
	base := "http://" + l.Addr().String()
	for _, path := range []string{"/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + storage, "/metadata/versions"} {
		if status, body := get(t, "GET", base+path, "Metadata", "true"); status != 404 {
			t.Errorf("%s: %d %v", path, status, body)
		}
	}
}

func TestLocalHostNamesAreTaken(t *testing.T) {
	l := start(t, Instance{})
	e := env(l.Listener)
	for _, h := range []string{"127.0.0.1", "localhost", "LOCALHOST:1234", "[::1]:80", "[::1]", "127.9.9.9", l.Addr().String()} {
		if status, body := get(t, "GET", e["MSI_ENDPOINT"]+"?resource="+storage, "secret", e["MSI_SECRET"], "Host", h); status != 200 {
			t.Errorf("%s: %d %v", h, status, body)
		}
	}
}

// An instance inside a network namespace gets a listener at 169.254.169.254,
// and its SDKs send that address as Host.
func TestOwnAddressOfAGivenListenerIsTaken(t *testing.T) {
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := start(t, Instance{Forms: IMDS, Listener: at169{inner}})
	req := httptest.NewRequest("GET", "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource="+storage, nil)
	req.Header.Set("Metadata", "true")
	w := httptest.NewRecorder()
	l.ServeHTTP(w, req)
	if w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := env(l.Listener)["AZURE_POD_IDENTITY_AUTHORITY_HOST"]; got != "http://169.254.169.254:80" {
		t.Errorf("environment %q", got)
	}
}

type at169 struct{ net.Listener }

func (at169) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(169, 254, 169, 254), Port: 80} }

func TestNoDefaultMustBeNamed(t *testing.T) {
	l := start(t, Instance{Default: NoDefault})
	e := env(l.Listener)
	if _, ok := e["DEFAULT_IDENTITY_CLIENT_ID"]; ok {
		t.Error("there is a default in the environment")
	}
	status, body := get(t, "GET", e["MSI_ENDPOINT"]+"?resource="+storage, "secret", e["MSI_SECRET"])
	if status != 400 || body["error"] != "invalid_request" || !strings.Contains(body["error_description"].(string), "Multiple user assigned identities") {
		t.Errorf("%d %v", status, body)
	}
	if status, body := get(t, "GET", e["MSI_ENDPOINT"]+"?clientid="+principal(2).ClientID+"&resource="+storage, "secret", e["MSI_SECRET"]); status != 200 {
		t.Errorf("%d %v", status, body)
	}
}

func TestInstanceWithoutFittingDefaultDoesNotOpen(t *testing.T) {
	s := New(Config{Tokens: issue})
	for _, in := range []Instance{{}, {Identities: []identity.Principal{principal(1)}, Default: 1}, {Identities: []identity.Principal{principal(1)}, Default: -2}, {Default: NoDefault}} {
		if l, err := s.Open(t.Context(), in); !fault.Is(err, fault.Invalid) {
			_ = l.Close()
			t.Errorf("%+v: %v", in, err)
		}
	}
}

func TestClosedEndpointAnswersNoMore(t *testing.T) {
	s := New(Config{Tokens: issue})
	open := func() (*Listener, error) {
		return s.Open(t.Context(), Instance{Identities: []identity.Principal{principal(1)}})
	}
	a, err := open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if env(a)["MSI_SECRET"] == env(b)["MSI_SECRET"] || a.Addr().String() == b.Addr().String() {
		t.Error("two instances share a secret or an address")
	}
	dead := func(l *Listener) {
		t.Helper()
		if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
			_ = conn.Close()
			t.Error("still listening")
		}
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	dead(a)
	if status, _ := get(t, "GET", env(b)["MSI_ENDPOINT"]+"?resource="+storage, "secret", env(b)["MSI_SECRET"]); status != 200 {
		t.Error("closing one ended the other")
	}
	for range 2 {
		_ = s.Close()
		_ = b.Close()
	}
	dead(b)
	if _, err := open(); !fault.Is(err, fault.Unavailable) {
		t.Errorf("opened after Close: %v", err)
	}
}

func TestListenerDoesNotPrintItsSecret(t *testing.T) {
	l := start(t, Instance{})
	for _, verb := range []string{"%v", "%s", "%+v", "%#v"} {
		if strings.Contains(fmt.Sprintf(verb, l.Listener), env(l.Listener)["MSI_SECRET"]) {
			t.Errorf("%s shows the secret", verb)
		}
	}
}

func FuzzQuery(f *testing.F) {
	s := New(Config{Tokens: issue, Now: func() time.Time { return at }})
	f.Cleanup(func() { _ = s.Close() })
	l, err := s.Open(f.Context(), Instance{Identities: []identity.Principal{principal(1), principal(2)}, Forms: AzureML | IMDS})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "resource=a", "resource=a&clientid=" + principal(2).ClientID, "resource=a&resource=b", "%zz", "a;b", "resource=%00", "api-version=1&resource=\xff"} {
		f.Add("/MSI/auth", seed, "127.0.0.1")
	}
	f.Add("/metadata/versions", "", "localhost")
	f.Fuzz(func(t *testing.T, path, query, host string) {
		req := httptest.NewRequest("GET", "http://127.0.0.1/", nil)
		req.URL.Path, req.URL.RawQuery, req.Host = path, query, host
		req.Header.Set("secret", l.secret.Reveal())
		req.Header.Set("Metadata", "true")
		w := httptest.NewRecorder()
		l.ServeHTTP(w, req)
		if w.Code >= 500 && !strings.Contains(query, "example") || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s?%s: %d %s", path, query, w.Code, w.Body)
		}
	})
}

func BenchmarkToken(b *testing.B) {
	l := start(b, Instance{})
	l.server.cfg.Log = slog.New(slog.DiscardHandler)
	e := env(l.Listener)
	req, err := http.NewRequest("GET", e["MSI_ENDPOINT"]+"?resource="+storage, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("secret", e["MSI_SECRET"])
	b.ReportAllocs()
	for b.Loop() {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}
