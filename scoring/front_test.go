package scoring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"lapis/fault"
	"lapis/worker"
)

const articleLike = `
import json, logging
def init():
    logging.info("Blob contains: Hello world!")
def run(raw_data):
    rows = json.loads(raw_data)["data"]
    return [sum(row) * 1.5 for row in rows]
`

func TestArticleRequestIsAnswered(t *testing.T) {
	p := started(t, articleLike)
	var event Event
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}},
		&Front{OnEvent: func(_ context.Context, e Event) { event = e }, NewID: func() string { return "guid" }})
	got := ask(t, server, "POST", "/score", `{"data": [[1,2,3,4,5,6,7,8,9,10],[10,9,8,7,6,5,4,3,2,1]]}`,
		"x-request-id", "mine", "x-ms-client-request-id", "client-1", "User-Agent", strings.Repeat("u", 80))
	if got.status != 200 || got.body != "[82.5, 82.5]" {
		t.Fatalf("got %v", got)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "x-request-id": "guid", "x-ms-request-id": "client-1", "x-ms-client-request-id": "client-1",
		"x-ms-server-version": "azmlinfsrv/1.5.1", "x-ms-run-function-failed": "False", "azureml-model-deployment": "blue",
	} {
		if have := got.header.Get(name); have != want {
			t.Errorf("%s is %q, not %q", name, have, want)
		}
	}
	for _, name := range []string{"ms-azureml-model-time", "x-ms-run-fn-exec-ms"} {
		if got.header.Get(name) == "" {
			t.Errorf("no %s", name)
		}
	}
	if event.Deployment != "blue" || event.Status != 200 || event.ModelStatus != 200 || event.RequestID != "guid" ||
		event.Route != "score" || event.Run <= 0 || event.Total < event.Model || len(event.UserAgent) != 70 || event.ResponseBytes != 12 {
		t.Errorf("the event is %+v", event)
	}
	until(t, "the log shows the blob", func() bool { return strings.Contains(p.Log().Tail(0), "Blob contains: Hello world!") })
}

func TestModelErrorsBecome424WithTheirBody(t *testing.T) {
	p := started(t, `
import os
def init(): pass
def run(data, request_headers):
    if data == "raise": raise ValueError("secret details")
    if data == "crash": os._exit(1)
    return sorted(name for name in request_headers if name in ("Authorization", "X-Mine", "Te"))
`)
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, &Front{})
	for _, c := range []struct{ method, path, body, modelStatus, want string }{
		{"POST", "/score", "raise", "500", `{"message": "An unexpected error occurred in scoring script. Check the logs for more info."}`},
		{"POST", "/score", "\xff", "400", `UTF-8`},
		{"POST", "/nowhere", "", "404", `{"message":`},
		{"DELETE", "/score", "", "405", `{"message":`},
		{"POST", "/score", "crash", "502", `{"error":{"code":"model_error"`},
	} {
		got := ask(t, server, c.method, c.path, c.body)
		if got.status != 424 || !strings.Contains(got.body, c.want) || strings.Contains(got.body, "secret") ||
			got.header.Get("ms-azureml-model-error-reason") != "model_error" || got.header.Get("ms-azureml-model-error-statuscode") != c.modelStatus {
			t.Errorf("%s %s %q gave %v", c.method, c.path, c.body, got)
		}
	}
	if got := ask(t, server, "POST", "/score", "x", "X-Mine", "1", "Te", "trailers"); got.body != `["X-Mine"]` {
		t.Errorf("the script saw the headers %s", got.body)
	}
	for path, want := range map[string]string{"/": "Healthy", "/swagger.json": `"swagger":"2.0"`} {
		if got := ask(t, server, "GET", path, ""); got.status != 200 || !strings.Contains(got.body, want) {
			t.Errorf("GET %s gave %v", path, got)
		}
	}
}

func TestPlatformErrors(t *testing.T) {
	dir := t.TempDir()
	v := newValve(t, dir)
	p := poolOf(t, dir, valveScript)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	front := &Front{}
	endpoint := Endpoint{Deployments: map[string]*Pool{"blue": p}, MaxBody: 10}
	server := serving(t, endpoint, front)
	check := func(got reply, status int, code string) {
		t.Helper()
		var body struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != status || body.Error.Code != code || body.Error.Message == "" {
			t.Errorf("got %v, not %d %s", got, status, code)
		}
	}
	check(ask(t, server, "POST", "/score", "x"), 404, "NoTraffic")
	check(ask(t, server, "POST", "/score", "x", headerDeployment, "green"), 404, "DeploymentNotFound")
	check(ask(t, server, "POST", "/score", "x", "Host", "other.example"), 404, "EndpointNotFound")
	check(ask(t, server, "POST", "/score", "12345678901", headerDeployment, "blue"), 413, "RequestEntityTooLarge")

	endpoint.Name, endpoint.Authorize, endpoint.Traffic = "e", onlyTestKey, map[string]int{"blue": 100}
	if err := front.Set(host, endpoint); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if got, err := try(t.Context(), server, "POST", "/score", "wait"); err != nil || got.status != 200 {
				t.Errorf("%v %v", got, err)
			}
		})
	}
	until(t, "two are pending", func() bool { return p.State().Pending == 2 })
	got := ask(t, server, "POST", "/score", "x")
	if got.status != 429 || got.body != "" || got.header.Get("Content-Type") != "text/plain" || got.header.Get("ms-azureml-model-error-reason") != "too_many_pending_request" {
		t.Errorf("overflow gave %v", got)
	}
	v.open(t)
	v.open(t)
	wg.Wait()
	front.Remove(host)
	check(ask(t, server, "POST", "/score", "x"), 404, "EndpointNotFound")
}

func TestTimeoutIs408(t *testing.T) {
	p := started(t, "import time\ndef init(): pass\ndef run(d): time.sleep(600)\n", func(c *PoolConfig) { c.RequestTimeout = 200e6 })
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, &Front{})
	if got := ask(t, server, "POST", "/score", ""); got.status != 408 || got.body != "upstream request timeout" {
		t.Errorf("got %v", got)
	}
}

func TestEveryRouteRefusesABadCredential(t *testing.T) {
	p := started(t, echo)
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, &Front{})
	for _, row := range routes() {
		path := row.path
		if path == "" {
			path = "/v2/anything"
		}
		for _, c := range []struct{ value, code string }{
			{"", "key_auth_bad_header_forbidden"},
			{"Bearer", "key_auth_bad_header_forbidden"},
			{"Bearer ", "key_auth_bad_header_forbidden"},
			{testKey, "key_auth_bad_header_forbidden"},
			{"Basic " + testKey, "key_auth_bad_header_forbidden"},
			{"Bearer wrong", "key_auth_access_denied"},
			{"Bearer " + testKey + "x", "key_auth_access_denied"},
			{"Bearer " + testKey + " x", "key_auth_access_denied"},
			{"Bearer " + strings.ToUpper(testKey), "key_auth_access_denied"},
		} {
			got := ask(t, server, "POST", path, "x", "Authorization", c.value)
			if got.status != 401 || !strings.Contains(got.body, `"code":"`+c.code+`"`) || got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %q gave %v", path, c.value, got)
			}
			if strings.Contains(got.body, testKey) {
				t.Errorf("the answer has the key: %v", got)
			}
		}
	}
	if got := ask(t, server, "POST", "/score", "x", "Authorization", "bearer "+testKey); got.status != 200 {
		t.Errorf("the scheme's case matters: %v", got)
	}
}

func TestDenialNamesTheMissingRole(t *testing.T) {
	denied := fault.E(fault.Denied, "AuthorizationFailed", "The caller lacks the action.")
	denied.Denial = &fault.Denial{Action: ScoreAction, Role: "AzureML Data Scientist", Remedy: "az role assignment create ..."}
	server := serving(t, Endpoint{Authorize: func(context.Context, string) error { return denied }}, &Front{})
	got := ask(t, server, "POST", "/score", "")
	if got.status != 401 || !strings.Contains(got.body, `"role":"AzureML Data Scientist"`) || !strings.Contains(got.header.Get("x-lapis-denied"), `"remedy":"az role assignment create ..."`) {
		t.Errorf("got %v", got)
	}
}

func TestUnexpectedErrorIsNotShown(t *testing.T) {
	server := serving(t, Endpoint{Authorize: func(context.Context, string) error { return errors.New("inner detail") }}, &Front{})
	if got := ask(t, server, "POST", "/score", ""); got.status != 500 || strings.Contains(got.body, "inner detail") {
		t.Errorf("got %v", got)
	}
}

func TestTrafficFollowsTheWeights(t *testing.T) {
	pools := map[string]*Pool{"blue": {}, "green": {}, "red": {}}
	weights, err := weightsOf(map[string]int{"blue": 90, "green": 10, "red": 0}, pools)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := &target{Endpoint: Endpoint{Name: "e", Deployments: pools}, weights: weights}
	random := rand.New(rand.NewPCG(1, 2))
	counts := map[string]int{}
	for range 10_000 {
		name, err := pickDeployment(endpoint, "", random.IntN)
		if err != nil {
			t.Fatal(err)
		}
		counts[name]++
	}
	if counts["red"] != 0 || counts["green"] < 900 || counts["green"] > 1100 {
		t.Errorf("got %v", counts)
	}
	for _, name := range []string{"blue", "green", "red"} {
		if got, err := pickDeployment(endpoint, name, nil); got != name || err != nil {
			t.Errorf("the header %s led to %s, %v", name, got, err)
		}
	}
}

func TestBadTrafficIsRefused(t *testing.T) {
	front := &Front{}
	pools := map[string]*Pool{"blue": {}}
	for name, endpoint := range map[string]Endpoint{
		"authorizes": {Deployments: pools},
		"not 0 to":   {Deployments: pools, Authorize: onlyTestKey, Traffic: map[string]int{"blue": 101}},
		"is -1":      {Deployments: pools, Authorize: onlyTestKey, Traffic: map[string]int{"blue": -1}},
		"there is":   {Deployments: pools, Authorize: onlyTestKey, Traffic: map[string]int{"green": 1}},
	} {
		if err := front.Set(host, endpoint); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if front.Has(host) {
		t.Error("a refused endpoint is served")
	}
}

func TestHeaderAndSwapRouteToTheRightDeployment(t *testing.T) {
	blue, green := started(t, "def init(): pass\ndef run(d): return 'blue'\n"), started(t, "def init(): pass\ndef run(d): return 'green'\n")
	front := &Front{}
	endpoint := Endpoint{Deployments: map[string]*Pool{"blue": blue, "green": green}, Traffic: map[string]int{"blue": 100, "green": 0}}
	server := serving(t, endpoint, front)
	for header, want := range map[string]string{"": `"blue"`, "green": `"green"`, "blue": `"blue"`} {
		if got := ask(t, server, "POST", "/score", "", headerDeployment, header); got.body != want {
			t.Errorf("the header %q led to %v", header, got)
		}
	}
}

func TestSwapUnderLoadFailsNoRequest(t *testing.T) {
	const script = "import time\ndef init(): pass\ndef run(d):\n    time.sleep(0.001)\n    return d\n"
	many := func(c *PoolConfig) { c.MaxConcurrent = 16 }
	old := started(t, script, many)
	front := &Front{}
	endpoint := Endpoint{Name: "e", Authorize: onlyTestKey, Deployments: map[string]*Pool{"blue": old}, Traffic: map[string]int{"blue": 100}}
	server := serving(t, endpoint, front)
	stop := load(t, 4, func(ctx context.Context) error {
		got, err := try(ctx, server, "POST", "/score", "x")
		if err == nil && got.status != 200 {
			err = fmt.Errorf("got %v", got)
		}
		return err
	})
	for range 4 {
		next := started(t, script, many)
		endpoint.Deployments = map[string]*Pool{"blue": next}
		if err := front.Set(host, endpoint); err != nil {
			t.Fatal(err)
		}
		if err := old.Close(t.Context()); err != nil {
			t.Error(err)
		}
		old = next
	}
	stop()
}

func FuzzHeaders(f *testing.F) {
	f.Add("Bearer key", "abc-1_2")
	f.Add("bearer  key ", strings.Repeat("x", 41))
	f.Add("", "a b")
	f.Fuzz(func(t *testing.T, authorization, id string) {
		header := http.Header{"Authorization": {authorization}, headerClientRequestID: {id}}
		if bearer, err := bearerOf(header); err == nil && (bearer == "" || !strings.Contains(authorization, bearer)) {
			t.Errorf("%q gave %q", authorization, bearer)
		}
		got := clientRequestID(header)
		if len(got) > 40 || !strings.HasPrefix(id, got) || strings.ContainsAny(got, " \r\n\x00/") {
			t.Errorf("%q gave %q", id, got)
		}
		if out := workerHeader(header, got); out.Get(headerClientRequestID) != got {
			t.Errorf("the script gets the id %q, not %q", out.Get(headerClientRequestID), got)
		}
	})
}

func TestScriptSeesNothingOfCredentialsAndConnections(t *testing.T) {
	for name, c := range map[string]struct{ sent, want http.Header }{
		"plain": {
			http.Header{"Accept": {"*/*"}, "Authorization": {"Bearer k"}, "X-Request-Id": {"theirs"}, "Connection": {"keep-alive"}, "Te": {"trailers"}},
			http.Header{"Accept": {"*/*"}, "Host": {"h"}},
		},
		"named by the connection": {
			http.Header{"Connection": {"close, x-private", "Other"}, "X-Private": {"1"}, "Other": {"2"}, "Kept": {"3"}, "Host": {"x"}},
			http.Header{"Kept": {"3"}, "Host": {"h"}},
		},
		"no id":       {http.Header{headerClientRequestID: {"a b"}}, http.Header{"Host": {"h"}}},
		"empty id":    {http.Header{headerClientRequestID: {""}}, http.Header{"Host": {"h"}}},
		"good id":     {http.Header{headerClientRequestID: {"a-b"}}, http.Header{headerClientRequestID: {"a-b"}, "Host": {"h"}}},
		"several ids": {http.Header{headerClientRequestID: {"a", "b"}}, http.Header{headerClientRequestID: {"a"}, "Host": {"h"}}},
		"named id": {
			http.Header{headerClientRequestID: {"a"}, "Connection": {headerClientRequestID}},
			http.Header{headerClientRequestID: {"a"}, "Host": {"h"}},
		},
	} {
		before := c.sent.Clone()
		r := worker.Request{Host: "h", Header: workerHeader(c.sent, clientRequestID(c.sent))}
		if diff := cmp.Diff(c.want, http.Header(maps.Collect(r.Visible()))); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
		if diff := cmp.Diff(before, c.sent); diff != "" {
			t.Errorf("%s: the client's header was changed\n%s", name, diff)
		}
	}
}

func TestRequestIDsAreRandomUUIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		id := (&Front{}).newID()
		if parsed, err := uuid.Parse(id); err != nil || parsed.Version() != 4 || parsed.Variant() != uuid.RFC4122 || seen[id] {
			t.Errorf("%q: %v", id, err)
		}
		seen[id] = true
	}
}
