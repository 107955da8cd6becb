package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lapis/client"
	"lapis/fault"
)

func env(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(k string) string { return m[k] }
}

var info = client.Info{
	Proxy: "http://127.0.0.1:1", TenantID: "ft", ClientID: "fc", ClientSecret: "fs", SubscriptionID: "fsub",
	ResourceGroup: "frg", Workspace: "fws", Location: "floc",
}

func TestSettingsComeFromTheFirstPlaceThatHasThem(t *testing.T) {
	dir := t.TempDir()
	info := info
	info.ConfigDir = filepath.Join(dir, "azure")
	if err := client.Write(dir, info); err != nil {
		t.Fatal(err)
	}
	full := []string{"AZURE_TENANT_ID", "et", "AZURE_CLIENT_ID", "ec", "AZURE_CLIENT_SECRET", "es", "HTTPS_PROXY", "http://127.0.0.1:9",
		"AZURE_SUBSCRIPTION_ID", "esub", "AZURE_DEFAULTS_GROUP", "erg"}
	for _, tt := range []struct {
		name                        string
		env                         []string
		proxy, id, sub, group, work string
	}{
		{"file alone", nil, "http://127.0.0.1:1", "fc", "fsub", "frg", "fws"},
		{"environment", full, "http://127.0.0.1:9", "ec", "esub", "erg", "fws"},
		{"another principal, same platform", full[:6], "http://127.0.0.1:1", "ec", "fsub", "frg", "fws"},
		{"a proxy of the user's own does not mislead", full[6:8], "http://127.0.0.1:1", "fc", "fsub", "frg", "fws"},
	} {
		s, err := Find(env(append(tt.env, "LAPIS_DATA", dir)...), "")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got := []string{s.Proxy, s.Credential.ClientID, s.Subscription, s.Default("group"), s.Default("workspace")}
		if diff := cmp.Diff([]string{tt.proxy, tt.id, tt.sub, tt.group, tt.work}, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	if _, err := Find(env("LAPIS_DATA", t.TempDir()), ""); !errors.Is(err, client.ErrNotRunning) {
		t.Errorf("nothing running: %v", err)
	}
}

func TestLoginAndSubscriptionAreRemembered(t *testing.T) {
	dir := t.TempDir()
	info := info
	info.ConfigDir = filepath.Join(dir, "azure")
	if err := client.Write(dir, info); err != nil {
		t.Fatal(err)
	}
	find := func() *Settings {
		t.Helper()
		s, err := Find(env("LAPIS_DATA", dir, "AZURE_SUBSCRIPTION_ID", "esub"), "")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := find()
	if err := errors.Join(s.RememberSubscription("chosen"), s.RememberLogin(Credential{"t2", "c2", "s2"})); err != nil {
		t.Fatal(err)
	}
	if got := find(); got.Subscription != "chosen" || got.Credential.ClientID != "c2" {
		t.Errorf("got %v %v", got.Subscription, got.Credential.ClientID)
	}
	if stat, err := os.Stat(s.accountFile()); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", stat, err)
	}
	if err := find().Forget(); err != nil {
		t.Fatal(err)
	}
	if got := find(); got.Subscription != "esub" || got.Credential.ClientID != "fc" {
		t.Errorf("after logout %v %v", got.Subscription, got.Credential.ClientID)
	}
}

func TestConfigurationFileKeepsWhatItDoesNotChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	before := "# mine\n[core]\noutput = table\n\n[defaults]\ngroup = a\n; end\n"
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(c.Set("defaults", "workspace", "w"), c.Set("defaults", "GROUP", "b"), c.Set("new", "k", "v = w"), c.Set("core", "x", "1"))
	if err != nil {
		t.Fatal(err)
	}
	if !c.Unset("core", "output") || c.Unset("core", "none") {
		t.Error("unset")
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(path)
	want := "# mine\n[core]\nx = 1\n\n[defaults]\nGROUP = b\n; end\nworkspace = w\n[new]\nk = v = w\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if v := c.Option(env("AZURE_DEFAULTS_GROUP", "e"), "defaults", "group"); v != "e" {
		t.Errorf("variable does not win: %q", v)
	}
	for _, bad := range []string{"", "a=b", "a]", "a\nb"} {
		if c.Set("defaults", bad, "x") == nil {
			t.Errorf("took the name %q", bad)
		}
	}
}

func TestRetryDelayHeaders(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		header http.Header
		want   time.Duration
		ok     bool
	}{
		{http.Header{}, 0, false},
		{http.Header{"Retry-After": {"2"}}, 2 * time.Second, true},
		{http.Header{"Retry-After": {"0.2"}}, 200 * time.Millisecond, true},
		{http.Header{"Retry-After": {"0"}}, 0, true},
		{http.Header{"Retry-After": {"5"}, "Retry-After-Ms": {"100"}}, 100 * time.Millisecond, true},
		{http.Header{"X-Ms-Retry-After-Ms": {"250"}}, 250 * time.Millisecond, true},
		{http.Header{"Retry-After": {"Sun, 01 Nov 2026 12:00:07 GMT"}}, 7 * time.Second, true},
		{http.Header{"Retry-After": {"Sun, 01 Nov 2026 11:00:00 GMT"}}, 0, true},
		{http.Header{"Retry-After": {"-3"}}, 0, false},
		{http.Header{"Retry-After": {"soon"}}, 0, false},
	} {
		got, ok := RetryDelay(tt.header, now)
		if got != tt.want || ok != tt.ok {
			t.Errorf("%v: %v %v, want %v %v", tt.header, got, ok, tt.want, tt.ok)
		}
	}
}

func TestFailuresOfEveryFaceAreRead(t *testing.T) {
	denied := `{"principal":"p","action":"a","scope":"/s","role":"Reader","roleScope":"/s","remedy":"az role assignment create"}`
	for _, tt := range []struct {
		name, body string
		header     http.Header
		want       Failure
	}{
		{"resource manager", `{"error":{"code":"C","message":"M","target":"t","details":[{"code":"D","message":"N"}]}}`, nil,
			Failure{Code: "C", Message: "M", Target: "t", Details: []*Failure{{Code: "D", Message: "N"}}}},
		{"denial in the body", `{"error":{"code":"AuthorizationFailed","message":"M","additionalInfo":[{"type":"Other","info":{"x":1}},{"type":"LapisDenial","info":` + denied + `}]}}`, nil,
			Failure{Code: "AuthorizationFailed", Message: "M", Denial: &fault.Denial{Principal: "p", Action: "a", Scope: "/s", Role: "Reader", RoleScope: "/s", Remedy: "az role assignment create"}}},
		{"denial in the header", "<?xml version=\"1.0\"?><Error><Code>AuthorizationPermissionMismatch</Code><Message>No.\nRequestId:1\nTime:2</Message></Error>",
			http.Header{"X-Lapis-Denied": {denied}},
			Failure{Code: "AuthorizationPermissionMismatch", Message: "No.", Denial: &fault.Denial{Principal: "p", Action: "a", Scope: "/s", Role: "Reader", RoleScope: "/s", Remedy: "az role assignment create"}}},
		{"issuer", `{"error":"invalid_client","error_description":"AADSTS7000215: bad secret"}`, nil, Failure{Code: "invalid_client", Message: "AADSTS7000215: bad secret"}},
		{"head of a blob", "", http.Header{"X-Ms-Error-Code": {"BlobNotFound"}}, Failure{Code: "BlobNotFound", Message: "the service answered 400 Bad Request"}},
		{"model", "Traceback: boom", http.Header{"Ms-Azureml-Model-Error-Reason": {"model_error"}}, Failure{Code: "model_error", Message: "Traceback: boom"}},
		{"additionalInfo of another shape", `{"error":{"code":"C","message":"M","additionalInfo":"x"}}`, nil, Failure{Code: "C", Message: "M"}},
	} {
		header := tt.header
		if header == nil {
			header = http.Header{}
		}
		got := FailureOf(&http.Response{StatusCode: 400, Status: "400 Bad Request", Header: header}, []byte(tt.body))
		tt.want.Status = 400
		if diff := cmp.Diff(&tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestRedactHidesTheSignature(t *testing.T) {
	u, _ := url.Parse("https://a.blob/c?sv=1&sig=canary%2B")
	if got := Redact(u); strings.Contains(got, "canary") || !strings.Contains(got, "sv=1") {
		t.Error(got)
	}
}

// session talks to the handler, with a clock that sleeping moves.
func session(t *testing.T, handler http.HandlerFunc) (*Session, *[]time.Duration) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	config, _ := ReadConfig(filepath.Join(t.TempDir(), "config"))
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	slept := &[]time.Duration{}
	return &Session{
		Settings: &Settings{Credential: Credential{"t", "c", "canary"}, ConfigDir: t.TempDir(), Config: config, Getenv: env()},
		ARM:      server.URL, Login: server.URL, HTTP: server.Client(),
		Now: func() time.Time { return now },
		Sleep: func(_ context.Context, d time.Duration) error {
			*slept = append(*slept, d)
			now = now.Add(d)
			return nil
		},
	}, slept
}

func answerToken(w http.ResponseWriter, r *http.Request, token string) bool {
	if !strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") {
		return false
	}
	fmt.Fprintf(w, `{"access_token":%q,"expires_in":3600}`, token)
	return true
}

func TestWaitFollowsTheOperationAndReadsTheResource(t *testing.T) {
	polls := 0
	var said []string
	s, slept := session(t, func(w http.ResponseWriter, r *http.Request) {
		if answerToken(w, r, "tok") {
			return
		}
		if r.Header.Get("Authorization") != "Bearer tok" {
			t.Errorf("%s %s without the token", r.Method, r.URL)
		}
		switch {
		case r.Method == "PUT":
			w.Header().Set("Azure-AsyncOperation", "http://"+r.Host+"/op?x=1")
			w.WriteHeader(201)
			fmt.Fprint(w, `{"properties":{"provisioningState":"Creating"}}`)
		case r.URL.Path == "/op":
			polls++
			switch polls {
			case 1:
				w.Header().Set("x-ms-retry-after-ms", "150")
				fmt.Fprint(w, `{"status":"InProgress","properties":{"progress":"building 1/3"}}`)
			case 2, 3:
				fmt.Fprint(w, `{"status":"Updating","properties":{"progress":{"message":"building 2/3"}},"percentComplete":66}`)
			default:
				fmt.Fprint(w, `{"status":"Succeeded"}`)
			}
		default:
			fmt.Fprint(w, `{"name":"x","properties":{"provisioningState":"Succeeded"}}`)
		}
	})
	first, err := s.Call(t.Context(), Request{Method: "PUT", Path: "/x", Version: "1", Body: Object{}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Wait(t.Context(), first, func(text string) { said = append(said, text) })
	if err != nil || got["name"] != "x" {
		t.Errorf("%v %v", got, err)
	}
	if diff := cmp.Diff([]string{"building 1/3", "building 2/3 (66%)"}, said); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]time.Duration{150 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond}, *slept); diff != "" {
		t.Error(diff)
	}
}

func TestWaitGivesTheServicesOwnReason(t *testing.T) {
	s, _ := session(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case answerToken(w, r, "tok"):
		case r.Method == "DELETE":
			w.Header().Set("Location", "http://"+r.Host+"/result")
			w.WriteHeader(202)
		case r.URL.Path == "/result":
			w.WriteHeader(409)
			fmt.Fprint(w, `{"error":{"code":"InUse","message":"blue has traffic"}}`)
		case r.Method == "PUT":
			w.Header().Set("Azure-AsyncOperation", "http://"+r.Host+"/op")
			fmt.Fprint(w, `{}`)
		default:
			fmt.Fprint(w, `{"status":"Failed","error":{"code":"ResourceNotReady","message":"m","details":[{"code":"UserScriptInitFailed","message":"boom"}]}}`)
		}
	})
	for _, method := range []string{"DELETE", "PUT"} {
		first, err := s.Call(t.Context(), Request{Method: method, Path: "/x"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Wait(t.Context(), first, nil)
		var f *Failure
		if !errors.As(err, &f) || f.Code != map[string]string{"DELETE": "InUse", "PUT": "ResourceNotReady"}[method] {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestTokenGoesNowhereElse(t *testing.T) {
	s, _ := session(t, func(w http.ResponseWriter, r *http.Request) { answerToken(w, r, "tok") })
	_, err := s.Call(t.Context(), Request{Path: "https://evil.example/op"})
	if err == nil || !strings.Contains(err.Error(), "evil.example") {
		t.Error(err)
	}
}

func TestTokenIsKeptAndRenewedWhenRefused(t *testing.T) {
	asked, good := 0, "tok1"
	s, _ := session(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			asked++
		}
		if answerToken(w, r, good) {
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+good {
			w.WriteHeader(401)
			return
		}
		fmt.Fprint(w, `{}`)
	})
	call := func() {
		t.Helper()
		s.tokens = nil // as a new process
		if _, err := s.Call(t.Context(), Request{Path: "/x"}); err != nil {
			t.Fatal(err)
		}
	}
	call()
	call()
	if asked != 1 {
		t.Errorf("asked the issuer %d times, want 1", asked)
	}
	good = "tok2"
	call()
	if asked != 2 {
		t.Errorf("asked the issuer %d times, want 2", asked)
	}
	data, err := os.ReadFile(s.tokenFile())
	if err != nil || strings.Contains(string(data), "canary") || !json.Valid(data) {
		t.Errorf("%s %v", data, err)
	}
	if stat, _ := os.Stat(s.tokenFile()); stat.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", stat.Mode())
	}
}

func TestOnlyRepeatableRequestsAreRepeated(t *testing.T) {
	calls := map[string]int{}
	s, slept := session(t, func(w http.ResponseWriter, r *http.Request) {
		if answerToken(w, r, "tok") {
			return
		}
		calls[r.Method]++
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(503)
	})
	for _, method := range []string{"GET", "PUT", "POST"} {
		_, err := s.Call(t.Context(), Request{Method: method, Path: "/x"})
		var f *Failure
		if !errors.As(err, &f) || f.Status != 503 {
			t.Errorf("%s: %v", method, err)
		}
	}
	if diff := cmp.Diff(map[string]int{"GET": 4, "PUT": 4, "POST": 1}, calls); diff != "" {
		t.Error(diff)
	}
	if len(*slept) != 6 || (*slept)[0] != time.Second {
		t.Errorf("slept %v", *slept)
	}
}

func TestListFollowsPages(t *testing.T) {
	s, _ := session(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case answerToken(w, r, "tok"):
		case r.URL.Query().Get("page") == "2":
			fmt.Fprint(w, `{"value":[3]}`)
		default:
			fmt.Fprintf(w, `{"value":[1,2],"nextLink":"http://%s/l?page=2"}`, r.Host)
		}
	})
	got, err := s.List(t.Context(), "/l", "1", nil)
	if diff := cmp.Diff([]any{1.0, 2.0, 3.0}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestNothingListeningSaysHowToStart(t *testing.T) {
	s, _ := session(t, nil)
	s.Login = "http://127.0.0.1:1"
	_, err := s.Call(t.Context(), Request{Path: "/x"})
	if !errors.Is(err, client.ErrNotRunning) {
		t.Error(err)
	}
}

func FuzzFailure(f *testing.F) {
	f.Add(`{"error":{"code":"x","details":[{}]}}`)
	f.Add(`<Error><Code>x</Code></Error>`)
	f.Fuzz(func(t *testing.T, body string) {
		got := FailureOf(&http.Response{StatusCode: 500, Status: "500", Header: http.Header{}}, []byte(body))
		if got.Message == "" {
			t.Errorf("%q: no message", body)
		}
	})
}
