package login_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"lapis/identity"
	"lapis/login"
	"lapis/secret"
	"lapis/store/memory"
	"lapis/token"
)

const (
	tenant = "72f988bf-0000-4000-8000-2d7cd011db47"
	uuidRE = 36 // characters of a UUID
)

type fixture struct {
	http.Handler
	directory *identity.Directory
	issuer    *token.Issuer
	app       identity.Principal
	secret    string
	log       *bytes.Buffer
}

func start(t testing.TB) *fixture {
	t.Helper()
	st := memory.New()
	directory, err := identity.Open(t.Context(), identity.Config{Store: st, TenantID: tenant})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := secret.NewSealer(make([]byte, secret.KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := token.Open(t.Context(), token.Config{Store: st, Sealer: sealer, TenantID: tenant, Alive: directory.Alive})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(issuer.Close)
	app, text, err := directory.CreateApplication(t.Context(), "owner")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{directory: directory, issuer: issuer, app: app, secret: text.Reveal(), log: &bytes.Buffer{}}
	f.Handler = login.New(login.Config{
		Directory: directory, Issuer: issuer, Log: slog.New(slog.NewTextHandler(f.log, nil)),
		Audience: func(resource string) bool {
			return slices.Contains([]string{"https://management.azure.com", "https://storage.azure.com", "https://ml.azure.com"}, strings.TrimSuffix(resource, "/"))
		},
		Authority: func(host string) bool { return host == "login.lapis.localhost:8443" },
	})
	return f
}

// form is the body that azure-identity sends.
func (f *fixture) form(changes ...string) url.Values {
	v := url.Values{
		"client_id": {f.app.ClientID}, "grant_type": {"client_credentials"}, "client_info": {"1"},
		"client_secret": {f.secret}, "scope": {"https://management.azure.com/.default"},
		"claims": {`{"access_token":{"xms_cc":{"values":["CP1"]}}}`},
	}
	for i := 0; i < len(changes); i += 2 {
		v.Set(changes[i], changes[i+1])
		if changes[i+1] == "" {
			v.Del(changes[i])
		}
	}
	return v
}

func (f *fixture) send(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://login.microsoftonline.com"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

func body(t testing.TB, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("%d %q: %v", w.Code, w.Body, err)
	}
	return m
}

func TestClientCredentialsGiveATokenForTheResource(t *testing.T) {
	f := start(t)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(f.app.ClientID)+":"+url.QueryEscape(f.secret)))
	v2, v1 := "/"+tenant+"/oauth2/v2.0/token", "/"+tenant+"/oauth2/token"
	for name, tc := range map[string]struct {
		path     string
		form     url.Values
		headers  []string
		audience string
	}{
		"azure-identity":          {v2, f.form(), nil, "https://management.azure.com"},
		"double slash":            {v2, f.form("scope", "https://management.azure.com//.default"), nil, "https://management.azure.com/"},
		"MSAL Go's scopes":        {v2, f.form("scope", "https://storage.azure.com/.default openid offline_access profile"), nil, "https://storage.azure.com"},
		"OpenID scopes ahead":     {v2, f.form("scope", "openid profile offline_access https://storage.azure.com/.default"), nil, "https://storage.azure.com"},
		"Basic":                   {v2, f.form("client_id", "", "client_secret", ""), []string{"Authorization", basic}, "https://management.azure.com"},
		"Basic and client id":     {v2, f.form("client_secret", ""), []string{"Authorization", basic}, "https://management.azure.com"},
		"tenant in capitals":      {strings.ToUpper(v2[:37]) + v2[37:], f.form(), nil, "https://management.azure.com"},
		"v1":                      {v1, f.form("scope", "", "resource", "https://storage.azure.com/"), nil, "https://storage.azure.com/"},
		"v1 with a scope":         {v1, f.form(), nil, "https://management.azure.com"},
		"AD FS style":             {"/adfs/oauth2/token", f.form("scope", "https://management.azure.com//.default"), nil, "https://management.azure.com/"},
		"client id in capitals":   {v2, f.form("client_id", strings.ToUpper(f.app.ClientID)), nil, "https://management.azure.com"},
		"resource without a path": {v1, f.form("resource", "https://management.azure.com"), nil, "https://management.azure.com"},
	} {
		t.Run(name, func(t *testing.T) {
			w := f.send("POST", tc.path, tc.form.Encode(), tc.headers...)
			m := body(t, w)
			if w.Code != 200 || m["token_type"] != "Bearer" {
				t.Fatalf("%d %v", w.Code, m)
			}
			if w.Header().Get("Cache-Control") != "no-store, no-cache" || w.Header().Get("Pragma") != "no-cache" {
				t.Errorf("headers %v", w.Header())
			}
			claims, err := f.issuer.Verify(t.Context(), m["access_token"].(string), tc.audience)
			if err != nil || claims.ObjectID != f.app.ObjectID || claims.Audience != tc.audience || claims.Credential != token.Secret {
				t.Errorf("%+v, %v", claims, err)
			}
			if strings.HasSuffix(tc.path, "/v2.0/token") {
				if n := m["expires_in"].(float64); n < 1700 || n > 5400 || m["ext_expires_in"] != m["expires_in"] || len(m) != 4 {
					t.Errorf("%v", m)
				}
				return
			}
			for _, field := range []string{"expires_in", "ext_expires_in", "expires_on", "not_before", "resource"} {
				if s, _ := m[field].(string); s == "" {
					t.Errorf("%s = %#v", field, m[field])
				}
			}
			if m["resource"] != tc.audience || m["expires_on"] != fmt.Sprint(claims.ExpiresAt.Unix()) {
				t.Errorf("%v", m)
			}
		})
	}
}

func TestErrorsHaveEntrasCodeAndForm(t *testing.T) {
	f := start(t)
	managed, err := f.directory.EnsureManaged(t.Context(), identity.UserAssigned, "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u", "u")
	if err != nil {
		t.Fatal(err)
	}
	v2, v1 := "/"+tenant+"/oauth2/v2.0/token", "/"+tenant+"/oauth2/token"
	basic := func(text string) []string {
		return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(text))}
	}
	for name, tc := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		word               string
		code               int
	}{
		"unknown application":     {"POST", v2, f.form("client_id", tenant).Encode(), nil, 400, "unauthorized_client", 700016},
		"managed identity":        {"POST", v2, f.form("client_id", managed.ClientID).Encode(), nil, 400, "unauthorized_client", 700016},
		"wrong secret":            {"POST", v2, f.form("client_secret", "x").Encode(), nil, 401, "invalid_client", 7000215},
		"wrong secret, v1":        {"POST", v1, f.form("client_secret", "x", "resource", "https://storage.azure.com/").Encode(), nil, 401, "invalid_client", 7000215},
		"wrong secret by Basic":   {"POST", v2, f.form("client_id", "", "client_secret", "").Encode(), basic(f.app.ClientID + ":x"), 401, "invalid_client", 7000215},
		"no secret":               {"POST", v2, f.form("client_secret", "").Encode(), nil, 401, "invalid_client", 7000218},
		"no client id":            {"POST", v2, f.form("client_id", "").Encode(), nil, 400, "invalid_request", 900144},
		"Basic without a colon":   {"POST", v2, f.form().Encode(), basic("abc"), 401, "invalid_client", 7000218},
		"Basic with a bad escape": {"POST", v2, f.form().Encode(), basic("%zz:x"), 401, "invalid_client", 7000218},
		"Bearer as credential":    {"POST", v2, f.form().Encode(), []string{"Authorization", "Bearer x"}, 401, "invalid_client", 7000218},
		"Basic and body":          {"POST", v2, f.form().Encode(), basic(f.app.ClientID + ":" + f.secret), 400, "invalid_request", 9000411},
		"Basic of another client": {"POST", v2, f.form("client_secret", "").Encode(), basic(tenant + ":" + f.secret), 400, "invalid_request", 9000411},
		"assertion":               {"POST", v2, f.form("client_secret", "", "client_assertion", "a.b.c", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer").Encode(), nil, 400, "invalid_request", 70021},
		"no grant type":           {"POST", v2, f.form("grant_type", "").Encode(), nil, 400, "invalid_request", 900144},
		"empty body":              {"POST", v2, "", nil, 400, "invalid_request", 900144},
		"JSON body":               {"POST", v2, `{"grant_type":"client_credentials"}`, nil, 400, "invalid_request", 900144},
		"password":                {"POST", v2, f.form("grant_type", "password").Encode(), nil, 400, "unsupported_grant_type", 70003},
		"refresh token":           {"POST", v2, f.form("grant_type", "refresh_token").Encode(), nil, 400, "unsupported_grant_type", 70003},
		"authorization code":      {"POST", v1, f.form("grant_type", "authorization_code").Encode(), nil, 400, "unsupported_grant_type", 70003},
		"device code":             {"POST", v2, f.form("grant_type", "urn:ietf:params:oauth:grant-type:device_code").Encode(), nil, 400, "unsupported_grant_type", 70003},
		"grant type's case":       {"POST", v2, f.form("grant_type", "Client_Credentials").Encode(), nil, 400, "unsupported_grant_type", 70003},
		"no scope":                {"POST", v2, f.form("scope", "").Encode(), nil, 400, "invalid_request", 900144},
		"scope of spaces":         {"POST", v2, f.form("scope", "  ").Encode(), nil, 400, "invalid_request", 900144},
		"scope of OpenID only":    {"POST", v2, f.form("scope", "openid profile").Encode(), nil, 400, "invalid_scope", 70011},
		"scope without .default":  {"POST", v2, f.form("scope", "https://management.azure.com/user_impersonation").Encode(), nil, 400, "invalid_scope", 1002012},
		"scope is .default":       {"POST", v2, f.form("scope", "/.default").Encode(), nil, 400, "invalid_scope", 1002012},
		"two resources":           {"POST", v2, f.form("scope", "https://management.azure.com/.default https://storage.azure.com/.default").Encode(), nil, 400, "invalid_scope", 28000},
		"unknown resource":        {"POST", v2, f.form("scope", "https://evil.example/.default").Encode(), nil, 400, "invalid_resource", 500011},
		"unknown resource, v1":    {"POST", v1, f.form("scope", "", "resource", "https://evil.example/").Encode(), nil, 400, "invalid_resource", 500011},
		"resource's child":        {"POST", v2, f.form("scope", "https://storage.azure.com/x/.default").Encode(), nil, 400, "invalid_resource", 500011},
		"no resource":             {"POST", v1, f.form("scope", "").Encode(), nil, 400, "invalid_request", 900144},
		"secret twice":            {"POST", v2, f.form().Encode() + "&client_secret=x", nil, 400, "invalid_request", 9000411},
		"scope twice":             {"POST", v2, f.form().Encode() + "&scope=x", nil, 400, "invalid_request", 9000411},
		"bad escape":              {"POST", v2, "grant_type=%zz", nil, 400, "invalid_request", 9000411},
		"large body":              {"POST", v2, "a=" + strings.Repeat("a", 65<<10), nil, 413, "invalid_request", 90015},
		"GET":                     {"GET", v2 + "?" + f.form().Encode(), "", nil, 405, "invalid_request", 900561},
		"parameters in the query": {"POST", v2 + "?" + f.form().Encode(), "", nil, 400, "invalid_request", 900144},
		"unknown tenant":          {"POST", "/contoso.onmicrosoft.com/oauth2/v2.0/token", f.form().Encode(), nil, 400, "invalid_request", 90002},
		"other tenant":            {"POST", "/11111111-0000-4000-8000-2d7cd011db47/oauth2/token", f.form().Encode(), nil, 400, "invalid_request", 90002},
		"common":                  {"POST", "/common/oauth2/v2.0/token", f.form().Encode(), nil, 400, "invalid_request", 50059},
		"organizations":           {"POST", "/organizations/oauth2/v2.0/token", f.form().Encode(), nil, 400, "invalid_request", 50059},
		"document, tenant":        {"GET", "/contoso/v2.0/.well-known/openid-configuration", "", nil, 400, "invalid_tenant", 90002},
		"document v1, tenant":     {"GET", "/contoso/.well-known/openid-configuration", "", nil, 400, "invalid_tenant", 90002},
		"keys, tenant":            {"GET", "/contoso/discovery/v2.0/keys", "", nil, 400, "invalid_tenant", 90002},
		"browser":                 {"GET", "/" + tenant + "/oauth2/v2.0/authorize?response_type=code", "", nil, 400, "unsupported_response_type", 70005},
		"browser, tenant":         {"GET", "/contoso/oauth2/v2.0/authorize", "", nil, 400, "invalid_tenant", 90002},
		"unknown path":            {"GET", "/" + tenant + "/saml2", "", nil, 404, "invalid_request", 90023},
		"root":                    {"GET", "/", "", nil, 404, "invalid_request", 90023},
		"POST to a document":      {"POST", "/" + tenant + "/discovery/v2.0/keys", "", nil, 404, "invalid_request", 90023},
		"instance, none given":    {"GET", "/common/discovery/instance?api-version=1.1", "", nil, 400, "invalid_instance", 50049},
		"instance, unknown host":  {"GET", "/common/discovery/instance?authorization_endpoint=https://evil.example/common/oauth2/v2.0/authorize", "", nil, 400, "invalid_instance", 50049},
		"instance, http":          {"GET", "/common/discovery/instance?authorization_endpoint=http://login.microsoftonline.com/common/oauth2/v2.0/authorize", "", nil, 400, "invalid_instance", 50049},
		"instance, other tenant":  {"GET", "/common/discovery/instance?authorization_endpoint=https://login.microsoftonline.com/contoso/oauth2/v2.0/authorize", "", nil, 400, "invalid_tenant", 90002},
		"instance, user in host":  {"GET", "/common/discovery/instance?authorization_endpoint=https://login.microsoftonline.com@evil.example/common/oauth2/v2.0/authorize", "", nil, 400, "invalid_instance", 50049},
	} {
		t.Run(name, func(t *testing.T) {
			const id = "11112222-3333-4444-8555-666677778888"
			w := f.send(tc.method, tc.path, tc.body, append(tc.headers, "client-request-id", id, "return-client-request-id", "true")...)
			m := body(t, w)
			if w.Code != tc.status || m["error"] != tc.word || !slices.Equal(m["error_codes"].([]any), []any{float64(tc.code)}) {
				t.Fatalf("%d %v", w.Code, m)
			}
			text := m["error_description"].(string)
			if !strings.HasPrefix(text, fmt.Sprintf("AADSTS%d: ", tc.code)) || !strings.Contains(text, "Correlation ID: "+id) {
				t.Errorf("description %q", text)
			}
			if m["correlation_id"] != id || w.Header().Get("client-request-id") != id || len(m["trace_id"].(string)) != uuidRE || w.Header().Get("x-ms-request-id") != m["trace_id"] {
				t.Errorf("ids %v, %v", m, w.Header())
			}
			if _, err := time.Parse("2006-01-02 15:04:05Z", m["timestamp"].(string)); err != nil {
				t.Error(err)
			}
			if w.Header().Get("Cache-Control") != "no-store, no-cache" {
				t.Error("an error may be cached")
			}
			probe := &http.Request{Header: http.Header{}}
			if len(tc.headers) > 0 {
				probe.Header.Set(tc.headers[0], tc.headers[1])
			}
			_, _, basic := probe.BasicAuth()
			if challenged := w.Header().Get("WWW-Authenticate") != ""; challenged != (basic && tc.status == 401) {
				t.Errorf("challenged = %v", challenged)
			}
			if strings.Contains(w.Body.String(), f.secret) {
				t.Errorf("the error holds the secret: %s", w.Body)
			}
		})
	}
	if strings.Contains(f.log.String(), f.secret) {
		t.Error("the log holds the secret")
	}
}

func TestDeletedApplicationGetsNoToken(t *testing.T) {
	f := start(t)
	path := "/" + tenant + "/oauth2/v2.0/token"
	if w := f.send("POST", path, f.form().Encode()); w.Code != 200 {
		t.Fatal(w.Body)
	}
	if err := f.directory.DeleteApplication(context.Background(), f.app.ObjectID); err != nil {
		t.Fatal(err)
	}
	if w := f.send("POST", path, f.form().Encode()); w.Code != 400 || !strings.Contains(w.Body.String(), "AADSTS700016") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestDiscoveryNamesTheHostThatWasAsked(t *testing.T) {
	f := start(t)
	for _, host := range []string{"login.microsoftonline.com", "login.lapis.localhost:8443"} {
		root := "https://" + host + "/" + tenant
		for path, want := range map[string][4]string{
			"/" + tenant + "/v2.0/.well-known/openid-configuration":             {root + "/v2.0", root + "/oauth2/v2.0/token", root + "/discovery/v2.0/keys", root + "/oauth2/v2.0/authorize"},
			"/common/v2.0/.well-known/openid-configuration":                     {root + "/v2.0", root + "/oauth2/v2.0/token", root + "/discovery/v2.0/keys", root + "/oauth2/v2.0/authorize"},
			"/organizations/v2.0/.well-known/openid-configuration":              {root + "/v2.0", root + "/oauth2/v2.0/token", root + "/discovery/v2.0/keys", root + "/oauth2/v2.0/authorize"},
			"/" + tenant + "/.well-known/openid-configuration":                  {"https://sts.windows.net/" + tenant + "/", root + "/oauth2/token", root + "/discovery/keys", root + "/oauth2/authorize"},
			"/common/.well-known/openid-configuration":                          {"https://sts.windows.net/" + tenant + "/", root + "/oauth2/token", root + "/discovery/keys", root + "/oauth2/authorize"},
			"/adfs/.well-known/openid-configuration":                            {"https://sts.windows.net/" + tenant + "/", "https://" + host + "/adfs/oauth2/token", "https://" + host + "/adfs/discovery/keys", "https://" + host + "/adfs/oauth2/authorize"},
			"/" + strings.ToUpper(tenant) + "/.well-known/openid-configuration": {"https://sts.windows.net/" + tenant + "/", root + "/oauth2/token", root + "/discovery/keys", root + "/oauth2/authorize"},
		} {
			w := f.send("GET", path, "", "Host", host)
			m := body(t, w)
			got := [4]string{fmt.Sprint(m["issuer"]), fmt.Sprint(m["token_endpoint"]), fmt.Sprint(m["jwks_uri"]), fmt.Sprint(m["authorization_endpoint"])}
			if w.Code != 200 || got != want {
				t.Errorf("%s at %s: %d %v", path, host, w.Code, got)
			}
			keys, err := url.Parse(got[2])
			if err != nil {
				t.Fatal(err)
			}
			w = f.send("GET", keys.Path, "", "Host", host)
			if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), f.issuer.JWKS()) {
				t.Errorf("%s: %d %s", keys.Path, w.Code, w.Body)
			}
		}
	}
}

func TestInstanceDiscoveryLeadsToTheDocument(t *testing.T) {
	f := start(t)
	for name, tc := range map[string]struct {
		endpoint, want string
		aliases        bool
	}{
		"public":             {"https://login.microsoftonline.com/" + tenant + "/oauth2/v2.0/authorize", "https://login.microsoftonline.com/" + tenant + "/v2.0/.well-known/openid-configuration", true},
		"public, v1":         {"https://login.microsoftonline.com/common/oauth2/authorize", "https://login.microsoftonline.com/common/.well-known/openid-configuration", true},
		"alias":              {"https://login.windows.net/common/oauth2/v2.0/authorize", "https://login.windows.net/common/v2.0/.well-known/openid-configuration", true},
		"own name":           {"https://login.lapis.localhost:8443/" + tenant + "/oauth2/v2.0/authorize", "https://login.lapis.localhost:8443/" + tenant + "/v2.0/.well-known/openid-configuration", false},
		"port of https":      {"https://login.microsoftonline.com:443/common/oauth2/v2.0/authorize", "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration", true},
		"organizations, own": {"https://login.lapis.localhost:8443/organizations/oauth2/v2.0/authorize", "https://login.lapis.localhost:8443/organizations/v2.0/.well-known/openid-configuration", false},
	} {
		w := f.send("GET", "/common/discovery/instance?api-version=1.1&authorization_endpoint="+url.QueryEscape(tc.endpoint), "")
		m := body(t, w)
		metadata, ok := m["metadata"].([]any)
		if w.Code != 200 || m["tenant_discovery_endpoint"] != tc.want || !ok || (len(metadata) == 1) != tc.aliases {
			t.Errorf("%s: %d %v", name, w.Code, m)
		}
	}
}

func TestThousandTokenRequestsCostOneSignature(t *testing.T) {
	f := start(t)
	path, form := "/"+tenant+"/oauth2/v2.0/token", f.form().Encode()
	for range 1000 {
		if w := f.send("POST", path, form); w.Code != 200 {
			t.Fatal(w.Body)
		}
	}
	if n := f.issuer.Signatures(); n != 1 {
		t.Errorf("%d signatures", n)
	}
}

func FuzzTokenRequest(f *testing.F) {
	x := start(f)
	f.Add(x.form().Encode(), "")
	f.Add("", "Basic Og==")
	f.Add("grant_type=client_credentials&scope=%2f.default&client_id=a&client_secret=b", "")
	f.Add("grant_type=client_credentials&scope=a//.default+openid&client_id=\xff", "Basic !!")
	f.Fuzz(func(t *testing.T, form, authorization string) {
		x.log.Reset()
		for _, version := range []string{"", "/v2.0"} {
			r := httptest.NewRequest("POST", "https://login.microsoftonline.com/"+tenant+"/oauth2"+version+"/token", strings.NewReader(form))
			r.Header["Authorization"] = []string{authorization}
			w := httptest.NewRecorder()
			x.ServeHTTP(w, r)
			if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%q, %q: %d %s", form, authorization, w.Code, w.Body)
			}
			if w.Code == 200 && !strings.Contains(form+authorization, x.secret) && !strings.Contains(form, "%") && authorization == "" {
				t.Fatalf("%q: a token without the secret", form)
			}
		}
	})
}

func BenchmarkTokenRequest(b *testing.B) {
	f := start(b)
	f.Handler = login.New(login.Config{Directory: f.directory, Issuer: f.issuer, Audience: func(string) bool { return true }})
	path, form := "/"+tenant+"/oauth2/v2.0/token", f.form().Encode()
	b.ReportAllocs()
	for b.Loop() {
		if w := f.send("POST", path, form); w.Code != 200 {
			b.Fatal(io.ReadAll(w.Body))
		}
	}
}
