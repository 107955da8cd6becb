package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"time"

	"lapis/fault"
	"lapis/secret"
)

// hashed is what the store keeps of a client secret. One salted SHA-256 is
// enough, and a slow hash would only let a client burn our processor: the text
// is 256 random bits that we drew, so there is no list of likely ones to try.
type hashed struct {
	Salt      []byte    `json:"salt"`
	Sum       []byte    `json:"sum"`
	CreatedAt time.Time `json:"createdAt"`
}

const (
	secretBytes = 32
	saltBytes   = 16
)

// newSecret draws a client secret: 43 characters of base64url.
func (d *Directory) newSecret() (secret.String, hashed, error) {
	drawn := make([]byte, secretBytes+saltBytes)
	if _, err := io.ReadFull(d.cfg.Rand, drawn); err != nil {
		return secret.String{}, hashed{}, fmt.Errorf("drawing a client secret: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(drawn[:secretBytes])
	salt := drawn[secretBytes:]
	return secret.New(text), hashed{Salt: salt, Sum: sum(salt, text), CreatedAt: d.cfg.Now().UTC()}, nil
}

func sum(salt []byte, text string) []byte {
	h := sha256.New()
	h.Write(salt)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func (h hashed) matches(text string) bool {
	return len(h.Sum) == sha256.Size && subtle.ConstantTimeCompare(h.Sum, sum(h.Salt, text)) == 1
}

// Authenticate returns the application whose client id and secret these are.
// The faults carry Entra's codes: AADSTS700016 for an application that the
// tenant does not have, AADSTS7000215 for a wrong secret. A managed identity
// has no secret and is no application.
func (d *Directory) Authenticate(_ context.Context, clientID, clientSecret string) (Principal, error) {
	p, ok := d.ByClientID(clientID)
	if !ok || p.Kind != Application {
		return Principal{}, fault.E(fault.Unauthenticated, "AADSTS700016",
			"The tenant %s has no application with the client id %q. Check the client id, and that the request goes to the right tenant.",
			d.cfg.TenantID, clientID).At("client_id")
	}
	if !d.secret(p.ObjectID).matches(clientSecret) {
		return Principal{}, fault.E(fault.Unauthenticated, "AADSTS7000215",
			"The client secret is not the one of application %q. Send the secret's value; if it is lost, reset it.",
			p.ClientID).At("client_secret")
	}
	return p, nil
}
