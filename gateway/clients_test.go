package gateway

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Programs that people use, with nothing but the environment that `lapis env`
// gives them. A program that is not installed is skipped.

// run starts a program with the gateway in its environment, and returns what it said.
func (r *running) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	if err := r.ca.WriteBundle(bundle); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	proxy := "http://" + r.addr
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"HTTPS_PROXY=" + proxy, "https_proxy=" + proxy, "HTTP_PROXY=" + proxy, "http_proxy=" + proxy, "NO_PROXY=localhost,127.0.0.1",
		"SSL_CERT_FILE=" + bundle, "REQUESTS_CA_BUNDLE=" + bundle, "CURL_CA_BUNDLE=" + bundle, "NODE_EXTRA_CA_CERTS=" + bundle,
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "failed: " + strings.TrimSpace(string(out))
	}
	return strings.TrimSpace(string(out))
}

func TestCurl(t *testing.T) {
	r := start(t, Config{})
	got := r.run(t, "curl", "-sS", "https://acct.blob.core.windows.net/c/b")
	if !strings.HasPrefix(got, "GET acct.blob.core.windows.net/c/b HTTP/") {
		t.Errorf("through the proxy: %q", got)
	}
	got = r.run(t, "curl", "-sS", "--noproxy", "*", "--connect-to", "::"+r.addr, "https://arm.lapis.localhost/x")
	if !strings.HasPrefix(got, "GET arm.lapis.localhost/x HTTP/") {
		t.Errorf("own name: %q", got)
	}
	got = r.run(t, "curl", "-sS", "--noproxy", "*", "https://"+r.addr+"/x")
	if !strings.HasPrefix(got, "GET "+r.addr+"/x HTTP/") {
		t.Errorf("by address: %q", got)
	}
	got = r.run(t, "curl", "-sS", "-D", "-", "-o", "/dev/null", "https://x.vault.azure.net/")
	if !strings.Contains(got, "never passes a request for an Azure name out") {
		t.Errorf("refusal: %q", got)
	}
}

const pythonClient = `
import json, ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context()
if len(sys.argv) > 2:  # what Python 3.13 checks by default
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
try:
    print(urllib.request.urlopen(sys.argv[1], context=context, timeout=10).read().decode())
except urllib.error.URLError as e:
    print("URLError", e.reason)
`

func TestPythonStandardLibrary(t *testing.T) {
	r := start(t, Config{})
	for _, strict := range [][]string{nil, {"strict"}} {
		args := append([]string{"-c", pythonClient, "https://management.azure.com/subscriptions"}, strict...)
		if got := r.run(t, "python3", args...); got != "GET management.azure.com/subscriptions HTTP/1.1 0 bytes" {
			t.Errorf("%v: %q", strict, got)
		}
	}
	got := r.run(t, "python3", "-c", pythonClient, "https://x.vault.azure.net/")
	if !strings.Contains(got, "403 Lapis does not serve the Azure name x.vault.azure.net") {
		t.Errorf("refusal: %q", got)
	}
}

func TestPythonRequests(t *testing.T) {
	r := start(t, Config{})
	if got := r.run(t, "python3", "-c", "import requests"); strings.HasPrefix(got, "failed") {
		t.Skip("the Python package requests is not installed")
	}
	got := r.run(t, "python3", "-c", `
import requests
s = requests.Session()
for i in range(20):
    a = s.put("https://acct.blob.core.windows.net/c/%d" % i, data=b"x" * 100000)
print(a.text)`)
	if got != "PUT acct.blob.core.windows.net/c/19 HTTP/1.1 100000 bytes" {
		t.Errorf("answer: %q", got)
	}
}

func TestNode(t *testing.T) {
	r := start(t, Config{})
	got := r.run(t, "node", "-e", `
const [host, port] = process.argv[1].split(":");
require("https").get({host, port, servername: "management.azure.com", headers: {host: "management.azure.com"}}, (a) => {
  a.on("data", (d) => console.log(d.toString()));
}).on("error", (e) => console.log("error", e.message));`, r.addr)
	if got != "GET management.azure.com/ HTTP/1.1 0 bytes" {
		t.Errorf("answer: %q", got)
	}
}

// The constraints of the authority hold in the clients, not only in Go.
func TestClientsEnforceTheConstraints(t *testing.T) {
	ca := newCA(t)
	constrained := ca.cert.PermittedDNSDomains
	ca.cert.PermittedDNSDomains = append(constrained, "example.org") // a thief's copy signs anyway
	r := start(t, Config{CA: ca, Face: echo("example.org", "management.azure.com")})
	if got := r.run(t, "curl", "-sS", "https://example.org/"); !strings.Contains(got, "permitted subtree") {
		t.Errorf("curl: %q", got)
	}
	if got := r.run(t, "python3", "-c", pythonClient, "https://example.org/"); !strings.Contains(got, "permitted subtree") {
		t.Errorf("python: %q", got)
	}
}
