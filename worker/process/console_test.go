package process

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
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

func TestConsoleKeepsEveryByteOfEveryLine(t *testing.T) {
	long := strings.Repeat("x", 2*usualLine+10)
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"lines", "a\nb\n\nc\r\n", "a\nb\n\nc\n"},
		{"a last line without an end", "a\nb", "a\nb\n"},
		{"longer than usual, then short ones", long + "\na\n" + long + "b\n", long + "\na\n" + long + "b\n"},
		{"as long as a line may be", strings.Repeat("y", maxLine-1) + "\nz", strings.Repeat("y", maxLine-1) + "\nz\n"},
		{"longer than that", strings.Repeat("y", maxLine+3) + "\nz\n", strings.Repeat("y", maxLine) + "\nyyy\nz\n"},
	} {
		for how, reader := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "with the end": iotest.DataErrReader,
		} {
			var got bytes.Buffer
			newConsole(&got, 1, time.Now).copy(reader(strings.NewReader(c.in)))
			if got.String() != c.want {
				t.Errorf("%s, %s: %d bytes, want %d", c.name, how, got.Len(), len(c.want))
			}
		}
	}
}
