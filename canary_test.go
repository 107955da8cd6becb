package lapis_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lapis"
)

// tellingScript answers with the secrets that its instance has, so that the
// test knows what to look for.
const tellingScript = blobScript + `
import sys

def run(raw):
    url = os.environ["MSI_ENDPOINT"] + "?resource=https://storage.azure.com/"
    ask = urllib.request.Request(url, headers={"secret": os.environ["MSI_SECRET"], "Metadata": "true"})
    token = json.load(urllib.request.urlopen(ask))["access_token"]
    try: # a wrong secret is refused, and the refusal must not show the right one
        urllib.request.urlopen(urllib.request.Request(url, headers={"secret": "wrong"}))
    except urllib.error.HTTPError as e:
        refused = e.read().decode()
    return {"secret": os.environ["MSI_SECRET"], "token": token, "refused": refused, "pid": os.getpid(), "blob": read()}
`

// canaries are texts that must not come out, by what they are.
type canaries map[string]string

// add takes a secret, in the forms in which it could be written.
func (c canaries) add(name, secret string) {
	if len(secret) < 16 {
		panic("the secret " + name + " is too short to look for")
	}
	c[name] = secret
	if escaped := url.QueryEscape(secret); escaped != secret {
		c[name+", escaped"] = escaped
	}
	c[name+", hex"] = hex.EncodeToString([]byte(secret))
	for shift := range 3 { // in base64 a text looks different at each offset
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
		c[fmt.Sprintf("%s, base64 at %d", name, shift)] = text[4 : len(text)-4]
	}
}

// in reports the canaries that a text has.
func (c canaries) in(text string) []string {
	var found []string
	for name, secret := range c {
		if strings.Contains(text, secret) {
			found = append(found, name)
		}
	}
	return found
}

func TestNoSecretComesOut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	secrets := canaries{}
	caught := &lockedBuffer{}
	p := start(t, dir, func(c *lapis.Config) {
		c.Log = slog.New(slog.NewJSONHandler(caught, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	var refusals []string
	refuse := func(want int, a answer) {
		t.Helper()
		if a.status != want {
			t.Errorf("status %d, want %d: %s", a.status, want, a.text)
		}
		refusals = append(refusals, a.text+fmt.Sprint(a.header))
	}

	// The whole flow, with every secret noted as it is handed out.
	account := p.storage("canaryone")
	secrets.add("owner's secret", p.info.ClientSecret)
	var keys []string
	for _, k := range p.must(p.arm("POST", account+"/listKeys", storageVersion, nil), 200).json["keys"].([]any) {
		keys = append(keys, fmt.Sprint(k.(map[string]any)["value"]))
	}
	keys = append(keys, p.must(p.arm("POST", p.workspace()+"/datastores/workspaceblobstore/listSecrets", mlVersion, object{}), 200).str("key"))
	for i, key := range keys {
		secrets.add(fmt.Sprint("account key ", i), key)
		raw, err := base64.StdEncoding.DecodeString(key)
		if err != nil {
			t.Fatal(err)
		}
		secrets.add(fmt.Sprint("account key in bytes ", i), string(raw))
	}
	version := p.workspace() + "/codes/canary/versions/9"
	pending := p.must(p.arm("POST", version+"/startPendingUpload", mlVersion, object{}), 200)
	sas, err := url.Parse(pending.str("blobReferenceForConsumption.credential.sasUri"))
	if err != nil {
		t.Fatal(err)
	}
	secrets.add("upload signature", sas.Query().Get("sig"))
	store := p.must(p.arm("POST", p.workspace()+"/datastores/workspaceblobstore/listSecrets", mlVersion, object{"expirableSecret": true, "expireAfterHours": 1}), 200).str("sasToken")
	storeQuery, _ := url.ParseQuery(strings.TrimPrefix(store, "?"))
	secrets.add("datastore signature", storeQuery.Get("sig"))

	endpoint := p.createEndpoint("canary-ep", nil)
	p.grant(endpoint.str("identity.principalId"), "Storage Blob Data Reader", account)
	code := p.upload("codes", "canary", "src", map[string]string{"score.py": tellingScript})
	if op := p.deploy("canary-ep", "blue", p.deploymentBody(code, p.environment(), map[string]string{"ACCOUNT": "canaryone"})); op.str("status") != "Succeeded" {
		t.Fatalf("%s\n%s", op.text, p.getLogs("canary-ep", "blue"))
	}
	p.wait(p.must(p.traffic("canary-ep", object{"blue": 100}), 200))
	both := p.must(p.arm("POST", p.workspace()+"/onlineEndpoints/canary-ep/listKeys", mlVersion, nil), 200)
	secrets.add("endpoint key", both.str("primaryKey"))
	secrets.add("second endpoint key", both.str("secondaryKey"))
	told := p.must(p.score("canary-ep", both.str("primaryKey"), `{"data":[1]}`), 200)
	if told.str("blob") != "Hello world!" {
		t.Fatal(told.text)
	}
	secrets.add("MSI_SECRET", told.str("secret"))
	secrets.add("the identity's token", told.str("token"))
	refusals = append(refusals, told.str("refused"))
	for audience, token := range p.tokens {
		secrets.add("token of "+audience, token)
	}
	host := p.registryHost()
	registryToken := p.owner(registryHost)
	secrets.add("token for the registry", registryToken)
	secrets.add("registry refresh token", p.must(p.exchange(host, registryToken), 200).str("refresh_token"))
	master, err := os.ReadFile(filepath.Join(dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	secrets.add("master key", string(master))

	// Requests that are refused, with secrets in them that are near the right ones or at the wrong door.
	refuse(401, p.score("canary-ep", registryToken, "{}"))
	refuse(401, p.score("canary-ep", keys[0], "{}"))
	refuse(401, p.armAs(both.str("primaryKey"), "GET", p.workspace(), mlVersion, nil))
	refuse(401, p.armAs(tampered(registryToken, "aud", armHost), "GET", p.workspace(), mlVersion, nil))
	refuse(401, p.armAs(registryToken, "GET", p.workspace(), mlVersion, nil))
	other := *sas
	other.Path += "x/blob"
	refuse(403, p.do("PUT", other.String(), map[string]string{"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-12-02"}, []byte("x")))
	refuse(400, p.do("GET", "https://canaryone.blob.core.windows.net/box/hello.txt", map[string]string{
		"Authorization": "SharedKey canaryone:" + keys[1], "x-ms-version": "2021-12-02", "x-ms-date": "Fri, 26 Jun 2020 23:39:12 GMT"}, nil))
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {p.info.ClientID}, "client_secret": {p.info.ClientSecret + "x"}, "scope": {armHost + "/.default"}}
	refuse(401, p.do("POST", "https://login.microsoftonline.com/"+p.info.TenantID+"/oauth2/v2.0/token", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, []byte(form.Encode())))
	form.Set("client_secret", p.info.ClientSecret)
	form.Set("scope", "https://nothing.example/.default")
	refuse(400, p.do("POST", "https://login.microsoftonline.com/"+p.info.TenantID+"/oauth2/v2.0/token", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, []byte(form.Encode())))
	refuse(400, p.do("POST", "https://"+host+"/oauth2/token", map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
		[]byte(url.Values{"grant_type": {"refresh_token"}, "service": {"other.azurecr.io"}, "refresh_token": {registryToken}}.Encode())))
	refuse(403, p.armAs(func() string { _, token := p.application("stranger"); return token }(), "POST", account+"/listKeys", storageVersion, nil))
	for i, text := range refusals {
		if found := secrets.in(text); found != nil {
			t.Errorf("refusal %d shows %v: %s", i, found, text)
		}
	}

	checkProcesses(t, secrets, dir, told)
	if found := secrets.in(p.getLogs("canary-ep", "blue")); found != nil {
		t.Errorf("the deployment's log has %v", found)
	}
	logs := caught.String()
	if !strings.Contains(logs, "canary-ep") {
		t.Error("the log says nothing of the endpoint: it was not caught")
	}
	if found := secrets.in(logs); found != nil {
		t.Errorf("the log has %v", found)
	}
	checkListeners(t)
	checkFiles(t, secrets, dir)
	p.stop()
	checkFiles(t, secrets, dir)
}

// checkProcesses reads the argument lists of everything that runs, of which
// the instance must be one.
func checkProcesses(t *testing.T, secrets canaries, dir string, told answer) {
	t.Helper()
	pid, _ := told.path("pid").(float64)
	seen := false
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		command, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if found := secrets.in(string(command)); found != nil {
			t.Errorf("process %d has %v in its arguments", n, found)
		}
		if n == int(pid) {
			seen = len(command) > 0
			environ, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
			for _, name := range secrets.in(string(environ)) { // it has its own MSI_SECRET, and nothing else
				if !strings.HasPrefix(name, "MSI_SECRET") {
					t.Errorf("the instance's environment has %s", name)
				}
			}
		}
	}
	if !seen {
		t.Errorf("the instance %d was not seen in %s", int(pid), dir)
	}
}

// checkListeners reads which of our sockets listen, and where.
func checkListeners(t *testing.T) {
	t.Helper()
	ours := map[string]bool{}
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				ours[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	count := 0
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6", "/proc/self/net/udp", "/proc/self/net/udp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.SplitSeq(string(data), "\n") {
			f := strings.Fields(line)
			listening := len(f) > 9 && (f[3] == "0A" || strings.Contains(table, "udp") && f[3] == "07")
			if !listening || !ours[f[9]] {
				continue
			}
			count++
			address, _, _ := strings.Cut(f[1], ":")
			loopback := address == "0100007F" || address == "00000000000000000000000001000000" || address == "0000000000000000FFFF00000100007F"
			if !loopback {
				t.Errorf("a socket listens beyond this machine: %s in %s", f[1], table)
			}
		}
	}
	if count < 2 { // the gateway's and an instance's token endpoint
		t.Errorf("only %d listening sockets were found", count)
	}
}

// checkFiles holds the data folder against what must not be in it, and its modes.
func checkFiles(t *testing.T, secrets canaries, dir string) {
	t.Helper()
	known := map[string]bool{"client.json": true, "master.key": true}
	scanned := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil // it went meanwhile
			}
			return err
		}
		name, _ := filepath.Rel(dir, path)
		info, err := e.Info()
		if err != nil {
			return nil
		}
		switch {
		case name == "." || name == "ca" || name == "content" || name == "deployments" || name == "azure":
			if e.IsDir() && info.Mode().Perm() != 0o700 {
				t.Errorf("the folder %s has the mode %o", name, info.Mode().Perm())
			}
		case !e.IsDir() && (strings.Contains(name, "key") && !strings.Contains(name, "/lib/") || known[name] || strings.HasPrefix(name, "lapis.db")):
			if info.Mode().Perm() != 0o600 && !strings.HasPrefix(name, "environments") {
				t.Errorf("%s has the mode %o", name, info.Mode().Perm())
			}
		}
		if !info.Mode().IsRegular() || known[name] || strings.HasPrefix(name, "azure/") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		scanned++
		if found := secrets.in(string(data)); found != nil {
			t.Errorf("%s has %v", name, found)
		}
		return nil
	})
	if err != nil || scanned < 10 {
		t.Errorf("%d files were scanned: %v", scanned, err)
	}
	owner, err := os.ReadFile(filepath.Join(dir, "client.json")) // the scan does find what is there
	if err != nil || len(secrets.in(string(owner))) == 0 {
		t.Errorf("the scan misses the owner's secret in client.json: %v", err)
	}
}
