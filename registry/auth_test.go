package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

func TestChallengeNamesWhatToAskFor(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct{ method, path, scope string }{
		{"GET", "/v2/", ""},
		{"GET", "/v2", ""},
		{"GET", "/v2/_catalog", "registry:catalog:*"},
		{"GET", "/v2/team/app/manifests/v1", "repository:team/app:pull"},
		{"PUT", "/v2/team/app/manifests/v1", "repository:team/app:pull,push"},
		{"POST", "/v2/team/app/blobs/uploads/", "repository:team/app:pull,push"},
		{"DELETE", "/v2/team/app/manifests/v1", "repository:team/app:delete"},
	} {
		r := w.do(tc.method, "https://"+alpha+tc.path, nil, nil)
		want := `Bearer realm="https://alpha.azurecr.io/oauth2/token",service="alpha.azurecr.io"`
		if tc.scope != "" {
			want += `,scope="` + tc.scope + `"`
		}
		if r.status != http.StatusUnauthorized || r.code() != "UNAUTHORIZED" || r.header.Get("Www-Authenticate") != want {
			t.Errorf("%s %s: %d %s\n got %s\nwant %s", tc.method, tc.path, r.status, r.body, r.header.Get("Www-Authenticate"), want)
		}
	}
	r := w.do("GET", "https://"+alpha+"/v2/_catalog", nil, nil)
	if want := `"detail":[{"Type":"registry","Name":"catalog","Action":"*"}]`; !strings.Contains(r.body, want) {
		t.Errorf("body %s lacks %s", r.body, want)
	}
}

func TestTokenLifeAndClaims(t *testing.T) {
	w := newWorld(t)
	w.assign("p", pull)
	c, err := w.svc.tokens.check(w.refreshToken(alpha, "p"), kindRefresh, alpha)
	w.ok(err)
	if c.Expires-c.IssuedAt != 3*3600 || c.Tenant != "tenant-1" || c.Subject != "p" || !cmp.Equal(c.Permissions.Actions, []string{"read"}) {
		t.Errorf("refresh token: %+v", c)
	}
	c, err = w.svc.tokens.check(w.accessToken(alpha, "p", "repository:app:pull,push registry:catalog:*", "repository:b:*"), kindAccess, alpha)
	w.ok(err)
	want := []access{{"repository", "app", []string{"pull"}}, {"registry", "catalog", []string{"*"}}, {"repository", "b", []string{"pull"}}}
	if diff := cmp.Diff(want, c.Access); diff != "" || c.Expires-c.IssuedAt != 75*60 {
		t.Errorf("access token: %+v %s", c, diff)
	}
}

// TestATokenForLessIsNoDenial: whoever may only pull is not told to get other
// roles because its client asked for a token.
func TestATokenForLessIsNoDenial(t *testing.T) {
	w := newWorld(t)
	w.assign("p", pull)
	w.accessToken(alpha, "p", "repository:app:pull,push,delete")
	if len(w.denied) > 0 {
		t.Errorf("denied %q", w.denied)
	}
	form := url.Values{"grant_type": {"access_token"}, "service": {alpha}, "access_token": {"aad:nobody"}}
	w.do("POST", "https://"+alpha+"/oauth2/exchange", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, strings.NewReader(form.Encode()))
	if want := []string{actionFor(pull)}; !cmp.Equal(w.denied, want) {
		t.Errorf("whoever may nothing is denied %q, not %q", w.denied, want)
	}
}

func TestTokenIsHeldToItsScope(t *testing.T) {
	w := newWorld(t)
	w.assign("p", pull, push, remove)
	w.ok(pushImage(t.Context(), w.client(alpha, "p"), "app", "v1", newImage("one")))
	w.ok(pushImage(t.Context(), w.client(alpha, "p"), "other", "v1", newImage("one")))
	token := w.accessToken(alpha, "p", "repository:app:pull")
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/v2/", 200},
		{"GET", "/v2/app/manifests/v1", 200},
		{"GET", "/v2/other/manifests/v1", 401},
		{"GET", "/v2/_catalog", 401},
		{"POST", "/v2/app/blobs/uploads/", 401},
		{"DELETE", "/v2/app/manifests/v1", 401},
	} {
		r := w.do(tc.method, "https://"+alpha+tc.path, bearer(token), nil)
		if r.status != tc.status {
			t.Errorf("%s %s: %d %s", tc.method, tc.path, r.status, r.body)
		}
		if r.status == 401 && !strings.Contains(r.header.Get("Www-Authenticate"), `error="insufficient_scope"`) {
			t.Errorf("%s %s: challenge %s", tc.method, tc.path, r.header.Get("Www-Authenticate"))
		}
	}
	all := w.accessToken(alpha, "p", "repository:*:*")
	if r := w.do("GET", "https://"+alpha+"/v2/other/manifests/v1", bearer(all), nil); r.status != 200 {
		t.Errorf("repository:*:*: %d %s", r.status, r.body)
	}
}

// forge signs claims with any key and algorithm.
func forge(t *testing.T, alg jose.SignatureAlgorithm, key any, kid string, c claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", kid))
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(c)
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := signed.CompactSerialize()
	return raw
}

func TestTokensThatAreNotOursAreRefused(t *testing.T) {
	w := newWorld(t)
	w.assign("p", pull, push, remove)
	good := w.accessToken(alpha, "p", "repository:app:pull", "registry:catalog:*")
	goodRefresh := w.refreshToken(alpha, "p")
	ours := w.svc.tokens
	c, err := ours.check(good, kindAccess, alpha)
	w.ok(err)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), nil)
	w.ok(err)
	b64 := base64.RawURLEncoding.EncodeToString
	part := strings.Split(good, ".")
	with := func(change func(*claims)) claims { d := c; change(&d); return d }
	payload, _ := json.Marshal(with(func(c *claims) { c.Subject = "admin" }))

	bad := map[string]string{
		"empty":                "",
		"words":                "not a token",
		"alg none":             b64([]byte(`{"alg":"none","typ":"JWT","kid":"`+ours.kid+`"}`)) + "." + part[1] + ".",
		"alg none, signature":  b64([]byte(`{"alg":"none","typ":"JWT","kid":"`+ours.kid+`"}`)) + "." + part[1] + "." + part[2],
		"alg None":             b64([]byte(`{"alg":"None"}`)) + "." + part[1] + "." + part[2],
		"other key":            forge(t, jose.ES256, stranger, ours.kid, c),
		"other kid":            forge(t, jose.ES256, ours.key, "another", c),
		"HS256 by kid":         forge(t, jose.HS256, []byte(strings.Repeat(ours.kid, 2)), ours.kid, c),
		"changed claims":       part[0] + "." + b64(payload) + "." + part[2],
		"no signature":         part[0] + "." + part[1] + ".",
		"two parts":            part[0] + "." + part[1],
		"four parts":           good + "." + part[2],
		"padded":               good + "=",
		"white space":          part[0] + "." + part[1] + "." + part[2][:20] + "\n" + part[2][20:],
		"expired":              forge(t, jose.ES256, ours.key, ours.kid, with(func(c *claims) { c.Expires = time.Now().Add(-time.Second).Unix() })),
		"not yet":              forge(t, jose.ES256, ours.key, ours.kid, with(func(c *claims) { c.NotBefore = time.Now().Add(time.Hour).Unix() })),
		"no expiry":            forge(t, jose.ES256, ours.key, ours.kid, with(func(c *claims) { c.Expires = 0 })),
		"other registry":       forge(t, jose.ES256, ours.key, ours.kid, with(func(c *claims) { c.Audience = beta })),
		"no audience":          forge(t, jose.ES256, ours.key, ours.kid, with(func(c *claims) { c.Audience = "" })),
		"other issuer":         forge(t, jose.ES256, ours.key, ours.kid, with(func(c *claims) { c.Issuer = "https://sts.windows.net/x/" })),
		"no subject":           forge(t, jose.ES256, ours.key, ours.kid, with(func(c *claims) { c.Subject = "" })),
		"refresh token":        goodRefresh,
		"beta's access token":  w.accessToken(beta, "p", "repository:app:pull", "registry:catalog:*"),
		"the tenant's token":   "aad:p",
		"bits after the token": good + "AA",
	}
	// A signature's last character has bits that no byte uses.
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", good[len(good)-1])
	bad["second spelling"] = good[:len(good)-1] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last^1])

	for name, raw := range bad {
		r := w.do("GET", "https://"+alpha+"/v2/_catalog", http.Header{"Authorization": {"Bearer " + strings.ReplaceAll(raw, "\n", " ")}}, nil)
		if r.status != http.StatusUnauthorized || r.code() != "UNAUTHORIZED" {
			t.Errorf("%s as access token: %d %s", name, r.status, r.body)
		}
		if raw == goodRefresh {
			continue
		}
		r = w.post(alpha, "/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "service": {alpha}, "refresh_token": {raw}})
		if name != "no expiry" && r.status == http.StatusOK {
			t.Errorf("%s as refresh token: %d %s", name, r.status, r.body)
		}
	}
	if r := w.do("GET", "https://"+alpha+"/v2/_catalog", bearer(good), nil); r.status != http.StatusOK {
		t.Errorf("the good one: %d %s", r.status, r.body)
	}
}

func TestRefreshTokenOfAnotherRegistryIsRefused(t *testing.T) {
	w := newWorld(t)
	w.assign("p", pull)
	betas := w.refreshToken(beta, "p")
	r := w.post(alpha, "/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "service": {alpha}, "refresh_token": {betas}})
	if r.status != http.StatusUnauthorized || !strings.Contains(r.body, `"error":"invalid_grant"`) {
		t.Errorf("at alpha: %d %s", r.status, r.body)
	}
	w.advance(refreshLife + time.Second)
	r = w.post(beta, "/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "service": {beta}, "refresh_token": {betas}})
	if r.status != http.StatusUnauthorized || !strings.Contains(r.body, "expired") {
		t.Errorf("expired: %d %s", r.status, r.body)
	}
}

func TestExchangeRefusesWhatDoesNotVerify(t *testing.T) {
	w := newWorld(t)
	w.assign("p", pull)
	good := url.Values{"grant_type": {"access_token"}, "service": {alpha}, "tenant": {"tenant-1"}, "access_token": {"aad:p"}}
	for name, tc := range map[string]struct {
		change func(url.Values)
		status int
		oauth  string
	}{
		"as it should be":          {func(url.Values) {}, 200, ""},
		"without tenant":           {func(v url.Values) { v.Del("tenant") }, 200, ""},
		"token that is not good":   {func(v url.Values) { v.Set("access_token", "eyJhbGciOiJub25lIn0.e30.") }, 401, "invalid_grant"},
		"a refresh token of ours":  {func(v url.Values) { v.Set("access_token", w.refreshToken(alpha, "p")) }, 401, "invalid_grant"},
		"no token":                 {func(v url.Values) { v.Del("access_token") }, 400, "invalid_request"},
		"another registry":         {func(v url.Values) { v.Set("service", beta) }, 400, "invalid_request"},
		"no service":               {func(v url.Values) { v.Del("service") }, 400, "invalid_request"},
		"another tenant":           {func(v url.Values) { v.Set("tenant", "tenant-2") }, 401, "invalid_grant"},
		"another grant":            {func(v url.Values) { v.Set("grant_type", "password") }, 400, "unsupported_grant_type"},
		"principal without a role": {func(v url.Values) { v.Set("access_token", "aad:nobody") }, 401, "access_denied"},
	} {
		form := url.Values{}
		for k, v := range good {
			form[k] = v
		}
		tc.change(form)
		r := w.post(alpha, "/oauth2/exchange", form)
		if r.status != tc.status || tc.oauth != "" && !strings.Contains(r.body, `"error":"`+tc.oauth+`"`) {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
		if name == "principal without a role" && !strings.Contains(r.header.Get(deniedHeader), "AcrPull") {
			t.Errorf("the denial does not say which role: %v", r.header)
		}
	}
	r := w.do("POST", "https://"+alpha+"/oauth2/exchange", http.Header{"Content-Type": {"application/json"}}, strings.NewReader(`{}`))
	if r.status != 400 {
		t.Errorf("a JSON body: %d %s", r.status, r.body)
	}
	r = w.do("POST", "https://"+alpha+"/oauth2/exchange", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, strings.NewReader("a="+strings.Repeat("x", maxForm)))
	if r.status != 400 && r.status != 413 {
		t.Errorf("a huge body: %d", r.status)
	}
}

func basicAuth(user, password string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}}
}

func TestBasicCredentials(t *testing.T) {
	w := newWorld(t)
	w.assign("p", pull, push)
	w.assign("sp", pull)
	w.ok(pushImage(t.Context(), w.client(alpha, "p"), "app", "v1", newImage("one")))
	limited := w.accessToken(alpha, "p", "repository:app:pull")
	query := "?service=" + alpha + "&scope=repository:app:pull,push&scope=repository:b:pull"
	for name, tc := range map[string]struct {
		auth   http.Header
		status int
		want   []access
	}{
		"docker login":             {basicAuth(nullUser, w.refreshToken(alpha, "p")), 200, []access{{"repository", "app", []string{pull, push}}, {"repository", "b", []string{pull}}}},
		"service principal":        {basicAuth("sp-client", "s3cr3t-canary"), 200, []access{{"repository", "app", []string{pull}}, {"repository", "b", []string{pull}}}},
		"access token as password": {basicAuth(nullUser, limited), 200, []access{{"repository", "app", []string{pull}}}},
		"wrong secret":             {basicAuth("sp-client", "guess"), 401, nil},
		"null user, no token":      {basicAuth(nullUser, "guess"), 401, nil},
		"beta's refresh token":     {basicAuth(nullUser, w.refreshToken(beta, "p")), 401, nil},
		"nothing":                  {nil, 401, nil},
	} {
		r := w.do("GET", "https://"+alpha+"/oauth2/token"+query, tc.auth, nil)
		if r.status != tc.status {
			t.Errorf("%s: %d %s", name, r.status, r.body)
			continue
		}
		if tc.status != 200 {
			continue
		}
		c, err := w.svc.tokens.check(w.field(r, "access_token"), kindAccess, alpha)
		if diff := cmp.Diff(tc.want, c.Access); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
		r = w.do("GET", "https://"+alpha+"/v2/app/manifests/v1", tc.auth, nil)
		if r.status != 200 {
			t.Errorf("%s, Basic on the registry itself: %d %s", name, r.status, r.body)
		}
	}
	if strings.Contains(w.log.String(), "s3cr3t-canary") || strings.Contains(w.log.String(), "eyJ") {
		t.Errorf("the log holds a secret: %s", w.log)
	}
}

func TestAccessTokenAsPasswordGainsNoTime(t *testing.T) {
	w := newWorld(t)
	w.assign("p", pull)
	first := w.accessToken(alpha, "p", "repository:app:pull")
	w.advance(time.Hour)
	r := w.do("GET", "https://"+alpha+"/oauth2/token?service="+alpha+"&scope=repository:app:pull", basicAuth(nullUser, first), nil)
	c, err := w.svc.tokens.check(w.field(r, "access_token"), kindAccess, alpha)
	w.ok(err)
	if left := c.Expires - w.now().Unix(); left > 15*60 {
		t.Errorf("the second token lives %d s", left)
	}
}

func TestTokenRequestsThatAreWrong(t *testing.T) {
	w := newWorld(t)
	w.assign("p", pull)
	refresh := w.refreshToken(alpha, "p")
	for name, form := range map[string]url.Values{
		"grant":         {"grant_type": {"client_credentials"}, "service": {alpha}, "refresh_token": {refresh}},
		"no token":      {"grant_type": {"refresh_token"}, "service": {alpha}},
		"service":       {"grant_type": {"refresh_token"}, "service": {beta}, "refresh_token": {refresh}},
		"scope":         {"grant_type": {"refresh_token"}, "service": {alpha}, "refresh_token": {refresh}, "scope": {"app"}},
		"scope's name":  {"grant_type": {"refresh_token"}, "service": {alpha}, "refresh_token": {refresh}, "scope": {"repository:UPPER/..:pull"}},
		"long scope":    {"grant_type": {"refresh_token"}, "service": {alpha}, "refresh_token": {refresh}, "scope": {strings.Repeat("repository:a:pull ", 2000)}},
		"password user": {"grant_type": {"password"}, "service": {alpha}, "password": {refresh}},
	} {
		if r := w.post(alpha, "/oauth2/token", form); r.status != 400 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	ok := w.post(alpha, "/oauth2/token", url.Values{"grant_type": {"password"}, "service": {alpha}, "username": {nullUser}, "password": {refresh}})
	if ok.status != 200 {
		t.Errorf("grant_type=password: %d %s", ok.status, ok.body)
	}
	if r := w.do("GET", "https://gamma.azurecr.io/v2/", nil, nil); r.status != 404 {
		t.Errorf("a registry that is not there: %d %s", r.status, r.body)
	}
}
