package lapis

import (
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"lapis/arm"
	"lapis/blob/dataplane"
	"lapis/fault"
	"lapis/gateway"
	"lapis/graph"
	"lapis/identity"
	"lapis/login"
	"lapis/page"
	"lapis/registry"
	"lapis/resource"
	"lapis/worker/process"
)

// The audiences of the platform's planes.
const (
	registryAudience = "https://containerregistry.azure.net"
	storageAudience  = "https://storage.azure.com"
	graphAudience    = "https://graph.microsoft.com"
	scoringAudience  = "https://ml.azure.com"
	pageAudience     = "https://page.lapis.localhost" // a token for it opens the page and nothing else
)

// armAudiences are all names that clients ask a Resource Manager token by.
func (s *Server) armAudiences() []string {
	return append(s.ownAudiences("management"), "https://management.azure.com", "https://management.core.windows.net")
}

// ownAudiences are a plane's names in the platform's own cloud, as the metadata
// document gives them to whoever reads it at the port that is listened at, or
// at 443.
func (s *Server) ownAudiences(plane string) []string {
	name := "https://" + plane + "." + s.cfg.Suffix
	_, port, _ := net.SplitHostPort(s.listener.Addr().String())
	return []string{name, name + ":" + port}
}

// isAudience reports whether a resource is one that the platform serves.
func (s *Server) isAudience(resource string) bool {
	known := append(s.armAudiences(), registryAudience, storageAudience, graphAudience, scoringAudience, pageAudience)
	known = append(append(known, s.ownAudiences("graph")...), s.ownAudiences("ml.azure")...)
	return slices.Contains(known, strings.TrimRight(resource, "/")) ||
		strings.HasPrefix(resource, "https://") && strings.HasSuffix(strings.TrimRight(resource, "/"), ".blob.core.windows.net")
}

// faces leads host names to handlers.
type faces struct {
	exact  map[string]http.Handler
	suffix []suffixFace
}

type suffixFace struct {
	suffix  string
	handler http.Handler
}

// of returns the handler of a host name in lower case, without a port.
func (f faces) of(host string) (http.Handler, bool) {
	if h, ok := f.exact[host]; ok {
		return h, true
	}
	for _, s := range f.suffix {
		if strings.HasSuffix(host, s.suffix) && len(host) > len(s.suffix) {
			return s.handler, true
		}
	}
	return nil, false
}

// openFaces makes the faces and the gateway before them.
func (s *Server) openFaces(context.Context) error {
	s.arm = arm.New(arm.Config{
		Tree: s.tree, Operations: s.operations, Roles: s.roles, Tenant: s.home.Tenant, Subscription: s.home.Subscription,
		Location: s.cfg.Location, Suffix: s.cfg.Suffix, Authenticate: s.authenticateARM, Status: s.status,
		Extra: s.extraRoutes(), Now: s.cfg.Now, Log: s.cfg.Log,
	})
	entrance := login.New(login.Config{
		Directory: s.directory, Issuer: s.issuer, Audience: s.isAudience, Now: s.cfg.Now, Rand: s.cfg.Rand, Log: s.cfg.Log,
		Authority: func(host string) bool { return strings.HasPrefix(host, "login."+s.cfg.Suffix) },
	})
	data := dataplane.New(dataplane.Config{
		Service: s.blobs, Accounts: s.blobAccount, Verify: s.verifier(storageAudience), Authorize: s.requireOn(blobPlane),
		AuthorizationURI: "https://login.microsoftonline.com/" + s.home.Tenant + "/oauth2/authorize",
		Tenant:           s.home.Tenant, Now: s.cfg.Now, Rand: s.cfg.Rand, Log: s.cfg.Log,
	})
	images := s.registries.Handler(registry.Access{
		Registries: s.registryOf, Verify: s.verifier(append(s.armAudiences(), registryAudience)...),
		Authenticate: func(ctx context.Context, id, password string) (string, error) {
			p, err := s.directory.Authenticate(ctx, id, password)
			return p.ObjectID, err
		},
		Authorize: s.requireOn(registryPlane), Permitted: s.permitted,
	})
	people := graph.New(graph.Config{
		Verify: s.verifier(append(s.ownAudiences("graph"), graphAudience)...), Principals: s.people, Now: s.cfg.Now, Rand: s.cfg.Rand, Log: s.cfg.Log,
		Tenant:       graph.Tenant{ID: s.home.Tenant, DisplayName: "Lapis", Domain: s.cfg.Suffix},
		AuthorizeURL: "https://login.microsoftonline.com/" + s.home.Tenant + "/oauth2/authorize",
	})
	s.nameFaces(data, images, entrance, people)
	egress := gateway.EgressAllow
	if s.cfg.EgressDeny {
		egress = gateway.EgressDeny
	}
	plain := map[string]http.Handler{metricsPath: s.arm}
	look := s.newPage()
	for _, row := range page.Operations() {
		plain[row.Path] = look
	}
	s.gate = gateway.New(gateway.Config{
		Face: s.faces.of, Quick: s.scores, CA: s.ca, Egress: egress, Upstream: gateway.UpstreamFromEnvironment(), Log: s.cfg.Log,
		Plain: plain,
	})
	return nil
}

// nameFaces leads names to faces, each traced if anything is.
func (s *Server) nameFaces(data, images, entrance, people http.Handler) {
	traced := func(name string, face http.Handler) http.Handler {
		return s.tracing.Face(name, gateway.ProxyPassword, face)
	}
	own := s.cfg.Suffix
	data, images = traced(blobPlane, data), traced(registryPlane, images)
	entrance, people = traced("login", entrance), traced("graph", people)
	s.faces = faces{
		exact: map[string]http.Handler{
			"management.azure.com": traced(managementPlane, s.arm), "management." + own: traced(managementPlane, s.ownManagement(s.arm)),
			"login.microsoftonline.com": entrance, "login.microsoft.com": entrance, "login.windows.net": entrance, "login." + own: entrance,
			"graph.microsoft.com": people, "graph." + own: people,
		},
		suffix: []suffixFace{
			{".blob.core.windows.net", data}, {".blob.core." + own, data},
			{".azurecr.io", images}, {".azurecr." + own, images},
			{scoringDomain, s.tracing.Scoring(s.front)}, {ownScoringDomain + own, s.tracing.Scoring(s.ownScoring())},
		},
	}
}

// What ends the names under which endpoints are scored, and the platform's own
// of those before its suffix.
const (
	scoringDomain    = ".inference.ml.azure.com"
	ownScoringDomain = ".inference.ml."
)

// scores tells the hosts of endpoints.
func (s *Server) scores(host string) bool {
	return strings.HasSuffix(host, scoringDomain) || strings.HasSuffix(host, ownScoringDomain+s.cfg.Suffix)
}

// ownScoring answers scoring under the platform's own names: the front knows
// endpoints by Azure's.
func (s *Server) ownScoring() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, _ := strings.Cut(r.Host, ownScoringDomain)
		known := r.Clone(r.Context())
		known.Host = name + scoringDomain
		s.front.ServeHTTP(w, known)
	})
}

func (s *Server) authenticateARM(ctx context.Context, raw string) (resource.Caller, error) {
	return s.callerOf(ctx, raw, s.armAudiences()...)
}

// authenticatePage takes what Resource Manager takes, and the page's own.
func (s *Server) authenticatePage(ctx context.Context, raw string) (resource.Caller, error) {
	return s.callerOf(ctx, raw, append(s.armAudiences(), pageAudience)...)
}

func (s *Server) callerOf(ctx context.Context, raw string, audiences ...string) (resource.Caller, error) {
	claims, err := s.issuer.Verify(ctx, raw, audiences...)
	if err != nil {
		return resource.Caller{}, err
	}
	p, _ := s.directory.ByObjectID(claims.ObjectID)
	kind := "Application"
	if p.Kind.Managed() {
		kind = "ManagedIdentity"
	}
	return resource.Caller{ObjectID: claims.ObjectID, Kind: kind}, nil
}

// people are the principals as Graph shows them.
func (s *Server) people() []graph.Principal {
	all := s.directory.List()
	shown := make([]graph.Principal, 0, len(all))
	for _, p := range all {
		kind := string(p.Kind)
		if p.Kind.Managed() {
			kind = "ManagedIdentity"
		}
		shown = append(shown, graph.Principal{
			ObjectID: p.ObjectID, AppID: p.ClientID, DisplayName: p.DisplayName, Kind: kind,
			ResourceID: p.ResourceID, UserAssigned: p.Kind == identity.UserAssigned, CreatedAt: p.CreatedAt,
		})
	}
	return shown
}

// verifier checks tokens for a plane and gives the caller's object id.
func (s *Server) verifier(audiences ...string) func(context.Context, string) (string, error) {
	return func(ctx context.Context, raw string) (string, error) {
		claims, err := s.issuer.Verify(ctx, raw, audiences...)
		return claims.ObjectID, err
	}
}

// registryOf finds a registry by the host that a client addresses.
func (s *Server) registryOf(ctx context.Context, host string) (registry.Registry, error) {
	name, _, _ := strings.Cut(host, ".")
	r, err := s.tree.Names("registry").Find(ctx, name)
	if err != nil {
		return registry.Registry{}, err
	}
	return registry.Registry{Name: r.ID.Name(), ID: r.ID, LoginServer: registry.LoginServer(r.ID.Name()), Tenant: s.home.Tenant}, nil
}

// extraRoutes are rows of Resource Manager that belong to no resource.
func (s *Server) extraRoutes() []arm.Route {
	return append(s.deploymentRoutes(), s.resetRoute(), s.metricsRoute(), s.runningRoute(), arm.Route{
		Method: http.MethodPost, Path: "/subscriptions/{subscription}/providers/Microsoft.Storage/checkNameAvailability",
		Scope: "/subscriptions/{subscription}", Action: "Microsoft.Storage/checknameavailability/read", Version: arm.Versioned,
		Handle: func(r *arm.Request) (arm.Answer, error) {
			data, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
			if err != nil {
				return arm.Answer{}, fault.E(fault.Invalid, "InvalidRequestContent", "The request's content broke off before its end.")
			}
			answer, err := s.accounts.CheckNameAvailability(r.Context(), data)
			return arm.Answer{Body: answer}, err
		},
	})
}

// Status is how the platform stands, for `lapis status`.
type Status struct {
	State       string             `json:"state"`
	Version     string             `json:"version"`
	Address     string             `json:"address"`
	Data        string             `json:"data"`
	Egress      string             `json:"egress"`
	Environment string             `json:"environment"`
	Python      string             `json:"python"`
	Isolation   string             `json:"isolation"`
	Starts      string             `json:"starts"` // how instances are made: shared or fresh
	Limits      process.Mechanisms `json:"limits"` // how limits of instances are held
	Routing     string             `json:"routing"`
	CA          string             `json:"caFingerprint"`
}

func (s *Server) status(context.Context) any {
	st := Status{
		State: "ready", Version: Version(), Address: s.listener.Addr().String(), Data: s.cfg.DataDir,
		Egress: "allow", Environment: "build", Python: "nearest", Routing: "random", CA: s.ca.Fingerprint(),
		Isolation: "none: instances are processes of this user, without a sandbox",
	}
	st.Starts = cmp.Or(s.cfg.Isolation, isolationShared)
	st.Limits = s.runtime.Mechanisms()
	if s.cfg.EgressDeny {
		st.Egress = "deny"
	}
	if s.cfg.RouteInTurn {
		st.Routing = "in-turn"
	}
	if s.cfg.HostPackage {
		st.Environment = "host"
	}
	if s.cfg.ExactPython {
		st.Python = "exact"
	}
	return st
}
