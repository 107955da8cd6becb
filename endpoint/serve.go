package endpoint

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/operation"
	"lapis/resource"
	"lapis/scoring"
)

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
	for _, rev := range s.live {
		if rev.endpoint.ID.Equal(id) {
			pools[rev.deployment.ID.Name()] = rev.pool
		}
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
	s.mu.Lock()
	rev := s.live[r.ID.Key()]
	delete(s.live, r.ID.Key())
	s.mu.Unlock()
	if err := s.publish(ctx, ep.ID); err != nil {
		return err
	}
	if rev != nil {
		drain, cancel := context.WithTimeout(ctx, drainTime)
		defer cancel()
		s.stopRevision(drain, rev)
		rev.console.Close()
	}
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
// every deployment that served before the platform stopped. Call it before the
// operations are resumed.
func (s *Service) Resume(ctx context.Context) error {
	endpoints, err := s.Tree.List(ctx, TypeName, armid.Root)
	if err != nil {
		return err
	}
	s.sweep(endpoints)
	for _, ep := range endpoints {
		if err := s.publish(ctx, ep.ID); err != nil {
			return fmt.Errorf("opening the endpoint %s: %w", ep.ID.Name(), err)
		}
	}
	deployments, err := s.Tree.List(ctx, DeploymentType, armid.Root)
	if err != nil {
		return err
	}
	for _, d := range deployments {
		r, err := s.load(ctx, d)
		if err != nil || r.Revision == "" {
			continue // it never served, or its identity is gone: its operation, if any, tells
		}
		if d.State == resource.Deleting || r.endpoint.State == resource.Deleting {
			continue // its deletion goes on
		}
		s.sweepRevisions(r)
		if d.State.Done() || r.Revision != d.Operation { // else its operation goes on from the start
			s.wg.Go(func() { s.revive(d) })
		}
	}
	return nil
}

// revive starts a deployment as it was, again and again until it serves, is
// replaced, or the platform stops.
func (s *Service) revive(d resource.Resource) {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		err := s.reviveOnce(d)
		if err == nil {
			return
		}
		s.Log.Warn("a deployment could not be started again", "deployment", d.ID.String(), "error", err, "next", wait)
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(wait):
		}
		if now, err := s.Tree.Get(s.ctx, d.ID); err != nil || string(now.Private) != string(d.Private) {
			return // deleted or replaced
		}
	}
}

func (s *Service) reviveOnce(d resource.Resource) error {
	r, err := s.load(s.ctx, d)
	if err != nil {
		return err
	}
	if r.console, err = openLog(s.consolePath(r.endpoint, d), false); err != nil {
		return err
	}
	r.console.printf(s.Now(), "I lapis - the platform was started again, and starts the deployment")
	began := s.Now()
	if err := s.start(s.ctx, r); err != nil {
		err = s.crashed(r, err, began)
		r.console.printf(s.Now(), "E lapis - %s", fault.From(err).Message)
		r.console.Close()
		return err
	}
	err = s.replace(s.ctx, r, s.unchanged)
	if err != nil {
		s.stopRevision(s.ctx, r)
		r.console.Close()
	}
	return err
}

// unchanged refuses a revision that its deployment's record no longer names.
func (s *Service) unchanged(ctx context.Context, r *revision) error {
	now, err := s.Tree.Get(ctx, r.deployment.ID)
	if err == nil && string(now.Private) != string(r.deployment.Private) {
		err = operation.ErrCanceled
	}
	return err
}

// sweep removes the folders of endpoints that no longer exist.
func (s *Service) sweep(endpoints []resource.Resource) {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		known := slices.ContainsFunc(endpoints, func(ep resource.Resource) bool { return ep.UID == entry.Name() })
		if known {
			continue
		}
		if err := os.RemoveAll(s.Dir + string(os.PathSeparator) + entry.Name()); err != nil {
			s.Log.Warn("a folder left behind could not be removed", "folder", entry.Name(), "error", err)
		}
	}
}

// sweepRevisions removes the folders of revisions that a crash left behind.
func (s *Service) sweepRevisions(r *revision) {
	dir := s.deploymentDir(r.endpoint, r.deployment)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if name := entry.Name(); name != "logs" && name != r.Revision {
			_ = os.RemoveAll(dir + string(os.PathSeparator) + name)
		}
	}
}

// Close stops all instances. What served is started again by the next Resume.
func (s *Service) Close(ctx context.Context) {
	s.stop()
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
