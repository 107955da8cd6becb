// Package token owns the tenant's signing keys, and mints and verifies the
// access tokens that every plane of the platform takes.
//
// It promises: one signature per principal, audience and credential however
// many ask at once; tokens with the claims of Entra's v1.0 app-only tokens; a
// valid token stays valid through every key rotation and restart; a token of a
// principal that was deleted is refused at its next use; private keys leave
// memory only sealed.
package token

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"lapis/fault"
	"lapis/identity"
	"lapis/secret"
	"lapis/store"
)

// Lifetimes, as Entra gives them. All are counted from the moment of minting;
// iat and nbf lie [backdate] before it, so that exp-iat of a managed identity's
// token is 24 h and 5 min.
const (
	ManagedIdentityLifetime = 24 * time.Hour
	minSecretLifetime       = 60 * time.Minute // a client's secret gives a random lifetime
	maxSecretLifetime       = 90 * time.Minute
	maxLifetime             = ManagedIdentityLifetime

	backdate = 5 * time.Minute  // for verifiers whose clock is behind
	skew     = 30 * time.Second // what Verify grants clocks that differ
)

// Credential is how the principal proved itself; it becomes appidacr.
type Credential string

// The credentials.
const (
	Secret          Credential = "1"
	ManagedIdentity Credential = "2"
)

// Request asks for a token.
type Request struct {
	Principal identity.Principal
	Audience  string        // becomes aud as it is, trailing slashes included
	Host      string        // ARM id of the resource that a user-assigned identity works for, else ""
	Client    Credential    // "" : ManagedIdentity for a managed identity, else Secret
	Lifetime  time.Duration // at most 24 h; 0: the usual one of Client
}

// Token is a signed token. Raw does not print.
type Token struct {
	Raw       secret.String
	Audience  string
	IssuedAt  time.Time // iat and nbf, five minutes before the minting
	ExpiresAt time.Time

	kid string
}

// key names the token that answers the request.
func (r Request) key() string {
	return strings.Join([]string{r.Principal.ObjectID, r.Audience, r.Host, string(r.Client), r.Lifetime.String()}, "\x00")
}

// Config says what an Issuer works with.
type Config struct {
	Store       store.Store
	Sealer      *secret.Sealer
	TenantID    string                     // a UUID
	Alive       func(objectID string) bool // asked at every Token and Verify, so it must be quick
	RotateEvery time.Duration              // 0: 30 days
	Now         func() time.Time           // nil: time.Now
	Rand        io.Reader                  // of token ids, safe for use by several callers; nil: crypto/rand
	Log         *slog.Logger               // nil: none
}

// Issuer mints and verifies. Make it with [Open].
type Issuer struct {
	cfg    Config
	keys   *Keys
	flight singleflight.Group
	minted mintCache
	seen   seenCache
	signed atomic.Uint64

	stop context.CancelFunc
	done sync.WaitGroup
}

// Open reads the signing keys, and makes the first where there is none. From
// then on it keeps a next key ready and rotates by itself, until Close.
func Open(ctx context.Context, cfg Config) (*Issuer, error) {
	tenant, err := uuid.Parse(cfg.TenantID)
	if err != nil {
		return nil, fmt.Errorf("tenant id %q is no UUID", cfg.TenantID)
	}
	if cfg.Alive == nil {
		return nil, errors.New("a token issuer needs to know who is alive")
	}
	cfg.TenantID = tenant.String()
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.RotateEvery == 0 {
		cfg.RotateEvery = 30 * 24 * time.Hour
	}
	keys, err := openKeys(ctx, cfg)
	if err != nil {
		return nil, err
	}
	i := &Issuer{cfg: cfg, keys: keys}
	ctx, i.stop = context.WithCancel(context.WithoutCancel(ctx))
	i.done.Go(func() { keys.maintain(ctx) })
	return i, nil
}

// Close ends the upkeep of the keys.
func (i *Issuer) Close() {
	i.stop()
	i.done.Wait()
	i.keys.close()
}

// Tenant returns the tenant's id, a UUID in lower case.
func (i *Issuer) Tenant() string { return i.cfg.TenantID }

// IssuerV1 is the iss of every token.
func (i *Issuer) IssuerV1() string { return "https://sts.windows.net/" + i.cfg.TenantID + "/" }

// JWKS returns the published keys as a JSON Web Key Set.
func (i *Issuer) JWKS() []byte {
	set, err := i.keys.set()
	if err != nil {
		i.cfg.Log.Error("reading the signing keys", "err", err)
		return []byte(`{"keys":[]}`)
	}
	return set.jwks
}

// Rotate makes the next key the signing one now, without waiting for the day.
// The one that signed until now verifies on until its last token has expired.
func (i *Issuer) Rotate(ctx context.Context) error { return i.keys.Rotate(ctx) }

// Revoke withdraws every signing key and puts a new one in their place: no
// token minted before is taken any more. It is for a key that leaked.
func (i *Issuer) Revoke(ctx context.Context) error { return i.keys.Revoke(ctx) }

// Signatures counts the tokens signed since Open.
func (i *Issuer) Signatures() uint64 { return i.signed.Load() }

// Token returns a token for the request: one minted before if more than half
// its life is left, else a new one.
func (i *Issuer) Token(_ context.Context, req Request) (Token, error) {
	if err := i.check(&req); err != nil {
		return Token{}, err
	}
	key := req.key()
	if t, ok := i.cached(key, i.cfg.Now()); ok {
		return t, nil
	}
	got, err, _ := i.flight.Do(key, func() (any, error) { return i.land(key, req) })
	if err != nil {
		return Token{}, err
	}
	return got.(Token), nil
}

// land is the one flight for a key. It looks into the cache again: between its
// caller's look and now another flight may have landed.
func (i *Issuer) land(key string, req Request) (Token, error) {
	now := i.cfg.Now()
	if t, ok := i.cached(key, now); ok {
		return t, nil
	}
	t, err := i.mint(req, now)
	if err != nil {
		return Token{}, err
	}
	i.minted.put(key, t, now)
	return t, nil
}

// cached returns a token that is kept, fresh, and whose key was not withdrawn.
func (i *Issuer) cached(key string, now time.Time) (Token, bool) {
	t, ok := i.minted.get(key, now)
	if !ok {
		return Token{}, false
	}
	set, err := i.keys.set()
	return t, err == nil && set.public[t.kid] != nil
}

// maxAudience bounds what a caller can make us sign and keep.
const maxAudience = 1024

func (i *Issuer) check(req *Request) error {
	p := req.Principal
	if !i.cfg.Alive(p.ObjectID) {
		return fault.E(fault.NotFound, "PrincipalNotFound", "The identity %q does not exist, or was deleted.", p.ObjectID)
	}
	if p.Kind == identity.User {
		return fault.E(fault.NotImplemented, "AADSTS70003", "Tokens for users are not issued; use an application or a managed identity.")
	}
	if req.Audience == "" || len(req.Audience) > maxAudience || strings.ContainsFunc(req.Audience, notPrintable) {
		return fault.E(fault.Invalid, "AADSTS500011", "The resource %.100q is no audience: it must be 1 to %d printable characters without spaces.", req.Audience, maxAudience).At("resource")
	}
	if req.Client == "" {
		req.Client = Secret
		if p.Kind.Managed() {
			req.Client = ManagedIdentity
		}
	}
	if req.Lifetime < 0 || req.Lifetime > maxLifetime {
		return fault.E(fault.Invalid, "InvalidLifetime", "A token lives at most %s, not %s.", maxLifetime, req.Lifetime)
	}
	return nil
}

func notPrintable(r rune) bool { return r <= ' ' || r >= 0x7f }
