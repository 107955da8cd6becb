package lapis

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"cuelabs.dev/go/oci/ociregistry"

	"lapis/armid"
	"lapis/blob"
	"lapis/blob/sas"
	"lapis/companion"
	"lapis/endpoint"
	"lapis/environment"
	"lapis/fault"
	"lapis/identity"
	"lapis/managedidentity"
	"lapis/msi"
	"lapis/operation"
	"lapis/rbac"
	"lapis/registry"
	"lapis/resource"
	"lapis/scoring"
	"lapis/secret"
	"lapis/storageaccount"
	"lapis/token"
	"lapis/worker/process"
	"lapis/workspace"
)

// openServices makes the domains and registers their types.
func (s *Server) openServices(ctx context.Context) error {
	kinds := map[string]operation.Kind{}
	s.operations = operation.New(operation.Config{Store: s.store, Kinds: kinds, Now: s.cfg.Now, Rand: s.cfg.Rand, Log: s.cfg.Log})
	s.tree = resource.NewTree(resource.Config{
		Store: s.store, Operations: s.operations, Subscription: s.home.Subscription, Now: s.cfg.Now, Rand: s.cfg.Rand,
		Forget: s.roles.RemoveScope,
	})
	if err := s.openData(ctx); err != nil {
		return err
	}
	s.workspaces = workspace.New(workspace.Config{
		Tree: s.tree, Directory: s.directory, Storage: accountStorage{s}, Sealer: s.sealer, Grant: s.grant, Rand: s.cfg.Rand, Now: s.cfg.Now,
	})
	if err := s.openEndpoints(); err != nil {
		return err
	}
	s.tree.Register(resource.Group(), managedidentity.Type(s.directory), s.registries.Type(s.tree.Names("registry")))
	s.templates = s.newDeployments()
	s.tree.Register(s.templates.Type())
	s.tree.Register(companion.Types(s.home.Tenant)...)
	s.tree.Register(s.accounts.Types()...)
	s.tree.Register(s.workspaces.Types()...)
	s.tree.Register(s.endpoints.Types()...)
	for _, more := range []map[string]operation.Kind{s.tree.GroupKinds(), s.endpoints.Kinds(), s.templates.Kinds()} {
		for name, kind := range more {
			if _, taken := kinds[name]; taken {
				return fmt.Errorf("two sorts of operation are called %q", name)
			}
			kinds[name] = kind
		}
	}
	return nil
}

// openData makes what keeps bytes: blobs and images.
func (s *Server) openData(ctx context.Context) error {
	var err error
	s.blobs, err = blob.New(blob.Config{Store: s.store, Content: s.content, Now: s.cfg.Now, Rand: s.cfg.Rand})
	if err != nil {
		return err
	}
	s.onClose(s.blobs.Close)
	s.accounts = storageaccount.New(storageaccount.Config{
		Tree: s.tree, Sealer: s.sealer, Rand: s.cfg.Rand, Containers: accountContainers{s},
	})
	s.onClose(s.accounts.Close)
	s.registries, err = registry.New(ctx, registry.Config{
		Store: s.store, Content: s.content, Sealer: s.sealer, Log: s.cfg.Log, Now: s.cfg.Now, Rand: s.cfg.Rand,
	})
	if err != nil {
		return err
	}
	s.onClose(s.registries.Close)
	return nil
}

// openEndpoints makes what builds environments and runs scripts.
func (s *Server) openEndpoints() error {
	dir := func(name string) string { return filepath.Join(s.cfg.DataDir, name) }
	bundle := dir("ca-bundle.pem")
	if err := s.ca.WriteBundle(bundle); err != nil {
		return err
	}
	mode, policy := environment.ModeBuild, environment.PythonNearest
	if s.cfg.HostPackage {
		mode = environment.ModeHost
	}
	if s.cfg.ExactPython {
		policy = environment.PythonExact
	}
	var err error
	s.builder, err = environment.New(environment.Config{
		Dir: dir("environments"), Mode: mode, PythonPolicy: policy, Log: s.cfg.Log, Now: s.cfg.Now,
	})
	if err != nil {
		return err
	}
	s.onClose(s.builder.Close)
	s.runtime, err = process.New(process.Config{Dir: dir("runtime"), Logger: s.cfg.Log, Now: s.cfg.Now, Rand: s.cfg.Rand})
	if err != nil {
		return err
	}
	s.tokens = msi.New(msi.Config{Tokens: s.instanceToken, Wrap: s.tracing.TokenEndpoint, Now: s.cfg.Now, Rand: s.cfg.Rand, Log: s.cfg.Log})
	s.front = &scoring.Front{OnEvent: s.scored, Now: s.cfg.Now, InTurn: s.cfg.RouteInTurn}
	if err := os.MkdirAll(dir("deployments"), 0o700); err != nil {
		return err
	}
	forms := msi.AzureML
	if s.cfg.IMDS {
		forms |= msi.IMDS
	}
	caller := s.httpClient()
	s.endpoints = endpoint.New(endpoint.Config{
		Tree: s.tree, Operations: s.operations, Directory: s.directory, Workspaces: assets{s.workspaces}, Sealer: s.sealer,
		Grant: s.grant, Require: s.require, Token: s.principalToken, Sign: s.endpointToken,
		Verify: func(ctx context.Context, raw, audience string) (string, error) {
			audiences := []string{audience}
			if audience == scoringAudience {
				audiences = append(audiences, s.ownAudiences("ml.azure")...)
			}
			return s.verifier(audiences...)(ctx, raw)
		},
		Images: func(p identity.Principal, id armid.ID) (ociregistry.Interface, error) { return s.images(caller, p, id) },
		HTTP:   caller, Environments: s.builder, Runtime: s.tracing.Runtime(s.meters.Runtime(s.runtime), s.proxy()), TokenServer: s.tokens, TokenForms: forms, Front: s.front,
		FreshProcesses: s.cfg.Isolation == isolationFresh, MachineMemory: process.MachineMemory(),
		InstanceEnv: s.instanceEnv(bundle), Dir: dir("deployments"), Now: s.cfg.Now, Rand: s.cfg.Rand, Log: s.cfg.Log,
	})
	return nil
}

// proxy is where clients reach the platform.
func (s *Server) proxy() string { return "http://" + s.listener.Addr().String() }

// instanceEnv leads an instance's clients to the platform, as `lapis env` does
// for a shell, but with no credential.
func (s *Server) instanceEnv(bundle string) []string {
	proxy := s.proxy()
	return []string{
		"HTTPS_PROXY=" + proxy, "https_proxy=" + proxy,
		"NO_PROXY=127.0.0.1,localhost,169.254.169.254", "no_proxy=127.0.0.1,localhost,169.254.169.254",
		"REQUESTS_CA_BUNDLE=" + bundle, "SSL_CERT_FILE=" + bundle, "CURL_CA_BUNDLE=" + bundle,
	}
}

// grant assigns a built-in role on the platform's own account.
func (s *Server) grant(ctx context.Context, principalID, role string, scope armid.ID) error {
	for _, r := range rbac.BuiltInRoles() {
		if r.Name == role {
			_, err := s.roles.SystemAssign(ctx, scope, r.ID, principalID, rbac.ServicePrincipal, "assigned by the service")
			return err
		}
	}
	return fault.E(fault.Internal, "InternalServerError", "there is no built-in role %q", role)
}

// require is the question that services ask before they do anything.
func (s *Server) require(ctx context.Context, principalID, action string, data bool, scope armid.ID) error {
	plane := managementPlane
	if action == scoring.ScoreAction {
		plane = scoringPlane
	}
	return s.requireOn(plane)(ctx, principalID, action, data, scope)
}

// requireOn is the question that a face asks before it does anything.
func (s *Server) requireOn(plane string) func(ctx context.Context, principalID, action string, data bool, scope armid.ID) error {
	return func(ctx context.Context, principalID, action string, data bool, scope armid.ID) error {
		return s.ask(ctx, rbac.Query{PrincipalID: principalID, Action: action, Data: data, Scope: scope, Plane: plane})
	}
}

func (s *Server) ask(ctx context.Context, q rbac.Query) error {
	if !s.directory.Alive(q.PrincipalID) { // a registry's own tokens outlive a deleted identity; its rights do not
		return fault.E(fault.Denied, "AuthorizationFailed", "The principal '%s' no longer exists.", q.PrincipalID)
	}
	return s.roles.Require(ctx, q)
}

// permitted is require where nobody is refused anything yet: no denial is told.
func (s *Server) permitted(_ context.Context, principalID, action string, scope armid.ID) bool {
	return s.directory.Alive(principalID) && s.roles.Snapshot().Decide(rbac.Query{PrincipalID: principalID, Action: action, Scope: scope}).Allowed
}

// denied tells the log, and the deployments that run under the principal.
func (s *Server) denied(d fault.Denial) {
	s.cfg.Log.Warn("denied", "principal", d.Principal, "action", d.Action, "scope", d.Scope, "role", d.Role, "roleScope", d.RoleScope, "remedy", d.Remedy)
	if s.endpoints != nil {
		s.endpoints.Denied(d)
	}
}

// instanceToken is what token endpoints of instances give out.
func (s *Server) instanceToken(ctx context.Context, objectID, audience, host string) (token.Token, error) {
	p, ok := s.directory.ByObjectID(objectID)
	if !ok {
		return token.Token{}, fault.E(fault.NotFound, "invalid_request", "Identity not found")
	}
	if !s.isAudience(audience) {
		return token.Token{}, fault.E(fault.Invalid, "invalid_resource", "AADSTS500011: The resource principal named %s was not found in the tenant.", audience)
	}
	return s.issuer.Token(ctx, token.Request{Principal: p, Audience: audience, Host: host})
}

func (s *Server) principalToken(ctx context.Context, p identity.Principal, audience, host string) (string, error) {
	t, err := s.issuer.Token(ctx, token.Request{Principal: p, Audience: audience, Host: host})
	return t.Raw.Reveal(), err
}

// images is a registry as a principal reaches it.
func (s *Server) images(caller *http.Client, p identity.Principal, id armid.ID) (ociregistry.Interface, error) {
	return registry.NewClient(registry.ClientConfig{
		HTTP: caller, LoginServer: registry.LoginServer(id.Name()), Tenant: s.home.Tenant,
		Token: func(ctx context.Context) (string, error) {
			return s.principalToken(ctx, p, registryAudience, "")
		},
	})
}

// assets shows workspaces to endpoints.
type assets struct{ *workspace.Service }

func (a assets) Workspace(ctx context.Context, id armid.ID) (endpoint.Workspace, error) {
	w, err := a.Attached(ctx, id)
	return endpoint.Workspace{StorageAccount: w.StorageAccount, Registry: w.Registry}, err
}

func (a assets) Asset(ctx context.Context, id armid.ID, collection, reference string) (endpoint.Asset, error) {
	v, err := a.Version(ctx, id, collection, reference)
	if err != nil {
		return endpoint.Asset{}, err
	}
	var p struct {
		CodeURI  string `json:"codeUri"`
		ModelURI string `json:"modelUri"`
		Type     string `json:"modelType"`
		Image    string `json:"image"`
		Conda    string `json:"condaFile"`
	}
	if err := v.Decode(&p); err != nil {
		return endpoint.Asset{}, err
	}
	found := endpoint.Asset{ID: v.ID, Name: v.ID.Parent().Name(), Version: v.ID.Name(), ModelType: p.Type, Image: p.Image, Conda: []byte(p.Conda)}
	uri := p.CodeURI + p.ModelURI
	if uri == "" {
		return found, nil
	}
	l, err := a.Locate(ctx, id, uri)
	found.Account, found.Container, found.Path = l.Account, l.Container, l.Path
	return found, err
}

// accountStorage is a storage account as a workspace uses it.
type accountStorage struct{ s *Server }

func (a accountStorage) account(ctx context.Context, id armid.ID) (blob.Account, error) {
	return a.s.blobAccount(ctx, id.Name())
}

func (a accountStorage) EnsureContainer(ctx context.Context, id armid.ID, container string) error {
	account, err := a.account(ctx, id)
	if err != nil {
		return err
	}
	_, err = a.s.blobs.CreateContainer(ctx, account.Space(), container, nil)
	if fault.Is(err, fault.Conflict) {
		return nil
	}
	return err
}

func (a accountStorage) ContainerSAS(ctx context.Context, id armid.ID, wanted workspace.Signature) (string, error) {
	account, err := a.account(ctx, id)
	if err != nil {
		return "", err
	}
	token := sas.Service{Permissions: wanted.Permissions, Expiry: wanted.Expiry}
	if account.AllowSharedKey && !wanted.Delegated {
		return blob.SignContainerSAS(account, wanted.Container, token)
	}
	if err := a.s.require(ctx, wanted.Signer, rbac.Delegate, false, account.ID); err != nil {
		return "", err
	}
	key := sas.NewKey(wanted.Signer, a.s.home.Tenant, delegationVersion, a.s.cfg.Now(), wanted.Expiry)
	return blob.SignDelegatedSAS(account, wanted.Container, key, token)
}

// delegationVersion is the storage version of keys that workspaces sign with.
const delegationVersion = "2021-12-02"

func (a accountStorage) AccountKey(ctx context.Context, id armid.ID) (secret.String, error) {
	account, err := a.account(ctx, id)
	return account.Keys[0], err
}

func (a accountStorage) KeySAS(account, container string, key secret.String, permissions string, expiry time.Time) (string, error) {
	return sas.Service{Permissions: permissions, Expiry: expiry}.Sign(account, container, key)
}

func (a accountStorage) ReadBlob(ctx context.Context, id armid.ID, container, name string, limit int64) ([]byte, error) {
	account, err := a.account(ctx, id)
	if err != nil {
		return nil, err
	}
	r, err := a.s.blobs.OpenBlob(ctx, blob.Place{Space: account.Space(), Container: container, Name: name}, blob.Conditions{})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	part := r.Range(ctx, 0, min(limit, r.Blob.Size))
	defer func() { _ = part.Close() }()
	return io.ReadAll(part)
}

// blobAccount is a storage account as the data plane sees it.
func (s *Server) blobAccount(ctx context.Context, name string) (blob.Account, error) {
	a, err := s.accounts.Find(ctx, name)
	return blob.Account{
		Name: a.Name, ID: a.ID, Keys: a.Keys, AllowSharedKey: a.AllowSharedKey, Delegation: a.Delegation, CreatedAt: a.CreatedAt, SKU: a.SKU, Kind: a.Kind,
	}, err
}

// accountContainers is the data plane as Resource Manager uses it.
type accountContainers struct{ s *Server }

func (a accountContainers) space(ctx context.Context, account string) (blob.Space, error) {
	found, err := a.s.blobAccount(ctx, account)
	return found.Space(), err
}

func (a accountContainers) Create(ctx context.Context, account, container string, metadata map[string]string) (storageaccount.Container, error) {
	space, err := a.space(ctx, account)
	if err != nil {
		return storageaccount.Container{}, err
	}
	c, err := a.s.blobs.CreateContainer(ctx, space, container, metadata)
	return shownContainer(c), err
}

func (a accountContainers) SetMetadata(ctx context.Context, account, container string, metadata map[string]string) error {
	space, err := a.space(ctx, account)
	if err != nil {
		return err
	}
	_, err = a.s.blobs.SetContainerMetadata(ctx, space, container, metadata, blob.Conditions{})
	return err
}

func (a accountContainers) Get(ctx context.Context, account, container string) (storageaccount.Container, error) {
	space, err := a.space(ctx, account)
	if err != nil {
		return storageaccount.Container{}, err
	}
	c, err := a.s.blobs.Container(ctx, space, container)
	return shownContainer(c), err
}

func (a accountContainers) List(ctx context.Context, account string) ([]storageaccount.Container, error) {
	space, err := a.space(ctx, account)
	if err != nil {
		return nil, err
	}
	var found []storageaccount.Container
	for marker := ""; ; {
		page, err := a.s.blobs.Containers(ctx, space, blob.ListContainers{Marker: marker, Max: 5000})
		if err != nil {
			return nil, err
		}
		for _, c := range page.Containers {
			found = append(found, shownContainer(c))
		}
		if marker = page.Next; marker == "" {
			return found, nil
		}
	}
}

func (a accountContainers) Delete(ctx context.Context, account, container string) error {
	space, err := a.space(ctx, account)
	if err != nil {
		return err
	}
	return a.s.blobs.DeleteContainer(ctx, space, container, blob.Conditions{})
}

func (a accountContainers) DeleteAccount(ctx context.Context, account string) error {
	return a.s.blobs.DeleteAccount(ctx, account)
}

func shownContainer(c blob.Container) storageaccount.Container {
	return storageaccount.Container{Name: c.Name, Metadata: c.Metadata, Modified: c.Modified, ETag: c.ETag}
}

// endpointToken is a token that an endpoint gives out to a caller.
func (s *Server) endpointToken(ctx context.Context, objectID, audience string, life time.Duration) (endpoint.Token, error) {
	p, _ := s.directory.ByObjectID(objectID)
	t, err := s.issuer.Token(ctx, token.Request{Principal: p, Audience: audience, Lifetime: life})
	return endpoint.Token{Raw: t.Raw, Expires: t.ExpiresAt}, err
}
