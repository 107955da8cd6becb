package lapis

import (
	"context"
	"net/http"
	"os"
	"time"

	"lapis/arm"
	"lapis/page"
	"lapis/rbac"
	"lapis/scoring"
	"lapis/telemetry"
)

// metricsPath is where Prometheus looks, at Resource Manager's names and in
// plain HTTP at the gateway's own address.
const metricsPath = "/metrics"

// readMetrics is what looking at metrics needs, at the subscription. Azure's
// role for it is Monitoring Reader.
const readMetrics = "Microsoft.Insights/metrics/read"

// The planes that ask who may do what.
const (
	managementPlane = "management"
	blobPlane       = "blob"
	registryPlane   = "registry"
	scoringPlane    = "scoring"
)

// flushTime bounds the sending of the last traces.
const flushTime = 3 * time.Second

// openTelemetry makes what tells of the rest.
func (s *Server) openTelemetry(ctx context.Context) error {
	s.metrics = telemetry.NewMetrics(telemetry.MetricsConfig{Version: Version(), State: s.observed})
	var err error
	s.tracing, err = telemetry.NewTracing(ctx, telemetry.TracingConfig{Version: Version(), Getenv: os.Getenv, Log: s.cfg.Log})
	s.onClose(func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTime)
		defer cancel()
		if err := s.tracing.Close(ctx); err != nil {
			s.cfg.Log.Warn("the last traces were not exported", "error", err)
		}
	})
	return err
}

// metricsRoute is the row that shows the metrics.
func (s *Server) metricsRoute() arm.Route {
	show := s.metrics.Handler()
	return arm.Route{
		Method: http.MethodGet, Path: metricsPath, Action: readMetrics, Scope: "/subscriptions/" + s.home.Subscription,
		Handle: func(*arm.Request) (arm.Answer, error) { return arm.Answer{Handler: show}, nil },
	}
}

// newPage makes the page that shows all this to people.
func (s *Server) newPage() *page.Face {
	look := page.New(page.Config{
		Tree: s.tree, Operations: s.operations, Roles: s.roles, Directory: s.directory, Metrics: s.metrics, Refusals: &s.refusals,
		Observed: s.observed, Authenticate: s.authenticatePage, Authorize: s.requireOn(managementPlane),
		Tenant: s.home.Tenant, Subscription: s.home.Subscription, Version: Version(), Now: s.cfg.Now, Log: s.cfg.Log,
	})
	s.onClose(look.Close)
	return look
}

// decided counts an answer of the roles, and remembers a refusal.
func (s *Server) decided(q rbac.Query, allowed bool) {
	plane := q.Plane
	if plane == "" {
		plane = managementPlane
	}
	s.metrics.Decided(plane, allowed)
	if !allowed {
		q.Plane = plane
		s.refusals.Add(q, s.cfg.Now())
	}
}

// scored is told of each request to an endpoint.
func (s *Server) scored(ctx context.Context, e scoring.Event) {
	r := telemetry.Request(e)
	s.metrics.Scored(&r)
	s.tracing.Scored(ctx, &r)
	telemetry.AccessLine(ctx, s.cfg.Log, s.cfg.AccessLog, &r)
}

// observed is the platform as it is now.
func (s *Server) observed() telemetry.State {
	var now telemetry.State
	if s.issuer != nil {
		now.Tokens = s.issuer.Signatures()
	}
	if s.front == nil {
		return now
	}
	instances := s.meters.Instances()
	for host, e := range s.front.Endpoints() {
		shown := telemetry.Endpoint{Name: e.Name}
		for name, pool := range e.Deployments {
			d := observedPool(name, pool.State())
			d.Instances = instances[e.Name+"/"+name]
			shown.Deployments = append(shown.Deployments, d)
		}
		if m, ok := s.front.Mirror(host); ok {
			shown.Mirror = &telemetry.Mirror{
				Deployment: m.Deployment, Pending: m.Pending, Answered: m.Answered, Failed: m.Failed, Dropped: m.Dropped,
			}
			if report, ok := s.front.MirrorReport(host, m.Deployment); ok {
				shown.Mirror.Compared = compared(report)
			}
		}
		now.Endpoints = append(now.Endpoints, shown)
	}
	return now
}

func compared(r scoring.MirrorReport) []telemetry.Compared {
	return []telemetry.Compared{
		{Result: "same", Count: r.Same}, {Result: "different_status", Count: r.DifferentStatus},
		{Result: "different_type", Count: r.DifferentType}, {Result: "different_body", Count: r.DifferentBody},
		{Result: "shadow_failed", Count: r.ShadowFailed}, {Result: "not_compared", Count: r.NotCompared},
	}
}

func observedPool(name string, p scoring.State) telemetry.Deployment {
	return telemetry.Deployment{
		Name: name, Wanted: p.Instances, Ready: p.Ready, Asleep: p.Asleep, Queued: p.Queued, InFlight: p.InFlight,
		ColdStarts: p.ColdStarts, FailedStarts: p.FailedStarts, Restarts: p.Restarts, Throttled: p.Throttled,
	}
}
