package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cuelabs.dev/go/oci/ociregistry"

	"lapis/armid"
	"lapis/environment"
	"lapis/fault"
	"lapis/identity"
	"lapis/operation"
	"lapis/registry"
	"lapis/resource"
)

// drainTime is how long a replaced revision may take to finish its requests.
const drainTime = 30 * time.Second

// imageRepository is where environments lie in a workspace's registry.
const imageRepository = "azureml/environment"

// runPutDeployment takes a deployment from its record to serving instances. It
// may be repeated: everything before the swap leaves no trace when it fails,
// and what served before goes on serving.
func (s *Service) runPutDeployment(ctx context.Context, run *operation.Run) error {
	record, err := s.target(ctx, run)
	if err != nil {
		return err
	}
	next, err := s.load(ctx, record)
	if err != nil {
		return err
	}
	if running := s.scalable(ctx, next); running != nil {
		return s.scale(ctx, run, running, next)
	}
	former := next.Revision
	next.placement = placement{Revision: run.ID, Spec: &next.spec}
	r := newRevision(next)
	if r.console, err = s.logs.begin(s.consolePath(next.endpoint, record), former == ""); err != nil {
		return err
	}
	storage, err := s.logs.begin(s.storagePath(next.endpoint, record), true)
	if err != nil {
		return err
	}
	defer storage.Close()
	began := s.Now()
	err = s.prepare(ctx, run, next, storage)
	if err == nil {
		run.Report("starting the instances")
		if err = s.start(ctx, r); err != nil {
			err = s.crashed(next, err, began)
		}
	}
	if err == nil {
		err = s.replace(ctx, r, s.keep)
	}
	if err != nil {
		s.fail(r, storage, err)
	}
	return err
}

// fail says in both logs why a deployment did not come up, and removes what
// was made for it.
func (s *Service) fail(r *revision, storage *logFile, err error) {
	f := fault.From(err)
	for _, log := range []*logFile{r.console, storage} {
		log.printf(s.Now(), "E lapis - the deployment failed: %s: %s", f.Code, f.Message)
	}
	if s.serving(r.id) != nil {
		r.console.printf(s.Now(), "I lapis - the instances that served before go on")
	}
	s.stopRevision(context.Background(), r)
	r.console.Close()
}

// prepare checks, fetches and builds everything the instances need.
func (s *Service) prepare(ctx context.Context, run *operation.Run, p *plan, log *logFile) error {
	if err := os.RemoveAll(s.planDir(p)); err != nil { // of a run that a restart interrupted
		return err
	}
	workspace := p.endpoint.ID.Parent()
	attached, err := s.Workspaces.Workspace(ctx, workspace)
	if err != nil {
		return err
	}
	if _, say := p.spec.limits(s.MachineMemory); say != "" {
		log.printf(s.Now(), "W lapis - %s", say)
	}
	who := p.principals[0]
	if err := s.checkRoles(ctx, who, attached, p.spec.Model != ""); err != nil {
		return err
	}
	run.Report("fetching code and model with the endpoint's identity")
	if err := s.fetchAssets(ctx, workspace, who, p, log); err != nil {
		return err
	}
	return s.image(ctx, run, workspace, attached, who, p, log)
}

// checkRoles asks for both roles before any work, so that a missing one is
// known in milliseconds. The fetches themselves are checked again where the
// bytes lie.
func (s *Service) checkRoles(ctx context.Context, who identity.Principal, w Workspace, _ bool) error {
	err := s.Require(ctx, who.ObjectID, actionBlobRead, true, w.StorageAccount)
	if d := fault.From(err); err != nil && d.Denial != nil {
		return denied(*d.Denial, "AuthorizationPermissionMismatch", "Endpoint identity does not have permission to read code and model from the workspace's storage account: ")
	}
	if err != nil {
		return err
	}
	err = s.Require(ctx, who.ObjectID, actionPull, false, w.Registry)
	if d := fault.From(err); err != nil && d.Denial != nil {
		return denied(*d.Denial, "BadArgument", "Endpoint identity does not have pull permission on the registry: ")
	}
	return err
}

func (s *Service) fetchAssets(ctx context.Context, workspace armid.ID, who identity.Principal, p *plan, log *logFile) error {
	f := &fetcher{http: s.HTTP, who: who, token: func(ctx context.Context) (string, error) {
		return s.Token(ctx, who, storageAudience, p.endpoint.ID.String())
	}}
	code, err := s.Workspaces.Asset(ctx, workspace, "codes", p.spec.Code.CodeID)
	if err != nil {
		return err
	}
	p.App = appRoot(code)
	if err := s.fetchOne(ctx, f, "code", code, filepath.Join(s.planDir(p), "azureml-app"), log); err != nil {
		return err
	}
	script := filepath.Join(s.planDir(p), p.App, p.spec.Code.Script)
	if _, err := os.Stat(script); err != nil {
		return fault.E(fault.Invalid, "BadArgument", "The code has no file '%s'; scoringScript is relative to the code folder.", p.spec.Code.Script).At("properties.codeConfiguration.scoringScript")
	}
	if p.spec.Model == "" {
		return nil
	}
	model, err := s.Workspaces.Asset(ctx, workspace, "models", p.spec.Model)
	if err != nil {
		return err
	}
	p.Models = modelDir(model)
	return s.fetchOne(ctx, f, "model", model, filepath.Join(s.planDir(p), p.Models), log)
}

func (s *Service) fetchOne(ctx context.Context, f *fetcher, what string, a Asset, into string, log *logFile) error {
	log.printf(s.Now(), "I lapis - fetching %s %s:%s from %s/%s as %s", what, a.Name, a.Version, a.Account, a.Container, f.who.DisplayName)
	files, size, err := f.fetch(ctx, a, into)
	if err != nil {
		return err
	}
	log.printf(s.Now(), "I lapis - fetched %s: %d files, %d bytes", what, files, size)
	return nil
}

// image builds the environment where it is not there yet, keeps it in the
// workspace's registry with the workspace's identity, and pulls it with the endpoint's.
func (s *Service) image(ctx context.Context, run *operation.Run, workspace armid.ID, w Workspace, who identity.Principal, p *plan, log *logFile) error {
	env, err := s.Workspaces.Asset(ctx, workspace, "environments", p.spec.EnvironmentID)
	if err != nil {
		return err
	}
	progress := progressLog{log: log, run: run, now: s.Now}
	run.Report("building the environment")
	built, err := s.Environments.Build(ctx, environment.Spec{Image: env.Image, Conda: env.Conda}, progress)
	if err != nil {
		return err
	}
	for _, note := range built.Report.Notes {
		progress.line(note)
	}
	owner, ok := s.Directory.ByResource(workspace.String())
	if !ok {
		return fault.E(fault.Conflict, "WorkspaceIdentityMissing", "The workspace '%s' has no identity to keep images with.", workspace.Name())
	}
	push, err := s.Images(owner, w.Registry)
	if err != nil {
		return err
	}
	if _, err := push.ResolveTag(ctx, imageRepository, built.Hash); err != nil {
		if !isMissing(err) {
			return registry.FaultOf(err)
		}
		run.Report("keeping the environment in the registry")
		if _, err := s.Environments.Push(ctx, push, imageRepository, built.Hash, built); err != nil {
			return registry.FaultOf(err)
		}
	}
	run.Report("pulling the environment with the endpoint's identity")
	pull, err := s.Images(who, w.Registry)
	if err != nil {
		return err
	}
	pulled, err := s.Environments.Pull(ctx, pull, imageRepository, built.Hash)
	if err != nil {
		return pullFault(err)
	}
	log.printf(s.Now(), "I lapis - pulled %s/%s:%s as %s", w.Registry.Name(), imageRepository, built.Hash[:12], who.DisplayName)
	p.Python, p.Image = pulled.Python, imageRepository+":"+built.Hash
	return nil
}

// isMissing tells a tag or repository that is not there from other failures.
func isMissing(err error) bool {
	return errors.Is(err, ociregistry.ErrManifestUnknown) || errors.Is(err, ociregistry.ErrNameUnknown)
}

// pullFault gives a refused pull Azure's words.
func pullFault(err error) error {
	f := registry.FaultOf(err)
	if f.Denial == nil {
		return f
	}
	return denied(*f.Denial, "BadArgument", "Endpoint identity does not have pull permission on the registry: ")
}

// keep writes where the revision lies into the deployment's record.
func (s *Service) keep(ctx context.Context, p *plan) error {
	kept, err := json.Marshal(p.placement)
	if err != nil {
		return err
	}
	return s.Tree.Modify(ctx, p.deployment.ID, func(d *resource.Resource) error {
		if d.Operation != p.Revision {
			return operation.ErrCanceled
		}
		d.Private = kept
		return nil
	})
}

// replace lets a revision answer once agree has said yes, then drains and
// removes the former one. An error of agree leaves everything as it was.
func (s *Service) replace(ctx context.Context, next *revision, agree func(context.Context, *plan) error) error {
	former, err := s.swap(ctx, next, agree)
	if err != nil {
		return err
	}
	err = s.publish(ctx, next.id.Parent())
	if former != nil {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		s.stopRevision(drain, former)
		former.console.Close()
	}
	return err
}

func (s *Service) swap(ctx context.Context, next *revision, agree func(context.Context, *plan) error) (former *revision, err error) {
	s.swapping.Lock()
	defer s.swapping.Unlock()
	p, err := s.planOf(ctx, next)
	if err != nil {
		return nil, err
	}
	if former := s.serving(next.id); former != nil { // it may have to start once more, for a request that comes now
		former.pinned.Store(true)
		if its, err := s.planOf(ctx, former); err == nil {
			former.plan.Store(its)
		}
	}
	if err := agree(ctx, p); err != nil {
		return nil, err
	}
	return s.serve(next), nil
}

// progressLog writes a builder's lines to a log and shows the last one as the
// operation's progress.
type progressLog struct {
	log *logFile
	run *operation.Run
	now func() time.Time
}

func (p progressLog) Write(data []byte) (int, error) {
	for line := range strings.SplitSeq(strings.TrimRight(string(data), "\n"), "\n") {
		p.line(line)
	}
	return len(data), nil
}

func (p progressLog) line(text string) {
	if text = strings.TrimSpace(text); text == "" {
		return
	}
	p.log.printf(p.now(), "I environment - %s", text)
	p.run.Report("building the environment: " + text)
}
