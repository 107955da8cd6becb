package endpoint

import (
	"sync"
	"time"

	"lapis/fault"
)

// denials remembers what identities of endpoints were refused lately, so that a
// deployment that fails can say what it lacked and its log can show it.
type denials struct {
	mu   sync.Mutex
	last map[string][]refused // by principal, lower case
}

type refused struct {
	denial fault.Denial
	at     time.Time
}

// keepDenials is how many are remembered per principal.
const keepDenials = 16

func (d *denials) add(denial fault.Denial, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil {
		d.last = map[string][]refused{}
	}
	list := append(d.last[denial.Principal], refused{denial, at})
	d.last[denial.Principal] = list[max(0, len(list)-keepDenials):]
}

// since returns what a principal was refused after a moment, each once.
func (d *denials) since(principal string, from time.Time) []fault.Denial {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []fault.Denial
	seen := map[fault.Denial]bool{}
	for _, r := range d.last[principal] {
		if !r.at.Before(from) && !seen[r.denial] {
			seen[r.denial] = true
			found = append(found, r.denial)
		}
	}
	return found
}

func (d *denials) forget(principal string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.last, principal)
}

// Denied hears of every refusal in the platform. Those of an identity that a
// deployment runs under show in its log. It must be quick.
func (s *Service) Denied(denial fault.Denial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for running := range s.known {
		if p := running.plan.Load(); p == nil || !p.runsAs(denial.Principal) {
			continue
		}
		s.denials.add(denial, s.Now())
		running.console.printf(s.Now(), "W lapis - AuthorizationPermissionMismatch: principal %s was denied %s at %s. It needs the role %q at %s:\n    %s",
			denial.Principal, denial.Action, denial.Scope, denial.Role, denial.RoleScope, denial.Remedy)
	}
}
