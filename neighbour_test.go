package lapis_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// noisyScript misbehaves as it is told to.
const noisyScript = `
import os, time
def init(): pass
def run(raw):
    if raw == "die": os._exit(1)
    if raw == "eat":
        held = [bytearray(1 << 20) for _ in range(256)]
        return len(held)
    if raw == "flood":
        end = time.time() + 1
        while time.time() < end: print("x" * 200)
    if raw == "close": os.closerange(3, 256)
    if raw == "fork":
        for _ in range(20):
            if os.fork() == 0:
                time.sleep(1)
                os._exit(0)
    if raw == "never": time.sleep(600)
    return raw
`

// measured are times of requests that were all answered with 200.
type measured struct{ p50, p95 time.Duration }

// measure asks one request after the other for a while.
func (p *platform) measure(endpoint, key string, while time.Duration) measured {
	p.t.Helper()
	var took []time.Duration
	for end := time.Now().Add(while); time.Now().Before(end); {
		began := time.Now()
		if a := p.score(endpoint, key, "{}"); a.status != 200 || a.text != `"{}"` {
			p.t.Errorf("the neighbour answered %d %s", a.status, a.text)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return measured{took[len(took)/2], took[len(took)*95/100]}
}

// Whatever an instance does, the endpoint beside it answers all its requests,
// about as quickly as it does when all is calm.
func TestNeighbourDoesNotNoticeMisbehaviour(t *testing.T) {
	p := start(t, t.TempDir())
	environment := p.environment()
	keys := map[string]string{}
	for name, script := range map[string]string{"noisy": noisyScript, "quiet": "def init(): pass\ndef run(raw): return raw\n"} {
		p.createEndpoint(name, nil)
		body := p.deploymentBody(p.upload("codes", name, "onlinescoring", map[string]string{"score.py": script}), environment, nil)
		body["properties"].(object)["requestSettings"] = object{"requestTimeout": "PT2S", "maxConcurrentRequestsPerInstance": 4}
		if op := p.deploy(name, "blue", body); op.str("status") != "Succeeded" {
			t.Fatal(op.text)
		}
		p.settle(p.traffic(name, object{"blue": 100}))
		keys[name] = p.key(name)
	}
	const while = 600 * time.Millisecond
	p.measure("quiet", keys["quiet"], while) // warm
	calm := p.measure("quiet", keys["quiet"], while)
	t.Logf("calm: p50 %v, p95 %v", calm.p50, calm.p95)

	for _, c := range []struct {
		name    string
		clients int
		times   int // each client; a restart takes longer after each death
		body    func() io.Reader
	}{
		{"its client drips", 20, 1, func() io.Reader { return &dripping{left: 1000} }},
		{"it floods its console", 1, 1 << 20, func() io.Reader { return strings.NewReader("flood") }},
		{"it eats memory", 1, 1 << 20, func() io.Reader { return strings.NewReader("eat") }},
		{"it forks", 1, 20, func() io.Reader { return strings.NewReader("fork") }},
		{"it never returns", 2, 1, func() io.Reader { return strings.NewReader("never") }},
		{"it closes its sockets", 1, 1, func() io.Reader { return strings.NewReader("close") }},
		{"it dies", 1, 3, func() io.Reader { return strings.NewReader("die") }},
	} {
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		begun := make(chan struct{}, c.clients)
		for range c.clients {
			wg.Go(func() {
				begun <- struct{}{}
				for n := 0; n < c.times && ctx.Err() == nil; n++ {
					p.misbehave(ctx, keys["noisy"], c.body())
				}
			})
		}
		for range c.clients {
			<-begun
		}
		got := p.measure("quiet", keys["quiet"], while)
		stop()
		wg.Wait()
		t.Logf("%s: p50 %v, p95 %v", c.name, got.p50, got.p95)
		if got.p50 > 10*calm.p50+25*time.Millisecond || got.p95 > 10*calm.p95+250*time.Millisecond {
			t.Errorf("%s: the neighbour takes p50 %v, p95 %v; calm %v, %v", c.name, got.p50, got.p95, calm.p50, calm.p95)
		}
		eventually(t, "the noisy one answers after: "+c.name, func() bool { return p.score("noisy", keys["noisy"], "fine").status == 200 })
	}
}

func (p *platform) misbehave(ctx context.Context, key string, body io.Reader) {
	req, err := http.NewRequestWithContext(ctx, "POST", "https://noisy."+p.info.Location+".inference.ml.azure.com/score", body)
	if err != nil {
		p.t.Error(err)
		return
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := p.http.Do(req)
	if err != nil {
		return // its client left, at the end
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

// dripping is a body that comes a byte at a time.
type dripping struct{ left int }

func (d *dripping) Read(b []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(20 * time.Millisecond) // the pace of this client
	d.left--
	b[0] = 'x'
	return 1, nil
}
