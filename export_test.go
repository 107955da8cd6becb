package lapis

import (
	"context"
	"maps"
	"slices"
	"time"

	"lapis/arm"
	"lapis/token"
)

// What tests outside the package need of a server and no client has.

// Routes is Resource Manager's table.
func (s *Server) Routes() []arm.Route { return s.arm.Routes() }

// NewApplication makes an application that has no role.
func (s *Server) NewApplication(name string) (objectID, clientID, secret string, err error) {
	p, text, err := s.directory.CreateApplication(context.Background(), name)
	return p.ObjectID, p.ClientID, text.Reveal(), err
}

// DeleteApplication deletes one.
func (s *Server) DeleteApplication(objectID string) error {
	return s.directory.DeleteApplication(context.Background(), objectID)
}

// Mint signs a token with the platform's own key, as an issuer of the tenant
// ("": the platform's) would have at the moment at.
func (s *Server) Mint(objectID, audience, tenant string, at time.Time) (string, error) {
	p, _ := s.directory.ByObjectID(objectID)
	if tenant == "" {
		tenant = s.home.Tenant
	}
	issuer, err := token.Open(context.Background(), token.Config{
		Store: s.store, Sealer: s.sealer, TenantID: tenant, Alive: func(string) bool { return true },
		Now: func() time.Time { return at },
	})
	if err != nil {
		return "", err
	}
	defer issuer.Close()
	t, err := issuer.Token(context.Background(), token.Request{Principal: p, Audience: audience})
	return t.Raw.Reveal(), err
}

// HostNames are the names that faces answer.
func (s *Server) HostNames() []string {
	names := slices.Collect(maps.Keys(s.faces.exact))
	for _, f := range s.faces.suffix {
		names = append(names, "*"+f.suffix)
	}
	return names
}

// Authorizer is what checks the callers of an endpoint.
func (s *Server) Authorizer(endpoint string) func(ctx context.Context, bearer string) error {
	for _, e := range s.front.Endpoints() {
		if e.Name == endpoint {
			return e.Authorize
		}
	}
	return nil
}

// RevokeKeys withdraws all keys that tokens are signed with.
func (s *Server) RevokeKeys() error { return s.issuer.Revoke(context.Background()) }
