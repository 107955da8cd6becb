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
	"time"

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

// A script of which each request says what it does.
const takingPartScript = blobScript + `
import threading, time

def init(): pass

def get(header):
    url = os.environ["MSI_ENDPOINT"] + "?resource=https://storage.azure.com/"
    ask = urllib.request.Request(url, headers={"secret": os.environ["MSI_SECRET"]})
    token = json.load(urllib.request.urlopen(ask))["access_token"]
    blob = "https://" + os.environ["ACCOUNT"] + ".blob.core.windows.net/box/hello.txt"
    header.update({"Authorization": "Bearer " + token, "x-ms-version": "2019-02-02"})
    return urllib.request.urlopen(urllib.request.Request(blob, headers=header)).read().decode()

def later():
    time.sleep(0.3)
    get({"User-Agent": "background"})

def run(what, request_headers):
    came = {name.lower(): value for name, value in request_headers.items()}.get("traceparent", "")
    if what == "own":
        get({"traceparent": came[:36] + "00000000000000aa" + came[52:]})
    elif what == "background":
        threading.Thread(target=later).start()
    elif what == "die":
        os._exit(3)
    else:
        get({})
    return [came, os.environ.get("HTTPS_PROXY", "")]
`

func TestScriptsThatTakePartInTracingAreNotOverruled(t *testing.T) {
	c := collects(t)
	p := start(t, t.TempDir())
	key := p.reads("partners", "partners1", takingPartScript)
	ask := func(id, flags, what string) answer {
		return p.do("POST", "https://partners."+p.info.Location+".inference.ml.azure.com/score", map[string]string{
			"Authorization": "Bearer " + key, "traceparent": "00-" + id + "-b7ad6b7169203331-" + flags, "tracestate": "vendor=x",
		}, []byte(what))
	}

	const own = "00000000000000000000000000000001"
	a := p.must(ask(own, "01", "own"), 200)
	eventually(t, "all spans are exported", func() bool { return len(c.of(own)) == 5 })
	spans := c.of(own)
	run := hex.EncodeToString(spans["run"][0].SpanId)
	if !strings.Contains(a.text, "00-"+own+"-"+run+"-01") {
		t.Errorf("the script got %s, but run() is %s", a.text, run)
	}
	if got := hex.EncodeToString(spans["GET blob"][0].ParentSpanId); got != "00000000000000aa" {
		t.Errorf("the parent of the blob call is %s, not the script's own span", got)
	}

	// Concurrent requests, one instance: each trace has its own calls.
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			if a := ask(fmt.Sprintf("%032x", 100+n), "01", "many"); a.status != 200 && a.status != 429 {
				t.Errorf("%d %s", a.status, a.text)
			}
		})
	}
	all.Wait()
	whole := 0
	for n := range 16 {
		id := fmt.Sprintf("%032x", 100+n)
		eventually(t, "the front's span is exported", func() bool { return len(c.of(id)["POST /score"]) == 1 })
		if attributeOf(c.of(id)["POST /score"][0], "http.response.status_code") != "200" {
			continue
		}
		whole++
		eventually(t, "all spans are exported", func() bool { return len(c.of(id)) >= 4 })
		spans := c.of(id)
		for _, name := range []string{"run", "GET token", "GET blob"} {
			if len(spans[name]) != 1 {
				t.Errorf("trace %s has %d spans called %q", id, len(spans[name]), name)
			}
		}
	}
	if whole == 0 {
		t.Error("no request was answered")
	}

	// A thread that goes on when its request is over belongs to no request.
	const background = "00000000000000000000000000000002"
	p.must(ask(background, "01", "background"), 200)
	eventually(t, "the thread's call is exported", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.ContainsFunc(c.spans, func(s *trace.Span) bool {
			return attributeOf(s, "user_agent.original") == "background" && len(s.ParentSpanId) == 0 && attributeOf(s, "lapis.instance") == "partners/blue/0"
		})
	})
	if spans := c.of(background); len(spans["GET blob"]) != 0 {
		t.Errorf("the thread's call is in the trace of a request that was over")
	}

	// A run that ends its process is told with its error.
	const died = "00000000000000000000000000000003"
	p.must(ask(died, "01", "die"), 424)
	eventually(t, "the failed run is exported", func() bool { return len(c.of(died)["run"]) == 1 })
	if status := c.of(died)["run"][0].Status.GetCode(); status != trace.Status_STATUS_CODE_ERROR {
		t.Errorf("the run that died has status %v", status)
	}

	// A client that does not want its request sampled is heard.
	const unsampled, last = "00000000000000000000000000000004", "00000000000000000000000000000005"
	eventually(t, "the instance is back", func() bool { return ask(unsampled, "00", "x").status == 200 })
	p.must(ask(last, "01", "x"), 200)
	eventually(t, "a later span is exported", func() bool { return len(c.of(last)["POST /score"]) == 1 })
	if spans := c.of(unsampled); len(spans) != 0 {
		t.Errorf("spans of an unsampled trace: %v", spans)
	}
}

func TestWithoutAnExporterScriptsSeeNoTracing(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	p := start(t, t.TempDir())
	key := p.reads("untraced", "untraced1", takingPartScript)
	if a := p.must(p.score("untraced", key, "x"), 200); a.text != `["", "`+p.info.Proxy+`"]` {
		t.Errorf("the script sees %s", a.text)
	}
	const theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	a := p.must(p.do("POST", "https://untraced."+p.info.Location+".inference.ml.azure.com/score",
		map[string]string{"Authorization": "Bearer " + key, "traceparent": theirs}, []byte("x")), 200)
	if !strings.Contains(a.text, theirs) {
		t.Errorf("the client's traceparent does not reach the script: %s", a.text)
	}
}

func TestCollectorThatIsAwayHarmsNobody(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	p := start(t, t.TempDir())
	p.createEndpoint("alone", nil)
	if a := p.score("alone", "nonsense", "{}"); a.status != 401 {
		t.Errorf("%d %s", a.status, a.text)
	}
	began := time.Now()
	p.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	if logs := p.logs.String(); !strings.Contains(logs, "traces could not be exported") && !strings.Contains(logs, "last traces were not exported") {
		t.Error("the log does not say that traces are lost")
	}
}
