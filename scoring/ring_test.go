package scoring

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestLogRingKeepsTheLastLines(t *testing.T) {
	var sink strings.Builder
	ring := NewLogRing(3, &sink)
	w := ring.Writer()
	for n := range 10 {
		fmt.Fprintf(w, "line %d\n", n)
	}
	fmt.Fprint(w, "no end")
	if got := ring.Tail(0); got != "line 7\nline 8\nline 9\n" {
		t.Errorf("got %q", got)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := ring.Tail(2); got != "line 9\nno end\n" {
		t.Errorf("got %q", got)
	}
	if got := ring.Tail(100); strings.Count(got, "\n") != 3 {
		t.Errorf("got %q", got)
	}
	if strings.Count(sink.String(), "\n") != 11 {
		t.Errorf("the sink has %q", sink.String())
	}
}

func TestLogRingCutsLongLines(t *testing.T) {
	ring := NewLogRing(0, nil)
	w := ring.Writer()
	fmt.Fprint(w, strings.Repeat("x", maxLogLine-1))
	fmt.Fprint(w, strings.Repeat("y", maxLogLine)+"\nnext\n")
	lines := strings.Split(strings.TrimSuffix(ring.Tail(0), "\n"), "\n")
	if len(lines) != 3 || len(lines[0]) != maxLogLine || len(lines[1]) != maxLogLine-1 || lines[2] != "next" {
		t.Errorf("got %d lines", len(lines))
	}
}

func TestLogRingIsBoundedInBytes(t *testing.T) {
	ring := NewLogRing(0, nil)
	w := ring.Writer()
	line := strings.Repeat("x", 60<<10) + "\n"
	for range 400 {
		fmt.Fprint(w, line)
	}
	if got := len(ring.Tail(0)); got > maxLogBytes+1000 {
		t.Errorf("%d bytes are kept", got)
	}
}

func TestLogRingWritersDoNotMixLines(t *testing.T) {
	ring := NewLogRing(0, nil)
	var wg sync.WaitGroup
	for _, letter := range []string{"a", "b", "c"} {
		wg.Go(func() {
			w := ring.Writer()
			for range 300 {
				fmt.Fprint(w, strings.Repeat(letter, 5))
				fmt.Fprint(w, strings.Repeat(letter, 5)+"\n")
			}
		})
	}
	wg.Wait()
	lines := strings.Fields(ring.Tail(0))
	if len(lines) != 900 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if line != strings.Repeat(line[:1], 10) {
			t.Fatalf("a mixed line: %q", line)
		}
	}
}
