package lapis_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ledger drives a platform that may die at any time, and keeps what it was
// told: what was acknowledged as made, and as deleted. What has no answer yet
// is neither.
type ledger struct {
	t *testing.T
	w *wire

	mu      sync.Mutex
	parked  *sync.Cond
	paused  bool
	stopped bool
	active  int
	step    string
	there   map[string]thing
	gone    map[string]thing
	ops     map[string]string // acknowledged operations by address: the last status seen
	serving map[string]string // keys of endpoints that answered, by name
	counter [2]int            // the tag that counts: acknowledged, and asked for
	done    sync.WaitGroup
	laps    int
}

// thing is how to look for something, and its bytes where it is a blob.
type thing struct {
	version string // api-version; "" for a blob
	content []byte
}

func newLedger(t *testing.T, w *wire) *ledger {
	l := &ledger{t: t, w: w, there: map[string]thing{}, gone: map[string]thing{}, ops: map[string]string{}, serving: map[string]string{}}
	l.parked = sync.NewCond(&l.mu)
	return l
}

var errStopped = errors.New("the test ends")

// attempt sends one request, unless the ledger is paused, and notes its
// outcome before the ledger can be paused again.
func (l *ledger) attempt(step string, send func() (answer, error), note func(answer)) (answer, error) {
	l.mu.Lock()
	for l.paused {
		l.parked.Wait()
	}
	if l.stopped {
		l.mu.Unlock()
		return answer{}, errStopped
	}
	l.active++
	if step != "" && !strings.Contains(step, "crashdata") { // where the tour stands, not the writers
		l.step = step
	}
	l.mu.Unlock()
	a, err := send()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		note(a)
	}
	l.active--
	l.parked.Broadcast()
	return a, err
}

// until repeats a request until it is acknowledged with one of the statuses.
func (l *ledger) until(step string, send func() (answer, error), note func(answer), want ...int) answer {
	conflicts := 0
	for {
		a, err := l.attempt(step, send, func(a answer) {
			if slices.Contains(want, a.status) && note != nil {
				note(a)
			}
		})
		switch {
		case errors.Is(err, errStopped):
			panic(errStopped)
		case err != nil: // killed: ask again
			time.Sleep(10 * time.Millisecond)
		case slices.Contains(want, a.status):
			return a
		case a.status == 409 && conflicts < 1000: // an attempt without an answer was taken, and goes on
			conflicts++
			time.Sleep(50 * time.Millisecond)
		default:
			l.t.Errorf("%s: %d %s", step, a.status, a.text)
			panic(errStopped)
		}
	}
}

// put makes a resource and follows its operation.
func (l *ledger) put(path, version string, body any) answer {
	for {
		a := l.until("PUT "+path, func() (answer, error) { return l.w.arm("PUT", path, version, body) }, func(a answer) {
			l.there[path] = thing{version: version}
			delete(l.gone, path)
			l.begun(a)
		}, 200, 201)
		op := a.header.Get("Azure-AsyncOperation")
		if op == "" || l.follow("PUT "+path, op) {
			return a
		}
		if l.t.Failed() {
			panic(errStopped)
		}
	}
}

func (l *ledger) delete(path, version string) {
	forget := func() {
		delete(l.there, path)
		l.gone[path] = thing{version: version}
	}
	for {
		l.mu.Lock()
		what := l.there[path]
		l.mu.Unlock()
		a := l.until("DELETE "+path, func() (answer, error) {
			l.mu.Lock()
			delete(l.there, path) // from here on it may be gone
			l.mu.Unlock()
			return l.w.arm("DELETE", path, version, nil)
		}, func(a answer) {
			if a.status == 202 {
				l.begun(a)
				return
			}
			forget()
		}, 200, 202, 204, 404)
		op := a.header.Get("Azure-AsyncOperation")
		if op == "" {
			return
		}
		if l.follow("DELETE "+path, op) {
			l.mu.Lock()
			forget()
			l.mu.Unlock()
			return
		}
		l.mu.Lock()
		l.there[path] = what
		l.mu.Unlock()
	}
}

// begun notes an operation that was acknowledged. The caller holds the lock.
func (l *ledger) begun(a answer) {
	if op := a.header.Get("Azure-AsyncOperation"); op != "" {
		l.ops[op] = ""
	}
}

// follow polls an operation to its end and reports whether it succeeded. One
// that fails must say why.
func (l *ledger) follow(step, address string) bool {
	for {
		a := l.until(step+" (its operation)", func() (answer, error) {
			token, err := l.w.token(armHost)
			if err != nil {
				return answer{}, err
			}
			return l.w.do("GET", address, bearerHeader(token), nil)
		}, func(a answer) { l.ops[address] = a.str("status") }, 200)
		switch a.str("status") {
		case "Succeeded":
			return true
		case "Failed", "Canceled":
			if a.str("error.message") == "" || a.str("error.code") == "InternalServerError" {
				l.t.Errorf("%s failed without an honest cause: %s", step, a.text)
			}
			l.t.Logf("%s failed and is asked for again: %s", step, a.text)
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (l *ledger) putBlob(address string, content []byte) {
	l.until("", func() (answer, error) { return l.w.blob("PUT", address, content) }, func(answer) {
		l.there[address] = thing{content: content}
	}, 201)
}

func (l *ledger) deleteBlob(address string) {
	l.until("", func() (answer, error) {
		l.mu.Lock()
		delete(l.there, address)
		l.mu.Unlock()
		return l.w.blob("DELETE", address, nil)
	}, func(answer) { l.gone[address] = thing{} }, 202, 404)
}

// pause lets nothing more be sent and waits for what is under way.
func (l *ledger) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = true
	for l.active > 0 {
		l.parked.Wait()
	}
}

func (l *ledger) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = false
	l.parked.Broadcast()
}

func (l *ledger) where() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.ReplaceAll(l.step, l.group(""), "…")
}

// finish waits until a lap has been completed, then ends the writers.
func (l *ledger) finish() {
	deadline := time.Now().Add(90 * time.Second)
	for {
		l.mu.Lock()
		laps := l.laps
		l.mu.Unlock()
		if laps > 0 || l.t.Failed() {
			break
		}
		if time.Now().After(deadline) {
			l.t.Errorf("no lap of the tour was completed; it stands at %s", l.where())
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.done.Wait()
	l.settle()
}

// settle waits until every acknowledged operation has ended.
func (l *ledger) settle() {
	l.t.Helper()
	for address := range l.ops {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			token, _ := l.w.token(armHost)
			a, err := l.w.do("GET", address, bearerHeader(token), nil)
			status := a.str("status")
			if err == nil && (status == "Succeeded" || status == "Failed" || status == "Canceled") {
				l.ops[address] = status
				break
			}
			if time.Now().After(deadline) {
				l.t.Errorf("an acknowledged operation does not end: %d %v %s", a.status, err, a.text)
				break
			}
		}
	}
}

// check compares the platform with the ledger.
func (l *ledger) check() string {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for path, what := range l.there {
		a, err := l.look(path, what)
		if err != nil || a.status != 200 {
			l.t.Errorf("acknowledged and lost: %s: %d %v %s", path, a.status, err, a.text)
		}
		if what.content != nil && a.text != string(what.content) {
			l.t.Errorf("%s: %d bytes came back, other than the %d that were acknowledged", path, len(a.text), len(what.content))
		}
	}
	for path, what := range l.gone {
		if a, err := l.look(path, what); err != nil || a.status != 404 {
			l.t.Errorf("acknowledged as deleted, and back: %s: %d %v %s", path, a.status, err, a.text)
		}
	}
	for address, status := range l.ops {
		token, err := l.w.token(armHost)
		if err != nil {
			l.t.Error(err)
			continue
		}
		a, err := l.w.do("GET", address, bearerHeader(token), nil)
		ended := status != "" && status != "InProgress"
		if err != nil || a.status != 200 || ended && a.str("status") != status {
			l.t.Errorf("the operation %s, %q before, is lost: %d %v %s", address, status, a.status, err, a.text)
		}
	}
	a, err := l.w.arm("GET", l.group(""), groupVersion, nil)
	var count int
	_, _ = fmt.Sscan(a.str("tags.count"), &count)
	if err != nil || count < l.counter[0] || count > l.counter[1] {
		l.t.Errorf("the counter is %d; %d was acknowledged, %d asked for: %v", count, l.counter[0], l.counter[1], err)
	}
	for name, key := range l.serving {
		l.serves(name, key)
	}
	return fmt.Sprintf("%d things there, %d gone, %d operations, %d endpoints serve, count %d", len(l.there), len(l.gone), len(l.ops), len(l.serving), count)
}

func (l *ledger) look(path string, what thing) (answer, error) {
	if what.version == "" {
		return l.w.blob("GET", path, nil)
	}
	return l.w.arm("GET", path, what.version, nil)
}

// serves waits until an endpoint answers again, as it must by itself.
func (l *ledger) serves(name, key string) {
	began := time.Now()
	for {
		a, err := l.w.do("POST", "https://"+name+"."+l.w.info.Location+".inference.ml.azure.com/score",
			bearerHeader(key, "Content-Type", "application/json"), []byte(`{"data":[1,2,3]}`))
		if err == nil && a.status == 200 && a.str("blob") == "Hello world!" && a.path("sum") == 6.0 {
			return
		}
		if time.Since(began) > 20*time.Second {
			l.t.Errorf("%s does not serve 20 s after the start: %d %v %s", name, a.status, err, a.text)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
