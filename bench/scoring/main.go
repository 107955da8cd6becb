// Command scoring measures what a prediction costs: requests a second and CPU
// a request, of Lapis' front and worker, of Azure's own inference server, and
// of Starlette on uvicorn, with the same script, interpreter, load and
// machine; and what one client waits for the front, next to nginx.
//
// The servers run one after the other in short rounds, so that a noisy moment
// falls on all alike; the medians count. CPU is what the scheduler has booked
// on the processes of a server. The last line is the ratio of requests a
// second to Azure's server. Without a package index only Lapis is measured,
// with the python3 on PATH, if that has scikit-learn.
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
	alone       bool
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "Rounds of all servers.")
	flag.DurationVar(&o.spell, "spell", 3*time.Second, "How long each server is loaded in a round.")
	flag.IntVar(&o.connections, "connections", 32, "Connections, each with one request at a time.")
	flag.StringVar(&o.profile, "profile", "", "Write a CPU profile of Lapis' front to this file.")
	flag.BoolVar(&o.alone, "alone", false, "Measure Lapis only, as for a profile.")
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
	if missing == nil && !o.alone {
		stacks = append(stacks,
			&stack{name: "azureml-inference-server-http", start: func() (*process, error) { return startAzure(ctx, dir, python) }},
			&stack{name: "starlette, uvicorn, uvloop", start: func() (*process, error) { return startStarlette(ctx, dir, python) }})
	}
	defer func() {
		for _, s := range stacks {
			err = errors.Join(err, s.process.stop())
		}
	}()
	for _, s := range stacks {
		if err := s.begin(ctx, o.connections, stacks[0]); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if o.alone {
		return alone(ctx, stacks[0], o)
	}
	one, err := startSingle(ctx, dir, python, stacks[0].process)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, one.stop()) }()
	var floors, others []float64
	for range o.rounds {
		least, err := floor(ctx, python, dir)
		if err != nil {
			return err
		}
		floors = append(floors, least)
		for _, s := range stacks {
			other, err := s.sample(ctx, o)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			others = append(others, other)
		}
		if err := one.sample(ctx, o.spell/2); err != nil {
			return fmt.Errorf("one connection: %w", err)
		}
	}
	fmt.Printf("other programs took %.0f %% of the machine (median of the samples, at most %.0f %%)\n", middle(others), slices.Max(others))
	one.print()
	print(stacks, middle(floors))
	return nil
}

// alone loads one server and nothing else.
func alone(ctx context.Context, s *stack, o options) error {
	for range o.rounds {
		if _, err := s.sample(ctx, o); err != nil {
			return err
		}
	}
	print([]*stack{s}, 0)
	return nil
}

// stack is a server and what was measured of it, one value a round.
type stack struct {
	name    string
	start   func() (*process, error)
	process *process

	rates, front, python, median, client []float64
}

// begin starts the server and has it answer what the first one answers.
func (s *stack) begin(ctx context.Context, connections int, first *stack) (err error) {
	if s.process, err = s.start(); err != nil {
		return err
	}
	if err := s.process.warm(ctx, connections); err != nil {
		return err
	}
	if s.process.answer != first.process.answer {
		return fmt.Errorf("it answers %q, where %s answers %q", s.process.answer, first.name, first.process.answer)
	}
	return nil
}

// sample loads the server for a while, and says which part of the machine
// others took meanwhile, in per cent.
func (s *stack) sample(ctx context.Context, o options) (other float64, err error) {
	busyBefore, allBefore, err := machine()
	if err != nil {
		return 0, err
	}
	before, err := s.process.cpu()
	if err != nil {
		return 0, err
	}
	load, err := s.process.load(ctx, o.connections, o.spell)
	if err != nil {
		return 0, err
	}
	after, err := s.process.cpu()
	if err != nil {
		return 0, err
	}
	busy, all, err := machine()
	if err != nil {
		return 0, err
	}
	own, children := after.own-before.own, after.children-before.children
	n := float64(load.requests)
	s.rates = append(s.rates, n/load.took.Seconds())
	s.front = append(s.front, micros(own)/n)
	s.python = append(s.python, micros(children)/n)
	s.median = append(s.median, micros(load.median))
	s.client = append(s.client, micros(load.cpu)/n)
	return 100 * max(0, float64(busy-busyBefore-own-children-load.cpu)/float64(all-allBefore)), nil
}

func (s *stack) cpu() float64 { return middle(s.front) + middle(s.python) }

// The targets: requests a second and CPU a request next to Azure's server,
// requests a second next to Starlette.
const (
	targetRate      = 9
	targetCPU       = 7
	targetStarlette = 1
)

func print(stacks []*stack, floor float64) {
	fmt.Printf("%-30s %32s CPU %6.1f us/call\n", "run() alone", "", floor)
	for _, s := range stacks {
		fmt.Printf("%-30s %8.0f req/s  p50 %6.0f us  CPU %6.1f us/request (parent %.1f, worker %.1f; client %.1f)\n",
			s.name, middle(s.rates), middle(s.median), s.cpu(), middle(s.front), middle(s.python), middle(s.client))
	}
	if len(stacks) < 3 {
		return
	}
	ours, azure, starlette := stacks[0], stacks[1], stacks[2]
	fewer, faster := azure.cpu()/ours.cpu(), middle(ours.rates)/middle(azure.rates)
	next := middle(ours.rates) / middle(starlette.rates)
	fmt.Printf("CPU a request 1/%.1f of Azure's server (target 1/%d): %s; without run() 1/%.1f\n",
		fewer, targetCPU, verdict(fewer >= targetCPU), (azure.cpu()-floor)/max(ours.cpu()-floor, 1))
	fmt.Printf("requests a second %.2f x Starlette's (target %d): %s\n", next, targetStarlette, verdict(next >= targetStarlette))
	fmt.Printf("requests a second %.1f x Azure's server's (target %d): %s\n", faster, targetRate, verdict(faster >= targetRate))
	fmt.Printf("ratio %.1f\n", faster)
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "short"
}

func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
