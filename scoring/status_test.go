package scoring

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The statuses and headers of the managed front end, one by one, for a
// deployment with max_concurrent_requests_per_instance 1 and one instance.
func TestStatusesOfTheFrontWithAllTheirHeaders(t *testing.T) {
	dir := t.TempDir()
	v := newValve(t, dir)
	p := poolOf(t, dir, valveScript[:strings.Index(valveScript, "def run")]+`
class Answer:
    is_streamed = False
    def __init__(self, status): self.status_code, self.headers = status, {"Content-Type": "text/plain", "X-Mine": "1", "ms-azureml-model-error-reason": "forged"}
    def get_data(self): return b"mine"
def run(data):
    if data == "raise": raise ValueError("x")
    if data == "exit": os._exit(1)
    if data == "wait":
        print("waits")
        os.read(os.open("valve", os.O_RDONLY), 1)
    return Answer(int(data)) if data.isdigit() else data
`, func(c *PoolConfig) {
		c.RequestTimeout = 700 * time.Millisecond
		c.NotReadyWait = 100 * time.Millisecond
		c.Jitter = func() float64 { return 0 }
	})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	failing := poolOf(t, t.TempDir(), "def init(): pass\n", func(c *PoolConfig) { c.NotReadyWait = 50 * time.Millisecond })
	front := &Front{}
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p, "never": failing}, Traffic: map[string]int{"blue": 100}}, front)
	type headers map[string]string
	const reason, status = "ms-azureml-model-error-reason", "ms-azureml-model-error-statuscode"
	check := func(name string, got reply, want int, h headers) {
		t.Helper()
		if got.status != want {
			t.Errorf("%s: %v", name, got)
		}
		for key, value := range h {
			if have := got.header.Values(key); value == "" && len(have) > 0 || value != "" && !slices.Equal(have, []string{value}) {
				t.Errorf("%s: %s is %q, not %q", name, key, have, value)
			}
		}
		if got.header.Get("x-request-id") == "" || got.header.Get("azureml-model-deployment") == "" && want != 401 && want != 404 {
			t.Errorf("%s: %v", name, got.header)
		}
		for key := range got.header {
			if strings.HasPrefix(key, "X-Envoy") {
				t.Errorf("%s: %s is shown", name, key)
			}
		}
	}
	check("200", ask(t, server, "POST", "/score", "ok"), 200, headers{reason: "", status: "", "Content-Type": "application/json"})
	check("forged", ask(t, server, "POST", "/score", "200"), 200, headers{reason: "", status: "", "X-Mine": "1"})
	for _, model := range []string{"201", "207", "299", "302", "400", "404", "422", "503"} {
		got := ask(t, server, "POST", "/score", model)
		check(model, got, 424, headers{reason: "model_error", status: model, "Content-Type": "text/plain", "X-Mine": "1"})
		if got.body != "mine" || got.header.Get("ms-azureml-model-time") == "" {
			t.Errorf("%s: %v", model, got)
		}
	}
	check("raises", ask(t, server, "POST", "/score", "raise"), 424, headers{reason: "model_error", status: "500", "x-ms-run-function-failed": "True"})
	got := ask(t, server, "POST", "/score", "x", headerDeployment, "never")
	check("not ready", got, 424, headers{reason: "model_not_ready", status: "", "Content-Type": "application/json"})

	var wg sync.WaitGroup
	running := func() {
		wg.Go(func() {
			if got, err := try(t.Context(), server, "POST", "/score", "wait"); err != nil || got.status != 200 {
				t.Errorf("%v %v", got, err)
			}
		})
	}
	running()
	running()
	until(t, "two are pending", func() bool { return p.State().Pending == 2 })
	got = ask(t, server, "POST", "/score", "x")
	check("overflow", got, 429, headers{reason: "too_many_pending_request", status: "", "Content-Type": "text/plain", "Content-Length": "0"})
	v.open(t)
	v.open(t)
	wg.Wait()
	got = ask(t, server, "POST", "/score", "wait")
	check("too late", got, 408, headers{reason: "", status: "", "Content-Type": "text/plain"})
	if got.body != "upstream request timeout" {
		t.Errorf("too late: %v", got)
	}
	until(t, "another instance is there", func() bool { return p.State().Restarts == 1 && p.Ready() == 1 })
	check("ends", ask(t, server, "POST", "/score", "exit"), 424, headers{reason: "model_error", status: "502", "Content-Type": "application/json"})
	check("no credential", ask(t, server, "POST", "/score", "x", "Authorization", ""), 401, headers{"WWW-Authenticate": "Bearer", "Content-Type": "application/json"})
}

// The queue before an instance grows with instance_count and
// max_concurrent_requests_per_instance: twice their product may be pending.
func TestPendingRequestsPerInstanceAndConcurrency(t *testing.T) {
	for _, c := range []struct{ instances, concurrent int }{{1, 1}, {1, 3}, {2, 1}, {2, 2}} {
		dir := t.TempDir()
		v := newValve(t, dir)
		p := poolOf(t, dir, valveScript, func(pc *PoolConfig) { pc.Instances, pc.MaxConcurrent = c.instances, c.concurrent })
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, &Front{})
		limit := 2 * c.instances * c.concurrent
		var wg sync.WaitGroup
		for range limit {
			wg.Go(func() {
				if got, err := try(t.Context(), server, "POST", "/score", "wait"); err != nil || got.status != 200 {
					t.Errorf("%+v: %v %v", c, got, err)
				}
			})
		}
		until(t, "as many are pending as may be", func() bool { return p.State().Pending == limit })
		if got := ask(t, server, "POST", "/score", "x"); got.status != 429 {
			t.Errorf("%+v: one more gave %v", c, got)
		}
		for range limit {
			v.open(t)
		}
		wg.Wait()
	}
}

// Probes go beside the requests: whoever probes without end changes nothing of
// what they wait, and none waits for a seat.
func TestRequestsDoNotWaitBehindProbes(t *testing.T) {
	waited := func(probe Probe) (slowest time.Duration) {
		p := started(t, echo, func(c *PoolConfig) { c.Liveness = probe })
		server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, &Front{
			OnEvent: func(_ context.Context, e Event) { slowest = max(slowest, e.Queued) },
		})
		for range 200 {
			if got := ask(t, server, "POST", "/score", "x"); got.status != 200 {
				t.Fatalf("got %v", got)
			}
		}
		return slowest
	}
	calm := waited(Probe{InitialDelay: time.Hour})
	probed := waited(Probe{InitialDelay: time.Nanosecond, Period: time.Nanosecond, FailureThreshold: 1 << 30})
	if probed > 20*calm+50*time.Millisecond {
		t.Errorf("a request waited %v for a seat among probes, %v without", probed, calm)
	}
}

// Paths reach the script's server decoded, and as they are: none leads
// elsewhere, and to run() only /score and what Azure's server takes for it.
func TestOddPaths(t *testing.T) {
	p := started(t, "seen = []\ndef init(): pass\ndef run(d):\n    seen.append(d)\n    return len(seen)\n")
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, &Front{})
	for _, path := range []string{
		"/score/", "/score%2f", "/./score", "/x/../score", "/%2e%2e/score", "/..%2fscore", "/score%00", "/SCORE", "/score;x=1", "/score/..%2f..%2fetc%2fpasswd",
		"/%ff", "/" + strings.Repeat("a", 8000),
	} {
		w := dial(t, server)
		w.send("POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 1\r\n\r\nx", path, host, testKey)
		got := w.answer()
		if got.status != 424 || got.header.Get("ms-azureml-model-error-statuscode") != "404" {
			t.Errorf("%.40s gave %v", path, got)
		}
	}
	for n, path := range []string{"/score", "//score", "/%73core", "/score?", "/score?a=%zz&&=", "http://" + host + "/score"} {
		w := dial(t, server)
		w.send("POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 1\r\n\r\nx", path, host, testKey)
		if got := w.answer(); got.status != 200 || got.body != fmt.Sprint(n+1) {
			t.Errorf("%s gave %v", path, got)
		}
	}
	for _, target := range []string{"*", "/%zz", "score"} {
		w := dial(t, server)
		w.send("POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 1\r\n\r\nx", target, host, testKey)
		if got := w.answer(); got.status/100 != 4 {
			t.Errorf("%s gave %v", target, got)
		}
	}
}

// HEAD is answered as GET is, and has no body; what follows on the connection
// is its own.
func TestHeadHasNoBody(t *testing.T) {
	p := started(t, "def init(): pass\ndef run(d): return d\n")
	server := serving(t, Endpoint{Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}, &Front{})
	resp := func(method string) *http.Response {
		req, _ := http.NewRequestWithContext(t.Context(), method, server.URL+"/", nil)
		req.Host, req.Header = host, http.Header{"Authorization": {"Bearer " + testKey}}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	head, get := resp("HEAD"), resp("GET")
	if head.StatusCode != 200 || head.ContentLength != get.ContentLength || get.ContentLength <= 0 {
		t.Errorf("HEAD: %d, %d bytes; GET: %d bytes", head.StatusCode, head.ContentLength, get.ContentLength)
	}
	if got := ask(t, server, "POST", "/score", "next"); got.body != `"next"` {
		t.Errorf("got %v", got)
	}
}
