package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"lapis/diskfile"
)

const (
	caFile       = "ca.pem" // key and certificate in one file, so that they are replaced together
	organization = "Lapis local platform"

	caLife     = 10 * 365 * 24 * time.Hour
	caRenewal  = 60 * 24 * time.Hour // before its end
	leafLife   = 30 * 24 * time.Hour
	leafRenew  = 10 * 24 * time.Hour // before its end
	clockSkew  = time.Hour
	leafsLimit = 1024
)

// permittedNames are the domains that the authority may sign for, each with
// all names below it.
func permittedNames() []string {
	return []string{
		"localhost",
		"azure.com", "azure.net", "core.windows.net", "azurecr.io", "azureml.ms",
		"microsoftonline.com", "login.windows.net", "login.microsoft.com", "graph.microsoft.com",
	}
}

// CA is the certificate authority of one installation. Its key can sign only
// for the platform's names and loopback addresses, which clients enforce
// (critical name constraints), and never leaves the data folder.
type CA struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	now  func() time.Time
	rand io.Reader

	mu    sync.Mutex
	leafs map[string]*tls.Certificate
}

// LoadOrCreateCA reads the authority in dir, or makes one: at first start,
// when the old one nears its end, or when it lacks one of the names now
// needed. suffixes are own domains besides localhost.
//
// now must be the machine's clock, which is what clients compare with; nil
// means time.Now. A nil random means crypto/rand.
func LoadOrCreateCA(dir string, now func() time.Time, random io.Reader, suffixes ...string) (*CA, error) {
	ca := &CA{now: now, rand: random, leafs: map[string]*tls.Certificate{}}
	if ca.now == nil {
		ca.now = time.Now
	}
	if ca.rand == nil {
		ca.rand = rand.Reader
	}
	names := permittedNames()
	for _, s := range suffixes {
		host, _, err := splitAuthority(s)
		if err != nil {
			return nil, fmt.Errorf("own suffix: %w", err)
		}
		names = append(names, host)
	}
	path := filepath.Join(dir, caFile)
	err := ca.load(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("certificate authority %s: %w", path, err)
	case ca.usable(names):
		return ca, nil
	}
	if err := ca.create(names); err != nil {
		return nil, fmt.Errorf("making the certificate authority: %w", err)
	}
	if err := ca.save(path); err != nil {
		return nil, fmt.Errorf("certificate authority %s: %w", path, err)
	}
	return ca, nil
}

func (ca *CA) load(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("others can read this key (mode %04o): remove the file, a new one is made at the next start", info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(data, data) // also checks that they belong together
	if err != nil {
		return fmt.Errorf("damaged, remove it and a new one is made at the next start: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return errors.New("not an authority of ours, remove it and a new one is made at the next start")
	}
	ca.key, ca.cert = key, pair.Leaf
	return nil
}

func (ca *CA) usable(names []string) bool {
	for _, name := range names {
		if !ca.permits(name) {
			return false
		}
	}
	return ca.now().Before(ca.cert.NotAfter.Add(-caRenewal))
}

// permits reports whether the authority may sign for a host name.
func (ca *CA) permits(host string) bool {
	for _, domain := range ca.cert.PermittedDNSDomains {
		if within(host, domain) {
			return true
		}
	}
	return false
}

func (ca *CA) create(names []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), ca.rand)
	if err != nil {
		return err
	}
	serial, err := ca.serial()
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject: pkix.Name{
			Organization: []string{organization},
			// Two installations must not have authorities of the same name.
			CommonName: "Lapis CA " + serial.Text(16)[:8],
		},
		NotBefore:                   ca.now().Add(-clockSkew),
		NotAfter:                    ca.now().Add(caLife),
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid:       true,
		IsCA:                        true,
		MaxPathLenZero:              true,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         names,
		PermittedIPRanges: []*net.IPNet{
			{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
			{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
		},
	}
	der, err := x509.CreateCertificate(ca.rand, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	ca.key = key
	ca.cert, err = x509.ParseCertificate(der)
	return err
}

// serial draws 127 bits: positive, and never fewer than 8 hexadecimal digits.
func (ca *CA) serial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(ca.rand, b); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b), nil
}

func (ca *CA) save(path string) error {
	der, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return err
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return diskfile.Write(path, append(key, ca.CertPEM()...), 0o600)
}

// CertPEM returns the authority's certificate, without its key.
func (ca *CA) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// Fingerprint is the SHA-256 of the certificate in hexadecimal.
func (ca *CA) Fingerprint() string {
	sum := sha256.Sum256(ca.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Leaf returns a certificate for a host name or a loopback address, made when
// first asked for, and again before it ends. host is lower-case.
func (ca *CA) Leaf(host string) (*tls.Certificate, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if leaf, ok := ca.leafs[host]; ok && ca.now().Before(leaf.Leaf.NotAfter.Add(-leafRenew)) {
		return leaf, nil
	}
	leaf, err := ca.mint(host)
	if err != nil {
		return nil, err
	}
	if len(ca.leafs) >= leafsLimit { // names come from outside: the cache must not grow with them
		clear(ca.leafs)
	}
	ca.leafs[host] = leaf
	return leaf, nil
}

func (ca *CA) mint(host string) (*tls.Certificate, error) {
	serial, err := ca.serial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{organization}},
		NotBefore:    ca.now().Add(-clockSkew),
		NotAfter:     ca.now().Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if template.NotAfter.After(ca.cert.NotAfter) {
		template.NotAfter = ca.cert.NotAfter
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && ip.IsLoopback():
		template.IPAddresses = []net.IP{ip.Unmap().AsSlice()}
		template.DNSNames = []string{"localhost"}
	case err == nil || !ca.permits(host):
		return nil, fmt.Errorf("the authority may not sign for %q", host)
	default:
		template.DNSNames = []string{host}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), ca.rand)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(ca.rand, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// within reports whether host is domain or a name below it.
func within(host, domain string) bool {
	rest, ok := strings.CutSuffix(host, domain)
	return ok && (rest == "" || strings.HasSuffix(rest, "."))
}
