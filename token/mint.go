package token

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"lapis/identity"
	"lapis/secret"
)

// payload is what a token says, in the shape of Entra's v1.0 app-only access
// token (access-token-claims-reference).
type payload struct {
	Aud      string `json:"aud"`
	Iss      string `json:"iss"`
	Iat      int64  `json:"iat"`
	Nbf      int64  `json:"nbf"`
	Exp      int64  `json:"exp"`
	AppID    string `json:"appid"`
	AppIDACR string `json:"appidacr"`
	IDP      string `json:"idp"`
	IDType   string `json:"idtyp"`
	OID      string `json:"oid"`
	RH       string `json:"rh"`
	Sub      string `json:"sub"`
	TID      string `json:"tid"`
	UTI      string `json:"uti"`
	Ver      string `json:"ver"`
	AzRID    string `json:"xms_az_rid,omitempty"` // the resource that uses a user-assigned identity
	MIRID    string `json:"xms_mirid,omitempty"`  // the resource that carries a managed identity
}

func (i *Issuer) mint(req Request, now time.Time) (Token, error) {
	var drawn [40]byte // token id, request handle, lifetime
	if _, err := io.ReadFull(i.cfg.Rand, drawn[:]); err != nil {
		return Token{}, fmt.Errorf("drawing a token id: %w", err)
	}
	lifetime := req.Lifetime
	if lifetime == 0 {
		lifetime = usualLifetime(req.Client, binary.BigEndian.Uint64(drawn[32:]))
	}
	issued, expires := now.Add(-backdate).Truncate(time.Second), now.Add(lifetime).Truncate(time.Second)
	p := req.Principal
	claims := payload{
		Aud: req.Audience, Iss: i.IssuerV1(), Iat: issued.Unix(), Nbf: issued.Unix(), Exp: expires.Unix(),
		AppID: p.ClientID, AppIDACR: string(req.Client), IDP: i.IssuerV1(), IDType: "app",
		OID: p.ObjectID, Sub: p.ObjectID, TID: i.cfg.TenantID, Ver: "1.0",
		UTI: base64.RawURLEncoding.EncodeToString(drawn[:16]),
		RH:  "1." + base64.RawURLEncoding.EncodeToString(drawn[16:32]) + ".",
	}
	if p.Kind.Managed() {
		claims.MIRID = groupInLowerCase(p.ResourceID)
	}
	if p.Kind == identity.UserAssigned {
		claims.AzRID = groupInLowerCase(req.Host)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return Token{}, fmt.Errorf("encoding claims: %w", err)
	}
	set, err := i.keys.set()
	if err != nil {
		return Token{}, err
	}
	raw, err := sign(set.signing, set.header, body)
	if err != nil {
		return Token{}, fmt.Errorf("signing a token: %w", err)
	}
	i.signed.Add(1)
	return Token{Raw: secret.New(raw), Audience: req.Audience, IssuedAt: issued, ExpiresAt: expires, kid: set.kid}, nil
}

// sign makes the compact form of a header that is encoded already.
func sign(key *rsa.PrivateKey, header string, body []byte) (string, error) {
	input := header + "." + base64.RawURLEncoding.EncodeToString(body)
	digest := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		return "", err
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func usualLifetime(c Credential, random uint64) time.Duration {
	if c == ManagedIdentity {
		return ManagedIdentityLifetime
	}
	const seconds = uint64((maxSecretLifetime-minSecretLifetime)/time.Second) + 1
	return minSecretLifetime + time.Duration(random%seconds)*time.Second
}

// groupInLowerCase writes a resource id as Azure does in tokens: with
// "resourcegroups" in lower case, and the rest as it is.
func groupInLowerCase(id string) string {
	segments := strings.Split(id, "/")
	if len(segments) > 3 && strings.EqualFold(segments[3], "resourceGroups") {
		segments[3] = "resourcegroups"
	}
	return strings.Join(segments, "/")
}

// mintCache keeps tokens until half their life is over. The zero value is empty.
type mintCache struct {
	mu     sync.RWMutex
	tokens map[string]Token
}

const maxMinted = 10_000

func (c *mintCache) get(key string, now time.Time) (Token, bool) {
	c.mu.RLock()
	t, ok := c.tokens[key]
	c.mu.RUnlock()
	return t, ok && fresh(t, now)
}

func (c *mintCache) put(key string, t Token, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tokens == nil {
		c.tokens = map[string]Token{}
	}
	if len(c.tokens) >= maxMinted {
		makeRoom(c.tokens, func(t Token) bool { return fresh(t, now) })
	}
	c.tokens[key] = t
}

// fresh holds from the minting to half life. A clock that was put back makes a
// token of the future stale too.
func fresh(t Token, now time.Time) bool {
	minted := t.IssuedAt.Add(backdate)
	half := minted.Add(t.ExpiresAt.Sub(minted) / 2)
	return now.Before(half) && now.After(t.IssuedAt)
}

// makeRoom drops what is not worth keeping and then, if the map is still
// nearly full, some of the rest, whichever come first.
func makeRoom[K comparable, V any](m map[K]V, keep func(V) bool) {
	full := len(m)
	for k, v := range m {
		if !keep(v) {
			delete(m, k)
		}
	}
	for k := range m {
		if len(m) <= full-full/8 {
			return
		}
		delete(m, k)
	}
}
