package telemetry

import (
	"runtime"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// stateCollector shows what is, at each look.
type stateCollector struct {
	state   func() State
	version string

	build, tokens                     *prometheus.Desc
	wanted, ready, asleep             *prometheus.Desc
	queued, inFlight                  *prometheus.Desc
	coldStarts, restarts              *prometheus.Desc
	failedStarts, throttled           *prometheus.Desc
	cpu, memory, processes            *prometheus.Desc
	mirrored, mirrorPending, compared *prometheus.Desc
}

func newStateCollector(state func() State, version string) *stateCollector {
	of := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"endpoint", "deployment"}, more...), nil)
	}
	return &stateCollector{
		state: state, version: version,
		build:  prometheus.NewDesc("lapis_build_info", "The program that runs.", []string{"version", "goversion"}, nil),
		tokens: prometheus.NewDesc("lapis_tokens_signed_total", "Tokens signed. One that is kept and given again counts once.", nil, nil),

		wanted:       of("lapis_deployment_instances_wanted", "Instances that the deployment is to have."),
		ready:        of("lapis_deployment_instances_ready", "Instances that answer."),
		asleep:       of("lapis_deployment_asleep", "1 while the deployment is scaled to zero."),
		queued:       of("lapis_deployment_queued_requests", "Requests that wait for an instance."),
		inFlight:     of("lapis_deployment_in_flight_requests", "Requests that an instance has."),
		coldStarts:   of("lapis_deployment_cold_starts_total", "Starts from no instance to a ready one."),
		failedStarts: of("lapis_deployment_failed_cold_starts_total", "Starts from no instance to none."),
		restarts:     of("lapis_deployment_instance_restarts_total", "Instances started again after they had ended by themselves."),
		throttled:    of("lapis_deployment_throttled_requests_total", "Requests refused because too many were pending."),

		cpu:       of("lapis_instance_cpu_seconds_total", "Processor time of an instance since it was started.", "instance"),
		memory:    of("lapis_instance_memory_bytes", "Resident memory of an instance.", "instance"),
		processes: of("lapis_instance_processes", "Processes of an instance.", "instance"),

		mirrored:      of("lapis_mirror_requests_total", "Copies of live requests, by what became of them.", "outcome"),
		mirrorPending: of("lapis_mirror_pending_requests", "Copies of live requests that wait or run."),
		compared:      of("lapis_mirror_compared_total", "Mirrored answers compared with the live ones, by what they showed.", "result"),
	}
}

// Describe tells all descriptions; the registry asks once.
func (c *stateCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.build, c.tokens, c.wanted, c.ready, c.asleep, c.queued, c.inFlight, c.coldStarts, c.failedStarts, c.restarts,
		c.throttled, c.cpu, c.memory, c.processes, c.mirrored, c.mirrorPending, c.compared,
	} {
		to <- d
	}
}

// Collect reads the state.
func (c *stateCollector) Collect(to chan<- prometheus.Metric) {
	now := c.state()
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(c.build, 1, c.version, runtime.Version())
	count(c.tokens, float64(now.Tokens))
	for _, e := range now.Endpoints {
		for _, d := range e.Deployments {
			asleep := 0.0
			if d.Asleep {
				asleep = 1
			}
			gauge(c.wanted, float64(d.Wanted), e.Name, d.Name)
			gauge(c.ready, float64(d.Ready), e.Name, d.Name)
			gauge(c.asleep, asleep, e.Name, d.Name)
			gauge(c.queued, float64(d.Queued), e.Name, d.Name)
			gauge(c.inFlight, float64(d.InFlight), e.Name, d.Name)
			count(c.coldStarts, float64(d.ColdStarts), e.Name, d.Name)
			count(c.failedStarts, float64(d.FailedStarts), e.Name, d.Name)
			count(c.restarts, float64(d.Restarts), e.Name, d.Name)
			count(c.throttled, float64(d.Throttled), e.Name, d.Name)
			for _, i := range d.Instances {
				index := strconv.Itoa(i.Index)
				count(c.cpu, i.CPU.Seconds(), e.Name, d.Name, index)
				gauge(c.memory, float64(i.Memory), e.Name, d.Name, index)
				gauge(c.processes, float64(i.Processes), e.Name, d.Name, index)
			}
		}
		if m := e.Mirror; m != nil {
			gauge(c.mirrorPending, float64(m.Pending), e.Name, m.Deployment)
			count(c.mirrored, float64(m.Answered), e.Name, m.Deployment, "answered")
			count(c.mirrored, float64(m.Failed), e.Name, m.Deployment, "failed")
			count(c.mirrored, float64(m.Dropped), e.Name, m.Deployment, "dropped")
			for _, pair := range m.Compared {
				count(c.compared, float64(pair.Count), e.Name, m.Deployment, pair.Result)
			}
		}
	}
}
