package login

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lapis/fault"
	"lapis/token"
)

// grant is a token request after reading, the same for both versions.
type grant struct {
	clientID, clientSecret string
	resource               string // the audience
}

// answerV2 is the answer of the v2.0 endpoint.
type answerV2 struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	ExtExpiresIn int64  `json:"ext_expires_in"`
	AccessToken  string `json:"access_token"`
}

// answerV1 is the answer of the v1.0 endpoint, where numbers are strings.
type answerV1 struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    string `json:"expires_in"`
	ExtExpiresIn string `json:"ext_expires_in"`
	ExpiresOn    string `json:"expires_on"`
	NotBefore    string `json:"not_before"`
	Resource     string `json:"resource"`
	AccessToken  string `json:"access_token"`
}

func (f *face) tokenV2(w http.ResponseWriter, r *http.Request) error {
	tok, _, err := f.grant(r, fromScope)
	if err != nil {
		return err
	}
	left := f.secondsLeft(tok)
	noStore(w)
	return json.NewEncoder(w).Encode(answerV2{TokenType: "Bearer", ExpiresIn: left, ExtExpiresIn: left, AccessToken: tok.Raw.Reveal()})
}

func (f *face) tokenV1(w http.ResponseWriter, r *http.Request) error {
	tok, resource, err := f.grant(r, fromResourceOrScope)
	if err != nil {
		return err
	}
	noStore(w)
	left := strconv.FormatInt(f.secondsLeft(tok), 10)
	answer := answerV1{
		TokenType: "Bearer", ExpiresIn: left, ExtExpiresIn: left, Resource: resource, AccessToken: tok.Raw.Reveal(),
		ExpiresOn: strconv.FormatInt(tok.ExpiresAt.Unix(), 10), NotBefore: strconv.FormatInt(tok.IssuedAt.Unix(), 10),
	}
	return json.NewEncoder(w).Encode(answer)
}

func (f *face) secondsLeft(tok token.Token) int64 {
	return int64(tok.ExpiresAt.Sub(f.Now()) / time.Second)
}

// grant answers a request for a token by client credentials.
func (f *face) grant(r *http.Request, resource func(url.Values) (string, error)) (token.Token, string, error) {
	if r.Method != http.MethodPost {
		return token.Token{}, "", fault.E(fault.NotAllowed, "AADSTS900561", "The token endpoint takes POST, not %s.", r.Method)
	}
	multi, err := f.tenant(r.PathValue("tenant"))
	if err != nil {
		return token.Token{}, "", err
	}
	form, err := readForm(r)
	if err != nil {
		return token.Token{}, "", err
	}
	g, err := read(form, r, resource)
	if err != nil {
		return token.Token{}, "", err
	}
	if multi {
		return token.Token{}, "", fault.E(fault.Invalid, "AADSTS50059", "An application signs in to one tenant: ask at /%s/, not at /%s/.", f.Issuer.Tenant(), r.PathValue("tenant"))
	}
	app, err := f.Directory.Authenticate(r.Context(), g.clientID, g.clientSecret)
	if err != nil {
		return token.Token{}, "", err
	}
	if !f.Audience(g.resource) {
		return token.Token{}, "", fault.E(fault.Invalid, "AADSTS500011",
			"The tenant %s has no resource %.200q. Ask for one that the platform serves, such as https://management.azure.com/.", f.Issuer.Tenant(), g.resource).At("resource")
	}
	tok, err := f.Issuer.Token(r.Context(), token.Request{Principal: app, Audience: g.resource, Client: token.Secret})
	if fault.Is(err, fault.NotFound) { // deleted between the two calls
		err = fault.E(fault.Unauthenticated, "AADSTS700016", "The application %q was deleted.", app.ClientID)
	}
	return tok, g.resource, err
}

// maxForm bounds a request's body.
const maxForm = 64 << 10

func readForm(r *http.Request) (url.Values, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxForm))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, fault.E(fault.TooLarge, "AADSTS90015", "The request has more than %d bytes.", maxForm)
	}
	if err != nil {
		return nil, fault.E(fault.Invalid, "AADSTS9000411", "The request broke off.")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fault.E(fault.Invalid, "AADSTS9000411", "The request is not properly formatted: its body is no application/x-www-form-urlencoded text.")
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, fault.E(fault.Invalid, "AADSTS9000411", "The request is not properly formatted: the parameter %.40q is duplicated.", name).At(name)
		}
	}
	return form, nil
}

// read checks the parts of a request in the order in which Entra does.
func read(form url.Values, r *http.Request, resource func(url.Values) (string, error)) (grant, error) {
	switch kind := form.Get("grant_type"); kind {
	case "client_credentials":
	case "":
		return grant{}, missing("grant_type")
	default:
		return grant{}, fault.E(fault.Invalid, "AADSTS70003", "The grant type %.60q is not supported; this platform issues tokens for client_credentials.", kind).At("grant_type")
	}
	var g grant
	var err error
	if g.clientID, g.clientSecret, err = credentials(form, r); err != nil {
		return grant{}, err
	}
	g.resource, err = resource(form)
	return g, err
}

func missing(name string) *fault.Error {
	return fault.E(fault.Invalid, "AADSTS900144", "The request body must contain the parameter %q.", name).At(name)
}

// credentials takes client_secret_post or client_secret_basic, never both
// (RFC 6749 section 2.3).
func credentials(form url.Values, r *http.Request) (id, secret string, err error) {
	id, secret = form.Get("client_id"), form.Get("client_secret")
	if r.Header.Get("Authorization") != "" {
		return basic(id, secret, r)
	}
	if id == "" {
		return "", "", missing("client_id")
	}
	if form.Get("client_assertion") != "" {
		return "", "", fault.E(fault.Invalid, "AADSTS70021",
			"No federated identity record matches the assertion: applications of this tenant have client secrets only. Send client_secret.").At("client_assertion")
	}
	if secret == "" {
		return "", "", fault.E(fault.Unauthenticated, "AADSTS7000218", "The request body must contain the parameter 'client_secret'.").At("client_secret")
	}
	return id, secret, nil
}

func basic(formID, formSecret string, r *http.Request) (id, secret string, err error) {
	user, password, ok := r.BasicAuth()
	if ok {
		user, err = url.QueryUnescape(user)
	}
	if ok && err == nil {
		password, err = url.QueryUnescape(password)
	}
	if !ok || err != nil || user == "" || password == "" {
		return "", "", fault.E(fault.Unauthenticated, "AADSTS7000218", "The Authorization header must be Basic with client id and client secret, each form-encoded.").At("Authorization")
	}
	if formSecret != "" || formID != "" && !strings.EqualFold(formID, user) {
		return "", "", fault.E(fault.Invalid, "AADSTS9000411", "The request is not properly formatted: it has credentials both in its header and in its body.").At("Authorization")
	}
	return user, password, nil
}

// fromScope returns the resource of a v2.0 scope: what stands before
// "/.default", so that https://management.azure.com//.default names the
// resource https://management.azure.com/. MSAL Go adds the OpenID scopes.
func fromScope(form url.Values) (string, error) {
	text := form.Get("scope")
	if strings.TrimSpace(text) == "" {
		return "", missing("scope")
	}
	var found []string
	for _, scope := range strings.Fields(text) {
		switch scope {
		case "openid", "profile", "offline_access", "email":
			continue
		}
		found = append(found, scope)
	}
	if len(found) > 1 {
		return "", fault.E(fault.Invalid, "AADSTS28000", "The scope %.200q names more than one resource; ask for a token for each.", text).At("scope")
	}
	if len(found) == 0 {
		return "", fault.E(fault.Invalid, "AADSTS70011", "The scope %.200q names no resource.", text).At("scope")
	}
	resource, ok := strings.CutSuffix(found[0], "/.default")
	if !ok || resource == "" {
		return "", fault.E(fault.Invalid, "AADSTS1002012", "The scope %.200q is not valid: with client credentials it must be a resource and /.default.", text).At("scope")
	}
	return resource, nil
}

// fromResourceOrScope serves v1.0; MSAL sends a scope there where it takes the
// authority for AD FS.
func fromResourceOrScope(form url.Values) (string, error) {
	if resource := form.Get("resource"); resource != "" {
		return resource, nil
	}
	if form.Get("scope") != "" {
		return fromScope(form)
	}
	return "", missing("resource")
}
