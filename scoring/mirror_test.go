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
