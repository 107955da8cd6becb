// Command scoring measures what a prediction costs: requests a second and CPU
// a request, of Lapis' front and worker and of Azure's own inference server,
// with the same script, interpreter, load and machine.
//
// The servers run one after the other in short rounds, so that a noisy moment
// falls on all alike; the medians count. CPU is what the scheduler has booked
// on the processes of a server. The last line is the ratio of requests a
// second. Without a package index only Lapis is measured, with the python3 on
// PATH, if that has scikit-learn.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

//go:embed score.py
var script []byte // read-only

type options struct {
	rounds      int
	spell       time.Duration
	connections int
	profile     string
	script      string
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "Rounds of all servers.")
	flag.DurationVar(&o.spell, "spell", 3*time.Second, "How long each server is loaded in a round.")
	flag.IntVar(&o.connections, "connections", 32, "Connections, each with one request at a time.")
	flag.StringVar(&o.profile, "profile", "", "Write a CPU profile of Lapis' front to this file.")
	flag.StringVar(&o.script, "script", "", "Serve this scoring script instead of the model's.")
	serving := flag.String("serve", "", "Serve the script in this folder with the interpreter that follows; the program calls itself so.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *serving != "" {
		err = serve(ctx, *serving, flag.Arg(0), o.profile)
	} else {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scoring:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "lapis-bench-scoring-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	script := script
	if o.script != "" {
		if script, err = os.ReadFile(o.script); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "score.py"), script, 0o600); err != nil {
		return err
	}
	python, missing := environment(ctx)
	if missing != nil {
		fmt.Println("azureml-inference-server-http is not measured:", missing)
	}
	stacks := []*stack{{name: "lapis", start: func() (*process, error) { return startLapis(ctx, dir, python, o.profile) }}}
	if missing == nil {
		stacks = append(stacks, &stack{name: "azureml-inference-server-http", start: func() (*process, error) { return startAzure(ctx, dir, python) }})
	}
	defer func() {
		for _, s := range stacks {
			err = errors.Join(err, s.process.stop())
		}
	}()
	for _, s := range stacks {
		if s.process, err = s.start(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := s.process.warm(ctx, o.connections); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	var floors []float64
	for range o.rounds {
		least, err := floor(ctx, python, dir)
		if err != nil {
			return err
		}
		floors = append(floors, least)
		for _, s := range stacks {
			if err := s.sample(ctx, o); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	print(stacks, middle(floors))
	return nil
}

// stack is a server and what was measured of it, one value a round.
type stack struct {
	name    string
	start   func() (*process, error)
	process *process

	rates, front, python, median []float64
}

// sample loads the server for a while.
func (s *stack) sample(ctx context.Context, o options) error {
	before, err := s.process.cpu()
	if err != nil {
		return err
	}
	load, err := s.process.load(ctx, o.connections, o.spell)
	if err != nil {
		return err
	}
	after, err := s.process.cpu()
	if err != nil {
		return err
	}
	n := float64(load.requests)
	s.rates = append(s.rates, n/load.took.Seconds())
	s.front = append(s.front, micros(after.own-before.own)/n)
	s.python = append(s.python, micros(after.children-before.children)/n)
	s.median = append(s.median, micros(load.median))
	return nil
}

func print(stacks []*stack, floor float64) {
	fmt.Printf("%-30s %32s CPU %6.1f us/call\n", "run() alone", "", floor)
	for _, s := range stacks {
		front, python := middle(s.front), middle(s.python)
		fmt.Printf("%-30s %8.0f req/s  p50 %6.0f us  CPU %6.1f us/request (parent %.1f, worker %.1f)\n",
			s.name, middle(s.rates), middle(s.median), front+python, front, python)
	}
	if len(stacks) < 2 {
		return
	}
	ours, theirs := stacks[0], stacks[1]
	spent, reference := middle(ours.front)+middle(ours.python), middle(theirs.front)+middle(theirs.python)
	fmt.Printf("CPU a request 1/%.1f; without run() 1/%.1f\n", reference/spent, (reference-floor)/max(spent-floor, 1))
	fmt.Printf("ratio %.1f\n", middle(ours.rates)/middle(theirs.rates))
}

func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
