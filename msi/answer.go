package msi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"lapis/fault"
	"lapis/identity"
	"lapis/token"
)

// token finds whom the request is for and gets the token.
func (l *Listener) token(r *http.Request, query params) (identity.Principal, token.Token, error) {
	audience := query["resource"]
	if audience == "" {
		return identity.Principal{}, token.Token{}, fault.E(fault.Invalid, "invalid_request",
			"Required query variable 'resource' is missing; an example is resource=https://storage.azure.com/.").At("resource")
	}
	p, err := choose(l.in, query)
	if err != nil {
		return identity.Principal{}, token.Token{}, err
	}
	tok, err := l.server.cfg.Tokens(r.Context(), p.ObjectID, audience, l.in.Host)
	return p, tok, translate(err)
}

// translate gives the faults of the issuer the words of a token endpoint. An
// unknown identity must be 400: the SDKs retry 404 for more than a minute.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case fault.Is(err, fault.NotFound), fault.Is(err, fault.Unauthenticated):
		return unknownIdentity("")
	case fault.Is(err, fault.Invalid):
		f := fault.From(err)
		return fault.E(fault.Invalid, "invalid_resource", "%s: %s", f.Code, f.Message).At("resource")
	}
	return err
}

// azureMLAnswer is what Azure Machine Learning answers: times are numbers.
type azureMLAnswer struct {
	AccessToken string `json:"access_token"`
	ClientID    string `json:"client_id"`
	ExpiresIn   int64  `json:"expires_in"`
	ExpiresOn   int64  `json:"expires_on"`
	Resource    string `json:"resource"`
	TokenType   string `json:"token_type"`
}

func azureMLToken(l *Listener, w http.ResponseWriter, r *http.Request, query params) (event, error) {
	p, tok, err := l.token(r, query)
	if err != nil {
		return event{p.ObjectID, query["resource"]}, err
	}
	return event{p.ObjectID, query["resource"]}, json.NewEncoder(w).Encode(azureMLAnswer{
		AccessToken: tok.Raw.Reveal(), ClientID: p.ClientID, Resource: query["resource"], TokenType: "Bearer",
		ExpiresIn: seconds(tok.ExpiresAt.Sub(l.server.cfg.Now())), ExpiresOn: tok.ExpiresAt.Unix(),
	})
}

// stringAnswer is what App Service and IMDS answer: everything is a string.
type stringAnswer struct {
	AccessToken  string `json:"access_token"`
	ClientID     string `json:"client_id"`
	ExpiresIn    string `json:"expires_in"`
	ExpiresOn    string `json:"expires_on"`
	ExtExpiresIn string `json:"ext_expires_in"`
	NotBefore    string `json:"not_before"`
	Resource     string `json:"resource"`
	TokenType    string `json:"token_type"`
}

func stringToken(l *Listener, w http.ResponseWriter, r *http.Request, query params) (event, error) {
	p, tok, err := l.token(r, query)
	if err != nil {
		return event{p.ObjectID, query["resource"]}, err
	}
	left := strconv.FormatInt(seconds(tok.ExpiresAt.Sub(l.server.cfg.Now())), 10)
	return event{p.ObjectID, query["resource"]}, json.NewEncoder(w).Encode(stringAnswer{
		AccessToken: tok.Raw.Reveal(), ClientID: p.ClientID, Resource: query["resource"], TokenType: "Bearer",
		ExpiresIn: left, ExtExpiresIn: left,
		ExpiresOn: strconv.FormatInt(tok.ExpiresAt.Unix(), 10), NotBefore: strconv.FormatInt(tok.IssuedAt.Unix(), 10),
	})
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

func versions(_ *Listener, w http.ResponseWriter, _ *http.Request, _ params) (event, error) {
	return event{}, json.NewEncoder(w).Encode(map[string][]string{"apiVersions": imdsVersions()})
}
