package telemetry

import (
	"net/http"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// MetricsConfig says what Metrics shows.
type MetricsConfig struct {
	Version string
	State   func() State // called at every look
}

// Metrics counts what happens, and shows that and what is. It is safe for use
// by several goroutines. Make it with [NewMetrics].
type Metrics struct {
	state    func() State
	registry *prometheus.Registry
	codes    [600]string // statuses as texts, so that counting makes none

	requests       *prometheus.CounterVec
	received, sent *prometheus.CounterVec
	total, wait    *prometheus.HistogramVec
	run            *prometheus.HistogramVec
	unknownHosts   prometheus.Counter
	decisions      *prometheus.CounterVec

	mu     sync.RWMutex
	series map[place]*series
	enough int // as many series have us look which of them are of the past
}

// place is what the series of a request are named by.
type place struct{ endpoint, deployment string }

// series are those of one place.
type series struct {
	requests         *prometheus.CounterVec // by status
	received, sent   prometheus.Counter
	total, wait, run prometheus.Observer
}

const fewSeries = 256

// The bounds of the histograms' buckets in seconds: from what a small model
// takes to the longest that a request may.
func durations() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 180}
}

func waits() []float64 { return durations()[:14] }

// NewMetrics makes the metrics, with those of the Go runtime and the process.
func NewMetrics(cfg MetricsConfig) *Metrics {
	m := &Metrics{state: cfg.State, registry: prometheus.NewRegistry(), series: map[place]*series{}, enough: fewSeries}
	for status := range m.codes {
		m.codes[status] = strconv.Itoa(status)
	}
	of := []string{"endpoint", "deployment"}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, of)
	}
	m.requests = counter("lapis_scoring_requests_total",
		"Requests to online endpoints, by the status that the client got. Without a deployment: refused before one was picked.",
		"endpoint", "deployment", "status")
	m.received = counter("lapis_scoring_request_bytes_total", "Bytes of the bodies of requests.", of...)
	m.sent = counter("lapis_scoring_response_bytes_total", "Bytes of the bodies of answers.", of...)
	m.total = histogram("lapis_scoring_request_duration_seconds", "From a request's head to its answer.", durations())
	m.wait = histogram("lapis_scoring_queue_wait_seconds", "Waiting for an instance, of requests that an instance answered.", waits())
	m.run = histogram("lapis_scoring_run_duration_seconds", "In the script's run(), of requests for which it returned.", durations())
	m.unknownHosts = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "lapis_scoring_unknown_host_requests_total", Help: "Requests to host names of scoring that lead to no endpoint.",
	})
	m.decisions = counter("lapis_access_decisions_total", "Questions whether a principal may do something, by the plane that asked.", "plane", "decision")
	m.registry.MustRegister(
		m.requests, m.received, m.sent, m.total, m.wait, m.run, m.unknownHosts, m.decisions,
		newStateCollector(cfg.State, cfg.Version), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler shows the metrics in Prometheus' text format or as OpenMetrics,
// whichever the request accepts. It does not ask who looks.
func (m *Metrics) Handler() http.Handler {
	show := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.forget(m.state())
		show.ServeHTTP(w, r)
	})
}

// Scored counts a request.
func (m *Metrics) Scored(r *Request) {
	if r.Endpoint == "" {
		m.unknownHosts.Inc()
		return
	}
	s := m.of(place{r.Endpoint, r.Deployment})
	status := r.Status
	if status < 0 || status >= len(m.codes) {
		status = 0
	}
	s.requests.WithLabelValues(m.codes[status]).Inc()
	s.received.Add(float64(r.RequestBytes))
	s.sent.Add(float64(r.ResponseBytes))
	if r.Deployment == "" {
		return
	}
	s.total.Observe(r.Total.Seconds())
	if r.ModelStatus != 0 {
		s.wait.Observe(r.Queued.Seconds())
	}
	if r.Run > 0 {
		s.run.Observe(r.Run.Seconds())
	}
}

// Decided counts a question of access. plane is one of a few words.
func (m *Metrics) Decided(plane string, allowed bool) {
	decision := "denied"
	if allowed {
		decision = "allowed"
	}
	m.decisions.WithLabelValues(plane, decision).Inc()
}

func (m *Metrics) of(p place) *series {
	m.mu.RLock()
	s := m.series[p]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	m.mu.Lock()
	crowded := len(m.series) >= m.enough
	m.mu.Unlock()
	if crowded { // nobody looks, but deployments come and go
		m.forget(m.state())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s = m.series[p]; s == nil {
		s = m.newSeries(p)
		m.series[p] = s
	}
	return s
}

func (m *Metrics) newSeries(p place) *series {
	s := &series{
		requests: m.requests.MustCurryWith(prometheus.Labels{"endpoint": p.endpoint, "deployment": p.deployment}),
		received: m.received.WithLabelValues(p.endpoint, p.deployment),
		sent:     m.sent.WithLabelValues(p.endpoint, p.deployment),
	}
	if p.deployment != "" {
		s.total = m.total.WithLabelValues(p.endpoint, p.deployment)
		s.wait = m.wait.WithLabelValues(p.endpoint, p.deployment)
		s.run = m.run.WithLabelValues(p.endpoint, p.deployment)
	}
	return s
}

// forget removes the series of what is there no more.
func (m *Metrics) forget(now State) {
	live := map[place]bool{}
	for _, e := range now.Endpoints {
		live[place{e.Name, ""}] = true
		for _, d := range e.Deployments {
			live[place{e.Name, d.Name}] = true
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range m.series {
		if live[p] {
			continue
		}
		delete(m.series, p)
		m.requests.DeletePartialMatch(prometheus.Labels{"endpoint": p.endpoint, "deployment": p.deployment})
		m.received.DeleteLabelValues(p.endpoint, p.deployment)
		m.sent.DeleteLabelValues(p.endpoint, p.deployment)
		for _, h := range []*prometheus.HistogramVec{m.total, m.wait, m.run} {
			h.DeleteLabelValues(p.endpoint, p.deployment)
		}
	}
	m.enough = max(fewSeries, 2*len(m.series))
}
