package logline

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// writes keeps each write by itself.
type writes struct {
	mu  sync.Mutex
	all []string
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, string(p))
	return len(p), nil
}

func (w *writes) seen() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%q", w.all)
}

func TestLoneLineIsWrittenAtOnceAndBusyOnesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &writes{}
		w := NewWriter(to)
		fmt.Fprintln(w, "alone")
		if got := to.seen(); got != `["alone\n"]` {
			t.Errorf("after one line: %s", got)
		}
		fmt.Fprintln(w, "b")
		fmt.Fprintln(w, "c")
		if got := to.seen(); got != `["alone\n"]` {
			t.Errorf("at once after two more: %s", got)
		}
		time.Sleep(3 * delay)
		synctest.Wait()
		if got := to.seen(); got != `["alone\n" "b\nc\n"]` {
			t.Errorf("a moment later: %s", got)
		}
		fmt.Fprintln(w, "d")
		if got := to.seen(); got != `["alone\n" "b\nc\n" "d\n"]` {
			t.Errorf("after a line that came alone again: %s", got)
		}
	})
}

func TestFlushWritesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &writes{}
		w := NewWriter(to)
		fmt.Fprintln(w, "a")
		fmt.Fprintln(w, "b")
		w.Flush()
		if got := to.seen(); got != `["a\n" "b\n"]` {
			t.Errorf("got %s", got)
		}
		time.Sleep(2 * delay)
		synctest.Wait()
		if got := to.seen(); got != `["a\n" "b\n"]` {
			t.Errorf("the timer wrote again: %s", got)
		}
	})
}

func TestMuchIsNotKeptBack(t *testing.T) {
	to := &writes{}
	w := NewWriter(to)
	w.written = time.Now().Add(time.Hour) // no line is alone
	large := bytes.Repeat([]byte("x"), room+1)
	_, _ = w.Write(large)
	if len(to.all) != 1 || len(to.all[0]) != len(large) {
		t.Errorf("%d writes", len(to.all))
	}
}

func TestNoLineIsLostOrBrokenAmongWriters(t *testing.T) {
	to := &writes{}
	w := NewWriter(to)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 500 {
				fmt.Fprintf(w, "%d-%d\n", n, i)
			}
		})
	}
	all.Wait()
	w.Flush()
	next := map[int]int{}
	for line := range strings.Lines(strings.Join(to.all, "")) {
		var n, i int
		if _, err := fmt.Sscanf(line, "%d-%d\n", &n, &i); err != nil || i != next[n] {
			t.Fatalf("%q after line %d of writer %d", line, next[n], n)
		}
		next[n]++
	}
	for n := range 8 {
		if next[n] != 500 {
			t.Errorf("%d lines of writer %d", next[n], n)
		}
	}
}
