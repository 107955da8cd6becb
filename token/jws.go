package token

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
)

// Signatures are checked with crypto/rsa and not with a JOSE library: the
// general libraries take sloppy base64 that makes two texts of one token, and
// read algorithms and keys from the token. One algorithm and one form need
// less code than fencing a library in; the Wycheproof vectors judge it.

// maxRaw bounds the texts that are looked at; our own tokens have about 1.3 kB.
const maxRaw = 8 << 10

// header is the JOSE header. These are all members that are taken.
type header struct {
	Typ string `json:"typ,omitempty"`
	Alg string `json:"alg"`
	X5T string `json:"x5t,omitempty"`
	KID string `json:"kid"`
}

var (
	errForm      = errors.New("it is not three parts of unpadded base64url between two dots")
	errHeader    = errors.New("its header is not one of ours")
	errAlgorithm = errors.New("it is not signed with RS256")
	errKey       = errors.New("its signing key is unknown, or was withdrawn")
	errSignature = errors.New("its signature does not verify")
)

// openJWS returns header and payload of a compact JWS (RFC 7515) that is
// signed with RS256 by one of the keys.
func openJWS(raw string, key func(kid string) *rsa.PublicKey) (header, []byte, error) {
	parts := strings.Split(raw, ".")
	if len(raw) > maxRaw || len(parts) != 3 {
		return header{}, nil, errForm
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = canonical(part); err != nil {
			return header{}, nil, err
		}
	}
	h, err := parseHeader(decoded[0])
	if err != nil {
		return header{}, nil, err
	}
	public := key(h.KID)
	if public == nil {
		return header{}, nil, errKey
	}
	digest := sha256.Sum256([]byte(raw[:len(parts[0])+1+len(parts[1])]))
	if rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], decoded[2]) != nil {
		return header{}, nil, errSignature
	}
	return h, decoded[1], nil
}

// canonical decodes base64url and takes only the one text that encodes those
// bytes. Go's decoder skips line breaks, and without Strict ignores stray bits.
func canonical(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errForm
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errForm
	}
	return data, nil
}

func parseHeader(data []byte) (header, error) {
	members, err := object(data)
	if err != nil {
		return header{}, errHeader
	}
	var h header
	for name, value := range members {
		var field *string
		switch name {
		case "typ":
			field = &h.Typ
		case "alg":
			field = &h.Alg
		case "x5t":
			field = &h.X5T
		case "kid":
			field = &h.KID
		default: // jwk, jku, x5u, crit, b64 and the like
			return header{}, errHeader
		}
		if json.Unmarshal(value, field) != nil {
			return header{}, errHeader
		}
	}
	if h.Alg != "RS256" {
		return header{}, errAlgorithm
	}
	return h, nil
}
