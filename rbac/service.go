package rbac

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/store"
)

// Config is what a service needs. Only Store must be set.
type Config struct {
	Store store.Store
	Now   func() time.Time // nil: the clock
	Rand  io.Reader        // nil: crypto/rand; names assignments made without one

	// OnDenied hears of every refusal of Require, before it returns. It must be quick.
	OnDenied func(fault.Denial)
	// OnDecided hears of every answer of Require and RequireLinked, for who
	// counts them. It must be quick. nil: nobody.
	OnDecided func(q Query, allowed bool)
	// PrincipalExists returns the kind of a principal (User, Group,
	// ServicePrincipal) and whether the directory knows it. nil knows nobody,
	// and every assignment must then say its principalType.
	PrincipalExists func(objectID string) (kind string, ok bool)
	// GroupsOf returns the groups that hold a principal, for the filter
	// assignedTo. nil: none.
	GroupsOf func(objectID string) []string
}

// Service keeps roles and assignments in a store and decides by them.
type Service struct {
	cfg      Config
	snapshot atomic.Pointer[Snapshot]
	places   atomic.Pointer[places] // changed before the snapshot is swapped
	mu       sync.Mutex             // one change at a time: commit, then swap
	stale    bool                   // a commit's outcome is unknown; read the store again first
}

// Tables of the store.
const (
	assignmentTable = "rbac.assignments" // by name
	tripleTable     = "rbac.triples"     // principal, role and scope to name: at most one assignment each
	roleTable       = "rbac.roles"       // custom roles by id
	goneTable       = "rbac.gone"        // removed principals by object id
)

func assignmentRecords() store.Table[Assignment] {
	return store.Table[Assignment]{Name: assignmentTable}
}
func tripleRecords() store.Table[string]  { return store.Table[string]{Name: tripleTable} }
func roleRecords() store.Table[Role]      { return store.Table[Role]{Name: roleTable} }
func goneRecords() store.Table[time.Time] { return store.Table[time.Time]{Name: goneTable} }
func tripleKey(principal, role, scope string) string {
	return principal + "|" + role + "|" + scope
}

// Open reads all roles and assignments and returns the service.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Store == nil {
		return nil, errors.New("rbac: Config.Store is not set")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	s := &Service{cfg: cfg}
	return s, s.reload(ctx)
}

// Snapshot returns the state in force.
func (s *Service) Snapshot() *Snapshot { return s.snapshot.Load() }

// reload builds the snapshot from the store.
func (s *Service) reload(ctx context.Context) error {
	var (
		custom      []Role
		assignments []Assignment
		gone        []string
	)
	err := s.cfg.Store.View(ctx, func(r store.Reader) error {
		custom, assignments, gone = nil, nil, nil
		roles, err := roleRecords().List(r, "", "", 0)
		if err != nil {
			return err
		}
		for _, e := range roles {
			custom = append(custom, e.Value)
		}
		entries, err := assignmentRecords().List(r, "", "", 0)
		if err != nil {
			return err
		}
		shared := sharing{scopes: map[string]armid.ID{}, texts: map[string]string{}}
		for _, e := range entries {
			assignments = append(assignments, shared.of(e.Value))
		}
		removed, err := goneRecords().List(r, "", "", 0)
		for _, e := range removed {
			gone = append(gone, e.Key)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("reading role assignments: %w", err)
	}
	s.places.Store(newPlaces(assignments))
	s.snapshot.Store(NewSnapshot(custom, assignments, gone))
	return nil
}

// sharing has assignments share what they have in common: thousands of
// endpoints have the same roles at one registry and one account.
type sharing struct {
	scopes map[string]armid.ID
	texts  map[string]string
}

func (s sharing) of(a Assignment) Assignment {
	key := a.Scope.String()
	if scope, ok := s.scopes[key]; ok {
		a.Scope = scope
	} else {
		s.scopes[key] = a.Scope
	}
	for _, text := range []*string{&a.RoleID, &a.PrincipalID, &a.PrincipalType, &a.Description, &a.CreatedBy, &a.UpdatedBy} {
		if same, ok := s.texts[*text]; ok {
			*text = same
		} else {
			s.texts[*text] = *text
		}
	}
	return a
}

// update commits change and then swaps in what next makes of the snapshot; a
// nil next reads the store again. It returns with the change in force.
func (s *Service) update(ctx context.Context, change func(tx store.Tx) error, next func(*Snapshot) *Snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stale {
		if err := s.reload(ctx); err != nil {
			return fault.Wrap(err, "reading the role assignments")
		}
		s.stale = false
	}
	err := s.cfg.Store.Update(ctx, change)
	if err == nil && next != nil {
		s.snapshot.Store(next(s.snapshot.Load()))
		return nil
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return known // change refused: nothing was written
	}
	// Either the whole state changed, or the store failed and nobody knows
	// whether the commit is on disk: believe the store, not the memory.
	if reloadErr := s.reload(context.WithoutCancel(ctx)); reloadErr != nil {
		s.stale = true
		err = errors.Join(err, reloadErr)
	}
	if err != nil {
		return fault.Wrap(err, "storing the change of roles")
	}
	return nil
}

// Require returns nil if the query is allowed, else a Denied fault with ARM's
// code AuthorizationFailed and the denial.
func (s *Service) Require(ctx context.Context, q Query) error {
	snap := s.Snapshot()
	if s.decide(snap, q) {
		return nil
	}
	return s.deny(snap, q, "AuthorizationFailed", fmt.Sprintf(
		"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. "+
			"If access was recently granted, please refresh your credentials.",
		q.PrincipalID, q.PrincipalID, q.Action, q.Scope))
}

// RequireLinked is Require for a right on something that a request merely
// refers to, such as the identity that it attaches. q is the request itself,
// which must have been allowed already; the fault is LinkedAuthorizationFailed.
func (s *Service) RequireLinked(ctx context.Context, q, linked Query) error {
	snap := s.Snapshot()
	if s.decide(snap, linked) {
		return nil
	}
	return s.deny(snap, linked, "LinkedAuthorizationFailed", fmt.Sprintf(
		"The client '%s' with object id '%s' has permission to perform action '%s' on scope '%s'; however, "+
			"it does not have permission to perform action '%s' on the linked scope(s) '%s' or the linked scope(s) are invalid.",
		q.PrincipalID, q.PrincipalID, q.Action, q.Scope, linked.Action, linked.Scope))
}

func (s *Service) decide(snap *Snapshot, q Query) bool {
	allowed := snap.Decide(q).Allowed
	if s.cfg.OnDecided != nil {
		s.cfg.OnDecided(q, allowed)
	}
	return allowed
}

func (s *Service) deny(snap *Snapshot, q Query, code, message string) error {
	kind, _ := s.kindOf(q.PrincipalID)
	denial := snap.Denial(q, kind)
	if s.cfg.OnDenied != nil {
		s.cfg.OnDenied(denial)
	}
	return &fault.Error{Kind: fault.Denied, Code: code, Message: message, Denial: &denial}
}

// Explain explains a query; principalType in its advice comes from the directory.
func (s *Service) Explain(q Query) Explanation {
	snap := s.Snapshot()
	e := snap.Explain(q)
	kind, _ := s.kindOf(q.PrincipalID)
	e.Advice = snap.Advise(q, kind)
	return e
}

func (s *Service) kindOf(objectID string) (string, bool) {
	if s.cfg.PrincipalExists == nil {
		return "", false
	}
	return s.cfg.PrincipalExists(strings.ToLower(objectID))
}
