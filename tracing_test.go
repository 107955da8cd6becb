package lapis_test

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collected is what a collector of traces was sent.
type collected struct {
	mu    sync.Mutex
	spans []*trace.Span
	raw   strings.Builder
	names []string // of services
}

// collects runs a collector and leads a platform that is started next to it.
func collects(t *testing.T) *collected {
	t.Helper()
	c := &collected{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		data, err := io.ReadAll(body)
		var sent collector.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(data, &sent) != nil {
			t.Errorf("%s: %v", r.URL.Path, err)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw.Write(data)
		for _, about := range sent.ResourceSpans {
			for _, a := range about.Resource.Attributes {
				if a.Key == "service.name" {
					c.names = append(c.names, a.Value.GetStringValue())
				}
			}
			for _, scope := range about.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	t.Setenv("OTEL_SERVICE_NAME", "laptop")
	return c
}

// of returns the spans of a trace by their names.
func (c *collected) of(id string) map[string][]*trace.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[string][]*trace.Span{}
	for _, s := range c.spans {
		if hex.EncodeToString(s.TraceId) == id {
			found[s.Name] = append(found[s.Name], s)
		}
	}
	return found
}

func attributeOf(s *trace.Span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return strings.Trim(strings.TrimSpace(strings.SplitN(fmt.Sprint(a.Value), ":", 2)[1]), `"`)
		}
	}
	return ""
}

// reads is a deployment whose run() reads a blob with the endpoint's identity.
func (p *platform) reads(endpoint, account, script string) (key string) {
	p.t.Helper()
	id := p.storage(account)
	made := p.createEndpoint(endpoint, object{"type": "SystemAssigned"})
	p.grant(made.str("identity.principalId"), "Storage Blob Data Reader", id)
	code := p.upload("codes", endpoint, "onlinescoring", map[string]string{"score.py": script})
	if op := p.deploy(endpoint, "blue", p.deploymentBody(code, p.environment(), map[string]string{"ACCOUNT": account})); op.str("status") != "Succeeded" {
		p.t.Fatal(op.text)
	}
	p.settle(p.traffic(endpoint, object{"blue": 100}))
	return p.key(endpoint)
}

const tracedScript = blobScript + `
def init(): pass

def run(raw):
    return read()
`

func TestTraceJoinsClientFrontScriptTokenAndBlob(t *testing.T) {
	c := collects(t)
	p := start(t, t.TempDir())
	key := p.reads("traced", "tracedone", tracedScript)
	const id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	a := p.must(p.do("POST", "https://traced."+p.info.Location+".inference.ml.azure.com/score", map[string]string{
		"Authorization": "Bearer " + key, "Content-Type": "application/json", "traceparent": "00-" + id + "-" + parent + "-01",
	}, []byte(`{}`)), 200)
	if !strings.Contains(a.text, "Hello world!") {
		t.Fatal(a.text)
	}
	want := map[string]string{ // span to its parent
		"POST /score": "", "queue": "POST /score", "run": "POST /score", "GET token": "run", "GET blob": "run",
	}
	eventually(t, "all spans are exported", func() bool { return len(c.of(id)) >= len(want) })
	spans := c.of(id)
	for name, above := range want {
		if len(spans[name]) != 1 {
			t.Fatalf("%d spans are called %q, of %v", len(spans[name]), name, spans)
		}
		expected := parent
		if above != "" {
			expected = hex.EncodeToString(spans[above][0].SpanId)
		}
		if got := hex.EncodeToString(spans[name][0].ParentSpanId); got != expected {
			t.Errorf("the parent of %q is %s, want %s (%q)", name, got, expected, above)
		}
	}
	if len(spans) != len(want) {
		t.Errorf("there are other spans: %v", spans)
	}
	run, front, blob := spans["run"][0], spans["POST /score"][0], spans["GET blob"][0]
	if blob.StartTimeUnixNano < run.StartTimeUnixNano || blob.EndTimeUnixNano > run.EndTimeUnixNano ||
		run.StartTimeUnixNano < front.StartTimeUnixNano || run.EndTimeUnixNano > front.EndTimeUnixNano {
		t.Errorf("the times do not lie in one another: front %d to %d, run %d to %d, blob %d to %d", front.StartTimeUnixNano,
			front.EndTimeUnixNano, run.StartTimeUnixNano, run.EndTimeUnixNano, blob.StartTimeUnixNano, blob.EndTimeUnixNano)
	}
	for _, w := range []struct{ span, key, value string }{
		{"POST /score", "http.response.status_code", "200"}, {"POST /score", "lapis.endpoint", "traced"}, {"POST /score", "lapis.deployment", "blue"},
		{"POST /score", "http.route", "/score"}, {"run", "lapis.instance", "traced/blue/0"}, {"GET token", "lapis.instance", "traced/blue/0"},
		{"GET blob", "http.response.status_code", "200"}, {"GET blob", "url.path", "/box/hello.txt"},
	} {
		if got := attributeOf(spans[w.span][0], w.key); got != w.value {
			t.Errorf("%s of %q is %q, want %q", w.key, w.span, got, w.value)
		}
	}
	if !strings.Contains(p.logs.String(), "trace_id="+id) {
		t.Error("the access line does not name the trace")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.names, "laptop") {
		t.Errorf("the service is called %v", c.names)
	}
	for what, secret := range map[string]string{"key": key, "owner's secret": p.info.ClientSecret, "token": "eyJ", "signature": "sig=", "body": "Hello world!"} {
		if strings.Contains(c.raw.String(), secret) {
			t.Errorf("the spans hold a %s", what)
		}
	}
}
