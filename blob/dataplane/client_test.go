package dataplane_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lapis/blob/dataplane"
	"lapis/content/disk"
	storememory "lapis/store/memory"
)

// The client that the test drives. LAPIS_TEST_STORAGE_BLOB names another version.
const storageBlob = "12.31.1"

// TestPythonClient runs testdata/client.py with the real client over TLS.
func TestPythonClient(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no Python client")
	}
	python := pythonWith(t, "azure-storage-blob=="+firstOf(os.Getenv("LAPIS_TEST_STORAGE_BLOB"), storageBlob))
	bytes, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bytes.Close() })
	w := newWorldOn(t, storememory.New(), bytes, func(c *dataplane.Config) { c.PathStyle, c.Secure, c.Now = true, nil, time.Now })
	w.advance(time.Since(w.now))
	w.owner(call{})
	w.grant("reader", "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", w.account.ContainerScope("data"))
	server := httptest.NewUnstartedServer(w.handler)
	ca := serveTLS(t, server)
	defer server.Close()

	cmd := exec.Command(python, "testdata/client.py")
	cmd.Env = append(os.Environ(),
		"ACCOUNT_URL="+server.URL+"/"+accountName, "ACCOUNT_KEY="+accountKey, "OWNER_TOKEN=token-of-owner", "READER_TOKEN=token-of-reader",
		"REQUESTS_CA_BUNDLE="+ca, "SSL_CERT_FILE="+ca, "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// pythonWith returns a Python that has the packages, made once per machine. It
// skips the test where there is no Python or no package index.
func pythonWith(t *testing.T, packages ...string) string {
	t.Helper()
	base := os.Getenv("LAPIS_TEST_CACHE")
	if base == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skip("no cache folder: ", err)
		}
		base = filepath.Join(cache, "lapis-test")
	}
	dir := filepath.Join(base, strings.NewReplacer("=", "_", ".", "_").Replace(strings.Join(packages, "-")))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Skip("no cache folder: ", err)
	}
	unlock := lock(t, dir+"/lock")
	defer unlock()
	python, done := dir+"/venv/bin/python", dir+"/complete"
	if _, err := os.Stat(done); err == nil {
		return python
	}
	os.RemoveAll(dir + "/venv")
	if out, err := exec.Command("python3", "-m", "venv", dir+"/venv").CombinedOutput(); err != nil {
		t.Skipf("no Python with venv: %v %s", err, out)
	}
	args := append([]string{"-m", "pip", "install", "-q", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"}, packages...)
	if out, err := exec.Command(python, args...).CombinedOutput(); err != nil {
		t.Skipf("cannot install %v; is a package index within reach? %v %s", packages, err, out)
	}
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return python
}

// lock keeps two test processes from making the same environment at once.
func lock(t *testing.T, path string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { f.Close() }
}

// serveTLS starts the server with a certificate for 127.0.0.1, and returns the
// file of the authority that issued it.
func serveTLS(t *testing.T, server *httptest.Server) (caFile string) {
	t.Helper()
	issue := func(template, parent *x509.Certificate, signer, key *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	caKey, leafKey := key(), key()
	from, to := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: from, NotAfter: to,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER := issue(ca, ca, caKey, caKey)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{issue(leaf, ca, caKey, leafKey)}, PrivateKey: leafKey}}}
	server.StartTLS()
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o644); err != nil {
		t.Fatal(err)
	}
	return caFile
}
