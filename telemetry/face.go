package telemetry

import (
	"net"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Face traces the requests to one of the platform's faces. A request without a
// traceparent of its own, from an instance that is known by key, belongs to
// what that instance runs; key returns "" for one that is from none.
func (t *Tracing) Face(name string, key func(*http.Request) string, next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := t.carry.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		attributes := append(serverAttributes(r), attribute.String("lapis.plane", name))
		if in := t.asker.of(key(r)); in != nil {
			attributes = append(attributes, attribute.String("lapis.instance", in.name))
			if f := in.running(); f != nil && !trace.SpanContextFromContext(ctx).IsValid() {
				ctx = trace.ContextWithRemoteSpanContext(ctx, f.run)
			}
		}
		ctx, span := t.tracer.Start(ctx, method(r)+" "+name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes...))
		defer span.End()
		out := &noted{ResponseWriter: w}
		next.ServeHTTP(out, r.WithContext(ctx))
		if out.status == 0 {
			out.status = http.StatusOK
		}
		span.SetAttributes(attribute.Int("http.response.status_code", out.status))
		if denied := out.Header().Get("x-lapis-denied"); denied != "" {
			span.SetAttributes(attribute.String("lapis.denied", denied))
		}
		if out.status >= 500 {
			span.SetStatus(codes.Error, "")
		}
	})
}

// TokenEndpoint traces the token endpoint of the instance that listens at an
// address.
func (t *Tracing) TokenEndpoint(address string, next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return t.Face("token", func(*http.Request) string { return address }, next)
}

// serverAttributes are those of OpenTelemetry's conventions for HTTP servers.
// The query is left out: signatures stand there.
func serverAttributes(r *http.Request) []attribute.KeyValue {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	list := []attribute.KeyValue{
		attribute.String("http.request.method", method(r)), attribute.String("url.scheme", scheme),
		attribute.String("url.path", clip(r.URL.Path)), attribute.String("server.address", clip(host)),
	}
	if _, version, ok := strings.Cut(r.Proto, "/"); ok {
		list = append(list, attribute.String("network.protocol.version", version))
	}
	if agent := r.UserAgent(); agent != "" {
		list = append(list, attribute.String("user_agent.original", clip(agent)))
	}
	return list
}

// method is a request's, if it is one of HTTP's.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "_OTHER"
}

// noted notes the status of an answer.
type noted struct {
	http.ResponseWriter
	status int
}

func (n *noted) WriteHeader(status int) {
	if n.status == 0 && status >= 200 {
		n.status = status
	}
	n.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController through.
func (n *noted) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// clip bounds what outside text brings into attributes.
func clip(s string) string {
	const most = 1024
	if len(s) > most {
		return s[:most]
	}
	return s
}
