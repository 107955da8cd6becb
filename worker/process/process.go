// Package process runs instances of scoring scripts as Python processes on
// this machine.
//
// An instance is one Python process in a process group of its own, with
// exactly the environment that its spec names. It runs a small worker (the
// folder python, standard library only, embedded here), which imports the
// user's script, calls init() once and run() for each request. Two inherited
// socket pairs link it to lapis: frames of requests on one, control (ready,
// failed, probes) on the other. What it prints is its log.
//
// Where a spec names whom it trusts, an instance is forked from a zygote: a
// process that has imported what earlier instances of the same environment
// have imported, and nothing of the user's. nursery.go says when.
//
// Promises: when an instance is done, its process group is gone. When lapis
// dies, however it dies, its workers die with it; what they had started in
// sessions of their own is ended by the next New on the same folder.
//
// The HTTP contract of Azure's inference server (routes, ids, bodies of
// errors) is in server.go; Python only decodes, runs and dumps.
package process

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"lapis/worker"
)

//go:embed python/boot.py python/lapis_worker/*.py
var python embed.FS // read-only

// Config says how processes are run.
type Config struct {
	// Dir is a folder for this runtime alone, made if missing. Two runtimes
	// that live at the same time must not share one: the second would take
	// the first one's instances for leftovers and end them.
	Dir string

	Grace time.Duration // between asking an instance to end and killing it; 0 means 5 s

	// ZygoteIdle is how long a process that instances are forked from is kept
	// without any; 0 means 15 minutes, less than 0 that nothing is forked.
	ZygoteIdle time.Duration

	Logger *slog.Logger // nil means none
	Now    func() time.Time
	Rand   io.Reader
}

// Runtime starts processes. Make it with New.
type Runtime struct {
	cfg    Config
	boot   string // path of boot.py
	spawn  *spawner
	routes []route

	zygotes *nursery
	groups  *groups
	watcher *watcher

	starting sync.RWMutex // held for reading by starts, for writing to forbid them

	closed bool // under starting

	mu   sync.Mutex
	live map[*instance]struct{}
}

var _ worker.Runtime = (*Runtime)(nil)

// New writes the worker's Python files into cfg.Dir and ends what an earlier
// runtime has left running there.
func New(cfg Config) (*Runtime, error) {
	if cfg.Grace == 0 {
		cfg.Grace = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	r := &Runtime{cfg: cfg, routes: routes(), live: map[*instance]struct{}{}}
	if err := os.MkdirAll(r.marks(), 0o700); err != nil {
		return nil, fmt.Errorf("making the worker folder: %w", err)
	}
	if r.boot, err = writePython(filepath.Join(dir, "python")); err != nil {
		return nil, fmt.Errorf("writing the Python worker: %w", err)
	}
	if err := r.sweep(); err != nil {
		return nil, fmt.Errorf("ending leftover instances: %w", err)
	}
	r.spawn = newSpawner()
	r.groups = openGroups(dir)
	if err := r.openNursery(); err != nil {
		r.spawn.close()
		return nil, err
	}
	r.watcher = r.watchInstances()
	return r, nil
}

// openNursery makes what keeps the processes that instances are forked from.
func (r *Runtime) openNursery() error {
	idle := r.cfg.ZygoteIdle
	if idle == 0 {
		idle = 15 * time.Minute
	}
	r.zygotes = &nursery{
		dir: filepath.Join(r.cfg.Dir, "imports"), idle: idle, wait: 2 * time.Second, logger: r.cfg.Logger, off: idle < 0 || !canFork,
		make: r.newZygote, families: map[string]*family{}, lessons: map[string]*lesson{}, told: map[string]bool{}, live: map[*zygote]struct{}{},
	}
	r.zygotes.ctx, r.zygotes.cancel = context.WithCancel(context.Background())
	return errors.Join(os.MkdirAll(r.zygotes.dir, 0o700), os.MkdirAll(r.zygoteHome(), 0o700))
}

// writePython replaces dir by the embedded files and returns boot.py's path.
func writePython(dir string) (string, error) {
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	err := fs.WalkDir(python, "python", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "python" {
			return err
		}
		target := filepath.Join(dir, filepath.FromSlash(name[len("python/"):]))
		if entry.IsDir() {
			return os.Mkdir(target, 0o700)
		}
		data, err := python.ReadFile(path.Clean(name))
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o600)
	})
	return filepath.Join(dir, "boot.py"), err
}

// errClosed means that the runtime has been closed.
var errClosed = errors.New("the process runtime is closed")

// Start starts an instance.
func (r *Runtime) Start(ctx context.Context, spec worker.Spec) (worker.Instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(spec.Python) || !filepath.IsAbs(spec.Dir) {
		return nil, fmt.Errorf("instance %s: the interpreter and the folder need absolute paths", spec.Name)
	}
	if spec.Script == "" {
		spec.Script = "main.py"
	}
	if !filepath.IsLocal(spec.Script) {
		return nil, &worker.ExitError{Stage: worker.StageStart, Code: worker.CodeImportError,
			Message: fmt.Sprintf("The scoring script %q is not inside the code folder. Name it relative to that folder.", spec.Script)}
	}
	r.starting.RLock()
	defer r.starting.RUnlock()
	if r.closed {
		return nil, errClosed
	}
	i, err := r.launch(ctx, spec)
	if err != nil {
		return nil, err // and not an instance that is none
	}
	return i, nil
}

// ended forgets an instance of which nothing is left.
func (r *Runtime) ended(i *instance) {
	r.removeMark(i.mark)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, i)
}

// Close stops all instances, each with the grace at most, and returns when
// they are gone. When ctx ends they are killed.
func (r *Runtime) Close(ctx context.Context) error {
	r.starting.Lock()
	already := r.closed
	r.closed = true
	r.starting.Unlock()
	r.mu.Lock()
	live := make([]*instance, 0, len(r.live))
	for i := range r.live {
		live = append(live, i)
	}
	r.mu.Unlock()
	var wg sync.WaitGroup
	errs := make([]error, len(live))
	for n, i := range live {
		wg.Go(func() { errs[n] = i.Stop(ctx) })
	}
	wg.Wait()
	if !already {
		r.zygotes.close()
		r.watcher.close()
		r.groups.close()
		r.spawn.close()
	}
	return errors.Join(errs...)
}

// newMark leaves a file that names an instance before it is started, so that
// no crash of ours can leave one that nobody knows of. The mark is also in the
// instance's environment, and in that of everything it starts.
func (r *Runtime) newMark(name string) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(r.cfg.Rand, b[:]); err != nil {
		return "", fmt.Errorf("drawing an instance mark: %w", err)
	}
	mark := hex.EncodeToString(b[:])
	if err := os.WriteFile(filepath.Join(r.marks(), mark), []byte(name+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("marking an instance: %w", err)
	}
	return mark, nil
}

func (r *Runtime) removeMark(mark string) {
	if err := os.Remove(filepath.Join(r.marks(), mark)); err != nil {
		r.cfg.Logger.Warn("an instance's mark stays", "mark", mark, "err", err)
	}
}

func (r *Runtime) marks() string { return filepath.Join(r.cfg.Dir, "live") }

// sweep ends the instances whose marks an earlier runtime has left.
func (r *Runtime) sweep() error {
	entries, err := os.ReadDir(r.marks())
	if err != nil {
		return err
	}
	for _, entry := range entries {
		killed := killMarked(entry.Name())
		r.cfg.Logger.Info("swept an instance of an earlier run", "mark", entry.Name(), "processes", killed)
		r.removeMark(entry.Name())
	}
	return nil
}
