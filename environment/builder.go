package environment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"lapis/fault"
)

// Mode says where packages come from.
type Mode int

const (
	ModeBuild Mode = iota // the package index
	ModeHost              // what a Python of this machine already has
)

// String returns build or host.
func (m Mode) String() string {
	if m == ModeHost {
		return "host"
	}
	return "build"
}

// Config sets a Builder up. Only Dir has no default.
type Config struct {
	Dir          string           // the folder the builder owns; made when absent
	Mode         Mode             // build
	PythonPolicy Policy           // nearest
	HostPython   string           // host mode: the interpreter to take; "" finds the best
	Log          *slog.Logger     // nil: discard
	Now          func() time.Time // nil: the real clock
	Environ      func() []string  // the user's environment; nil: the process's
	Limits       Limits           // on images that are unpacked; zero: defaults
}

// Builder makes environments and keeps them. It is safe for concurrent use; one
// process at a time may own a folder.
type Builder struct {
	cfg     Config
	log     *slog.Logger
	now     func() time.Time
	environ func() []string
	flights flights
	pulls   keyLock
	shelf   *shelf

	mu           sync.Mutex
	interpreters []Interpreter // of the files in asked
	asked        []string      // paths that were asked for their version

	toolKey keyLock // one at a time looks for the installer
	uv      *tool   // found or fetched once
	pipOnly bool    // tests: do as where no uv can be had
}

// Built is an environment on disk.
type Built struct {
	Hash    string        // its address
	Dir     string        // the virtual environment
	Python  string        // the interpreter inside Dir
	Report  Report        // what it was made of
	LogPath string        // the full build log; "" for one that was pulled
	Elapsed time.Duration // what the build took, when it was made
}

// New opens the folder, and clears away what an interrupted build left there.
func New(cfg Config) (*Builder, error) {
	if cfg.Dir == "" {
		return nil, errors.New("environment: no folder given")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("environment: %w", err)
	}
	cfg.Dir = dir
	b := &Builder{cfg: cfg, log: cfg.Log, now: cfg.Now, environ: cfg.Environ}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.now == nil {
		b.now = time.Now
	}
	if b.environ == nil {
		b.environ = os.Environ
	}
	b.cfg.Limits = cfg.Limits.withDefaults()
	if b.shelf, err = openShelf(dir, b.now); err != nil {
		return nil, err
	}
	return b, nil
}

// Close waits for builds that are being cancelled to have cleaned up, and for
// what was built to reach the disk.
func (b *Builder) Close() {
	b.flights.wg.Wait()
	b.shelf.syncs.Wait()
}

// Interpreters returns the Pythons of this machine. They are asked once, and
// again when one was added or removed.
func (b *Builder) Interpreters(ctx context.Context) ([]Interpreter, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	environ := b.environ()
	paths := candidates(environ)
	if b.interpreters == nil || !slices.Equal(paths, b.asked) {
		found := findInterpreters(ctx, paths, environ)
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		b.interpreters, b.asked = found, paths
	}
	return b.interpreters, nil
}

// Build returns the environment of the spec, from disk or newly made. Progress
// goes to log line by line (nil for none). Two calls for the same environment
// share one build, which is cancelled when no caller is left. A failure leaves
// nothing behind; it is a fault with Code, and Unreachable when no package
// index answered.
func (b *Builder) Build(ctx context.Context, spec Spec, log io.Writer) (Built, error) {
	if log == nil {
		log = io.Discard
	}
	p, err := planOf(spec)
	if err != nil {
		return Built{}, err
	}
	all, err := b.Interpreters(ctx)
	if err != nil {
		return Built{}, err
	}
	in, host, err := b.pick(ctx, p, all)
	if err != nil {
		return Built{}, err
	}
	hash := p.hash(in, b.cfg.Mode)
	if built, ok := b.shelf.built(hash); ok {
		_, _ = fmt.Fprintf(log, "The environment %s is there already.\n", short(hash))
		return built, nil
	}
	return b.flights.do(ctx, hash, log, func(ctx context.Context, emit func(string)) (Built, error) {
		if built, ok := b.shelf.built(hash); ok {
			return built, nil
		}
		return b.make(ctx, p, in, host, hash, emit)
	})
}

// pick chooses the interpreter; in host mode also what it has installed.
func (b *Builder) pick(ctx context.Context, p plan, all []Interpreter) (Interpreter, hostPackages, error) {
	if b.cfg.Mode == ModeHost {
		return chooseHost(ctx, p, all, b.cfg.PythonPolicy, b.cfg.HostPython, b.environ())
	}
	in, err := choose(all, p.python, b.cfg.PythonPolicy)
	return in, hostPackages{}, err
}

// make builds in a temporary folder and moves the result into place.
func (b *Builder) make(ctx context.Context, p plan, in Interpreter, host hostPackages, hash string, emit func(string)) (Built, error) {
	start := b.now()
	work, err := b.shelf.work(hash)
	if err != nil {
		return Built{}, storageFault(err)
	}
	defer os.RemoveAll(work)
	file, err := os.OpenFile(filepath.Join(work, logName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return Built{}, storageFault(err)
	}
	defer file.Close()
	j := &job{
		b: b, plan: p, in: in, work: work, env: filepath.Join(work, envName), environ: b.environ(),
		out: &output{now: b.now, start: start, last: start, file: file, emit: emit},
		report: Report{
			Mode: b.cfg.Mode.String(), Image: p.image, Skipped: p.skipped, Notes: p.notes,
			Python: Python{Wanted: p.wanted, Got: in.Version.String(), Base: in.Path, Platform: in.Platform, Exact: p.python.allows(in.Version.String())},
		},
	}
	for _, r := range p.items {
		j.report.Wanted = append(j.report.Wanted, redact(r.String()))
	}
	b.log.Info("environment build starts", "hash", short(hash), "python", in.Version.String(), "mode", b.cfg.Mode.String(), "packages", len(p.items))
	if err := j.run(ctx, host); err != nil {
		b.log.Warn("environment build failed", "hash", short(hash), "elapsed", b.now().Sub(start), "error", err)
		return Built{}, err
	}
	elapsed := b.now().Sub(start)
	j.out.say("Done: %d packages for Python %s in %.1f s.", len(j.report.Installed), in.Version, elapsed.Seconds())
	built, err := b.shelf.place(work, record{Format: formatVersion, Hash: hash, Report: j.report, ElapsedMS: elapsed.Milliseconds()})
	if err != nil {
		return Built{}, storageFault(err)
	}
	b.log.Info("environment built", "hash", short(hash), "elapsed", elapsed, "packages", len(j.report.Installed))
	return built, nil
}

// storageFault is our own disk failing us; a full one is told to the user.
func storageFault(err error) error {
	if diskLine.MatchString(err.Error()) {
		return fault.E(fault.Conflict, Code, "the disk is full: %w", err)
	}
	return fault.Wrap(err, "storing an environment")
}

func short(hash string) string { return hash[:min(12, len(hash))] }
