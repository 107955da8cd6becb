package process

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"lapis/worker"
)

const (
	maxRounds   = 6  // of leaving out one package more
	maxFailures = 3  // in a row, after which a family starts fresh
	maxBuilds   = 50 // of one family, in case its instances never stop importing something new
	maxModules  = 10000
)

// nursery keeps the zygotes: processes that have imported the packages of an
// environment and fork instances that have them.
//
// There is at most one that forks for each family: an interpreter, those who
// trust one another, and what of the environment matters early. What it
// imports is learned from instances that got ready; it is kept in a file, so
// that it is known after a restart. A zygote is made when something has been
// learned that it lacks, in the background; the one before it lives as long
// as its instances do. Each keeps one process ready for the next instance; see
// spare.
type nursery struct {
	off    bool          // nothing is forked
	dir    string        // of what has been learned
	idle   time.Duration // without an instance and a fork, after which a zygote ends
	wait   time.Duration // a start waits at most this long for a zygote that is being made
	logger *slog.Logger
	make   func(ctx context.Context, f *family, modules []string) (*zygote, error)
	ctx    context.Context // of what is being made; it ends with the nursery
	cancel context.CancelFunc

	mu       sync.Mutex
	closed   bool
	families map[string]*family
	lessons  map[string]*lesson
	told     map[string]bool // what has been logged once
	live     map[*zygote]struct{}
	work     sync.WaitGroup
	writing  sync.Mutex
}

// lesson is what has been learned of an interpreter's packages among those who trust one another.
type lesson struct {
	Python  string            `json:"python"`
	Modules []string          `json:"modules"` // in the order in which they were begun
	Without map[string]string `json:"without"` // packages that are not imported beforehand, and why

	has  map[string]bool
	kept bool // there is a file of it
}

// family is those who may be forked from the same process.
type family struct {
	python   string
	env      map[string]string
	lesson   *lesson
	limits   worker.Limits // of the last of them
	current  *zygote
	building chan struct{} // closed when the one that is being made stands or has failed
	again    bool          // something has been learned meanwhile
	failures int
	builds   int
}

// errUnfit says that a zygote must not be forked because of a package.
type errUnfit struct{ pkg, why string }

func (e *errUnfit) Error() string { return strings.TrimSpace(e.pkg + ": " + e.why) }

// take gives the zygote that an instance can be forked from. nil means that it is started fresh.
func (n *nursery) take(ctx context.Context, spec worker.Spec) *zygote {
	if n.off || spec.Trust == "" {
		return nil
	}
	f, why := n.family(spec)
	if f == nil {
		n.once(why+spec.Python, "instances start in fresh processes", "instance", spec.Name, "why", why)
		return nil
	}
	n.mu.Lock()
	if f.current == nil && f.building == nil && f.lesson != nil {
		n.build(f)
	}
	z, building := f.current, f.building
	n.mu.Unlock()
	if z == nil && building != nil {
		timer := time.NewTimer(n.wait)
		defer timer.Stop()
		select {
		case <-building:
		case <-timer.C:
		case <-ctx.Done():
		}
		n.mu.Lock()
		z = f.current
		n.mu.Unlock()
	}
	if z == nil {
		return nil
	}
	if name := z.clash(spec.Env); name != "" {
		why := fmt.Sprintf("a package of the environment reads the variable %s when it is imported, which the instance has with a value of its own", name)
		n.once(why+spec.Python, "instances start in fresh processes", "instance", spec.Name, "why", why)
		return nil
	}
	return z
}

// family finds or makes that of a spec, or says why it can have none.
func (n *nursery) family(spec worker.Spec) (*family, string) {
	env, why := common(spec.Env)
	if why != "" {
		return nil, why
	}
	key := strings.Join(append([]string{spec.Python, spec.Trust}, entries(env)...), "\x00")
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.families[key]
	if f == nil {
		f = &family{python: spec.Python, env: env, lesson: n.lesson(spec, false)}
		n.families[key] = f
	}
	f.limits = spec.Limits
	return f, ""
}

func entries(env map[string]string) []string {
	out := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}

// learn takes what an instance has imported of the environment by itself. The caller must not hold n.mu.
func (n *nursery) learn(spec worker.Spec, modules []string) {
	if n.off || spec.Trust == "" {
		return
	}
	f, _ := n.family(spec)
	if f == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.lesson(spec, true)
	f.lesson = l
	grown := l.add(modules)
	if (grown || !l.kept) && !n.closed {
		l.kept = true
		kept := lesson{Python: l.Python, Modules: slices.Clone(l.Modules)}
		n.work.Go(func() { n.keep(n.path(spec), kept) })
	}
	if f.current == nil || f.current.lacks(modules, l.Without) {
		n.build(f)
	}
}

// add notes modules, and reports whether any is new.
func (l *lesson) add(modules []string) bool {
	grown := false
	for _, name := range modules {
		if !l.has[name] && moduleName(name) && len(l.Modules) < maxModules {
			l.has[name], grown = true, true
			l.Modules = append(l.Modules, name)
		}
	}
	return grown
}

// moduleName reports whether a text can be the name of a module.
func moduleName(text string) bool {
	return text != "" && len(text) <= 500 && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`/\"'`, r) })
}

// wanted is what a zygote is to import.
func (l *lesson) wanted() []string {
	all := append([]string{}, l.Modules...)
	return slices.DeleteFunc(all, func(name string) bool { return l.Without[topOf(name)] != "" })
}

func topOf(module string) string {
	top, _, _ := strings.Cut(module, ".")
	return top
}

// build makes a zygote in the background. The caller holds n.mu.
func (n *nursery) build(f *family) {
	if f.building != nil {
		f.again = true
		return
	}
	if n.closed || f.failures >= maxFailures || f.builds >= maxBuilds {
		return
	}
	f.builds++
	f.building = make(chan struct{})
	n.work.Go(func() {
		z, err := n.attempt(f)
		n.mu.Lock()
		defer n.mu.Unlock()
		close(f.building)
		f.building = nil
		if err != nil {
			n.failed(f, err)
			return
		}
		if n.closed {
			z.kill()
			return
		}
		old := f.current
		f.current = z
		n.live[z] = struct{}{}
		if old != nil {
			old.retire()
		}
		n.work.Go(func() { n.watch(f, z) })
		z.expect(f.limits)
		if f.again && z.lacks(f.lesson.Modules, f.lesson.Without) {
			n.build(f)
		}
		f.again = false
	})
}

// attempt makes a zygote, without one package more each time that one turns out to be unfit.
func (n *nursery) attempt(f *family) (*zygote, error) {
	for range maxRounds {
		n.mu.Lock()
		modules := f.lesson.wanted()
		n.mu.Unlock()
		z, err := n.make(n.ctx, f, modules)
		var unfit *errUnfit
		if !errors.As(err, &unfit) || unfit.pkg == "" {
			return z, err
		}
		n.once(f.python+unfit.pkg, "a package is not imported beforehand; instances import it themselves", "package", unfit.pkg, "why", unfit.why, "python", f.python)
		n.mu.Lock()
		f.lesson.Without[unfit.pkg] = unfit.why
		n.mu.Unlock()
	}
	return nil, errors.New("too many of its packages must not be imported beforehand")
}

// failed notes that no zygote could be made. The caller holds n.mu.
func (n *nursery) failed(f *family, err error) {
	if n.closed {
		return
	}
	f.failures++
	f.again = false
	n.logger.Warn("no process can be made that instances are forked from; they start in fresh ones", "python", f.python, "error", err,
		"attempt", f.failures, "last", f.failures >= maxFailures)
}

// watch forgets a zygote when it has ended.
func (n *nursery) watch(f *family, z *zygote) {
	<-z.gone
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.live, z)
	if f.current != z {
		return
	}
	f.current = nil
	if !n.closed && !z.leaving() {
		if z.fruitless() {
			f.failures++
		}
		n.logger.Warn("a process that instances are forked from has ended, and those that came from it with it", "python", f.python, "pid", z.pid())
	}
}

// refused notes that a zygote has not given an instance.
func (n *nursery) refused(spec worker.Spec, z *zygote, err error) {
	n.once(spec.Python+err.Error(), "an instance could not be forked and starts in a fresh process", "instance", spec.Name, "pid", z.pid(), "error", err)
}

// once logs a matter the first time that it comes up.
func (n *nursery) once(matter, text string, args ...any) {
	n.mu.Lock()
	told := n.told[matter]
	n.told[matter] = true
	n.mu.Unlock()
	if !told {
		n.logger.Info(text, args...)
	}
}

// later does something in the background, unless the nursery is closed.
func (n *nursery) later(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.work.Go(do)
	}
}

// close ends all zygotes and returns when they are gone.
func (n *nursery) close() {
	n.mu.Lock()
	n.closed = true
	n.cancel()
	for z := range n.live {
		z.kill()
	}
	n.mu.Unlock()
	n.work.Wait()
}

// path of what has been learned for those who trust one another.
func (n *nursery) path(spec worker.Spec) string {
	sum := sha256.Sum256([]byte(spec.Python + "\x00" + spec.Trust))
	return filepath.Join(n.dir, hex.EncodeToString(sum[:16])+".json")
}

// lesson finds what has been learned, in memory or on disk; nil if that is
// nothing and create is false. The caller holds n.mu.
func (n *nursery) lesson(spec worker.Spec, create bool) *lesson {
	path := n.path(spec)
	if l := n.lessons[path]; l != nil {
		return l
	}
	l := &lesson{Without: map[string]string{}, has: map[string]bool{}}
	found := false
	if data, err := os.ReadFile(path); err == nil {
		var kept lesson
		if json.Unmarshal(data, &kept) == nil && kept.Python == spec.Python {
			found = true
			l.kept = true
			l.add(kept.Modules)
		}
	}
	if !found && !create {
		return nil
	}
	l.Python = spec.Python
	n.lessons[path] = l
	return l
}

// keep writes what has been learned. A file that is lost costs one slow start.
func (n *nursery) keep(path string, l lesson) {
	n.writing.Lock()
	defer n.writing.Unlock()
	data, err := json.Marshal(l)
	if err == nil {
		if err = os.WriteFile(path+".new", data, 0o600); err == nil {
			err = os.Rename(path+".new", path)
		}
	}
	if err != nil {
		n.logger.Warn("what instances import could not be kept", "error", err)
	}
}
