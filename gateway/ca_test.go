package gateway

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newCA(t *testing.T, suffixes ...string) *CA {
	t.Helper()
	ca, err := LoadOrCreateCA(t.TempDir(), nil, nil, suffixes...)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func pool(ca *CA) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

func TestAuthorityIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := LoadOrCreateCA(dir, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := LoadOrCreateCA(dir, nil, nil)
	if err != nil || second.Fingerprint() != first.Fingerprint() {
		t.Errorf("the second start has another authority: %v", err)
	}
	entries, _ := os.ReadDir(dir)
	info, err := os.Stat(filepath.Join(dir, caFile))
	if err != nil || len(entries) != 1 || info.Mode().Perm() != 0o600 {
		t.Errorf("files: %v, %v", entries, err)
	}
	if bytes.Contains(second.CertPEM(), []byte("PRIVATE")) {
		t.Error("the public PEM holds the key")
	}
	leaf, err := second.Leaf("management.azure.com")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool(first), DNSName: "management.azure.com"}); err != nil {
		t.Error(err)
	}
}

func TestAuthorityIsReplacedWhenItNoLongerServes(t *testing.T) {
	dir := t.TempDir()
	at := time.Now()
	clock := func() time.Time { return at }
	first, err := LoadOrCreateCA(dir, clock, nil)
	if err != nil {
		t.Fatal(err)
	}
	at = at.Add(caLife - caRenewal - time.Hour)
	if same, err := LoadOrCreateCA(dir, clock, nil); err != nil || same.Fingerprint() != first.Fingerprint() {
		t.Errorf("replaced too early: %v", err)
	}
	at = at.Add(2 * time.Hour)
	second, err := LoadOrCreateCA(dir, clock, nil)
	if err != nil || second.Fingerprint() == first.Fingerprint() {
		t.Errorf("not replaced near its end: %v", err)
	}
	third, err := LoadOrCreateCA(dir, clock, nil, "Lapis.Example.org")
	if err != nil || third.Fingerprint() == second.Fingerprint() {
		t.Errorf("not replaced for a new suffix: %v", err)
	}
	if _, err := third.Leaf("acct.blob.core.lapis.example.org"); err != nil {
		t.Error(err)
	}
	if _, err := LoadOrCreateCA(dir, clock, nil, "no suffix"); err == nil {
		t.Error("a bad suffix was taken")
	}
}

func TestAuthorityRefusesAFileItCannotTrust(t *testing.T) {
	damage := map[string]func(t *testing.T, path string){
		"others can read": func(t *testing.T, path string) {
			if err := os.Chmod(path, 0o640); err != nil {
				t.Fatal(err)
			}
		},
		"damaged": func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("-----BEGIN CERTIFICATE-----\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"not an authority": func(t *testing.T, path string) {
			leaf, err := newCA(t).Leaf("localhost")
			if err != nil {
				t.Fatal(err)
			}
			der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
			if err != nil {
				t.Fatal(err)
			}
			data := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
				pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]})...)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	}
	for want, spoil := range damage {
		t.Run(want, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := LoadOrCreateCA(dir, nil, nil); err != nil {
				t.Fatal(err)
			}
			spoil(t, filepath.Join(dir, caFile))
			_, err := LoadOrCreateCA(dir, nil, nil)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), caFile) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestLeafsAreCachedAndRenewed(t *testing.T) {
	at := time.Now()
	ca, err := LoadOrCreateCA(t.TempDir(), func() time.Time { return at }, nil)
	if err != nil {
		t.Fatal(err)
	}
	mint := func() *tls.Certificate {
		leaf, err := ca.Leaf("acct.blob.core.windows.net")
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	first := mint()
	at = at.Add(leafLife - leafRenew - time.Minute)
	if mint() != first {
		t.Error("minted again too early")
	}
	at = at.Add(2 * time.Minute)
	if mint() == first {
		t.Error("not renewed before its end")
	}
	for i := range 3 * leafsLimit {
		if _, err := ca.Leaf(fmt.Sprintf("a%d.azure.com", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(ca.leafs) > leafsLimit {
		t.Errorf("%d leafs cached", len(ca.leafs))
	}
}

func TestAuthoritySignsOnlyForItsNames(t *testing.T) {
	ca := newCA(t)
	for _, host := range []string{
		"localhost", "management.lapis.localhost", "management.azure.com", "acct.blob.core.windows.net", "r.azurecr.io",
		"v.vault.azure.net", "login.microsoftonline.com", "graph.microsoft.com", "127.0.0.1", "127.9.9.9", "::1",
	} {
		leaf, err := ca.Leaf(host)
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool(ca), DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, host := range []string{"", "example.org", "notazure.com", "microsoft.com", "www.microsoft.com", "windows.net", "com", "10.0.0.1", "8.8.8.8", "::2"} {
		if _, err := ca.Leaf(host); err == nil {
			t.Errorf("signed for %q", host)
		}
	}
}

// Whoever steals the key still cannot make clients believe in another name.
func TestStolenKeyIsOfNoUseForOtherNames(t *testing.T) {
	ca := newCA(t)
	forge := func(dns []string, ips []net.IP) error {
		key := ca.key
		serial, _ := ca.serial()
		der, err := x509.CreateCertificate(ca.rand, &x509.Certificate{
			SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: dns, IPAddresses: ips,
		}, ca.cert, key.Public(), key)
		if err != nil {
			return err
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		_, err = leaf.Verify(x509.VerifyOptions{Roots: pool(ca)})
		return err
	}
	if err := forge([]string{"management.azure.com"}, []net.IP{net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Errorf("own name: %v", err)
	}
	for _, dns := range []string{"example.org", "github.com", "azure.com.evil.org", "mcr.microsoft.com"} {
		if forge([]string{dns}, nil) == nil {
			t.Errorf("forged %s", dns)
		}
	}
	if forge(nil, []net.IP{net.IPv4(10, 0, 0, 1)}) == nil || forge(nil, []net.IP{net.ParseIP("2001:db8::1")}) == nil {
		t.Error("forged an address")
	}
	c := ca.cert
	if !c.PermittedDNSDomainsCritical || !c.IsCA || c.MaxPathLen != 0 || !c.MaxPathLenZero || len(c.SubjectKeyId) == 0 {
		t.Errorf("constraints: %+v", c)
	}
}

func certs(t *testing.T, data []byte) (list []*x509.Certificate) {
	t.Helper()
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			t.Fatalf("block %q: %v", block.Type, err)
		}
		list = append(list, cert)
	}
	return list
}

// rootPEM makes a root that is not ours.
func rootPEM(t *testing.T, name string) []byte {
	t.Helper()
	ca := newCA(t)
	serial, _ := ca.serial()
	template := &x509.Certificate{SerialNumber: serial, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}, IsCA: true}
	der, err := x509.CreateCertificate(ca.rand, template, template, ca.key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestBundleHoldsTheUsersRootsAndOurs(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, parts ...[]byte) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Join(parts, []byte("# comment\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b, c := rootPEM(t, "a"), rootPEM(t, "b"), rootPEM(t, "c")
	key := []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
	system := file("system.pem", a, b)
	company := file("company.pem", key, c, a, c)
	both := file("both.pem", b)
	older := file("older.pem", a, newCA(t).CertPEM()) // what an earlier start wrote
	file("folder/one.pem", a)
	file("folder/two.0", c)
	if err := os.Symlink("nowhere", filepath.Join(dir, "folder", "dangling")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"system", nil, "ab"},
		{"named", map[string]string{"SSL_CERT_FILE": company}, "ca"},
		{"two named", map[string]string{"SSL_CERT_FILE": company, "REQUESTS_CA_BUNDLE": both, "CURL_CA_BUNDLE": company}, "cab"},
		{"our own bundle", map[string]string{"SSL_CERT_FILE": older, "REQUESTS_CA_BUNDLE": older}, "a"},
		{"folder", map[string]string{"REQUESTS_CA_BUNDLE": filepath.Join(dir, "folder")}, "ac"},
		{"named but missing", map[string]string{"SSL_CERT_FILE": filepath.Join(dir, "none.pem")}, "ab"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ca := newCA(t)
			data, err := ca.bundle(func(k string) string { return c.env[k] }, []string{filepath.Join(dir, "absent"), system, both})
			if err != nil {
				t.Fatal(err)
			}
			list := certs(t, data)
			got := ""
			for _, cert := range list[:len(list)-1] {
				got += cert.DNSNames[0]
			}
			if got != c.want || !list[len(list)-1].Equal(ca.cert) {
				t.Errorf("roots %q and %v, want %q and ours", got, list[len(list)-1].Subject, c.want)
			}
		})
	}
	path := filepath.Join(dir, "out.pem")
	if err := newCA(t).WriteBundle(path); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || len(certs(t, data)) == 0 {
		t.Errorf("written bundle: %v", err)
	}
}
