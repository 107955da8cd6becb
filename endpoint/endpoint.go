// Package endpoint owns online endpoints and their deployments: what they are
// as resources, the identity they run under, and the steps that turn a
// deployment into running instances.
//
//	PUT deployment ─▶ check roles ─▶ fetch code and model ─▶ environment ─▶ pull image ─▶ start ─▶ serve
//	                        └────────────┴──────────────────────┴──────────────┴──────────┴─▶ Failed
//
// Everything a deployment needs is fetched with the endpoint's own identity,
// over the same protocols and under the same role checks as any client's.
package endpoint

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"cuelabs.dev/go/oci/ociregistry"

	"lapis/armid"
	"lapis/environment"
	"lapis/fault"
	"lapis/identity"
	"lapis/msi"
	"lapis/operation"
	"lapis/resource"
	"lapis/scoring"
	"lapis/secret"
	"lapis/worker"
)

// Types of the two resources.
const (
	TypeName       = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
	DeploymentType = TypeName + "/deployments"
)

// Kinds of operations.
const (
	putEndpoint      = "endpoint.put"
	deleteEndpoint   = "endpoint.delete"
	changeKeys       = "endpoint.keys"
	putDeployment    = "deployment.put"
	deleteDeployment = "deployment.delete"
)

// Roles that running a deployment takes, and that the service gives to a
// system-assigned identity.
const (
	roleBlobReader = "Storage Blob Data Reader"
	rolePull       = "AcrPull"
	actionBlobRead = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
	actionPull     = "Microsoft.ContainerRegistry/registries/pull/read"
)

// Workspace is what an endpoint needs to know of its workspace.
type Workspace struct {
	StorageAccount armid.ID
	Registry       armid.ID
}

// Asset is a version of code, model or environment.
type Asset struct {
	ID            armid.ID
	Name, Version string
	Account       string // where its bytes lie
	Container     string
	Path          string
	ModelType     string // of a model, such as mlflow_model
	Image         string // of an environment
	Conda         []byte // of an environment
}

// Token is a signed token.
type Token struct {
	Raw     secret.String
	Expires time.Time
}

// Workspaces resolves workspaces and assets.
type Workspaces interface {
	Workspace(ctx context.Context, id armid.ID) (Workspace, error)
	Asset(ctx context.Context, workspace armid.ID, collection, reference string) (Asset, error)
}

// Config is what the service needs.
type Config struct {
	Tree       *resource.Tree
	Operations *operation.Runner
	Directory  *identity.Directory
	Workspaces Workspaces
	Sealer     *secret.Sealer
	// Grant assigns a built-in role by name, as the service and not as a caller.
	Grant func(ctx context.Context, principalID, role string, scope armid.ID) error
	// Require asks whether a principal may do something; the fault carries the denial.
	Require func(ctx context.Context, principalID, action string, data bool, scope armid.ID) error
	// Token gives a token of a principal for an audience; host is the ARM id of
	// the endpoint that uses it.
	Token func(ctx context.Context, p identity.Principal, audience, host string) (string, error)
	// Sign gives a token of the platform's own for an audience, in the name of
	// the principal with the object id; it may be one given before that has at
	// least half its life left.
	Sign func(ctx context.Context, objectID, audience string, life time.Duration) (Token, error)
	// Verify checks a token for an audience and gives its principal.
	Verify func(ctx context.Context, raw, audience string) (objectID string, err error)
	// Images is a registry as a principal reaches it, over HTTP.
	Images func(p identity.Principal, registry armid.ID) (ociregistry.Interface, error)
	// HTTP reaches the storage accounts.
	HTTP         *http.Client
	Environments *environment.Builder
	Runtime      worker.Runtime
	TokenServer  *msi.Server
	TokenForms   msi.Forms // that instances are told of; 0: Azure ML's
	Front        *scoring.Front
	// InstanceEnv is what every instance's environment begins with, as
	// NAME=value: how to reach the platform and whom to trust.
	InstanceEnv []string
	// FreshProcesses has instances share no beginning with others unless their
	// deployment says so.
	FreshProcesses bool
	MachineMemory  int64  // bytes; 0: not known
	Dir            string // of fetched code and models, and of logs
	Now            func() time.Time
	Rand           io.Reader
	Log            *slog.Logger
}

// Service keeps endpoints and their deployments.
type Service struct {
	Config
	publishing sync.Mutex // one change of the front's table at a time
	swapping   sync.Mutex // one change of what a deployment's record and the front agree on

	mu      sync.Mutex
	live    map[string]map[string]*revision // what answers, by endpoint's key and deployment's name in lower case
	known   map[*revision]struct{}          // every revision that has instances, or had them
	denials denials
	logs    logs
	scaler  scoring.Scaler
	turns   chan struct{} // of those who start a deployment again after a restart

	wg   sync.WaitGroup
	ctx  context.Context // ends when the platform stops
	stop context.CancelFunc
}

// New returns the service; register its Types and Kinds, then call Resume.
func New(cfg Config) *Service {
	ctx, stop := context.WithCancel(context.Background())
	return &Service{Config: cfg, live: map[string]map[string]*revision{}, known: map[*revision]struct{}{}, turns: make(chan struct{}, reviving), ctx: ctx, stop: stop}
}

// Types are the descriptors of endpoints and deployments.
func (s *Service) Types() []resource.Type {
	return []resource.Type{s.endpointType(), s.deploymentType()}
}

// Kinds are the operations of endpoints and deployments.
func (s *Service) Kinds() map[string]operation.Kind {
	return map[string]operation.Kind{
		putEndpoint:      {Run: s.runPutEndpoint, Finish: resource.Finish},
		deleteEndpoint:   s.Tree.DeleteKind(s.runDeleteEndpoint),
		changeKeys:       {Run: s.runChangeKeys},
		putDeployment:    {Run: s.runPutDeployment, Finish: resource.Finish},
		deleteDeployment: s.Tree.DeleteKind(s.runDeleteDeployment),
	}
}

// properties are those of an endpoint that the rules read.
type properties struct {
	AuthMode      string            `json:"authMode"`
	Traffic       map[string]int    `json:"traffic"`
	Mirror        map[string]int    `json:"mirrorTraffic"`
	Compute       string            `json:"compute,omitempty"`
	PublicNetwork string            `json:"publicNetworkAccess,omitempty"`
	Properties    map[string]string `json:"properties"`
	Description   string            `json:"description,omitempty"`
	Keys          *givenKeys        `json:"keys"` // only ever read: kept and shown as null
}

var validName = regexp.MustCompile(`^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$`)

// checkName holds the names of endpoints and deployments: 3 to 32 characters.
func checkName(name string) error {
	if len(name) >= 3 && len(name) <= 32 && validName.MatchString(name) {
		return nil
	}
	return fault.E(fault.Invalid, "InvalidName",
		"The name '%s' is not valid: 3 to 32 letters, digits and '-', beginning with a letter and not ending in '-'.", name).At("name")
}

// Host is the name under which an endpoint is scored.
func Host(name, region string) string {
	return strings.ToLower(name) + "." + region + ".inference.ml.azure.com"
}

func (s *Service) names() resource.Names { return s.Tree.Names("onlineEndpoint") }

// identityOf returns the principals that an endpoint runs under; the first is
// the one that fetches and the default of the token endpoint.
func (s *Service) identityOf(r resource.Resource) ([]identity.Principal, error) {
	var found []identity.Principal
	if r.Identity.HasSystem() {
		p, ok := s.Directory.ByResource(r.ID.String())
		if !ok {
			return nil, fault.E(fault.Conflict, "BadArgument", "The system-assigned identity of the endpoint '%s' no longer exists.", r.ID.Name())
		}
		found = append(found, p)
	}
	if r.Identity.HasUser() {
		for _, id := range slices.Sorted(maps.Keys(r.Identity.UserAssigned)) {
			p, ok := s.Directory.ByResource(id)
			if !ok {
				return nil, fault.E(fault.Invalid, "BadArgument",
					"The user-assigned identity '%s' of the endpoint does not exist. Create it, or make the endpoint again with another.", id).At("identity.userAssignedIdentities")
			}
			found = append(found, p)
		}
	}
	return found, nil
}
