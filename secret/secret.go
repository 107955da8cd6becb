// Package secret holds values that must not be printed, and seals those that
// must be stored.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// String is a secret text. Printing, logging and JSON give "[secret]";
// only [String.Reveal] gives the text.
type String struct{ text string }

const hidden = "[secret]"

// New keeps text as a secret.
func New(text string) String { return String{text} }

// Reveal returns the text. Call it where the wire or the seal needs it, nowhere else.
func (s String) Reveal() string { return s.text }

// IsZero reports whether there is no text.
func (s String) IsZero() bool { return s.text == "" }

// Equal compares in constant time. An empty secret equals nothing.
func (s String) Equal(candidate string) bool {
	return s.text != "" && subtle.ConstantTimeCompare([]byte(s.text), []byte(candidate)) == 1
}

// String returns "[secret]".
func (s String) String() string { return hidden }

// GoString returns "[secret]".
func (s String) GoString() string { return hidden }

// Format writes "[secret]" for every verb.
func (s String) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText gives "[secret]": a secret never leaves by accident.
func (s String) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Sealer encrypts what is stored, with AES-256-GCM under one master key.
type Sealer struct {
	aead cipher.AEAD
	rand io.Reader
	root []byte // of what Derive gives
}

// KeySize is the size of a master key in bytes.
const KeySize = 32

// NewSealer takes a master key of [KeySize] bytes and a source of nonces.
func NewSealer(key []byte, rand io.Reader) (*Sealer, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("master key has %d bytes, not %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	root, err := hkdf.Key(sha256.New, key, nil, "derived", sha256.Size)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead: aead, rand: rand, root: root}, nil
}

// Derive returns a secret for the purpose named by label. It is the same each
// time under one master key, and tells nothing of it or of other labels'.
func (s *Sealer) Derive(label string) String {
	mac := hmac.New(sha256.New, s.root)
	mac.Write([]byte(label))
	return New(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// Seal encrypts plain for the purpose named by label; only Open with the same
// label gives it back.
func (s *Sealer) Seal(label string, plain []byte) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	if _, err := io.ReadFull(s.rand, nonce); err != nil {
		return nil, fmt.Errorf("drawing a nonce: %w", err)
	}
	return s.aead.Seal(nonce, nonce, plain, []byte(label)), nil
}

// ErrSeal means that sealed data is damaged, was sealed under another master
// key, or for another purpose.
var ErrSeal = errors.New("sealed data does not open: it is damaged, or the master key or label is another")

// Open decrypts what [Sealer.Seal] made.
func (s *Sealer) Open(label string, sealed []byte) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return nil, ErrSeal
	}
	plain, err := s.aead.Open(nil, sealed[:n], sealed[n:], []byte(label))
	if err != nil {
		return nil, ErrSeal
	}
	return plain, nil
}
