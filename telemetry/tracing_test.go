package telemetry

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestTracesAreExportedWhereTheVariablesSaySo(t *testing.T) {
	for _, c := range []struct {
		variables string
		on        bool
		why       string
	}{
		{"", false, ""},
		{"OTEL_SERVICE_NAME=x OTEL_TRACES_SAMPLER=always_on", false, ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h:4318", true, ""},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://h:4318/v1/traces", true, ""},
		{"OTEL_TRACES_EXPORTER=otlp", true, ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h:4318 OTEL_TRACES_EXPORTER=none", false, ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h:4318 OTEL_SDK_DISABLED=true", false, ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h:4318 OTEL_TRACES_EXPORTER=zipkin", false, "there is otlp"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc", false, "http/protobuf"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h:4318 OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf", true, ""},
	} {
		env := map[string]string{}
		for variable := range strings.FieldsSeq(c.variables) {
			name, value, _ := strings.Cut(variable, "=")
			env[name] = value
		}
		on, why := wanted(func(name string) string { return env[name] })
		if on != c.on || !strings.Contains(why, c.why) || why != "" && c.why == "" {
			t.Errorf("%s: %v, %q", c.variables, on, why)
		}
	}
}

func TestTracingThatIsOffCostsNothing(t *testing.T) {
	off, err := NewTracing(t.Context(), TracingConfig{Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler)})
	if off != nil || err != nil {
		t.Fatalf("%v, %v", off, err)
	}
	face := http.NewServeMux()
	if off.Scoring(face) != http.Handler(face) || off.Face("blob", nil, face) != http.Handler(face) || off.TokenEndpoint("", face) != http.Handler(face) {
		t.Error("a handler is wrapped")
	}
	if off.Runtime(nil, "") != nil {
		t.Error("the runtime is wrapped")
	}
	r := answered(200)
	if n := testing.AllocsPerRun(100, func() { off.Scored(t.Context(), r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if err := off.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// What a request costs more where traces are exported.
func BenchmarkTraced(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	on, err := NewTracing(b.Context(), TracingConfig{Getenv: os.Getenv, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	told := answered(200)
	h := on.Scoring(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { on.Scored(r.Context(), told) }))
	r := httptest.NewRequest("POST", "http://diabetes.local.inference.ml.azure.com/score", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
}
