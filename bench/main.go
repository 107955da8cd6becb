// Command bench measures the figures that Lapis promises and prints one line
// for each: target, median with least and greatest sample, and the ratio to a
// floor that was measured in the same run.
//
// It builds the program, starts platforms in a folder of its own and removes
// them. The whole takes two to four minutes; -only runs some of it.
// docs/benchmarks.md says how to read the lines.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

type bench struct {
	dir      string // all that is made
	root     string // of the module
	program  string
	platform *platform
	floor    *floor
	trivial  bool // is deployed
	ridged   bool // the model is
	live     int  // endpoints of the fleet with an instance
	defined  int  // and without
	out      io.Writer
	markdown bool
	short    int
}

func (b *bench) report(f figure) {
	if f.verdict() == "short" {
		b.short++
	}
	f.print(b.out, b.markdown)
}

func main() {
	only := flag.String("only", "", "Run the parts that match this regular expression: start, commands, packages, tokens, blobs, scoring, article, and changes and fleet, which run only when asked for.")
	live := flag.Int("live", 100, "Endpoints of the fleet that have an instance.")
	defined := flag.Int("defined", 200, "Endpoints of the fleet that are scaled to zero.")
	markdown := flag.Bool("markdown", false, "Print rows of a Markdown table.")
	program := flag.String("program", "", "Measure this lapis, instead of one built from the module.")
	asFloor := flag.String("floor", "", "Serve the floor with files in this folder; the program calls itself so.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *asFloor != "" {
		err = serveFloor(*asFloor)
	} else {
		err = run(ctx, &bench{out: os.Stdout, markdown: *markdown, program: *program, live: *live, defined: *defined}, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, b *bench, only string) (err error) {
	want, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "lapis-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.build(ctx); err != nil {
		return err
	}
	begin := time.Now()
	fmt.Fprintf(b.out, "%s, %s/%s, %d CPUs (%s), %s, load %s\n", begin.Format(time.DateOnly), runtime.GOOS, runtime.GOARCH,
		runtime.NumCPU(), cpuModel(), runtime.Version(), load())
	f, stopFloor, err := startFloor(ctx, filepath.Join(b.dir, "floor"))
	if err != nil {
		return err
	}
	defer stopFloor()
	b.floor = f
	defer func() {
		if b.platform != nil {
			err = errors.Join(err, b.platform.stop())
		}
	}()
	if err := b.parts(ctx, want); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%d short of their targets; took %.0f s, load %s\n", b.short, time.Since(begin).Seconds(), load())
	return nil
}

func (b *bench) parts(ctx context.Context, want *regexp.Regexp) error {
	for _, part := range []struct {
		name     string
		platform bool
		asked    bool // runs only if the expression is not empty
		run      func(context.Context) error
	}{
		{"start", false, false, b.starts},
		{"commands", true, false, b.commands},
		{"packages", false, false, b.packages},
		{"tokens", false, false, b.tokens},
		{"blobs", true, false, b.blobs},
		{"scoring", true, false, b.scoring},
		{"article", false, false, b.article},
		{"changes", true, true, b.changes},
		{"fleet", true, true, b.fleet},
	} {
		if !want.MatchString(part.name) || part.asked && want.String() == "" {
			continue
		}
		if part.platform && b.platform == nil {
			p, _, err := start(ctx, b.program, filepath.Join(b.dir, "data"), filepath.Join(b.dir, "up.log"))
			if err != nil {
				return err
			}
			b.platform = p
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// build makes the program, as a user has it.
func (b *bench) build(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "lapis").Output()
	if err != nil {
		return fmt.Errorf("the module's folder: %w", err)
	}
	b.root = strings.TrimSpace(string(out))
	if b.program != "" {
		b.program, err = filepath.Abs(b.program)
		return err
	}
	b.program = filepath.Join(b.dir, "lapis")
	return b.compile(ctx, "build", "-trimpath", "-o", b.program, "./cmd/lapis")
}

// compile runs the go command in the module.
func (b *bench) compile(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = b.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// load is how busy the machine was over the last minute.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

func cpuModel() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	if m := regexp.MustCompile(`(?m)^model name\s*:\s*(.+)$`).FindSubmatch(data); m != nil {
		return string(m[1])
	}
	return "unknown"
}
