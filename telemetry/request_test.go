package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"lapis/logline"
)

func TestAccessLineHasWhatTheTrafficLogHas(t *testing.T) {
	r := &Request{
		Endpoint: "diabetes", Deployment: "blue", Method: "POST", Path: "/score", Protocol: "HTTP/2.0", AuthMode: "key",
		Status: 424, ModelStatus: 500, Reason: "model_error", RequestID: "id-1", ClientRequestID: "mine", UserAgent: "curl",
		RequestBytes: 5, ResponseBytes: 7, Total: 4 * time.Millisecond, Queued: time.Millisecond, Model: 2 * time.Millisecond,
		Run: 1500 * time.Microsecond, Err: errors.New("why"),
	}
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	AccessLine(t.Context(), log, LinesAll, r)
	const want = "level=ERROR msg=scored endpoint=diabetes deployment=blue method=POST path=/score protocol=HTTP/2.0 auth=key " +
		"status=424 model_status=500 reason=model_error request_bytes=5 response_bytes=7 total=4ms queued=1ms model=2ms run=1.5ms " +
		"request_id=id-1 client_request_id=mine user_agent=curl err=why\n"
	if _, line, _ := strings.Cut(out.String(), " "); line != want {
		t.Errorf("the line is\n%s\nand should be\n%s", line, want)
	}
}

func TestLineIsTheSameWhoeverDrawsIt(t *testing.T) {
	full := Request{
		Endpoint: "diabetes", Deployment: "blue", Method: "POST", Path: "/a b=\"c\"", Protocol: "HTTP/1.1", AuthMode: "key",
		Status: 200, ModelStatus: 200, RequestID: "id-1", ClientRequestID: "mine", UserAgent: "python/3 (x; \u2028y) \xff",
		RequestBytes: 5, ResponseBytes: 7, Total: 4 * time.Millisecond, Queued: 999, Model: 2 * time.Minute, Run: 1500 * time.Microsecond,
	}
	failed := full
	failed.Status, failed.Reason, failed.Err = 503, "ServerBusy", errors.New("too \"much\"")
	for n, r := range []Request{full, failed, {}, {Status: 404, Method: "GET"}} {
		var slow, quick bytes.Buffer
		AccessLine(t.Context(), slog.New(slog.NewTextHandler(&slow, nil)), LinesAll, &r)
		AccessLine(t.Context(), slog.New(logline.NewTextHandler(&quick, slog.LevelInfo)), LinesAll, &r)
		_, want, _ := strings.Cut(slow.String(), " ")
		if _, got, _ := strings.Cut(quick.String(), " "); got != want || got == "" {
			t.Errorf("request %d\ngot  %swant %s", n, got, want)
		}
	}
}

func TestLinesAreOfTheRequestsAskedFor(t *testing.T) {
	for lines, want := range map[string][2]bool{LinesAll: {true, true}, "": {true, true}, LinesFailures: {false, true}, LinesNone: {false, false}} {
		for n, status := range []int{200, 424} {
			var out bytes.Buffer
			AccessLine(t.Context(), slog.New(slog.NewTextHandler(&out, nil)), lines, &Request{Endpoint: "e", Status: status})
			if wrote := out.Len() > 0; wrote != want[n] {
				t.Errorf("%q, status %d: a line %v, want %v", lines, status, wrote, want[n])
			}
		}
	}
}

func BenchmarkAccessLine(b *testing.B) {
	log := slog.New(logline.NewTextHandler(discard{}, slog.LevelInfo))
	r := answered(200)
	r.Method, r.Path, r.RequestID = "POST", "/score", "6d4b8b3e-29a8-4f0c-9d3c-6d2f4e1f8a11"
	b.ReportAllocs()
	for b.Loop() {
		AccessLine(b.Context(), log, LinesAll, r)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
