package telemetry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"lapis/worker"
)

// instances are those that run, by what they can be known by when they ask
// something of the platform: the address of their token endpoint, and the
// password by which they speak to the proxy.
type instances struct {
	mu    sync.RWMutex
	known map[string]*instance
}

// instance is one of them, and the requests that it was given, in their order:
// it runs the first.
type instance struct {
	name string

	mu    sync.Mutex
	given []*run
}

// run is one request in an instance. Its span is made when the instance is
// done with it and its answer is there, whichever is later.
type run struct {
	flight *flight // nil: nobody traces it
	given  time.Time

	mu     sync.Mutex
	parts  int // of done and answered
	end    time.Time
	busy   time.Duration
	status int
	err    error
}

func (s *instances) of(key string) *instance {
	if key == "" {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.known[key]
}

func (s *instances) add(in *instance, keys []string) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[string]*instance{}
	}
	for _, key := range keys {
		s.known[key] = in
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, key := range keys {
			if s.known[key] == in {
				delete(s.known, key)
			}
		}
	}
}

// running is the flight that the instance works on; nil if none, or none that
// is traced.
func (in *instance) running() *flight {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.given) == 0 {
		return nil
	}
	return in.given[0].flight
}

func (in *instance) enter(r *run) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.given = append(in.given, r)
}

func (in *instance) leave(r *run) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.given = slices.DeleteFunc(in.given, func(other *run) bool { return other == r })
}

// Runtime has the instances that a runtime starts known by what they ask.
// proxy is the address in their environment that leads to the platform.
func (t *Tracing) Runtime(next worker.Runtime, proxy string) worker.Runtime {
	if t == nil {
		return next
	}
	return tracedRuntime{t, next, proxy}
}

type tracedRuntime struct {
	tracing *Tracing
	next    worker.Runtime
	proxy   string
}

// Start gives the instance a password for the proxy. It is no secret that
// guards anything: it says whose the request is.
func (r tracedRuntime) Start(ctx context.Context, spec worker.Spec) (worker.Instance, error) {
	in := &instance{name: spec.Name}
	password := make([]byte, 16)
	if _, err := rand.Read(password); err != nil {
		return nil, err
	}
	key := hex.EncodeToString(password)
	env, keys := r.environ(spec.Env, key)
	spec.Env = env
	remove := r.tracing.asker.add(in, keys) // before it starts: init() may ask, too
	started, err := r.next.Start(ctx, spec)
	if err != nil {
		remove()
		return nil, err
	}
	go func() {
		<-started.Done()
		remove()
	}()
	return tracedInstance{started, in}, nil
}

// environ returns the environment with the password in the proxy's address, and
// all that the instance is known by.
func (r tracedRuntime) environ(env []string, key string) (with, keys []string) {
	with, keys = slices.Clone(env), []string{key}
	for n, variable := range with {
		name, value, _ := strings.Cut(variable, "=")
		switch {
		case strings.EqualFold(name, "HTTPS_PROXY") && value == r.proxy:
			with[n] = name + "=" + strings.Replace(value, "://", "://instance:"+key+"@", 1)
		case name == "MSI_ENDPOINT" || name == "IDENTITY_ENDPOINT" || name == "AZURE_POD_IDENTITY_AUTHORITY_HOST":
			if at, err := url.Parse(value); err == nil && at.Host != "" {
				keys = append(keys, at.Host)
			}
		}
	}
	return with, keys
}

// tracedInstance notes what the instance runs.
type tracedInstance struct {
	worker.Instance
	known *instance
}

// Score is the instance's own.
func (i tracedInstance) Score(ctx context.Context, req *worker.Request) (*worker.Response, error) {
	r := &run{flight: flightOf(ctx), given: time.Now()}
	if r.flight != nil {
		r.flight.mu.Lock()
		r.flight.given = r.given
		r.flight.mu.Unlock()
	}
	i.known.enter(r)
	own := *req
	own.Done = func(busy time.Duration) {
		i.known.leave(r)
		i.part(r, func() { r.end, r.busy = time.Now(), busy })
		if req.Done != nil {
			req.Done(busy)
		}
	}
	response, err := i.Instance.Score(ctx, &own)
	i.part(r, func() {
		if r.err = err; err == nil {
			r.status = response.Status
		}
	})
	return response, err
}

func (i tracedInstance) part(r *run, note func()) {
	if r.flight == nil {
		return
	}
	r.mu.Lock()
	note()
	r.parts++
	if errors.Is(r.err, worker.ErrExited) && r.busy == 0 { // it cannot tell any more
		r.busy = time.Since(r.given)
	}
	whole := r.parts == 2 && r.busy > 0 // one that it never ran has no span
	r.mu.Unlock()
	if whole {
		r.flight.ran(i.known.name, r.end, r.busy, r.status, r.err)
	}
}

// Usage is the instance's, if it can tell.
func (i tracedInstance) Usage() (worker.Usage, error) {
	if m, ok := i.Instance.(worker.Metered); ok {
		return m.Usage()
	}
	return worker.Usage{}, errors.ErrUnsupported
}
