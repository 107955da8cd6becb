package endpoint

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/identity"
	"lapis/operation"
	"lapis/resource"
	"lapis/scoring"
	"lapis/secret"
	"lapis/store"
	"lapis/store/memory"
)

const (
	workspaceType = "Microsoft.MachineLearningServices/workspaces"
	managedType   = "Microsoft.ManagedIdentity/userAssignedIdentities"
)

// world is the service over a store in memory. Deployments are not run: what
// their operation does is deploy.
type world struct {
	t         *testing.T
	tree      *resource.Tree
	runner    *operation.Runner
	directory *identity.Directory
	svc       *Service
	ws        armid.ID
	grants    []string
	deploy    func(ctx context.Context, run *operation.Run) error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, memory.New())
}

func newWorldOn(t *testing.T, st store.Store) *world {
	t.Helper()
	w := &world{t: t, deploy: func(context.Context, *operation.Run) error { return nil }}
	var err error
	if w.directory, err = identity.Open(t.Context(), identity.Config{Store: st, TenantID: "72f988bf-0000-4000-8000-2d7cd011db47"}); err != nil {
		t.Fatal(err)
	}
	sealer, err := secret.NewSealer(make([]byte, secret.KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]operation.Kind{}
	log := slog.New(slog.DiscardHandler)
	w.runner = operation.New(operation.Config{Store: st, Kinds: kinds, Now: time.Now, Rand: rand.Reader, Log: log})
	w.tree = resource.NewTree(resource.Config{Store: st, Operations: w.runner, Subscription: "s1", Now: time.Now, Rand: rand.Reader})
	w.svc = New(Config{
		Tree: w.tree, Operations: w.runner, Directory: w.directory, Workspaces: w, Sealer: sealer, Front: &scoring.Front{},
		Grant: func(_ context.Context, _, role string, scope armid.ID) error {
			w.grants = append(w.grants, role+" at "+scope.Name())
			return nil
		},
		Dir: t.TempDir(), Now: time.Now, Rand: rand.Reader, Log: log,
	})
	for name, kind := range w.svc.Kinds() {
		kinds[name] = kind
	}
	kinds[putDeployment] = operation.Kind{Finish: resource.Finish, Run: func(ctx context.Context, run *operation.Run) error { return w.deploy(ctx, run) }}
	w.tree.Register(resource.Group(), resource.Type{Name: workspaceType}, resource.Type{Name: managedType})
	w.tree.Register(w.svc.Types()...)
	t.Cleanup(func() {
		w.runner.Close()
		w.svc.Close(context.Background())
	})
	group := armid.ResourceGroup("s1", "rg1")
	w.put(group, `{"location":"here"}`)
	w.ws = w.workspace("ws1")
	return w
}

// workspace makes one.
func (w *world) workspace(name string) armid.ID {
	w.t.Helper()
	id := armid.ResourceGroup("s1", "rg1").Provider(workspaceType, name)
	w.put(id, `{}`)
	return id
}

// Workspace is what every workspace of this world has.
func (w *world) Workspace(context.Context, armid.ID) (Workspace, error) {
	group := armid.ResourceGroup("s1", "rg1")
	return Workspace{
		StorageAccount: group.Provider("Microsoft.Storage/storageAccounts", "store"),
		Registry:       group.Provider("Microsoft.ContainerRegistry/registries", "images"),
	}, nil
}

// Asset finds every asset but the one called none.
func (w *world) Asset(_ context.Context, workspace armid.ID, collection, reference string) (Asset, error) {
	if reference == "none" {
		return Asset{}, fault.E(fault.NotFound, "ResourceNotFound", "no")
	}
	return Asset{ID: workspace.Child(collection, reference).Child("versions", "1"), Name: reference, Version: "1"}, nil
}

func (w *world) try(id armid.ID, body string) (resource.Changed, error) {
	return w.tree.Put(w.t.Context(), resource.Put{ID: id, Body: json.RawMessage(body)})
}

// put changes a resource and waits until its operation has ended.
func (w *world) put(id armid.ID, body string) resource.Resource {
	w.t.Helper()
	changed, err := w.try(id, body)
	if err == nil && changed.Operation != nil {
		err = w.runner.Wait(w.t.Context(), changed.Operation.ID)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return w.get(id)
}

func (w *world) get(id armid.ID) resource.Resource {
	w.t.Helper()
	r, err := w.tree.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) modify(id armid.ID, change func(r *resource.Resource)) {
	w.t.Helper()
	err := w.tree.Modify(w.t.Context(), id, func(r *resource.Resource) error { change(r); return nil })
	if err != nil {
		w.t.Fatal(err)
	}
}

const (
	plainEndpoint   = `{"location":"here","properties":{"authMode":"Key"}}`
	plainDeployment = `{"location":"here","properties":{"codeConfiguration":{"codeId":"c","scoringScript":"score.py"},"environmentId":"e","instanceType":"Standard_DS3_v2"}}`
)

// endpoint makes an endpoint with a deployment called blue.
func (w *world) endpoint(name string) (endpoint, deployment armid.ID) {
	w.t.Helper()
	endpoint = w.ws.Child("onlineEndpoints", name)
	deployment = endpoint.Child("deployments", "blue")
	w.put(endpoint, plainEndpoint)
	w.put(deployment, plainDeployment)
	return endpoint, deployment
}

// consoleOf opens a log in a folder of the test's.
func consoleOf(t *testing.T) *logFile {
	t.Helper()
	log, err := new(logs).begin(filepath.Join(t.TempDir(), "logs", "console.log"), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	return log
}
