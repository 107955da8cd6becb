package scoring

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func always(int) int { return 0 } // chooses the first, and mirrors whatever the percentage

// mirrored serves blue live and green as its shadow.
func mirrored(blue, green *Pool) Endpoint {
	return Endpoint{
		Name: "e", Authorize: onlyTestKey, Deployments: map[string]*Pool{"blue": blue, "green": green},
		Traffic: map[string]int{"blue": 100}, Mirror: map[string]int{"green": 10},
	}
}

func mirrorState(t *testing.T, f *Front) MirrorState {
	t.Helper()
	state, ok := f.Mirror(host)
	if !ok {
		t.Fatal("nothing is mirrored")
	}
	return state
}

// A shadow that never answers costs the live requests nothing: they are all
// answered while it hangs, and what it has no room for is dropped and counted.
func TestHangingShadowDelaysNoLiveRequest(t *testing.T) {
	dir := t.TempDir()
	newValve(t, dir) // never opened
	blue := started(t, echo)
	green := poolOf(t, dir, strings.Replace(valveScript, `data == "wait"`, "True", 1), func(c *PoolConfig) { c.RequestTimeout = time.Second })
	if err := green.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	front := &Front{Pick: always}
	server := serving(t, mirrored(blue, green), front)
	const n = maxShadowQueue + 50
	began := time.Now()
	for i := range n {
		body := fmt.Sprint(i)
		if got := ask(t, server, "POST", "/score", body); got.status != 200 || got.body != `"`+body+`"` || got.header.Get("azureml-model-deployment") != "blue" {
			t.Fatalf("request %d: %v", i, got)
		}
	}
	took := time.Since(began)
	state := mirrorState(t, front)
	if state.Deployment != "green" || state.Percent != 10 || state.Answered != 0 || state.Dropped < n-maxShadowQueue-2-state.Failed || state.Pending > maxShadowQueue+1 {
		t.Errorf("after %v: %+v", took, state)
	}
	if took > 900*time.Millisecond+time.Duration(n)*10*time.Millisecond {
		t.Errorf("%d live requests took %v", n, took)
	}
	front.Remove(host)
	until(t, "what waited is dropped", func() bool { _, pending := green.gate.counts(); return pending == 0 })
}

func TestMirrorCopiesAShareOfWhatNoHeaderRoutes(t *testing.T) {
	const counting = `
import os
def init():
    global seen
    seen = []
def run(data, request_headers):
    if data != "tell": seen.append(data + request_headers.get("X-Mine", "") + request_headers.get("Authorization", ""))
    return seen
`
	blue, green := started(t, echo), started(t, counting)
	draws := []int{9, 10, 99, 0}
	n := 0
	front := &Front{Pick: func(of int) int {
		if of != 100 {
			t.Errorf("a draw of %d", of)
		}
		n++
		return draws[(n-1)%len(draws)]
	}}
	server := serving(t, mirrored(blue, green), front)
	for i := range 8 {
		ask(t, server, "POST", "/score", fmt.Sprint(i), "X-Mine", "!")
	}
	for range 4 {
		ask(t, server, "POST", "/score", "routed", headerDeployment, "BLUE")
	}
	until(t, "the copies are answered", func() bool { return mirrorState(t, front).Answered == 4 })
	if got := ask(t, server, "POST", "/score", "tell", headerDeployment, "green"); got.body != `["0!", "3!", "4!", "7!"]` {
		t.Errorf("green saw %s", got.body)
	}
	if state := mirrorState(t, front); state.Dropped != 0 || state.Failed != 0 || state.Pending != 0 {
		t.Errorf("got %+v", state)
	}
	if err := front.Set(host, mirrored(blue, green)); err != nil || mirrorState(t, front).Answered != 4 {
		t.Errorf("the counters begin anew with a change of the table: %+v %v", mirrorState(t, front), err)
	}
	plain := mirrored(blue, green)
	plain.Mirror = nil
	if err := front.Set(host, plain); err != nil {
		t.Fatal(err)
	}
	if _, ok := front.Mirror(host); ok {
		t.Error("mirroring goes on")
	}
}

func TestFailingShadowIsCountedAndNotSeen(t *testing.T) {
	blue := started(t, echo)
	green := started(t, "import os\ndef init(): pass\ndef run(d):\n    if d == 'exit': os._exit(1)\n    raise ValueError(d)\n")
	front := &Front{Pick: always}
	server := serving(t, mirrored(blue, green), front)
	for _, body := range []string{"a", "exit"} {
		if got := ask(t, server, "POST", "/score", body); got.status != http.StatusOK {
			t.Errorf("got %v", got)
		}
	}
	until(t, "both are counted", func() bool { return mirrorState(t, front).Failed == 2 })
}

func TestMirrorRules(t *testing.T) {
	pool := &Pool{}
	for name, change := range map[string]func(*Endpoint){
		"more than half":    func(e *Endpoint) { e.Mirror["green"] = 51 },
		"negative":          func(e *Endpoint) { e.Mirror["green"] = -1 },
		"nobody":            func(e *Endpoint) { e.Mirror = map[string]int{"red": 1} },
		"two":               func(e *Endpoint) { e.Deployments["red"] = pool; e.Mirror["red"] = 1 },
		"live and mirrored": func(e *Endpoint) { e.Traffic["green"] = 1 },
	} {
		e := mirrored(pool, pool)
		change(&e)
		if err := (&Front{}).Set(host, e); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func mirrorReport(t *testing.T, f *Front, deployment string) MirrorReport {
	t.Helper()
	report, ok := f.MirrorReport(host, deployment)
	if !ok {
		t.Fatalf("no report on %s", deployment)
	}
	return report
}

func TestMirrorReportTellsWhatDiffers(t *testing.T) {
	blue := started(t, "import json\ndef init(): pass\ndef run(d): return json.loads(d)\n")
	green := started(t, `
import json, os
def init(): pass
def run(d):
    v = json.loads(d)
    if "raise" in v: raise ValueError("x")
    if "exit" in v: os._exit(1)
    if "n" in v: v["n"] = [v["n"][0], v["n"][1] * (1 + 1e-9), v["n"][2] + v.get("off", 0)]
    return v
`)
	front := &Front{Pick: always}
	server := serving(t, mirrored(blue, green), front)
	if report := mirrorReport(t, front, "GREEN"); report.Differences == nil || report.Percent != 10 || report.LiveLatency.Count != 0 {
		t.Errorf("before any request: %+v", report)
	}
	for _, body := range []string{`{"n": [1, 2, 3]}`, `{"n": [1, 2, 3], "off": 1}`, `{"raise": 1}`, `{"exit": 1}`} {
		if got := ask(t, server, "POST", "/score", body, "x-ms-client-request-id", "mine"); got.status != 200 || !strings.HasPrefix(got.body, "{") {
			t.Fatalf("live: %v", got)
		}
	}
	large := `{"large": "` + strings.Repeat("x", maxCompared) + `"}`
	ask(t, server, "POST", "/score", large)
	until(t, "all are counted", func() bool {
		r := mirrorReport(t, front, "green")
		return r.Pending == 0 && r.NotCompared == 1 && r.ShadowFailed == 1
	})
	report := mirrorReport(t, front, "green")
	if report.Same != 1 || report.DifferentBody != 1 || report.DifferentStatus != 1 || report.Dropped != 0 || len(report.Differences) != 3 {
		t.Fatalf("got %+v", report)
	}
	byKind := map[string]Difference{}
	for _, d := range report.Differences {
		byKind[d.Kind] = d
		if d.RequestID == "" || d.ClientRequestID != "mine" || d.LiveDeployment != "blue" || d.Time.IsZero() || d.LiveStatus != 200 {
			t.Errorf("got %+v", d)
		}
	}
	if d := byKind[DifferentBody]; d.Path != "$.n[2]" || d.Live != "3" || d.Shadow != "4" || d.ShadowStatus != 200 {
		t.Errorf("got %+v", d)
	}
	if d := byKind[DifferentStatus]; d.ShadowStatus != 500 || !strings.Contains(d.Live, "raise") {
		t.Errorf("got %+v", d)
	}
	if d := byKind[ShadowFailed]; d.ShadowStatus != 0 || d.Reason != codeModelError {
		t.Errorf("got %+v", d)
	}
	if l := report.LiveLatency; l.Count != 3 || l.P50 <= 0 || l.P50 > l.P95 || l.P95 > l.Max {
		t.Errorf("latencies %+v", l)
	}
	until(t, "nothing is kept but differences", func() bool {
		q := front.find(host).shadow.queue
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.kept == 0 && len(q.done) == 0 && !q.comparing
	})
	plain := mirrored(blue, green)
	plain.Mirror = nil
	for range 2 { // also after a later change of the table
		if err := front.Set(host, plain); err != nil {
			t.Fatal(err)
		}
	}
	if report := mirrorReport(t, front, "green"); report.Percent != 0 || report.DifferentBody != 1 {
		t.Errorf("after the mirroring: %+v", report)
	}
	if _, ok := front.MirrorReport(host, "blue"); ok {
		t.Error("a report on what is no shadow")
	}
	delete(plain.Deployments, "green")
	if err := front.Set(host, plain); err != nil {
		t.Fatal(err)
	}
	if _, ok := front.MirrorReport(host, "green"); ok {
		t.Error("a report on a deployment that has gone")
	}
}

// What is kept of answers stays below its bound, however many there are, and
// whichever of both comes first.
func TestMirrorKeepsABoundedMemory(t *testing.T) {
	q := &shadowQueue{now: time.Now}
	answer := answered{status: 200, body: make([]byte, maxCompared), whole: true}
	var pairs []*pair
	for range 3 * maxKept / maxCompared {
		p := &pair{queue: q, request: request("x")}
		p.answeredLive(answer, "blue")
		pairs = append(pairs, p)
	}
	if q.kept > maxKept {
		t.Errorf("%d bytes are kept", q.kept)
	}
	for _, p := range pairs {
		q.mu.Lock()
		p.shadow = q.keep(answer)
		q.match(p)
		q.mu.Unlock()
	}
	until(t, "all are compared", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return !q.comparing })
	if q.kept != 0 || q.tally.counts[""]+q.tally.notCompared != uint64(len(pairs)) || q.tally.notCompared == 0 {
		t.Errorf("%d bytes are kept; %+v", q.kept, q.tally.counts)
	}
	for n := range 3 * maxDifferences {
		q.tally.note(answer, answered{}, &Difference{Kind: ShadowFailed, LiveStatus: n}, true)
	}
	report := q.report()
	if n := len(report.Differences); n != maxDifferences || report.Differences[0].LiveStatus != 3*maxDifferences-1 || report.Differences[n-1].LiveStatus != 2*maxDifferences {
		t.Errorf("%d differences, the first %+v", n, report.Differences[0])
	}
}

func TestStreamsAreComparedToo(t *testing.T) {
	streaming := streamScript[:strings.Index(streamScript, "def run")] + "def run(d): return Stream(b'piece %d,' % i for i in range(int(d)))\n"
	blue := started(t, streaming)
	green := started(t, strings.Replace(streaming, "int(d)", "int(d) + (d == '3')", 1))
	front := &Front{Pick: always}
	server := serving(t, mirrored(blue, green), front)
	for _, body := range []string{"2", "3"} {
		if got := ask(t, server, "POST", "/score", body); got.status != 200 || !strings.HasPrefix(got.body, "piece 0,piece 1,") {
			t.Fatalf("live: %v", got)
		}
	}
	until(t, "both are compared", func() bool { r := mirrorReport(t, front, "green"); return r.Same+r.DifferentBody+r.NotCompared == 2 })
	report := mirrorReport(t, front, "green")
	if report.Same != 1 || report.DifferentBody != 1 || report.Differences[0].Path != "byte 24" {
		t.Errorf("got %+v", report)
	}
}
