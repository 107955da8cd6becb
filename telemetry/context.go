package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/trace"
)

// traceID is the trace that a request belongs to, in hexadecimal; "" if none.
func traceID(ctx context.Context) string {
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		return span.TraceID().String()
	}
	return ""
}
