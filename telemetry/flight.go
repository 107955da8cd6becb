package telemetry

import (
	"context"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// flight is one traced request to an endpoint, from its head to the end of
// run().
type flight struct {
	tracing *Tracing
	ctx     context.Context   // of the server's span, and not cancelled with the request
	run     trace.SpanContext // of run(), before there is that span

	mu    sync.Mutex
	given time.Time // when an instance was last given the request
	told  Request   // what [Tracing.Scored] was told
}

type flightKey struct{}

func flightOf(ctx context.Context) *flight {
	f, _ := ctx.Value(flightKey{}).(*flight)
	return f
}

// Scoring traces the requests to endpoints. The script gets a traceparent by
// which spans of its own are below run().
func (t *Tracing) Scoring(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := propagation.HeaderCarrier(r.Header)
		ctx, span := t.tracer.Start(t.carry.Extract(r.Context(), header), method(r), trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(serverAttributes(r)...))
		f := &flight{tracing: t}
		own := span.SpanContext()
		f.run = trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: own.TraceID(), SpanID: ids{}.NewSpanID(context.Background(), own.TraceID()),
			TraceFlags: own.TraceFlags(), TraceState: own.TraceState(),
		})
		ctx = context.WithValue(ctx, flightKey{}, f)
		f.ctx = context.WithoutCancel(ctx)
		r = r.WithContext(ctx)
		r.Header = r.Header.Clone()
		t.carry.Inject(trace.ContextWithSpanContext(ctx, f.run), propagation.HeaderCarrier(r.Header))
		defer f.end(span)
		next.ServeHTTP(w, r)
	})
}

// Scored is told of a request after its answer.
func (t *Tracing) Scored(ctx context.Context, r *Request) {
	if t == nil {
		return
	}
	if f := flightOf(ctx); f != nil {
		f.mu.Lock()
		f.told = *r
		f.mu.Unlock()
	}
}

// end ends the server's span, and makes that of the queue.
func (f *flight) end(span trace.Span) {
	f.mu.Lock()
	r, given := f.told, f.given
	f.mu.Unlock()
	if !given.IsZero() && r.Queued > 0 {
		_, queue := f.tracing.tracer.Start(f.ctx, "queue", trace.WithTimestamp(given.Add(-r.Queued)))
		queue.End(trace.WithTimestamp(given))
	}
	if r.Route != "" && r.Route != "other" { // the path is one of a few
		span.SetName(r.Method + " " + r.Path)
		span.SetAttributes(attribute.String("http.route", r.Path))
	}
	span.SetAttributes(
		attribute.Int("http.response.status_code", r.Status),
		attribute.Int("http.request.body.size", r.RequestBytes),
		attribute.Int("http.response.body.size", r.ResponseBytes),
		attribute.String("lapis.request_id", r.RequestID),
	)
	for _, one := range []struct{ key, value string }{
		{"lapis.endpoint", r.Endpoint}, {"lapis.deployment", r.Deployment}, {"lapis.reason", r.Reason},
	} {
		if one.value != "" {
			span.SetAttributes(attribute.String(one.key, one.value))
		}
	}
	if r.ModelStatus != 0 {
		span.SetAttributes(attribute.Int("lapis.model_status", r.ModelStatus))
	}
	if r.Status >= 500 || r.Status == http.StatusFailedDependency { // 424 is a failure on this side of the wire
		span.SetStatus(codes.Error, r.Reason)
	}
	span.End()
}

// ran makes the span of run(), or of the part of it that the instance got to.
func (f *flight) ran(instance string, end time.Time, busy time.Duration, status int, err error) {
	ctx := context.WithValue(f.ctx, spanIDKey{}, f.run.SpanID())
	_, span := f.tracing.tracer.Start(ctx, "run", trace.WithTimestamp(end.Add(-busy)),
		trace.WithAttributes(attribute.String("lapis.instance", instance)))
	switch {
	case err != nil:
		span.SetStatus(codes.Error, err.Error())
	case status >= 500:
		span.SetStatus(codes.Error, "")
	}
	if status != 0 {
		span.SetAttributes(attribute.Int("lapis.model_status", status))
	}
	span.End(trace.WithTimestamp(end))
}
