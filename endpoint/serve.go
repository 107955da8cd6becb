package endpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"lapis/armid"
	"lapis/fault"
	"lapis/operation"
	"lapis/resource"
	"lapis/scoring"
)

// serving is the revision that answers for a deployment, or nil.
func (s *Service) serving(id armid.ID) *revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live[id.Parent().Key()][strings.ToLower(id.Name())]
}

// serve makes a revision the one that answers, and returns the one before.
func (s *Service) serve(next *revision) (former *revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, name := next.id.Parent().Key(), strings.ToLower(next.id.Name())
	if s.live[key] == nil {
		s.live[key] = map[string]*revision{}
	}
	former = s.live[key][name]
	s.live[key][name] = next
	return former
}

// unserve ends what serve began.
func (s *Service) unserve(id armid.ID) (former *revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, name := id.Parent().Key(), strings.ToLower(id.Name())
	former = s.live[key][name]
	delete(s.live[key], name)
	if len(s.live[key]) == 0 {
		delete(s.live, key)
	}
	return former
}

// publish puts an endpoint's keys, deployments and traffic, as they are now,
// into the front's table.
func (s *Service) publish(ctx context.Context, id armid.ID) error {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	r, err := s.Tree.Get(ctx, id)
	if err != nil {
		return err
	}
	var p properties
	if err := r.Decode(&p); err != nil {
		return err
	}
	authorize, err := s.authorizer(r, p.AuthMode)
	if err != nil {
		return err
	}
	pools := map[string]*scoring.Pool{}
	s.mu.Lock()
	for _, rev := range s.live[id.Key()] {
		pools[rev.id.Name()] = rev.pool
	}
	s.mu.Unlock()
	notLive := func(name string, _ int) bool { return pools[name] == nil }
	maps.DeleteFunc(p.Traffic, notLive)
	maps.DeleteFunc(p.Mirror, notLive)
	return s.Front.Set(Host(r.ID.Name(), r.Location), scoring.Endpoint{
		Name: r.ID.Name(), Deployments: pools, Traffic: p.Traffic, Mirror: p.Mirror,
		Authorize: authorize, AuthMode: modeInLogs(p.AuthMode),
	})
}

// target reads the resource that an operation works on.
func (s *Service) target(ctx context.Context, run *operation.Run) (resource.Resource, error) {
	id, err := armid.Parse(run.Target)
	if err != nil {
		return resource.Resource{}, err
	}
	return s.Tree.Get(ctx, id)
}

// runPutEndpoint gives a system-assigned identity what it needs to start
// deployments, and opens the endpoint's address.
func (s *Service) runPutEndpoint(ctx context.Context, run *operation.Run) error {
	r, err := s.target(ctx, run)
	if err != nil {
		return err
	}
	if r.Identity.HasSystem() {
		w, err := s.Workspaces.Workspace(ctx, r.ID.Parent())
		if err != nil {
			return err
		}
		if err := s.Grant(ctx, r.Identity.PrincipalID, rolePull, w.Registry); err != nil {
			return err
		}
		if err := s.Grant(ctx, r.Identity.PrincipalID, roleBlobReader, w.StorageAccount); err != nil {
			return err
		}
	}
	return s.publish(ctx, r.ID)
}

// runDeleteDeployment stops a deployment and removes what it had.
func (s *Service) runDeleteDeployment(ctx context.Context, run *operation.Run) error {
	r, err := s.target(ctx, run)
	if err != nil {
		return err
	}
	ep, err := s.Tree.Get(ctx, r.ID.Parent())
	if err != nil {
		return err
	}
	return s.end(ctx, ep, r, run.ID)
}

// end cancels what works on a deployment, stops it and removes its folder.
func (s *Service) end(ctx context.Context, ep, r resource.Resource, operationID string) error {
	if err := s.Operations.Cancel(ctx, r.ID.Key(), operationID); err != nil {
		return err
	}
	rev := s.unserve(r.ID)
	if err := s.publish(ctx, ep.ID); err != nil {
		return err
	}
	if rev != nil {
		drain, cancel := context.WithTimeout(ctx, drainTime)
		defer cancel()
		s.stopRevision(drain, rev)
		rev.console.Close()
	}
	s.logs.over(s.consolePath(ep, r))
	s.logs.over(s.storagePath(ep, r))
	return os.RemoveAll(s.deploymentDir(ep, r))
}

// runDeleteEndpoint ends the deployments, then the endpoint's address and identity.
func (s *Service) runDeleteEndpoint(ctx context.Context, run *operation.Run) error {
	ep, err := s.target(ctx, run)
	if err != nil {
		return err
	}
	if err := s.Operations.Cancel(ctx, ep.ID.Key(), run.ID); err != nil {
		return err
	}
	deployments, err := s.Tree.List(ctx, DeploymentType, ep.ID)
	if err != nil {
		return err
	}
	for _, d := range deployments {
		run.Report("deleting the deployment " + d.ID.Name())
		if err := s.end(ctx, ep, d, run.ID); err != nil {
			return err
		}
		if err := s.Tree.Drop(ctx, d.ID); err != nil {
			return err
		}
	}
	s.Front.Remove(Host(ep.ID.Name(), ep.Location))
	if ep.Identity.HasSystem() {
		s.denials.forget(ep.Identity.PrincipalID)
		if err := s.Directory.DeleteManaged(ctx, ep.ID.String()); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	if err := s.names().Release(ctx, ep.ID.Name(), ep.ID); err != nil {
		return err
	}
	return os.RemoveAll(s.endpointDir(ep))
}

// Resume opens the addresses of all endpoints and starts, in the background,
// every deployment that had instances when the platform stopped; requests wait
// for it. One that was at zero stays there. Call it before the operations are
// resumed.
func (s *Service) Resume(ctx context.Context) error {
	endpoints, err := s.Tree.List(ctx, TypeName, armid.Root)
	if err != nil {
		return err
	}
	s.sweep(endpoints)
	several, ctx := errgroup.WithContext(ctx) // most of it is waiting for the disk
	several.SetLimit(resuming)
	for _, ep := range endpoints {
		several.Go(func() error { return s.resume(ctx, ep) })
	}
	return several.Wait()
}

// resuming is how many endpoints are opened at a time after a restart.
const resuming = 2

func (s *Service) resume(ctx context.Context, ep resource.Resource) error {
	deployments, err := s.Tree.List(ctx, DeploymentType, ep.ID)
	if err != nil {
		return err
	}
	for _, d := range deployments {
		if err := s.comeBack(ctx, ep, d); err != nil {
			s.Log.Warn("a deployment does not come back", "deployment", d.ID.String(), "error", err)
		}
	}
	if err := s.publish(ctx, ep.ID); err != nil {
		return fmt.Errorf("opening the endpoint %s: %w", ep.ID.Name(), err)
	}
	return nil
}

// comeBack puts what served behind its endpoint's address again.
func (s *Service) comeBack(ctx context.Context, ep, d resource.Resource) error {
	p, err := s.recallIn(ep, d)
	if err != nil || p.Revision == "" {
		return err
	}
	if d.State == resource.Deleting || ep.State == resource.Deleting {
		return nil // its operation goes on, and removes everything
	}
	s.sweepRevisions(p)
	if !d.State.Done() && p.Revision == d.Operation {
		return nil // its operation goes on from the start
	}
	r := newRevision(p)
	r.console = s.logs.take(s.consolePath(p.endpoint, p.deployment))
	if r.pool, err = s.newPool(r, p); err != nil {
		r.console.Close()
		return err
	}
	r.pool.StartAtZero()
	s.remember(r)
	s.serve(r)
	if at := r.pool.Scaling(); s.asleep(r) && at.Max > 0 && at.Min == 0 {
		r.console.rest(true)
		r.plan.Store(nil)
		return nil
	}
	r.console.printf(s.Now(), "I lapis - the platform was started again, and starts the deployment")
	s.wg.Go(func() { s.revive(r, d) })
	return nil
}

// reviving is how many deployments are started at a time after a restart. A
// request for one does not wait for the others.
const reviving = 8

// revive starts a deployment as it was, again and again until it serves, is
// replaced, or the platform stops.
func (s *Service) revive(r *revision, d resource.Resource) {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		select {
		case s.turns <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		began := s.Now()
		err := r.pool.Wake(s.ctx)
		<-s.turns
		if err == nil || errors.Is(err, scoring.ErrClosed) || s.ctx.Err() != nil {
			return
		}
		if p, planned := s.planOf(s.ctx, r); planned == nil {
			err = s.crashed(p, err, began)
		}
		r.console.printf(s.Now(), "E lapis - %s", fault.From(err).Message)
		s.Log.Warn("a deployment could not be started again", "deployment", d.ID.String(), "error", err, "next", wait)
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// sweep removes the folders of endpoints that no longer exist.
func (s *Service) sweep(endpoints []resource.Resource) {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return
	}
	known := make(map[string]bool, len(endpoints))
	for _, ep := range endpoints {
		known[ep.UID] = true
	}
	for _, entry := range entries {
		if known[entry.Name()] {
			continue
		}
		if err := os.RemoveAll(s.Dir + string(os.PathSeparator) + entry.Name()); err != nil {
			s.Log.Warn("a folder left behind could not be removed", "folder", entry.Name(), "error", err)
		}
	}
}

// sweepRevisions removes the folders of revisions that a crash left behind.
func (s *Service) sweepRevisions(p *plan) {
	dir := s.deploymentDir(p.endpoint, p.deployment)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if name := entry.Name(); name != "logs" && name != p.Revision {
			_ = os.RemoveAll(dir + string(os.PathSeparator) + name)
		}
	}
}

// Quiesce ends what waits: those who follow logs get their answer.
func (s *Service) Quiesce() { s.stop() }

// Close stops all instances. What served is started again by the next Resume.
func (s *Service) Close(ctx context.Context) {
	s.stop()
	s.scaler.Close()
	s.wg.Wait()
	s.mu.Lock()
	running := slices.Collect(maps.Keys(s.known))
	s.mu.Unlock()
	for _, r := range running {
		s.wg.Go(func() {
			_ = r.pool.Close(ctx)
			r.console.Close()
		})
	}
	s.wg.Wait()
}
