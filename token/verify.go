package token

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"lapis/fault"
)

// Claims are what a verified token says.
type Claims struct {
	ObjectID   string // of the principal: what roles are assigned to
	ClientID   string
	TenantID   string
	Issuer     string
	Audience   string
	Credential Credential
	ResourceID string // of the resource that carries a managed identity, else ""
	HostID     string // of the resource that used a user-assigned identity, else ""
	TokenID    string // unique; may be logged
	IssuedAt   time.Time
	NotBefore  time.Time
	ExpiresAt  time.Time
}

// Codes of the faults that Verify returns; they are ARM's.
const (
	CodeInvalid  = "InvalidAuthenticationToken"
	CodeExpired  = "ExpiredAuthenticationToken"
	CodeTenant   = "InvalidAuthenticationTokenTenant"
	CodeAudience = "InvalidAuthenticationTokenAudience"
)

// Verify returns what a token says, if it is one of ours, meant for one of the
// audiences (a trailing slash makes no difference), within its time, and its
// principal still exists. Every fault is Unauthenticated. Signatures are
// remembered; time, audience and principal are looked at every time.
func (i *Issuer) Verify(_ context.Context, raw string, audiences ...string) (Claims, error) {
	claims, err := i.authentic(raw)
	if err != nil {
		return Claims{}, err
	}
	if err := i.admit(claims, audiences); err != nil {
		return Claims{}, err
	}
	return claims, nil
}

// authentic checks form and signature.
func (i *Issuer) authentic(raw string) (Claims, error) {
	if len(raw) > maxRaw {
		return Claims{}, invalid(errForm)
	}
	set, err := i.keys.set()
	if err != nil {
		return Claims{}, fault.Wrap(err, "reading the signing keys")
	}
	sum := digest(raw)
	if hit, ok := i.seen.get(sum); ok && set.public[hit.kid] != nil {
		return hit.claims, nil
	}
	h, body, err := openJWS(raw, func(kid string) *rsa.PublicKey { return set.public[kid] })
	if err != nil {
		return Claims{}, invalid(err)
	}
	if h.Typ != "JWT" {
		return Claims{}, invalid(errHeader)
	}
	claims, err := parseClaims(body)
	if err != nil {
		return Claims{}, invalid(err)
	}
	i.seen.put(sum, seen{claims: claims, kid: h.KID}, i.cfg.Now())
	return claims, nil
}

// digest hashes a token of usual length without a copy on the heap: this is
// most of the cost of a token seen before.
func digest(raw string) [sha256.Size]byte {
	var buf [2048]byte
	return sha256.Sum256(append(buf[:0], raw...))
}

func invalid(reason error) *fault.Error {
	return fault.E(fault.Unauthenticated, CodeInvalid, "The access token is not valid: %w.", reason)
}

// admit checks what may change between two uses of a token.
func (i *Issuer) admit(c Claims, audiences []string) error {
	now := i.cfg.Now()
	switch {
	case c.TenantID != i.cfg.TenantID || c.Issuer != i.IssuerV1():
		return fault.E(fault.Unauthenticated, CodeTenant,
			"The access token is from the issuer %q; this tenant's is %q. Sign in to the tenant %s.", c.Issuer, i.IssuerV1(), i.cfg.TenantID)
	case !now.Before(c.ExpiresAt.Add(skew)):
		return fault.E(fault.Unauthenticated, CodeExpired,
			"The access token expired at %s. Ask for a new one.", c.ExpiresAt.Format(time.RFC3339))
	case now.Before(c.NotBefore.Add(-skew)):
		return fault.E(fault.Unauthenticated, CodeInvalid,
			"The access token is not valid before %s. Check the clocks.", c.NotBefore.Format(time.RFC3339))
	case !meant(c.Audience, audiences):
		return fault.E(fault.Unauthenticated, CodeAudience,
			"The access token is for %q; this service takes tokens for %s.", c.Audience, quoted(audiences))
	case !i.cfg.Alive(c.ObjectID):
		return fault.E(fault.Unauthenticated, CodeInvalid,
			"The access token's identity %s was deleted. One made again under the same name is another identity and needs a new token.", c.ObjectID)
	}
	return nil
}

func meant(audience string, audiences []string) bool {
	for _, a := range audiences {
		if strings.TrimSuffix(a, "/") == strings.TrimSuffix(audience, "/") {
			return true
		}
	}
	return false
}

func quoted(audiences []string) string {
	list := make([]string, len(audiences))
	for i, a := range audiences {
		list[i] = fmt.Sprintf("%q", a)
	}
	return strings.Join(list, " or ")
}

var errClaims = errors.New("its claims are not those of one of our tokens")

func parseClaims(body []byte) (Claims, error) {
	members, err := object(body)
	if err != nil {
		return Claims{}, errClaims
	}
	var c Claims
	var version, subject string
	var iat, nbf, exp int64
	for name, field := range map[string]any{
		"oid": &c.ObjectID, "appid": &c.ClientID, "tid": &c.TenantID, "iss": &c.Issuer, "aud": &c.Audience,
		"appidacr": &c.Credential, "xms_mirid": &c.ResourceID, "xms_az_rid": &c.HostID, "uti": &c.TokenID,
		"ver": &version, "sub": &subject, "iat": &iat, "nbf": &nbf, "exp": &exp,
	} {
		value, ok := members[name]
		if !ok && !strings.HasPrefix(name, "xms_") {
			return Claims{}, errClaims
		}
		if ok && (string(value) == "null" || json.Unmarshal(value, field) != nil) {
			return Claims{}, errClaims
		}
	}
	if version != "1.0" || c.ObjectID == "" || c.Audience == "" || subject != c.ObjectID || exp <= 0 {
		return Claims{}, errClaims
	}
	c.IssuedAt, c.NotBefore, c.ExpiresAt = time.Unix(iat, 0).UTC(), time.Unix(nbf, 0).UTC(), time.Unix(exp, 0).UTC()
	return c, nil
}

// seen is a token whose signature verified.
type seen struct {
	claims Claims
	kid    string
}

// seenCache remembers such tokens by the SHA-256 of their text. The zero value is empty.
type seenCache struct {
	mu     sync.RWMutex
	tokens map[[sha256.Size]byte]seen
}

const maxSeen = 10_000

func (c *seenCache) get(sum [sha256.Size]byte) (seen, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s, ok := c.tokens[sum]
	return s, ok
}

func (c *seenCache) put(sum [sha256.Size]byte, s seen, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tokens == nil {
		c.tokens = map[[sha256.Size]byte]seen{}
	}
	if len(c.tokens) >= maxSeen {
		makeRoom(c.tokens, func(s seen) bool { return now.Before(s.claims.ExpiresAt) })
	}
	c.tokens[sum] = s
}
