package registry

import (
	"context"
	"net/http"
	"strings"

	"lapis/armid"
	"lapis/fault"
)

// Access is what the checks in front of a [Service] ask of the platform.
type Access struct {
	// Registries finds a registry by the host a client addressed, without the
	// port; a fault NotFound where there is none.
	Registries func(ctx context.Context, loginServer string) (Registry, error)

	// Verify checks a token that was issued for the resource manager or for
	// https://containerregistry.azure.net, and returns its principal's object
	// id. A fault Unauthenticated where the token is not good.
	Verify func(ctx context.Context, raw string) (principalID string, err error)

	// Authenticate checks a service principal's client id and secret, and
	// returns its object id.
	Authenticate func(ctx context.Context, clientID, clientSecret string) (principalID string, err error)

	// Authorize returns nil, or a fault Denied that says what is missing.
	Authorize func(ctx context.Context, principalID, action string, data bool, scope armid.ID) error

	// Permitted answers as Authorize does, where nothing is asked for yet: what
	// it says no to is not a denial, and reaches no log.
	Permitted func(ctx context.Context, principalID, action string, scope armid.ID) bool
}

// nullUser is the user name that goes with a refresh token as password.
const nullUser = "00000000-0000-0000-0000-000000000000"

// caller is who makes a request, and the scope of the token it came with.
type caller struct {
	principal string
	access    []access // nil with unlimited
	unlimited bool     // it showed a credential and not a token: only its roles bound it
	fromToken bool     // the limit is that of an access token used as a password
	expires   int64    // unix seconds; set with fromToken
}

// authenticate reads the Authorization header. Its errors are challenges.
func (f *face) authenticate(r *http.Request, reg Registry, wanted []access) (caller, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return caller{}, &challenge{scope: wanted, reason: "authentication required"}
	}
	if user, password, ok := r.BasicAuth(); ok {
		who, err := f.basic(r.Context(), reg, user, password)
		if fault.Is(err, fault.Unauthenticated) {
			return caller{}, &challenge{scope: wanted, code: "invalid_token", reason: fault.From(err).Message}
		}
		return who, err
	}
	scheme, raw, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return caller{}, &challenge{scope: wanted, code: "invalid_token", reason: "The Authorization header is neither Bearer nor Basic."}
	}
	c, err := f.s.tokens.check(strings.TrimSpace(raw), kindAccess, reg.LoginServer)
	if err != nil {
		return caller{}, &challenge{scope: wanted, code: "invalid_token", reason: err.Error() + "; get another at /oauth2/token"}
	}
	return caller{principal: c.Subject, access: c.Access}, nil
}

// basic checks a user name and password: the null GUID with a token of this
// registry, or a service principal's id and secret.
func (f *face) basic(ctx context.Context, reg Registry, user, password string) (caller, error) {
	if user != nullUser {
		principal, err := f.Authenticate(ctx, user, password)
		return caller{principal: principal, unlimited: true}, err
	}
	c, err := f.s.tokens.check(password, kindRefresh, reg.LoginServer)
	if err == nil {
		return caller{principal: c.Subject, unlimited: true}, nil
	}
	if c, err := f.s.tokens.check(password, kindAccess, reg.LoginServer); err == nil {
		return caller{principal: c.Subject, access: c.Access, fromToken: true, expires: c.Expires}, nil
	}
	return caller{}, unauthenticated(err)
}

func unauthenticated(err error) error {
	return &fault.Error{Kind: fault.Unauthenticated, Code: "UNAUTHORIZED", Message: "The password is no good refresh token: " + err.Error() + ".", Err: err}
}

// wanted is the scope a challenge names for a route: what docker asks for, so
// pull goes with push.
func wanted(need need, name string) []access {
	switch need {
	case needCatalog:
		return []access{{typeRegistry, catalog, []string{every}}}
	case needPull:
		return []access{{typeRepository, name, []string{pull}}}
	case needPush:
		return []access{{typeRepository, name, []string{pull, push}}}
	case needDelete:
		return []access{{typeRepository, name, []string{remove}}}
	}
	return nil
}

// permit decides whether the caller may: by role first, since only that answer
// can say what to assign, then by the token's scope, which a new token mends.
func (f *face) permit(ctx context.Context, reg Registry, who caller, need need, name string) error {
	action := actionFor(string(need))
	typ, verb := typeRepository, string(need)
	if need == needCatalog {
		action, typ, name, verb = actionFor(pull), typeRegistry, catalog, every
	}
	if err := f.Authorize(ctx, who.principal, action, false, reg.ID); err != nil {
		return err
	}
	if who.unlimited || covers(who.access, typ, name, verb) {
		return nil
	}
	return &challenge{scope: wanted(need, name), code: "insufficient_scope", reason: "The token was not made for this: it lacks " + verb + " of " + typ + " " + name + "."}
}

// roles is what a principal may do now, by action.
type roles map[string]bool

func (f *face) rolesOf(ctx context.Context, reg Registry, principal string) roles {
	may := roles{}
	for _, action := range []string{pull, push, remove} {
		may[action] = f.Permitted(ctx, principal, actionFor(action), reg.ID)
	}
	may["metadata_read"], may["metadata_write"] = may[pull], may[push]
	return may
}
