package endpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTailGivesTheLastLines(t *testing.T) {
	log := consoleOf(t)
	for i := range 5 {
		if _, err := fmt.Fprintf(log, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	for n, want := range map[int]string{0: "line 0\nline 1\nline 2\nline 3\nline 4", 2: "line 3\nline 4", 5: "line 0\nline 1\nline 2\nline 3\nline 4", 50: "line 0\nline 1\nline 2\nline 3\nline 4"} {
		if got := tail(log.path, n); got != want {
			t.Errorf("tail of %d: %q, want %q", n, got, want)
		}
	}
	if got := tail(filepath.Join(t.TempDir(), "none"), 5); got != "" {
		t.Errorf("of no log: %q", got)
	}
}

// A log that has grown begins anew and stays readable over the seam; what was
// two logs ago is gone, so that a script that talks does not fill the disk.
func TestLogStartsAnewWhenItIsLarge(t *testing.T) {
	log := consoleOf(t)
	filler := []byte(strings.Repeat("x", 1023) + "\n")
	fill := func() {
		t.Helper()
		for range maxLog/len(filler) + 1 {
			if _, err := log.Write(filler); err != nil {
				t.Fatal(err)
			}
		}
	}
	log.printf(time.Now(), "the oldest")
	fill()
	log.printf(time.Now(), "between")
	fill()
	log.printf(time.Now(), "the newest")
	var total int64
	entries, err := os.ReadDir(filepath.Dir(log.path))
	if err != nil || len(entries) != 2 {
		t.Fatalf("files: %v %v", entries, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", e.Name(), info.Mode(), err)
		}
		total += info.Size()
	}
	if limit := int64(2*maxLog + 4096); total > limit {
		t.Errorf("%d bytes are kept, more than %d", total, limit)
	}
	text := tail(log.path, 0)
	if strings.Contains(text, "the oldest") || !strings.Contains(text, "between") || !strings.HasSuffix(text, "the newest") {
		t.Error("the logs do not show what was written last")
	}
	log.Close()
	fresh, err := new(logs).begin(log.path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if text := tail(log.path, 0); text != "" {
		t.Errorf("a fresh log has %d bytes of the former deployment", len(text))
	}
}

func TestLogGoesOnAfterARestartAndEndsOnce(t *testing.T) {
	log := consoleOf(t)
	log.printf(time.Unix(0, 0), "first\nof two lines")
	log.Close()
	log.Close()
	if _, err := log.Write([]byte("a line after the end\n")); err != nil {
		t.Errorf("a late line: %v", err)
	}
	again, err := new(logs).begin(log.path, false)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 50 {
				again.printf(time.Unix(0, 0), "writer %d", i)
			}
		})
	}
	wg.Wait()
	again.Close()
	lines := strings.Split(tail(log.path, 0), "\n")
	if len(lines) != 202 || lines[0] != "1970-01-01 00:00:00,000 first" || lines[1] != "1970-01-01 00:00:00,000 of two lines" {
		t.Errorf("%d lines, the first two: %q", len(lines), lines[:min(2, len(lines))])
	}
	for _, line := range lines[2:] {
		if !strings.HasPrefix(line, "1970-01-01 00:00:00,000 writer ") || len(line) != len(lines[2]) {
			t.Errorf("a mixed line: %q", line)
		}
	}
}
