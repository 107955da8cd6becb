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
	"time"

	"lapis/fault"
	"lapis/identity"
	"lapis/msi"
	"lapis/resource"
	"lapis/scoring"
	"lapis/worker"
)

// revision is one state of a deployment that runs or is about to: what was
// fetched for it, and the pool of its instances.
type revision struct {
	placement
	endpoint   resource.Resource
	deployment resource.Resource
	spec       deployment
	principals []identity.Principal
	console    *logFile
	pool       *scoring.Pool
}

// placement is where the parts of a revision lie. It is kept in the
// deployment's record, so that a restart runs what ran before.
type placement struct {
	Revision string `json:"revision"` // the operation that made it
	Python   string `json:"python"`   // of the unpacked environment
	Image    string `json:"image"`    // reference in the workspace's registry
	App      string `json:"app"`      // AML_APP_ROOT, below the revision's folder
	Models   string `json:"models"`   // AZUREML_MODEL_DIR, below the revision's folder; "" without a model
}

// runsAs reports whether the revision has the principal's identity.
func (r *revision) runsAs(objectID string) bool {
	for _, p := range r.principals {
		if strings.EqualFold(p.ObjectID, objectID) {
			return true
		}
	}
	return false
}

// name is the revision's for logs.
func (r *revision) name() string {
	return r.endpoint.ID.Name() + "/" + r.deployment.ID.Name()
}

// folder of an endpoint, of a deployment in it, and of a revision of that.
func (s *Service) endpointDir(ep resource.Resource) string { return filepath.Join(s.Dir, ep.UID) }

func (s *Service) deploymentDir(ep, d resource.Resource) string {
	return filepath.Join(s.endpointDir(ep), strings.ToLower(d.ID.Name()))
}

func (s *Service) revisionDir(r *revision) string {
	return filepath.Join(s.deploymentDir(r.endpoint, r.deployment), r.Revision)
}

func (s *Service) consolePath(ep, d resource.Resource) string {
	return filepath.Join(s.deploymentDir(ep, d), "logs", "inference-server.log")
}

func (s *Service) storagePath(ep, d resource.Resource) string {
	return filepath.Join(s.deploymentDir(ep, d), "logs", "storage-initializer.log")
}

// load reads the revision that a deployment's record names.
func (s *Service) load(ctx context.Context, d resource.Resource) (*revision, error) {
	ep, err := s.Tree.Get(ctx, d.ID.Parent())
	if err != nil {
		return nil, err
	}
	r := &revision{endpoint: ep, deployment: d}
	if err := d.Decode(&r.spec); err != nil {
		return nil, err
	}
	if len(d.Private) > 0 {
		if err := json.Unmarshal(d.Private, &r.placement); err != nil {
			return nil, err
		}
	}
	r.principals, err = s.identityOf(ep)
	return r, err
}

// start makes the pool and starts its instances. It returns when they are ready.
func (s *Service) start(ctx context.Context, r *revision) error {
	pool, err := s.newPool(r)
	if err != nil {
		return err
	}
	r.pool = pool
	s.mu.Lock()
	s.known[r] = struct{}{}
	s.mu.Unlock()
	if err := pool.Start(ctx); err != nil {
		s.forget(r)
		return err
	}
	return nil
}

func (s *Service) newPool(r *revision) (*scoring.Pool, error) {
	timeout, err := parseDuration(r.spec.Request.Timeout)
	if err != nil {
		return nil, err
	}
	var k sku
	if err := json.Unmarshal(r.deployment.SKU, &k); err != nil {
		return nil, err
	}
	liveness, err := probeOf(r.spec.Liveness)
	if err != nil {
		return nil, err
	}
	readiness, err := probeOf(r.spec.Readiness)
	if err != nil {
		return nil, err
	}
	return scoring.NewPool(scoring.PoolConfig{
		Name: r.name(), Runtime: s.Runtime, Instances: k.Capacity,
		MaxConcurrent: r.spec.Request.Concurrency, RequestTimeout: timeout, // maxQueueWait is deprecated in Azure and does nothing
		InitTimeout: readiness.InitialDelay + time.Duration(readiness.FailureThreshold)*readiness.Period,
		Liveness:    liveness,
		Log:         scoring.NewLogRing(100, r.console), Logger: s.Log, Now: s.Now,
		Spec: func(ctx context.Context, index int) (worker.Spec, func(), error) { return s.instance(ctx, r, index) },
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
func (s *Service) instance(ctx context.Context, r *revision, index int) (worker.Spec, func(), error) {
	standard := 0
	if len(r.principals) > 1 {
		standard = msi.NoDefault
	}
	id := r.name() + "/" + strconv.Itoa(index)
	tokens, err := s.TokenServer.Open(ctx, msi.Instance{
		ID: id, Identities: r.principals, Default: standard, Host: r.endpoint.ID.String(), Forms: s.TokenForms,
	})
	if err != nil {
		return worker.Spec{}, nil, err
	}
	release := func() { _ = tokens.Close() }
	home := filepath.Join(s.revisionDir(r), "home", strconv.Itoa(index))
	if err := os.MkdirAll(home, 0o700); err != nil {
		release()
		return worker.Spec{}, nil, err
	}
	app := filepath.Join(s.revisionDir(r), r.App)
	env := s.environ(r, home, app)
	env = append(env, tokens.Env()...)
	return worker.Spec{Name: id, Python: r.Python, Dir: app, Script: r.spec.Code.Script, Env: env}, release, nil
}

// environ is an instance's environment. The user's variables come after the
// platform's and win, but for those of the token endpoint, which come last.
func (s *Service) environ(r *revision, home, app string) []string {
	env := append([]string{
		"PATH=" + filepath.Dir(r.Python) + ":/usr/local/bin:/usr/bin:/bin",
		"HOME=" + home, "TMPDIR=" + home, "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", "PYTHONNOUSERSITE=1",
		"AML_APP_ROOT=" + app,
		"AZUREML_ENTRY_SCRIPT=" + r.spec.Code.Script,
		"SERVICE_NAME=" + r.endpoint.ID.Name(), "WORKSPACE_NAME=" + r.endpoint.ID.Parent().Name(),
		"HOSTNAME=" + r.deployment.ID.Name(),
	}, s.InstanceEnv...)
	if r.Models != "" {
		env = append(env, "AZUREML_MODEL_DIR="+filepath.Join(s.revisionDir(r), r.Models))
	}
	for name, value := range r.spec.Variables {
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
func (s *Service) crashed(r *revision, err error, began time.Time) error {
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
	for _, p := range r.principals {
		for _, denial := range s.denials.since(p.ObjectID, began) {
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
