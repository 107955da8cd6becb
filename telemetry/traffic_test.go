package telemetry

import (
	"testing"
	"time"
)

func TestTrafficOfChosenDeployments(t *testing.T) {
	m := NewMetrics(MetricsConfig{State: func() State { return State{} }})
	for _, r := range []Request{
		{Endpoint: "one", Deployment: "blue", Status: 200, ModelStatus: 200, Total: 3 * time.Millisecond},
		{Endpoint: "one", Deployment: "blue", Status: 200, ModelStatus: 200, Total: 40 * time.Millisecond},
		{Endpoint: "one", Deployment: "blue", Status: 424, ModelStatus: 500, Total: time.Hour},
		{Endpoint: "one", Status: 401},
		{Endpoint: "two", Deployment: "blue", Status: 200, Total: time.Second},
		{Status: 404},
	} {
		m.Scored(&r)
	}
	got := m.Traffic(func(endpoint, _ string) bool { return endpoint == "one" })
	if len(got) != 1 || len(got["one"]) != 2 {
		t.Fatalf("traffic of %v", got)
	}
	blue := got["one"]["blue"]
	if blue.Requests != 3 || blue.Statuses[200] != 2 || blue.Statuses[424] != 1 || len(blue.Buckets) != len(Bounds()) {
		t.Errorf("blue: %+v", blue)
	}
	for i, bound := range Bounds() {
		want := uint64(0)
		for _, took := range []float64{.003, .04, 3600} {
			if took <= bound {
				want++
			}
		}
		if blue.Buckets[i] != want {
			t.Errorf("no longer than %v s: %d, want %d", bound, blue.Buckets[i], want)
		}
	}
	if refused := got["one"][""]; refused.Statuses[401] != 1 || refused.Requests != 0 {
		t.Errorf("refused: %+v", refused)
	}
	if none := m.Traffic(func(string, string) bool { return false }); len(none) != 0 {
		t.Errorf("nothing chosen: %v", none)
	}
}
