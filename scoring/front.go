package scoring

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"lapis/fault"
	"lapis/worker"
)

// ScoreAction is what calling an endpoint needs where it is called with a
// token of Entra ID.
const ScoreAction = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action"

// Endpoint is what a scoring host leads to. It is not changed after Set.
type Endpoint struct {
	Name string

	// Authorize checks the bearer of a request: a key, or a token whose holder
	// may do ScoreAction. It returns nil, or a fault: Unauthenticated (code
	// key_auth_access_denied for a wrong key) or Denied.
	Authorize func(ctx context.Context, bearer string) error
	AuthMode  string // for events, such as key

	Deployments map[string]*Pool
	Traffic     map[string]int // weight per deployment, 0 to 100; a missing one is 0
	Mirror      map[string]int // percentage of live requests copied to one deployment, 0 to MaxMirror
	MaxBody     int64          // 0 means DefaultMaxBody
}

// route is one row of the front's table. Every row needs a credential: no
// path of an endpoint is anonymous.
type route struct {
	path   string // "" stands for every other path; the instance answers those too
	name   string // for events
	action string
}

func routes() []route {
	return []route{
		{"/score", "score", ScoreAction},
		{"/swagger.json", "swagger", ScoreAction},
		{"/", "liveness", ScoreAction},
		{"", "other", ScoreAction},
	}
}

// Operation is a row of the front's table, for lists of what is there. A Path
// of "" is every other path; all methods are taken.
type Operation struct{ Path, Action string }

// Operations lists all operations, in the order of the table.
func Operations() []Operation {
	var list []Operation
	for _, r := range routes() {
		list = append(list, Operation{r.path, r.action})
	}
	return list
}

func routeOf(path string) route {
	rows := routes()
	for _, row := range rows {
		if row.path == path {
			return row
		}
	}
	return rows[len(rows)-1]
}

// Event tells of one request, after its answer.
type Event struct {
	Endpoint        string
	Deployment      string // "" if none was picked
	Route           string // score, swagger, liveness or other
	Method          string
	Path            string
	Protocol        string // such as HTTP/1.1
	AuthMode        string // the endpoint's; "" if nobody was let in
	Status          int    // what the client got; 499 if it had gone
	ModelStatus     int    // what the instance answered; 0 if none did
	Reason          string // a fault's code, or model_error; "" if all was well
	RequestID       string
	ClientRequestID string
	UserAgent       string // 70 characters at most
	RequestBytes    int
	ResponseBytes   int
	Total           time.Duration
	Queued          time.Duration
	Model           time.Duration
	Run             time.Duration // in run()
	Err             error         // for the log; never shown to clients as it is
}

// Front is the http.Handler of all scoring hosts. The zero value answers 404
// until Set; its fields are set before it is used.
type Front struct {
	OnEvent func(ctx context.Context, e Event) // nil means none; called from many goroutines, with the request's context
	Pick    func(n int) int                    // in [0, n), chooses by weight; nil means random
	InTurn  bool                               // no chance: shares and copies are exact, in even steps; Pick is not used
	NewID   func() string                      // request ids; nil means UUIDs
	Now     func() time.Time

	MaxBodies int64         // bytes of all requests' bodies at a time; 0 means DefaultMaxBodies
	BodyGrace time.Duration // how long a body may take beyond its size; 0 means 10 s

	changing sync.Mutex
	table    table
	opening  atomic.Pointer[chan struct{}] // closed when the table is full; nil: it is
	bodies   atomic.Int64                  // bytes
}

// target is a row of the table of hosts, ready to be used.
type target struct {
	Endpoint
	weights []weight
	shadow  *shadow      // nil: nothing is mirrored
	past    *shadowQueue // of a mirroring that has ended, for its report

	live, copies *turns // of Front.InTurn
}

// Set puts an endpoint behind a host name, in place of the one before.
// Requests under way finish where they are.
func (f *Front) Set(host string, endpoint Endpoint) error {
	if endpoint.Authorize == nil {
		return fmt.Errorf("endpoint %s has nothing that authorizes its callers", endpoint.Name)
	}
	weights, err := weightsOf(endpoint.Traffic, endpoint.Deployments)
	if err != nil {
		return fmt.Errorf("endpoint %s: %w", endpoint.Name, err)
	}
	shadow, err := shadowOf(endpoint)
	if err != nil {
		return fmt.Errorf("endpoint %s: %w", endpoint.Name, err)
	}
	setDefault(&endpoint.MaxBody, DefaultMaxBody)
	endpoint.Deployments = cloned(endpoint.Deployments)
	endpoint.Traffic, endpoint.Mirror = cloned(endpoint.Traffic), cloned(endpoint.Mirror)
	next := &target{Endpoint: endpoint, weights: weights, shadow: shadow}
	f.change(host, func(before *target) *target {
		next.keepTurns(before)
		next.takeOver(before, f.now)
		return next
	})
	return nil
}

// Remove takes a host name away.
func (f *Front) Remove(host string) {
	f.change(host, func(before *target) *target {
		(*target)(nil).takeOver(before, f.now)
		return nil
	})
}

// Has reports whether a host name leads to an endpoint.
func (f *Front) Has(host string) bool { return f.find(host) != nil }

// change puts what edit makes of a host's row in its place, or takes it away.
func (f *Front) change(host string, edit func(before *target) *target) {
	f.changing.Lock()
	defer f.changing.Unlock()
	key := hostKey(host)
	leaf := f.table.leaf(key)
	next := map[string]*target{}
	if now := leaf.Load(); now != nil {
		maps.Copy(next, *now)
	}
	if row := edit(next[key]); row != nil {
		next[key] = row
	} else {
		delete(next, key)
	}
	leaf.Store(&next)
}

func (f *Front) find(host string) *target {
	key := hostKey(host)
	rows := f.table.leaf(key).Load()
	if rows == nil {
		return nil
	}
	return (*rows)[key]
}

// hostKey is a host name without port and final dot, in lower case.
func hostKey(host string) string {
	if strings.Contains(host, ":") { // or it would make an error of each host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// ServeHTTP answers one request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := f.now()
	agent := r.UserAgent()
	event := Event{
		Method: r.Method, Path: r.URL.Path, Route: routeOf(r.URL.Path).name, RequestID: f.newID(),
		ClientRequestID: clientRequestID(r.Header), UserAgent: agent[:min(len(agent), 70)], Protocol: r.Proto,
	}
	w.Header()[headerRequestID] = []string{event.RequestID}
	err := f.serve(w, r, &event)
	cut := errors.Is(err, errCut)
	if err != nil && !cut {
		drawError(w, r, err, &event)
	}
	event.Total = f.now().Sub(began)
	if f.OnEvent != nil {
		f.OnEvent(r.Context(), event)
	}
	if cut {
		panic(http.ErrAbortHandler) // net/http then breaks the connection off, or the stream of HTTP/2
	}
}

// serve authorizes, routes and scores. What it returns is drawn by drawError.
func (f *Front) serve(w http.ResponseWriter, r *http.Request, event *Event) error {
	endpoint, err := f.lookup(r.Context(), r.Host)
	if err != nil {
		return err
	}
	event.Endpoint = endpoint.Name
	bearer, err := bearerOf(r.Header)
	if err != nil {
		return err
	}
	if err := endpoint.Authorize(r.Context(), bearer); err != nil {
		return err
	}
	event.AuthMode = endpoint.AuthMode
	name, pool, err := f.choose(endpoint, r.Header)
	if err != nil {
		return err
	}
	event.Deployment = name
	body, size, err := f.readBody(w, r, endpoint.MaxBody)
	defer func() { f.bodies.Add(int64(-size)) }()
	if err != nil {
		return err
	}
	event.RequestBytes = len(body)
	request := &worker.Request{
		ID: event.RequestID, Method: r.Method, Path: r.URL.Path, RawQuery: r.URL.RawQuery,
		Host: r.Host, Header: workerHeader(r.Header, event.ClientRequestID), Body: body,
	}
	copied := f.mirror(endpoint, r.Header, request)
	result, err := f.score(r, pool, request, event)
	if copied != nil {
		copied.follow(result, err, event.Deployment)
	}
	if err != nil {
		return err
	}
	writeHead(w, result, event)
	if result.Stream != nil {
		return writeStream(w, r, result, pool.cfg.RequestTimeout, event)
	}
	defer f.paceAnswer(w, len(result.Body))()
	writeBody(w, result, event)
	return nil
}

// score has a pool answer, or the one that has taken its place.
func (f *Front) score(r *http.Request, pool *Pool, request *worker.Request, event *Event) (*Result, error) {
	result, err := pool.Score(r.Context(), request)
	for tries := 0; errors.Is(err, errSealed) && tries < 3; tries++ {
		if event.Deployment, pool, err = f.chooseAgain(r); err != nil {
			return nil, err
		}
		result, err = pool.Score(r.Context(), request)
	}
	if errors.Is(err, errSealed) {
		return nil, fault.E(fault.ModelFailed, codeNotReady, "The deployment is being removed.")
	}
	return result, err
}

// chooseAgain routes anew a request whose pool was closed just before it
// came: the table has a new one by then.
func (f *Front) chooseAgain(r *http.Request) (string, *Pool, error) {
	endpoint := f.find(r.Host)
	if endpoint == nil {
		return "", nil, fault.E(fault.NotFound, "EndpointNotFound", "There is no online endpoint at %s any more.", hostKey(r.Host))
	}
	return f.choose(endpoint, r.Header)
}

func (f *Front) choose(endpoint *target, header http.Header) (string, *Pool, error) {
	name, err := pickDeployment(endpoint, header.Get(headerDeployment), f.random(endpoint.live))
	if err != nil {
		return "", nil, err
	}
	return name, endpoint.Deployments[name], nil
}

// random gives what chooses, given the turns that do so in place of chance.
func (f *Front) random(t *turns) func(n int) int {
	switch {
	case f.InTurn && t != nil:
		return t.next
	case f.Pick != nil:
		return f.Pick
	}
	return rand.IntN
}

// bearerOf takes the credential of a request.
func bearerOf(header http.Header) (string, error) {
	values := header.Values("Authorization")
	if len(values) == 1 {
		scheme, bearer, found := strings.Cut(values[0], " ")
		bearer = strings.TrimSpace(bearer)
		if found && strings.EqualFold(scheme, "Bearer") && bearer != "" {
			return bearer, nil
		}
	}
	return "", fault.E(fault.Unauthenticated, "key_auth_bad_header_forbidden",
		"The request needs one header of the form Authorization: Bearer KEY, with the endpoint's key or a token for it.")
}

func (f *Front) now() time.Time {
	if f.Now == nil {
		return time.Now()
	}
	return f.Now()
}

func (f *Front) newID() string {
	if f.NewID == nil {
		return randomID()
	}
	return f.NewID()
}

// randomID is a UUID of version 4. It names a request and guards nothing, so
// that the runtime's own randomness, which asks no kernel, is enough.
func randomID() string {
	var id uuid.UUID
	binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

// Hosts returns the host names that lead to an endpoint, sorted.
func (f *Front) Hosts() []string {
	var hosts []string
	for host := range f.table.rows() {
		hosts = append(hosts, host)
	}
	slices.Sort(hosts)
	return hosts
}
