package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ociauth"
)

// maxAnswer bounds what we read of an answer to a token request or of an error.
const maxAnswer = 256 << 10

// authTransport adds the registry's access token to requests, and gets one
// where it has none that reaches.
type authTransport struct {
	cfg  ClientConfig
	next http.RoundTripper

	mu      sync.Mutex // held while tokens are fetched: one fetch serves all who wait
	realm   *url.URL   // token endpoint, from the challenge
	service string
	refresh heldToken
	access  map[string]heldToken // by scope
}

// heldToken is a token and when we stop using it.
type heldToken struct {
	raw   string
	until time.Time
}

func (h heldToken) good() bool { return h.raw != "" && time.Now().Before(h.until) }

// RoundTrip sends the request with a token for the scope that ociclient gives
// it. A 401 is answered once, with a new token for what the challenge asks.
func (t *authTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	scope := scopeOf(ociauth.RequestInfoFromContext(req.Context()).RequiredScope)
	token, err := t.token(req.Context(), scope, "")
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := t.send(req, token)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized && (req.Body == nil || req.GetBody != nil) {
		if resp, err = t.again(req, resp, scope, token); err != nil {
			return nil, err
		}
	}
	return explainDenial(resp)
}

// again repeats a request whose token was refused.
func (t *authTransport) again(req *http.Request, resp *http.Response, scope, refused string) (*http.Response, error) {
	more := parseChallenge(resp.Header.Get("Www-Authenticate"))["scope"]
	drain(resp)
	token, err := t.token(req.Context(), joinScopes(scope, more), refused)
	if err != nil {
		return nil, err
	}
	retry := req.Clone(req.Context())
	if req.GetBody != nil {
		if retry.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	return t.send(retry, token)
}

func (t *authTransport) send(req *http.Request, token string) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token)
	return t.next.RoundTrip(req)
}

// explainDenial makes an error of an answer that carries a role decision; the
// body of an answer to HEAD could not.
func explainDenial(resp *http.Response) (*http.Response, error) {
	if resp.Header.Get(deniedHeader) == "" {
		return resp, nil
	}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
	if denied := deniedBy(resp, data); denied != nil {
		return nil, denied
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return resp, nil
}

// token returns an access token for the scope that is not the refused one.
func (t *authTransport) token(ctx context.Context, scope, refused string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if held := t.access[scope]; held.good() && held.raw != refused {
		return held.raw, nil
	}
	if err := t.findRealm(ctx); err != nil {
		return "", err
	}
	fresh := !t.refresh.good()
	if fresh {
		if err := t.exchange(ctx); err != nil {
			return "", err
		}
	}
	held, err := t.fetchAccess(ctx, scope)
	if errors.Is(err, ociregistry.ErrUnauthorized) && !fresh {
		// The refresh token that we kept is no longer taken.
		if err := t.exchange(ctx); err != nil {
			return "", err
		}
		held, err = t.fetchAccess(ctx, scope)
	}
	if err != nil {
		return "", err
	}
	if len(t.access) >= maxScopes {
		clear(t.access)
	}
	t.access[scope] = held
	return held.raw, nil
}

// findRealm asks the registry, once, where its tokens come from.
func (t *authTransport) findRealm(ctx context.Context) error {
	if t.realm != nil {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+t.cfg.LoginServer+"/v2/", nil)
	if err != nil {
		return err
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return err
	}
	defer drain(resp)
	if resp.StatusCode != http.StatusUnauthorized {
		data, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		wire := firstError(resp.StatusCode, data)
		return fmt.Errorf("the registry %s gives no challenge but %s: %w", t.cfg.LoginServer, resp.Status, &wire)
	}
	params := parseChallenge(resp.Header.Get("Www-Authenticate"))
	realm, err := url.Parse(params["realm"])
	if err != nil || realm.Scheme != "https" || !strings.EqualFold(realm.Host, t.cfg.LoginServer) {
		// The identity's token goes to the registry itself and to no one else.
		return fmt.Errorf("the registry %s names the token endpoint %.200q, which is not its own", t.cfg.LoginServer, params["realm"])
	}
	t.realm, t.service = realm, cmp.Or(params["service"], t.cfg.LoginServer)
	return nil
}

// exchange gets a refresh token for the identity's token.
func (t *authTransport) exchange(ctx context.Context) error {
	raw, err := t.cfg.Token(ctx)
	if err != nil {
		return fmt.Errorf("getting the identity's token for %s: %w", t.cfg.LoginServer, err)
	}
	form := url.Values{"grant_type": {"access_token"}, "service": {t.service}, "access_token": {raw}}
	if t.cfg.Tenant != "" {
		form.Set("tenant", t.cfg.Tenant)
	}
	var out struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := t.post(ctx, "/oauth2/exchange", form, &out); err != nil {
		return err
	}
	if out.RefreshToken == "" {
		return fmt.Errorf("the registry %s answered the exchange without a refresh token", t.cfg.LoginServer)
	}
	t.refresh = heldToken{out.RefreshToken, time.Now().Add(refreshLife - 10*time.Minute)}
	return nil
}

// fetchAccess gets an access token for the refresh token.
func (t *authTransport) fetchAccess(ctx context.Context, scope string) (heldToken, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "service": {t.service}, "refresh_token": {t.refresh.raw}}
	if scope != "" {
		form.Set("scope", scope)
	}
	var out struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"` // seconds; the real service leaves it out
	}
	if err := t.post(ctx, t.realm.Path, form, &out); err != nil {
		return heldToken{}, err
	}
	if out.AccessToken == "" {
		return heldToken{}, fmt.Errorf("the registry %s answered without an access token", t.cfg.LoginServer)
	}
	life := accessLife
	if out.ExpiresIn > 0 {
		life = time.Duration(out.ExpiresIn) * time.Second
	}
	return heldToken{out.AccessToken, time.Now().Add(life * 9 / 10)}, nil
}

// post sends a form to a token endpoint and reads the JSON it answers.
func (t *authTransport) post(ctx context.Context, path string, form url.Values, out any) error {
	to := url.URL{Scheme: t.realm.Scheme, Host: t.realm.Host, Path: path}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		if denied := deniedBy(resp, data); denied != nil {
			return denied
		}
		wire := firstError(resp.StatusCode, data)
		return fmt.Errorf("%s answered %d: %w", to.Path, resp.StatusCode, &wire)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s answered what is no JSON: %w", to.Path, err)
	}
	return nil
}

// scopeOf writes a scope for the token endpoint. Whoever pushes also looks
// what is there, so push asks for pull too, as docker does.
func scopeOf(scope ociauth.Scope) string {
	var entries []access
	for rs := range scope.Iter() {
		actions := []string{rs.Action}
		if rs.ResourceType == typeRepository && rs.Action == push {
			actions = []string{pull, push}
		}
		entries = mergeAccess(entries, access{Type: rs.ResourceType, Name: rs.Resource, Actions: actions})
	}
	return formatScopes(entries)
}

func joinScopes(a, b string) string {
	left, err1 := parseScopes([]string{a})
	right, err2 := parseScopes([]string{b})
	if err1 != nil || err2 != nil {
		return a
	}
	for _, e := range right {
		left = mergeAccess(left, e)
	}
	return formatScopes(left)
}

// parseChallenge reads the parameters of a Bearer challenge; values are quoted
// and hold no escapes in what registries send.
func parseChallenge(header string) map[string]string {
	params := map[string]string{}
	scheme, rest, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return params
	}
	for _, m := range regexp.MustCompile(`([A-Za-z_]+)="([^"\\]*)"`).FindAllStringSubmatch(rest, -1) {
		params[strings.ToLower(m[1])] = m[2]
	}
	return params
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
}
