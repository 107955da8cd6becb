package scoring

import (
	"strings"
	"testing"
	"time"
)

func TestScriptIsStartedByARequestAndEndsWhenIdle(t *testing.T) {
	scaler := &Scaler{}
	t.Cleanup(scaler.Close)
	var ring *LogRing
	var sink strings.Builder
	p := poolOf(t, t.TempDir(), "import os\ndef init(): print('init of', os.getpid())\ndef run(d): return os.getpid()\n", func(c *PoolConfig) {
		ring = NewLogRing(0, &sink)
		c.Scaling, c.Scaler, c.Log = Scaling{Max: 1, Poll: 20 * time.Millisecond, Idle: 200 * time.Millisecond}, scaler, ring
	})
	p.StartAtZero()
	seen := map[string]bool{}
	for range 2 {
		result, err := p.Score(t.Context(), request(""))
		if err != nil || !result.Cold {
			t.Fatalf("%+v %v", result, err)
		}
		seen[string(result.Body)] = true
		t.Logf("from zero to an answer in %v", result.Queued+result.Model)
		again, err := p.Score(t.Context(), request(""))
		if err != nil || again.Cold || string(again.Body) != string(result.Body) {
			t.Fatalf("%+v %v", again, err)
		}
		until(t, "it is at zero", func() bool { return p.State().Asleep })
		until(t, "its lines are in the file alone", func() bool { return ring.Tail(0) == "" })
	}
	if s := p.State(); len(seen) != 2 || s.ColdStarts != 2 || len(s.Members) != 0 {
		t.Errorf("%v %+v", seen, s)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text := sink.String(); strings.Count(text, "init of") != 2 || strings.Count(text, "scaled to zero") != 2 {
		t.Errorf("the log lost lines:\n%s", text)
	}
}
