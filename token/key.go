package token

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"lapis/secret"
)

// role is what a key does now. A key goes from next to current to previous and
// is then removed.
//
//	next      published, so that verifiers know it before its first signature
//	current   signs
//	previous  verifies what it signed until the last of that has expired; its
//	          private half is already gone
type role string

const (
	next     role = "next"
	current  role = "current"
	previous role = "previous"
)

// keyRecord is a key in the store, under its kid.
type keyRecord struct {
	KID         string    `json:"kid"`
	Role        role      `json:"role"`
	Certificate []byte    `json:"certificate"`      // DER, self-signed; carries the public half
	Sealed      []byte    `json:"sealed,omitempty"` // PKCS #8 under the label of sealLabel; none for a previous key
	CreatedAt   time.Time `json:"createdAt"`        // when it was published
	SignsFrom   time.Time `json:"signsFrom,omitzero"`
	KeepUntil   time.Time `json:"keepUntil,omitzero"` // for a previous key
}

const keyBits = 2048

func sealLabel(kid string) string { return "token signing key " + kid }

// newKey makes a key. It takes 40 to 400 ms of processor time. The kid is the
// SHA-1 thumbprint of the certificate, as x5t is by RFC 7515 section 4.1.7; it
// names the key and protects nothing.
func newKey(sealer *secret.Sealer, now time.Time) (keyRecord, error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return keyRecord{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return keyRecord{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Lapis token signing"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(5, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return keyRecord{}, err
	}
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return keyRecord{}, err
	}
	thumbprint := sha1.Sum(cert)
	kid := base64.RawURLEncoding.EncodeToString(thumbprint[:])
	sealed, err := sealer.Seal(sealLabel(kid), plain)
	if err != nil {
		return keyRecord{}, err
	}
	return keyRecord{KID: kid, Certificate: cert, Sealed: sealed, CreatedAt: now.UTC()}, nil
}

func (r keyRecord) open(sealer *secret.Sealer) (*rsa.PrivateKey, error) {
	plain, err := sealer.Open(sealLabel(r.KID), r.Sealed)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, err
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("it is a %T", parsed)
	}
	return private, nil
}

func (r keyRecord) public() (*rsa.PublicKey, error) {
	cert, err := x509.ParseCertificate(r.Certificate)
	if err != nil {
		return nil, err
	}
	public, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("it is a %T", cert.PublicKey)
	}
	return public, nil
}

// keySet is all keys at one commit. It is never changed.
type keySet struct {
	records []keyRecord
	public  map[string]*rsa.PublicKey // by kid
	signing *rsa.PrivateKey
	header  string // encoded header of the signing key
	kid     string // of the signing key
	jwks    []byte
}

var errNoKey = errors.New("there is no signing key")

// newKeySet reads the records; old may lend the private key it has open.
func newKeySet(records []keyRecord, sealer *secret.Sealer, old *keySet) (*keySet, error) {
	set := &keySet{records: records, public: make(map[string]*rsa.PublicKey, len(records))}
	for _, rec := range records {
		public, err := rec.public()
		if err != nil {
			return nil, fmt.Errorf("certificate of signing key %s: %w", rec.KID, err)
		}
		set.public[rec.KID] = public
		if rec.Role != current {
			continue
		}
		set.kid = rec.KID
		if old != nil && old.kid == rec.KID {
			set.signing = old.signing
		} else if set.signing, err = rec.open(sealer); err != nil {
			return nil, fmt.Errorf("signing key %s: %w", rec.KID, err)
		}
	}
	if set.signing == nil {
		return nil, errNoKey
	}
	header, err := json.Marshal(header{Typ: "JWT", Alg: "RS256", X5T: set.kid, KID: set.kid})
	if err != nil {
		return nil, err
	}
	set.header = base64.RawURLEncoding.EncodeToString(header)
	set.jwks, err = set.publish()
	return set, err
}

// jwk is a published key, with the members that Entra's documents have.
type jwk struct {
	Kty string   `json:"kty"`
	Use string   `json:"use"`
	Alg string   `json:"alg"`
	KID string   `json:"kid"`
	X5T string   `json:"x5t"`
	N   string   `json:"n"`
	E   string   `json:"e"`
	X5C []string `json:"x5c"`
}

func (set *keySet) publish() ([]byte, error) {
	keys := make([]jwk, 0, len(set.records))
	for _, rec := range set.records {
		public := set.public[rec.KID]
		keys = append(keys, jwk{
			Kty: "RSA", Use: "sig", Alg: "RS256", KID: rec.KID, X5T: rec.KID,
			N:   base64.RawURLEncoding.EncodeToString(public.N.Bytes()),
			E:   base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes()),
			X5C: []string{base64.StdEncoding.EncodeToString(rec.Certificate)},
		})
	}
	return json.Marshal(map[string][]jwk{"keys": keys})
}
