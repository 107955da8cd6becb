package registry

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"lapis/fault"
)

const maxForm = 128 << 10

// form reads the body of a token request.
func form(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if mediaType != "application/x-www-form-urlencoded" {
		return nil, fault.E(fault.Invalid, "invalid_request", "Content-Type must be application/x-www-form-urlencoded.")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, &fault.Error{Kind: fault.Invalid, Code: "invalid_request", Message: "The form in the request's body cannot be read.", Err: err}
	}
	return r.PostForm, nil
}

// checkService refuses a request that was meant for another registry.
func checkService(c *call, service string) error {
	host, _, _ := strings.Cut(c.r.Host, ":")
	for _, own := range []string{c.r.Host, host, c.reg.LoginServer} {
		if strings.EqualFold(service, own) {
			return nil
		}
	}
	if service == "" {
		return fault.E(fault.Invalid, "invalid_request", "The parameter service is missing; it is %s.", c.reg.LoginServer)
	}
	return fault.E(fault.Invalid, "invalid_request", "The parameter service is %.200q; this is %s.", service, c.reg.LoginServer)
}

// postExchange gives a refresh token of this registry for a token of the
// tenant, to whoever may do anything here.
func (f *face) postExchange(w http.ResponseWriter, c *call) error {
	values, err := form(w, c.r)
	if err != nil {
		return err
	}
	if grant := values.Get("grant_type"); grant != "access_token" {
		return fault.E(fault.Invalid, "unsupported_grant_type", "grant_type is %.100q; here it must be access_token.", grant)
	}
	if err := checkService(c, values.Get("service")); err != nil {
		return err
	}
	if tenant := values.Get("tenant"); tenant != "" && c.reg.Tenant != "" && !strings.EqualFold(tenant, c.reg.Tenant) {
		return fault.E(fault.Unauthenticated, "UNAUTHORIZED", "The parameter tenant is %.100q; this registry is of tenant %s.", tenant, c.reg.Tenant)
	}
	raw := values.Get("access_token")
	if raw == "" {
		return fault.E(fault.Invalid, "invalid_request", "The parameter access_token is missing.")
	}
	principal, err := f.Verify(c.r.Context(), raw)
	if err != nil {
		return err
	}
	can := f.rolesOf(c.r.Context(), c.reg, principal)
	if len(can.actions()) == 0 {
		if err := f.Authorize(c.r.Context(), principal, actionFor(pull), false, c.reg.ID); err != nil {
			return err
		}
		can = f.rolesOf(c.r.Context(), c.reg, principal) // a role came between the two looks
	}
	token, _, err := f.s.tokens.mint(kindRefresh, claims{
		Subject: principal, Audience: c.reg.LoginServer, Tenant: c.reg.Tenant,
		Permissions: &permissions{Actions: can.actions(), NotActions: []string{}},
	}, refreshLife)
	if err != nil {
		return err
	}
	return writeToken(w, map[string]any{"refresh_token": token})
}

// actions names what is allowed as refresh tokens do.
func (r roles) actions() []string {
	out := []string{}
	for _, a := range []struct{ action, name string }{{pull, "read"}, {push, "write"}, {remove, "delete"}} {
		if r[a.action] {
			out = append(out, a.name)
		}
	}
	return out
}

// postToken gives an access token for a refresh token, or for a user name and
// password.
func (f *face) postToken(w http.ResponseWriter, c *call) error {
	values, err := form(w, c.r)
	if err != nil {
		return err
	}
	if err := checkService(c, values.Get("service")); err != nil {
		return err
	}
	user, password := nullUser, values.Get("refresh_token")
	switch grant := values.Get("grant_type"); grant {
	case "refresh_token":
	case "password":
		user, password = values.Get("username"), values.Get("password")
	default:
		return fault.E(fault.Invalid, "unsupported_grant_type", "grant_type is %.100q; here it must be refresh_token or password.", grant)
	}
	if user == "" || password == "" {
		return fault.E(fault.Invalid, "invalid_request", "The credential that belongs to the grant_type is missing.")
	}
	who, err := f.basic(c.r.Context(), c.reg, user, password)
	if err != nil {
		return err
	}
	return f.giveAccess(w, c, who, values["scope"])
}

// getToken is postToken as docker asks it: Basic credentials, scope in the query.
func (f *face) getToken(w http.ResponseWriter, c *call) error {
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return fault.E(fault.Invalid, "invalid_request", "The query cannot be read.")
	}
	if err := checkService(c, query.Get("service")); err != nil {
		return err
	}
	user, password, ok := c.r.BasicAuth()
	if !ok {
		return &challenge{reason: "authentication required"}
	}
	who, err := f.basic(c.r.Context(), c.reg, user, password)
	if err != nil {
		return err
	}
	return f.giveAccess(w, c, who, query["scope"])
}

// giveAccess signs a token for what was asked and is allowed now. Less than was
// asked is no error (distribution, "Requesting a Token"): the request that
// needs the rest is denied, and says why.
func (f *face) giveAccess(w http.ResponseWriter, c *call, who caller, scope []string) error {
	asked, err := parseScopes(scope)
	if err != nil {
		return err
	}
	can := f.rolesOf(c.r.Context(), c.reg, who.principal)
	life := accessLife
	granted := grant(asked, func(action string) bool { return can[action] })
	if who.fromToken {
		granted = narrow(granted, who.access)
		life = min(life, time.Unix(who.expires, 0).Sub(f.s.now()))
	}
	token, expires, err := f.s.tokens.mint(kindAccess, claims{
		Subject: who.principal, Audience: c.reg.LoginServer, Tenant: c.reg.Tenant, Access: granted,
	}, life)
	if err != nil {
		return err
	}
	// docker and its kin take a token without expires_in to live for a minute.
	return writeToken(w, map[string]any{"access_token": token, "expires_in": int(expires.Sub(f.s.now()).Seconds())})
}

// narrow keeps of granted what limit covers.
func narrow(granted, limit []access) []access {
	out := []access{}
	for _, e := range granted {
		kept := access{Type: e.Type, Name: e.Name}
		for _, action := range e.Actions {
			if covers(limit, e.Type, e.Name, action) {
				kept.Actions = append(kept.Actions, action)
			}
		}
		if len(kept.Actions) > 0 {
			out = append(out, kept)
		}
	}
	return out
}

func writeToken(w http.ResponseWriter, body map[string]any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(data)
	return nil
}
