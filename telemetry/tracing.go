package telemetry

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracing makes spans of requests, of run(), and of what scripts ask of the
// platform meanwhile. There is one only where traces are exported: a nil
// *Tracing does nothing and costs nothing.
type Tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	carry    propagation.TraceContext
	asker    instances
}

// TracingConfig says where spans go.
type TracingConfig struct {
	Version string
	Getenv  func(string) string // OpenTelemetry's variables; the exporter and the sampler read theirs themselves
	Log     *slog.Logger
}

// NewTracing returns nil, nil unless OpenTelemetry's variables name an
// exporter: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or
// OTEL_TRACES_EXPORTER=otlp.
func NewTracing(ctx context.Context, cfg TracingConfig) (*Tracing, error) {
	on, why := wanted(cfg.Getenv)
	if why != "" {
		cfg.Log.Warn("traces are not exported", "reason", why)
	}
	if !on {
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("the exporter of traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "lapis"), attribute.String("service.version", cfg.Version)),
		resource.WithFromEnv()) // later ones win
	if err != nil {
		return nil, fmt.Errorf("what OTEL_RESOURCE_ATTRIBUTES says: %w", err)
	}
	t := &Tracing{provider: sdktrace.NewTracerProvider(
		sdktrace.WithResource(about), sdktrace.WithIDGenerator(ids{}), sdktrace.WithBatcher(&quiet{SpanExporter: exporter, log: cfg.Log}),
	)}
	t.tracer = t.provider.Tracer("lapis", trace.WithInstrumentationVersion(cfg.Version))
	return t, nil
}

// wanted decides by the variables whether traces are exported; why is a
// sentence for the log where somebody seems to want what is not done.
func wanted(getenv func(string) string) (on bool, why string) {
	first := func(names ...string) string {
		for _, name := range names {
			if value := strings.TrimSpace(getenv(name)); value != "" {
				return value
			}
		}
		return ""
	}
	if strings.EqualFold(first("OTEL_SDK_DISABLED"), "true") {
		return false, ""
	}
	endpoint := first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	switch exporter := first("OTEL_TRACES_EXPORTER"); exporter {
	case "":
		if endpoint == "" {
			return false, ""
		}
	case "none":
		return false, ""
	case "otlp":
	default:
		return false, fmt.Sprintf("OTEL_TRACES_EXPORTER is %.40q; there is otlp, and none", exporter)
	}
	switch protocol := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); protocol {
	case "", "http/protobuf":
		return true, ""
	default:
		return false, fmt.Sprintf("the OTLP protocol is %.40q; there is http/protobuf, at port 4318 of most collectors", protocol)
	}
}

// Close sends what is left, as long as ctx allows.
func (t *Tracing) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// quiet is an exporter whose failures are a line in our log, once a minute: a
// collector that is away is no reason to fill it.
type quiet struct {
	sdktrace.SpanExporter
	log *slog.Logger

	mu   sync.Mutex
	last time.Time
}

func (q *quiet) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := q.SpanExporter.ExportSpans(ctx, spans)
	q.mu.Lock()
	defer q.mu.Unlock()
	if now := time.Now(); err != nil && now.Sub(q.last) > time.Minute {
		q.last = now
		q.log.Warn("traces could not be exported", "spans", len(spans), "error", err)
	}
	return nil
}

// ids draws the ids of traces and spans. A span whose id was given out before
// it began has that: scripts and the calls they make name run() as their
// parent while it runs, and its times are known when it is over.
type ids struct{}

type spanIDKey struct{}

func (ids) NewIDs(ctx context.Context) (id trace.TraceID, span trace.SpanID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id, ids{}.NewSpanID(ctx, id)
}

func (ids) NewSpanID(ctx context.Context, _ trace.TraceID) (id trace.SpanID) {
	if id, ok := ctx.Value(spanIDKey{}).(trace.SpanID); ok {
		return id
	}
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

// traceID is the trace that a request belongs to, in hexadecimal; "" if none.
func traceID(ctx context.Context) string {
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		return span.TraceID().String()
	}
	return ""
}
