package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/identity"
	"lapis/msi"
	"lapis/resource"
	"lapis/scoring"
	"lapis/worker"
)

// revision is one state of a deployment that runs or is about to. While it is
// at zero instances it is little more than its name.
type revision struct {
	id      armid.ID // of the deployment
	uid     string   // of the endpoint
	host    string   // of the endpoint
	made    string   // the operation that made it
	console *logFile
	pool    *scoring.Pool
	plan    atomic.Pointer[plan] // nil while at zero: it is in the deployment's record
	pinned  atomic.Bool          // the plan stays: the record is about to have another
}

// plan is all that a revision is started from.
type plan struct {
	placement
	endpoint   resource.Resource
	deployment resource.Resource
	spec       deployment
	principals []identity.Principal
}

// placement is where the parts of a revision lie, and what it was made from.
// It is kept in the deployment's record, so that a restart runs what ran
// before: after an update that failed, the record's properties are others.
type placement struct {
	Revision string      `json:"revision"`       // the operation that made it
	Python   string      `json:"python"`         // of the unpacked environment
	Image    string      `json:"image"`          // reference in the workspace's registry
	App      string      `json:"app"`            // AML_APP_ROOT, below the revision's folder
	Models   string      `json:"models"`         // AZUREML_MODEL_DIR, below the revision's folder; "" without a model
	Spec     *deployment `json:"spec,omitempty"` // nil in records of earlier versions
}

func newRevision(p *plan) *revision {
	r := &revision{id: p.deployment.ID, uid: p.endpoint.UID, host: Host(p.endpoint.ID.Name(), p.endpoint.Location), made: p.Revision}
	r.plan.Store(p)
	return r
}

// runsAs reports whether the plan has the principal's identity.
func (p *plan) runsAs(objectID string) bool {
	for _, one := range p.principals {
		if strings.EqualFold(one.ObjectID, objectID) {
			return true
		}
	}
	return false
}

// name is a revision's for logs.
func (p *plan) name() string { return p.endpoint.ID.Name() + "/" + p.deployment.ID.Name() }

func (r *revision) name() string { return r.id.Parent().Name() + "/" + r.id.Name() }

// folder of an endpoint, of a deployment in it, and of a revision of that.
func (s *Service) endpointDir(ep resource.Resource) string { return filepath.Join(s.Dir, ep.UID) }

func (s *Service) deploymentDir(ep, d resource.Resource) string {
	return filepath.Join(s.endpointDir(ep), strings.ToLower(d.ID.Name()))
}

// planDir is the folder of a revision.
func (s *Service) planDir(p *plan) string {
	return filepath.Join(s.deploymentDir(p.endpoint, p.deployment), p.Revision)
}

func (s *Service) revisionDir(r *revision) string {
	return filepath.Join(s.Dir, r.uid, strings.ToLower(r.id.Name()), r.made)
}

func (s *Service) consolePath(ep, d resource.Resource) string {
	return filepath.Join(s.deploymentDir(ep, d), "logs", "inference-server.log")
}

func (s *Service) storagePath(ep, d resource.Resource) string {
	return filepath.Join(s.deploymentDir(ep, d), "logs", "storage-initializer.log")
}

// load reads what a deployment's record asks for, and where its revision lies.
func (s *Service) load(ctx context.Context, d resource.Resource) (*plan, error) {
	ep, err := s.Tree.Get(ctx, d.ID.Parent())
	if err != nil {
		return nil, err
	}
	return s.loadIn(ep, d)
}

// loadIn is load where the endpoint's record is at hand.
func (s *Service) loadIn(ep, d resource.Resource) (*plan, error) {
	p := &plan{endpoint: ep, deployment: d}
	if err := d.Decode(&p.spec); err != nil {
		return nil, err
	}
	if len(d.Private) > 0 {
		if err := json.Unmarshal(d.Private, &p.placement); err != nil {
			return nil, err
		}
	}
	var err error
	p.principals, err = s.identityOf(ep)
	return p, err
}

// recall reads the plan of the revision that a deployment's record names. What
// instances do not see may have changed since it was made.
func (s *Service) recall(ctx context.Context, d resource.Resource) (*plan, error) {
	ep, err := s.Tree.Get(ctx, d.ID.Parent())
	if err != nil {
		return nil, err
	}
	return s.recallIn(ep, d)
}

// recallIn is recall where the endpoint's record is at hand.
func (s *Service) recallIn(ep, d resource.Resource) (*plan, error) {
	p, err := s.loadIn(ep, d)
	if err == nil && p.Spec != nil {
		spec := *p.Spec
		spec.Scale, spec.Properties, spec.Description = p.spec.Scale, p.spec.Properties, p.spec.Description
		p.spec = spec
	}
	return p, err
}

// planOf is a revision's plan, read from the record if it is at zero.
func (s *Service) planOf(ctx context.Context, r *revision) (*plan, error) {
	if p := r.plan.Load(); p != nil {
		return p, nil
	}
	d, err := s.Tree.Get(ctx, r.id)
	if err != nil {
		return nil, err
	}
	p, err := s.recall(ctx, d)
	if err == nil && p.Revision != r.made {
		err = fault.E(fault.Conflict, "DeploymentReplaced", "The deployment '%s' is being replaced.", r.name())
	}
	return p, err
}

// start makes the pool, starts its instances and has them prove that they
// work. It returns when they have.
func (s *Service) start(ctx context.Context, r *revision) error {
	p := r.plan.Load()
	pool, err := s.newPool(r, p)
	if err != nil {
		return err
	}
	r.pool = pool
	s.remember(r)
	if err = pool.Start(ctx); err == nil {
		err = s.prove(ctx, p, pool)
	}
	if err != nil {
		at, now := context.WithCancel(ctx)
		now() // there is nothing to finish
		_ = pool.Close(at)
		s.forget(r)
	}
	return err
}

// settle is how long new instances are watched before they get requests: a
// script that ends by itself mostly does so at once.
const settle = 150 * time.Millisecond

// prove has each instance pass its readiness probe as often as it must in a
// row, without the pauses in which Azure waits for a container.
func (s *Service) prove(ctx context.Context, p *plan, pool *scoring.Pool) error {
	probe, err := probeOf(p.spec.Readiness)
	if err != nil {
		return err
	}
	return pool.Prove(ctx, probe, p.spec.Readiness.Success, settle)
}

func (s *Service) remember(r *revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[r] = struct{}{}
}

func (s *Service) newPool(r *revision, p *plan) (*scoring.Pool, error) {
	timeout, err := parseDuration(p.spec.Request.Timeout)
	if err != nil {
		return nil, err
	}
	liveness, err := probeOf(p.spec.Liveness)
	if err != nil {
		return nil, err
	}
	readiness, err := probeOf(p.spec.Readiness)
	if err != nil {
		return nil, err
	}
	size, err := sizeOf(&p.spec, capacity(p.deployment))
	if err != nil {
		return nil, err
	}
	return scoring.NewPool(scoring.PoolConfig{
		Name: p.name(), Runtime: s.Runtime, Instances: size.start(), Scaling: size.Scaling, Scaler: &s.scaler,
		OnSleep:       func(asleep bool) { s.slept(r, asleep) },
		MaxConcurrent: p.spec.Request.Concurrency, RequestTimeout: timeout, // maxQueueWait is deprecated in Azure and does nothing
		InitTimeout: readiness.InitialDelay + time.Duration(readiness.FailureThreshold)*readiness.Period,
		Liveness:    liveness,
		Log:         scoring.NewLogRing(100, r.console), Logger: s.Log, Now: s.Now,
		Spec: func(ctx context.Context, index int) (worker.Spec, func(), error) {
			p, err := s.planOf(ctx, r)
			if err != nil {
				return worker.Spec{}, nil, err
			}
			r.plan.Store(p)
			return s.instance(ctx, p, index)
		},
	}), nil
}

func probeOf(p *probe) (scoring.Probe, error) {
	out := scoring.Probe{FailureThreshold: p.Failure}
	var errs [3]error
	out.InitialDelay, errs[0] = parseDuration(p.InitialDelay)
	out.Period, errs[1] = parseDuration(p.Period)
	out.Timeout, errs[2] = parseDuration(p.Timeout)
	return out, errors.Join(errs[:]...)
}

// instance opens the token endpoint of one instance and says how to run it.
func (s *Service) instance(ctx context.Context, p *plan, index int) (worker.Spec, func(), error) {
	standard := 0
	if len(p.principals) > 1 {
		standard = msi.NoDefault
	}
	id := p.name() + "/" + strconv.Itoa(index)
	tokens, err := s.TokenServer.Open(ctx, msi.Instance{
		ID: id, Identities: p.principals, Default: standard, Host: p.endpoint.ID.String(), Forms: s.TokenForms,
	})
	if err != nil {
		return worker.Spec{}, nil, err
	}
	release := func() { _ = tokens.Close() }
	home := filepath.Join(s.planDir(p), "home", strconv.Itoa(index))
	if err := os.MkdirAll(home, 0o700); err != nil {
		release()
		return worker.Spec{}, nil, err
	}
	app := filepath.Join(s.planDir(p), p.App)
	env := s.environ(p, home, app)
	env = append(env, tokens.Env()...)
	limits, _ := p.spec.limits(s.MachineMemory)
	return worker.Spec{
		Name: id, Python: p.Python, Dir: app, Script: p.spec.Code.Script, Env: env, Trust: s.trust(p), Limits: limits,
	}, release, nil
}

// environ is an instance's environment. The user's variables come after the
// platform's and win, but for those of the token endpoint, which come last.
func (s *Service) environ(p *plan, home, app string) []string {
	env := append([]string{
		"PATH=" + filepath.Dir(p.Python) + ":/usr/local/bin:/usr/bin:/bin",
		"HOME=" + home, "TMPDIR=" + home, "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", "PYTHONNOUSERSITE=1",
		"AML_APP_ROOT=" + app,
		"AZUREML_ENTRY_SCRIPT=" + p.spec.Code.Script,
		"SERVICE_NAME=" + p.endpoint.ID.Name(), "WORKSPACE_NAME=" + p.endpoint.ID.Parent().Name(),
		"HOSTNAME=" + p.deployment.ID.Name(),
	}, s.InstanceEnv...)
	if p.Models != "" {
		env = append(env, "AZUREML_MODEL_DIR="+filepath.Join(s.planDir(p), p.Models))
	}
	for name, value := range p.spec.Variables {
		env = append(env, name+"="+value)
	}
	return env
}

// stopRevision drains a revision, stops it and removes its folder.
func (s *Service) stopRevision(ctx context.Context, r *revision) {
	if r.pool != nil {
		if err := r.pool.Close(ctx); err != nil {
			s.Log.Warn("instances were stopped with requests pending", "deployment", r.name(), "error", err)
		}
	}
	s.forget(r)
	if err := os.RemoveAll(s.revisionDir(r)); err != nil {
		s.Log.Warn("a revision's folder could not be removed", "deployment", r.name(), "error", err)
	}
}

func (s *Service) forget(r *revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, r)
}

// crashed turns the end of an instance into the fault of a deployment: Azure's
// outer code, with the real cause and what the identity lacked inside.
func (s *Service) crashed(p *plan, err error, began time.Time) error {
	var unproven *scoring.ProbeError
	if errors.As(err, &unproven) {
		return fault.E(fault.Invalid, "ResourceNotReady", "User container has crashed or terminated: Readiness probe failed: %s", unproven.Error())
	}
	var exit *worker.ExitError
	if !errors.As(err, &exit) {
		if errors.Is(err, context.DeadlineExceeded) {
			return fault.E(fault.Invalid, "ResourceNotReady", "The deployment's instances were not ready in time. Its log shows how far they came.")
		}
		return err
	}
	text := exit.Message
	if exit.Type != "" && !strings.Contains(text, exit.Type) {
		text = exit.Type + ": " + text
	}
	f := fault.E(fault.Invalid, "ResourceNotReady", "User container has crashed or terminated: %s", text)
	f.With(fault.E(fault.Invalid, exit.Code, "%s", strings.TrimSpace(text+"\n"+exit.Traceback)))
	for _, who := range p.principals {
		for _, denial := range s.denials.since(who.ObjectID, began) {
			lacked := denied(denial, "AuthorizationPermissionMismatch", "While it started, ")
			f.With(lacked)
			f.Message = strings.TrimRight(f.Message, ".") + ". " + lacked.Message
			f.Denial = lacked.Denial
		}
	}
	return f
}

// denied words a denial for people.
func denied(d fault.Denial, code, before string) *fault.Error {
	f := fault.E(fault.Denied, code, "%sthe endpoint's identity (object id %s) was denied %s at %s (%s). It needs the role \"%s\" at %s. Assign it, then create the deployment again:\n%s",
		before, d.Principal, d.Action, d.Scope, code, d.Role, d.RoleScope, d.Remedy)
	f.Denial = &d
	return f
}

// appRoot is the folder, below a revision's, in which a code asset lies.
func appRoot(a Asset) string { return path.Join("azureml-app", path.Base(a.Path)) }

// modelDir is the folder, below a revision's, in which a model asset lies.
func modelDir(a Asset) string {
	version := a.Version
	if _, err := strconv.Atoi(version); err != nil {
		version = "1"
	}
	return path.Join("azureml-models", a.Name, version)
}
