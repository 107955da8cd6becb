package process

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

func TestAccessLineIsAsAnyOther(t *testing.T) {
	var out bytes.Buffer
	now := time.Date(2026, 12, 31, 23, 59, 59, 0, time.FixedZone("", 3600))
	c := newConsole(&out, 4711, func() time.Time { return now })
	for _, after := range []time.Duration{0, 7 * time.Millisecond, 999*time.Millisecond + 999_999, time.Second, 0, time.Hour} {
		now := now.Add(after)
		c.now = func() time.Time { return now }
		want := now.UTC().Format("2006-01-02 15:04:05,000") + " I [4711] azmlinfsrv - POST /score 200 1.500ms 7\n"
		c.access(now, "POST", "/score", 200, 1500*time.Microsecond, 7)
		c.say("I", "azmlinfsrv", "%s %s %d %.3fms %d", "POST", "/score", 200, 1.5, 7)
		if got := out.String(); got != want+want {
			t.Errorf("got  %swant %s", got, want)
		}
		out.Reset()
	}
	c.access(now, "POST", "/score", 200, 0, -1)
	if want := fmt.Sprintf("%s I [4711] azmlinfsrv - POST /score 200 0.000ms N/A\n", now.UTC().Format("2006-01-02 15:04:05,000")); out.String() != want {
		t.Errorf("got  %swant %s", out.String(), want)
	}
}
