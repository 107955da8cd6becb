package gateway

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"lapis/diskfile"
)

// rootVariables name the files in which users keep the roots they trust. A
// client that we give a bundle no longer looks at them, so the bundle holds
// what they hold.
func rootVariables() []string {
	return []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
}

// rootPlaces is where systems keep theirs; the first that is there counts.
func rootPlaces() []string {
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch, Gentoo
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
		"/etc/pki/tls/certs/ca-bundle.crt",                  // older Fedora, RHEL
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/etc/ssl/cert.pem",                                 // Alpine, macOS, OpenBSD
		"/usr/local/etc/ssl/cert.pem",                       // FreeBSD
		"/opt/homebrew/etc/ca-certificates/cert.pem",        // Homebrew
	}
}

// BundlePEM returns the roots that the user trusts already and our authority,
// in one PEM text. The user's are those of the environment variables that
// name a bundle, or else the system's.
func (ca *CA) BundlePEM() ([]byte, error) { return ca.bundle(os.Getenv, rootPlaces()) }

// WriteBundle writes [CA.BundlePEM] to a file, whole or not at all.
func (ca *CA) WriteBundle(path string) error {
	data, err := ca.BundlePEM()
	if err != nil {
		return err
	}
	return diskfile.Write(path, data, 0o644)
}

func (ca *CA) bundle(getenv func(string) string, places []string) ([]byte, error) {
	var sources []string
	for _, name := range rootVariables() {
		if path := getenv(name); path != "" && !slices.Contains(sources, path) {
			sources = append(sources, path)
		}
	}
	named := len(sources) > 0
	if !named {
		sources = places
	}
	roots := &rootSet{seen: map[string]bool{}}
	for _, path := range sources {
		err := roots.addPath(path)
		switch {
		case err == nil && !named:
			return append(roots.out.Bytes(), ca.CertPEM()...), nil
		case err == nil || errors.Is(err, fs.ErrNotExist):
			// A variable that names nothing is as good as none.
		default:
			return nil, fmt.Errorf("reading root certificates: %w", err)
		}
	}
	if named && len(roots.seen) == 0 {
		return ca.bundle(func(string) string { return "" }, places)
	}
	return append(roots.out.Bytes(), ca.CertPEM()...), nil
}

// rootSet gathers certificates, each once.
type rootSet struct {
	seen map[string]bool
	out  bytes.Buffer
}

// addPath takes a bundle, or a folder of certificates.
func (s *rootSet) addPath(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	files := []string{path}
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		files = nil
		for _, e := range entries {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil && info.IsDir() {
			continue // a dangling link, a folder
		}
		if err != nil {
			return err
		}
		s.add(data)
	}
	return nil
}

func (s *rootSet) add(data []byte) {
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			return
		}
		if block.Type != "CERTIFICATE" || s.seen[string(block.Bytes)] || ours(block.Bytes) {
			continue
		}
		s.seen[string(block.Bytes)] = true
		// Written anew: a key or comments in the source stay out.
		_ = pem.Encode(&s.out, &pem.Block{Type: block.Type, Bytes: block.Bytes})
	}
}

// ours tells authorities of this and earlier installations, which are in the
// source when a bundle of ours is what the environment names.
func ours(der []byte) bool {
	cert, err := x509.ParseCertificate(der)
	return err == nil && slices.Contains(cert.Subject.Organization, organization)
}
