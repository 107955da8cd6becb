package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFigureSaysWhetherItsTargetIsMet(t *testing.T) {
	for _, c := range []struct {
		name string
		f    figure
		want []string
	}{
		{"less is better", figure{name: "a", unit: ms, target: 50, value: samples{60, 10, 20}, floor: samples{10}, what: "floor"},
			[]string{"a", "≤ 50 ms", "20.0 ms (10.0..60.0, n=3)", "met", "2.00 × floor (10.0 ms)"}},
		{"more is better", figure{name: "a", unit: perSec, target: 100, value: samples{80, 90}},
			[]string{"a", "≥ 100 /s", "85.0 /s (80.0..90.0, n=2)", "short", ""}},
		{"no target", figure{name: "a", unit: mb, value: samples{0.004}, note: "n"},
			[]string{"a", "-", "0.004 MB (0.004..0.004, n=1)", "", "n"}},
		{"no sample is not met", figure{name: "a", unit: ms, target: 5}, []string{"a", "≤ 5 ms", "-", "not measured", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.f.columns()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestInterleaveStopsAtTheFirstFailure(t *testing.T) {
	var order []string
	take := func(name string, fail bool) measure {
		return func() (float64, error) {
			order = append(order, name)
			if fail && len(order) > 3 {
				return 0, errors.New("broken")
			}
			return 1, nil
		}
	}
	if _, err := interleave(3, take("a", false), take("b", true)); err == nil {
		t.Error("the failure is lost")
	}
	if got := strings.Join(order, ""); got != "abab" {
		t.Errorf("order %s", got)
	}
}

func TestBenchmarkLines(t *testing.T) {
	got := benchLines([]byte("goos: linux\nBenchmarkMint-2   \t 757\t 1588000 ns/op\t 9 B/op\nBenchmarkDecide/100k/naive-scan  \t 3 \t 0.5 ns/op\nPASS\n"))
	if diff := cmp.Diff(map[string]float64{"Mint": 1588000, "Decide/100k/naive-scan": 0.5}, got); diff != "" {
		t.Error(diff)
	}
}

// A tour deploys twice; the second time builds nothing. Without an index it
// tells so and begins again.
func TestTourTimeOfTheEnvironmentIsTold(t *testing.T) {
	text := `$ az ml online-deployment create
  . creating deployment blue: building the environment
  . creating deployment blue: building the environment: [   0.1s] x
  no package index can be reached: going on with what this machine's Python has.
  . creating deployment blue: building the environment
  . creating deployment blue: starting the instances
  . creating deployment blue: fetching code
  . creating deployment blue: starting the instances
`
	now := time.Time{}
	tick := func() time.Time { now = now.Add(time.Second); return now }
	got, last := watchTour(strings.NewReader(text), tick)
	if got.building != time.Second || !got.hosted || !strings.HasSuffix(last, "starting the instances") {
		t.Errorf("%+v, last %q", got, last)
	}
}

func TestKilobytesOfProc(t *testing.T) {
	got := kilobytes("0040-7fff ---p 0000 00:00 0  [rollup]\nRss:               1000 kB\nPss_Dirty:  8 kB\nPss: 500 kB\n")
	if got["Rss"] != 1024 || got["Pss"] != 512 {
		t.Error(got)
	}
}

func TestFootprintHasWhatAProcessHasStarted(t *testing.T) {
	before, err := footprint(os.Getpid())
	if err != nil || before.platform == 0 || before.tables == 0 {
		t.Fatalf("%+v, %v", before, err)
	}
	child := exec.Command("cat")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Skip(err)
	}
	after, err := footprint(os.Getpid())
	if err != nil || after.workers <= before.workers || after.tables <= before.tables {
		t.Errorf("before %+v, with a child %+v, %v", before, after, err)
	}
	in.Close()
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
}
