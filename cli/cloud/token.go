package cloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lapis/diskfile"
)

// Token is an access token and its end.
type Token struct {
	Access  string    `json:"access"`
	Expires time.Time `json:"expires"`
}

// The audiences that commands ask tokens for.
const (
	AudienceARM     = "https://management.azure.com"
	AudienceStorage = "https://storage.azure.com"
	AudienceML      = "https://ml.azure.com"
	AudienceGraph   = "https://graph.microsoft.com"
	AudiencePage    = "https://page.lapis.localhost" // the platform's page, and nothing else
)

// spare is how long before its end a token is no longer used.
const spare = 2 * time.Minute

func (s *Settings) tokenFile() string { return filepath.Join(s.ConfigDir, "lapis_token_cache.json") }

// tokenKey names a token in the cache. The hash makes a token of one secret or
// platform useless to another.
func (s *Settings) tokenKey(audience string) string {
	c := s.Credential
	sum := sha256.Sum256([]byte(strings.Join([]string{c.Tenant, c.ClientID, c.Secret, s.Proxy}, "\x00")))
	return hex.EncodeToString(sum[:8]) + " " + audience
}

// Token returns a token for the audience, from the cache where it holds one.
func (s *Session) Token(ctx context.Context, audience string) (Token, error) {
	audience = strings.TrimSuffix(audience, "/")
	key := s.tokenKey(audience)
	if s.tokens == nil {
		s.tokens = readTokens(s.tokenFile())
	}
	if t, ok := s.tokens[key]; ok && t.Expires.After(s.now().Add(spare)) {
		return t, nil
	}
	t, err := s.signIn(ctx, s.Credential, audience)
	if err != nil {
		return Token{}, err
	}
	s.tokens[key] = t
	s.saveTokens()
	return t, nil
}

// SignIn asks the issuer for a token of the resource manager, past the cache.
func (s *Session) SignIn(ctx context.Context, c Credential) error {
	_, err := s.signIn(ctx, c, AudienceARM)
	return err
}

func (s *Session) signIn(ctx context.Context, c Credential, audience string) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	form := url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {c.ClientID},
		"client_secret": {c.Secret},
		"scope":         {audience + "/.default"},
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}
	target := s.Login + "/" + url.PathEscape(c.Tenant) + "/oauth2/v2.0/token"
	answer, err := s.Do(ctx, http.MethodPost, target, header, []byte(form.Encode()))
	if err != nil {
		return Token{}, err
	}
	if answer.StatusCode != http.StatusOK {
		return Token{}, FailureOf(answer.Response, answer.Data)
	}
	var body struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.Unmarshal(answer.Data, &body); err != nil || body.AccessToken == "" {
		return Token{}, fmt.Errorf("the token endpoint of %s answered something that is no token", s.Login)
	}
	return Token{Access: body.AccessToken, Expires: s.now().Add(time.Duration(body.ExpiresIn) * time.Second).Truncate(time.Second)}, nil
}

// DropToken forgets a token that the service would not take.
func (s *Session) DropToken(audience string) {
	delete(s.tokens, s.tokenKey(audience))
	s.saveTokens()
}

func readTokens(name string) map[string]Token {
	tokens := map[string]Token{}
	data, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(data, &tokens)
	}
	if err != nil {
		return map[string]Token{} // a cache: what cannot be read is asked for anew
	}
	return tokens
}

// saveTokens keeps what is still good. A cache that cannot be written costs a
// request the next time, no more.
func (s *Session) saveTokens() {
	keep := map[string]Token{}
	for key, t := range s.tokens {
		if t.Expires.After(s.now()) {
			keep[key] = t
		}
	}
	data, err := json.Marshal(keep)
	if err == nil {
		err = s.makeConfigDir()
	}
	if err == nil {
		err = diskfile.Write(s.tokenFile(), data, 0o600)
	}
	if err != nil {
		s.debug("tokens are not kept: %v", err)
	}
}
