package registry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"lapis/secret"
	"lapis/store"
)

// How long the registry's tokens live, as in the samples of Azure/acr docs/AAD-OAuth.md.
const (
	accessLife  = 75 * time.Minute
	refreshLife = 3 * time.Hour
)

const (
	tokenIssuer   = "Azure Container Registry"
	kindRefresh   = "refresh_token"
	kindAccess    = "access_token"
	maxTokenBytes = 64 << 10
	signingKey    = "token-signing"
	sealLabel     = "registry token signing key"
)

// claims is what both kinds of tokens carry.
type claims struct {
	ID        string   `json:"jti"`
	Subject   string   `json:"sub"` // object id of the principal
	NotBefore int64    `json:"nbf"`
	Expires   int64    `json:"exp"`
	IssuedAt  int64    `json:"iat"`
	Issuer    string   `json:"iss"`
	Audience  string   `json:"aud"` // login server
	Version   string   `json:"version"`
	Tenant    string   `json:"tenant,omitempty"`
	GrantType string   `json:"grant_type"`
	Access    []access `json:"access,omitempty"`
	Roles     []string `json:"roles"`

	// Permissions is in refresh tokens: what the principal could do when it
	// was made. It is for people who read tokens; nothing is decided by it.
	Permissions *permissions `json:"permissions,omitempty"`
}

type permissions struct {
	Actions    []string `json:"actions"`
	NotActions []string `json:"notActions"`
}

// errToken means that a token is none of ours, or not good for this use.
var errToken = errors.New("the token is not valid here")

// tokens makes and checks the registry's own tokens. One ES256 key serves all
// registries; what binds a token to one of them is its audience.
type tokens struct {
	key  *ecdsa.PrivateKey
	kid  string
	now  func() time.Time
	rand io.Reader
}

type keyRecord struct {
	Sealed []byte `json:"sealed"` // PKCS #8, sealed
}

// openTokens reads the signing key, or makes and stores one.
func openTokens(ctx context.Context, cfg Config) (*tokens, error) {
	table := store.Table[keyRecord]{Name: tableKeys}
	fresh, err := newKey(cfg.Sealer)
	if err != nil {
		return nil, err
	}
	var sealed []byte
	err = cfg.Store.Update(ctx, func(tx store.Tx) error {
		rec, err := table.Get(tx, signingKey)
		if err == nil {
			sealed = rec.Value.Sealed
			return nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		sealed = fresh
		_, err = table.Put(tx, signingKey, keyRecord{Sealed: fresh}, store.Absent)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the registry's signing key: %w", err)
	}
	return unsealTokens(cfg, sealed)
}

func newKey(sealer *secret.Sealer) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), nil)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return sealer.Seal(sealLabel, der)
}

func unsealTokens(cfg Config, sealed []byte) (*tokens, error) {
	der, err := cfg.Sealer.Open(sealLabel, sealed)
	if err != nil {
		return nil, fmt.Errorf("opening the registry's signing key: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("reading the registry's signing key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the registry's signing key is not of P-256")
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(spki)
	return &tokens{key: key, kid: hex.EncodeToString(sum[:8]), now: cfg.Now, rand: cfg.Rand}, nil
}

// mint signs a token of the kind for the principal, good at one login server.
func (t *tokens) mint(kind string, c claims, life time.Duration) (string, time.Time, error) {
	id := make([]byte, 16)
	if _, err := io.ReadFull(t.rand, id); err != nil {
		return "", time.Time{}, err
	}
	now := t.now()
	expires := now.Add(life)
	c.ID = hex.EncodeToString(id)
	c.NotBefore, c.IssuedAt, c.Expires = now.Unix(), now.Unix(), expires.Unix()
	c.Issuer, c.Version, c.GrantType, c.Roles = tokenIssuer, "1.0", kind, []string{}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", time.Time{}, err
	}
	opts := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", t.kid)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: t.key}, opts)
	if err != nil {
		return "", time.Time{}, err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", time.Time{}, err
	}
	raw, err := signed.CompactSerialize()
	return raw, expires, err
}

// check returns the claims of a token of the kind that we signed for the login
// server and that has not expired. Any other is errToken, with the reason.
func (t *tokens) check(raw, kind, loginServer string) (claims, error) {
	payload, err := t.signedByUs(raw)
	if err != nil {
		return claims{}, err
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return claims{}, fmt.Errorf("%w: its claims cannot be read", errToken)
	}
	now := t.now().Unix()
	switch {
	case c.Issuer != tokenIssuer || c.GrantType != kind || c.Subject == "":
		return claims{}, fmt.Errorf("%w: it is no %s of this registry", errToken, kind)
	case !strings.EqualFold(c.Audience, loginServer):
		return claims{}, fmt.Errorf("%w: it is for the registry %s", errToken, c.Audience)
	case now < c.NotBefore:
		return claims{}, fmt.Errorf("%w: it is not good yet", errToken)
	case now >= c.Expires:
		return claims{}, fmt.Errorf("%w: it has expired", errToken)
	}
	return c, nil
}

// signedByUs checks the form, the algorithm and the signature.
func (t *tokens) signedByUs(raw string) ([]byte, error) {
	malformed := fmt.Errorf("%w: it is no token that this registry made", errToken)
	if len(raw) > maxTokenBytes || !isCanonicalJWS(raw) {
		return nil, malformed
	}
	signed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || len(signed.Signatures) != 1 {
		return nil, malformed
	}
	if signed.Signatures[0].Protected.KeyID != t.kid {
		return nil, malformed
	}
	payload, err := signed.Verify(&t.key.PublicKey)
	if err != nil {
		return nil, malformed
	}
	return payload, nil
}

// isCanonicalJWS reports whether raw is three base64url parts, each spelled the
// one way that the encoder spells it: a token has no second form.
func isCanonicalJWS(raw string) bool {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return false
	}
	for _, part := range parts {
		data, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || len(data) == 0 || base64.RawURLEncoding.EncodeToString(data) != part {
			return false
		}
	}
	return true
}
