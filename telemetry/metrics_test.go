package telemetry

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// look gets the metrics as a scrape does.
func look(t *testing.T, m *Metrics, accept string) (text, kind string) {
	t.Helper()
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String(), w.Header().Get("Content-Type")
}

// has reports the lines that a text lacks.
func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
	if t.Failed() {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "lapis_") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}

func busy() State {
	return State{Tokens: 7, Endpoints: []Endpoint{{
		Name: "diabetes",
		Deployments: []Deployment{
			{Name: "blue", Wanted: 3, Ready: 2, Queued: 4, InFlight: 2, ColdStarts: 1, Restarts: 5, Throttled: 6,
				Instances: []Instance{{Index: 0, CPU: 1500 * time.Millisecond, Memory: 1 << 20}}},
			{Name: "green", Asleep: true},
		},
		Mirror: &Mirror{Deployment: "green", Pending: 1, Answered: 10, Failed: 2, Dropped: 3, Compared: []Compared{{"same", 8}, {"different_body", 4}}},
	}}}
}

func answered(status int) *Request {
	return &Request{Endpoint: "diabetes", Deployment: "blue", Status: status, ModelStatus: 200, RequestBytes: 100, ResponseBytes: 20,
		Total: 3 * time.Millisecond, Queued: 700 * time.Microsecond, Run: 2 * time.Millisecond}
}

func TestMetricsTellWhatHappenedAndWhatIs(t *testing.T) {
	m := NewMetrics(MetricsConfig{Version: "v1", State: busy})
	m.Scored(answered(200))
	m.Scored(answered(200))
	m.Scored(&Request{Endpoint: "diabetes", Status: 401})
	m.Decided("blob", true)
	m.Decided("blob", false)
	text, kind := look(t, m, "")
	if !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
		t.Errorf("content type %s", kind)
	}
	has(t, text,
		`lapis_scoring_requests_total{deployment="blue",endpoint="diabetes",status="200"} 2`,
		`lapis_scoring_requests_total{deployment="",endpoint="diabetes",status="401"} 1`,
		`lapis_scoring_request_bytes_total{deployment="blue",endpoint="diabetes"} 200`,
		`lapis_scoring_request_duration_seconds_bucket{deployment="blue",endpoint="diabetes",le="0.0025"} 0`,
		`lapis_scoring_request_duration_seconds_bucket{deployment="blue",endpoint="diabetes",le="0.005"} 2`,
		`lapis_scoring_request_duration_seconds_bucket{deployment="blue",endpoint="diabetes",le="180"} 2`,
		`lapis_scoring_request_duration_seconds_sum{deployment="blue",endpoint="diabetes"} 0.006`,
		`lapis_scoring_queue_wait_seconds_bucket{deployment="blue",endpoint="diabetes",le="0.001"} 2`,
		`lapis_scoring_run_duration_seconds_count{deployment="blue",endpoint="diabetes"} 2`,
		`lapis_deployment_instances_wanted{deployment="blue",endpoint="diabetes"} 3`,
		`lapis_deployment_instances_ready{deployment="blue",endpoint="diabetes"} 2`,
		`lapis_deployment_asleep{deployment="green",endpoint="diabetes"} 1`,
		`lapis_deployment_queued_requests{deployment="blue",endpoint="diabetes"} 4`,
		`lapis_deployment_in_flight_requests{deployment="blue",endpoint="diabetes"} 2`,
		`lapis_deployment_cold_starts_total{deployment="blue",endpoint="diabetes"} 1`,
		`lapis_deployment_instance_restarts_total{deployment="blue",endpoint="diabetes"} 5`,
		`lapis_deployment_throttled_requests_total{deployment="blue",endpoint="diabetes"} 6`,
		`lapis_instance_cpu_seconds_total{deployment="blue",endpoint="diabetes",instance="0"} 1.5`,
		`lapis_instance_memory_bytes{deployment="blue",endpoint="diabetes",instance="0"} 1.048576e+06`,
		`lapis_mirror_requests_total{deployment="green",endpoint="diabetes",outcome="dropped"} 3`,
		`lapis_mirror_compared_total{deployment="green",endpoint="diabetes",result="different_body"} 4`,
		`lapis_access_decisions_total{decision="denied",plane="blob"} 1`,
		`lapis_tokens_signed_total 7`,
	)
	for _, part := range []string{"\nlapis_build_info{goversion=\"go", "\ngo_goroutines ", "\nprocess_cpu_seconds_total "} {
		if !strings.Contains(text, part) {
			t.Errorf("there is no %q", part)
		}
	}
}

func TestMetricsFollowPrometheusConventions(t *testing.T) {
	m := NewMetrics(MetricsConfig{State: busy})
	m.Scored(answered(200))
	m.Decided("blob", true)
	text, _ := look(t, m, "")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "lapis_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestMetricsAreOpenMetricsForWhoAcceptsThem(t *testing.T) {
	m := NewMetrics(MetricsConfig{State: busy})
	text, kind := look(t, m, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
	if !strings.HasPrefix(kind, "application/openmetrics-text") || !strings.HasSuffix(text, "# EOF\n") {
		t.Errorf("%s: ends %q", kind, text[max(0, len(text)-40):])
	}
}

func TestUnknownHostsMakeNoSeries(t *testing.T) {
	m := NewMetrics(MetricsConfig{State: busy})
	for n := range 100 {
		m.Scored(&Request{Path: fmt.Sprint("/", n), Status: 404})
	}
	text, _ := look(t, m, "")
	has(t, text, "lapis_scoring_unknown_host_requests_total 100")
	if strings.Contains(text, "lapis_scoring_requests_total{") {
		t.Error("requests to unknown hosts have series")
	}
}

func TestSeriesOfWhatIsDeletedGo(t *testing.T) {
	now := busy()
	m := NewMetrics(MetricsConfig{State: func() State { return now }})
	m.Scored(answered(200))
	green := answered(424)
	green.Deployment = "green"
	m.Scored(green)
	now.Endpoints[0].Deployments = now.Endpoints[0].Deployments[1:]
	text, _ := look(t, m, "")
	if strings.Contains(text, `"blue"`) {
		t.Errorf("the deleted deployment has series:\n%s", text)
	}
	has(t, text, `lapis_scoring_requests_total{deployment="green",endpoint="diabetes",status="424"} 1`)
	now.Endpoints = nil
	if text, _ = look(t, m, ""); strings.Contains(text, `"diabetes"`) {
		t.Errorf("the deleted endpoint has series:\n%s", text)
	}
}

// Where nobody scrapes, deployments that come and go leave nothing behind.
func TestSeriesStayFewWithoutALook(t *testing.T) {
	name := ""
	m := NewMetrics(MetricsConfig{State: func() State {
		return State{Endpoints: []Endpoint{{Name: name, Deployments: []Deployment{{Name: "blue"}}}}}
	}})
	for n := range 5 * fewSeries {
		name = fmt.Sprint("e", n)
		m.Scored(&Request{Endpoint: name, Deployment: "blue", Status: 200})
	}
	if len(m.series) > fewSeries {
		t.Errorf("%d series are kept", len(m.series))
	}
}

func TestCountingARequestAllocatesNothing(t *testing.T) {
	m := NewMetrics(MetricsConfig{State: busy})
	r := answered(200)
	if n := testing.AllocsPerRun(100, func() { m.Scored(r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { m.Decided("blob", true) }); n > 0 {
		t.Errorf("%v allocations for a decision", n)
	}
}

func BenchmarkScored(b *testing.B) {
	m := NewMetrics(MetricsConfig{State: busy})
	r := answered(200)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Scored(r)
		}
	})
}
