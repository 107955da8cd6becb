package telemetry

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Traffic is what clients have asked of a deployment since it was made or the
// platform was started. Everything in it only grows.
type Traffic struct {
	Statuses map[int]uint64 // requests by the status that the client got
	Buckets  []uint64       // requests that took no longer than the bound of [Bounds] at the same place
	Requests uint64         // those of Buckets, and those that took longer
}

// Bounds are those of [Traffic.Buckets] in seconds.
func Bounds() []float64 { return durations() }

// Traffic tells what the chosen deployments have had. The deployment "" of an
// endpoint has what was refused before one was picked, without durations.
func (m *Metrics) Traffic(chosen func(endpoint, deployment string) bool) map[string]map[string]*Traffic {
	found := map[string]map[string]*Traffic{}
	var times []prometheus.Metric
	m.mu.RLock()
	for p, s := range m.series {
		if !chosen(p.endpoint, p.deployment) {
			continue
		}
		if found[p.endpoint] == nil {
			found[p.endpoint] = map[string]*Traffic{}
		}
		found[p.endpoint][p.deployment] = &Traffic{Statuses: map[int]uint64{}}
		if one, ok := s.total.(prometheus.Metric); ok {
			times = append(times, one)
		}
	}
	m.mu.RUnlock()
	if len(found) > 0 {
		read(found, m.requests, metrics(times))
	}
	return found
}

// metrics are a collector of those that it is made of.
type metrics []prometheus.Metric

// Describe tells nothing: the registry takes what comes.
func (metrics) Describe(chan<- *prometheus.Desc) {}

// Collect gives them.
func (list metrics) Collect(to chan<- prometheus.Metric) {
	for _, one := range list {
		to <- one
	}
}

// read fills traffic from counters by status and histograms of durations.
func read(found map[string]map[string]*Traffic, from ...prometheus.Collector) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(from...)
	families, _ := registry.Gather() // what is inconsistent is left out
	for _, family := range families {
		for _, one := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range one.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			t := found[labels["endpoint"]][labels["deployment"]]
			if t == nil {
				continue
			}
			if h := one.GetHistogram(); h != nil {
				t.Requests = h.GetSampleCount()
				for _, bucket := range h.GetBucket() {
					t.Buckets = append(t.Buckets, bucket.GetCumulativeCount())
				}
				continue
			}
			status, _ := strconv.Atoi(labels["status"])
			t.Statuses[status] += uint64(one.GetCounter().GetValue())
		}
	}
}
