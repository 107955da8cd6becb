package lapis_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// pidScript answers with the number of its process.
const pidScript = `
import os
def init(): pass
def run(raw): return {"pid": os.getpid()}
`

// below lists the files below a folder, without the logs of deployments.
func below(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && e.Name() == "logs" {
			return fs.SkipDir
		}
		if name, _ := filepath.Rel(dir, path); !e.IsDir() {
			found = append(found, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// revisions are the folders of a platform's deployments that hold a script.
func revisions(t *testing.T, dir string) (found []string) {
	t.Helper()
	for _, name := range below(t, filepath.Join(dir, "deployments")) {
		if strings.HasSuffix(name, "score.py") {
			found = append(found, name)
		}
	}
	return found
}

// gone waits for a process to end.
func gone(t *testing.T, what string, pid any) {
	t.Helper()
	n, ok := pid.(float64)
	if !ok || n < 2 {
		t.Fatalf("%s: no process number: %v", what, pid)
	}
	for deadline := time.Now().Add(10 * time.Second); !ended(int(n)); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%s: the process %d still runs", what, int(n))
			return
		}
	}
}

// A missing role is known before anything is fetched or built, whatever else
// is wrong.
func TestRolesAreAskedForBeforeAnythingIsBuilt(t *testing.T) {
	p := start(t, t.TempDir())
	uai := p.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/early"
	principal := p.must(p.arm("PUT", uai, identityVersion, object{"location": p.info.Location}), 201).str("properties.principalId")
	p.createEndpoint("early", object{"type": "UserAssigned", "userAssignedIdentities": object{uai: object{}}})
	ws := p.must(p.arm("GET", p.workspace(), mlVersion, nil), 200)
	p.grant(principal, "Storage Blob Data Reader", ws.str("properties.storageAccount"))
	malformed := p.workspace() + "/environments/malformed/versions/1"
	p.must(p.arm("PUT", malformed, mlVersion, object{"properties": object{"image": "x", "condaFile": "dependencies: [python\nname: : x"}}), 201)
	code := p.upload("codes", "score", "onlinescoring", map[string]string{"score.py": pidScript})
	failed(t, p.deploy("early", "blue", p.deploymentBody(code, malformed, nil)), "Endpoint identity does not have pull permission on the registry", "AcrPull")
	p.grant(principal, "AcrPull", ws.str("properties.containerRegistry"))
	failed(t, p.deploy("early", "blue", p.deploymentBody(code, malformed, nil)), "ImageBuildFailure")
}

// Code, model and environment come with the endpoint's own identity, and with
// no other that could do the same.
func TestDeploymentFetchesAndPullsWithTheEndpointsIdentity(t *testing.T) {
	p := start(t, t.TempDir())
	var mu sync.Mutex
	var pulled []string
	p.server.WatchImages(func(objectID string) {
		mu.Lock()
		defer mu.Unlock()
		pulled = append(pulled, objectID)
	})
	principal := p.createEndpoint("by-itself", nil).str("identity.principalId")
	code := p.upload("codes", "score", "onlinescoring", map[string]string{"score.py": pidScript})
	model := p.upload("models", "small", "model", map[string]string{"model.txt": "x"})
	body := p.deploymentBody(code, p.environment(), nil)
	body["properties"].(object)["model"] = model
	before := len(p.logs.String())
	if op := p.deploy("by-itself", "blue", body); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	reads := 0
	for line := range strings.SplitSeq(p.logs.String()[before:], "\n") {
		if !strings.Contains(line, "storage request") || !strings.Contains(line, "as=token") {
			continue
		}
		reads++
		if !strings.Contains(line, "principal="+principal) {
			t.Errorf("another identity read: %s", line)
		}
	}
	if reads < 4 { // a list and a blob, for code and model
		t.Errorf("the log shows only %d reads", reads)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(pulled) == 0 || pulled[len(pulled)-1] != principal {
		t.Errorf("the environment was pulled as %v, not as the endpoint %s", pulled, principal)
	}
}

// Nothing of a failed, replaced or deleted deployment stays: no file of its
// code, no process, no half-made environment.
func TestNothingOfAnEndedDeploymentStays(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	p.createEndpoint("tidy", nil)
	environment := p.environment()
	code := p.upload("codes", "good", "onlinescoring", map[string]string{"score.py": pidScript})
	broken := p.upload("codes", "broken", "onlinescoring", map[string]string{"score.py": "def init(): raise RuntimeError('no')\ndef run(raw): return 1\n"})
	failed(t, p.deploy("tidy", "blue", p.deploymentBody(broken, environment, nil)), "ResourceNotReady")
	if left := revisions(t, dir); left != nil {
		t.Errorf("a failed deployment left %v", left)
	}
	malformed := p.workspace() + "/environments/malformed/versions/1"
	p.must(p.arm("PUT", malformed, mlVersion, object{"properties": object{"image": "x", "condaFile": "dependencies: [python, pip, {pip: ['./no-such-package']}]"}}), 201)
	if op := p.deploy("tidy", "blue", p.deploymentBody(code, malformed, nil)); op.str("status") != "Failed" {
		t.Errorf("an environment that cannot be made: %s", op.text)
	}
	if left := below(t, filepath.Join(dir, "environments", "tmp")); left != nil {
		t.Errorf("a failed build left %v", left)
	}
	if left := revisions(t, dir); left != nil {
		t.Errorf("a failed deployment left %v", left)
	}

	serve := func() any {
		t.Helper()
		if op := p.deploy("tidy", "blue", p.deploymentBody(code, environment, nil)); op.str("status") != "Succeeded" {
			t.Fatal(op.text)
		}
		p.settle(p.traffic("tidy", object{"blue": 100}))
		if now := revisions(t, dir); len(now) != 1 {
			t.Errorf("a serving deployment has the scripts %v", now)
		}
		return p.must(p.score("tidy", p.key("tidy"), "{}"), 200).path("pid")
	}
	first := serve()
	second := serve()
	gone(t, "a replaced revision", first)
	failed(t, p.deploy("tidy", "blue", p.deploymentBody(broken, environment, nil)), "ResourceNotReady")
	if a := p.score("tidy", p.key("tidy"), "{}"); a.path("pid") != second {
		t.Errorf("a failed update took away what served: %d %s", a.status, a.text)
	}
	p.settle(p.traffic("tidy", object{}))
	p.settle(p.arm("DELETE", p.endpoint("tidy")+"/deployments/blue", mlVersion, nil))
	gone(t, "a deleted deployment", second)
	if left, err := filepath.Glob(filepath.Join(dir, "deployments", "*", "blue")); err != nil || left != nil {
		t.Errorf("a deleted deployment left %v %v", left, err)
	}
	if left := revisions(t, dir); left != nil {
		t.Errorf("a deleted deployment left %v", left)
	}
	third := serve()
	key := p.key("tidy")
	p.settle(p.arm("DELETE", p.endpoint("tidy"), mlVersion, nil))
	gone(t, "a deleted endpoint", third)
	if left, err := os.ReadDir(filepath.Join(dir, "deployments")); err != nil || len(left) != 0 {
		t.Errorf("a deleted endpoint left %v %v", left, err)
	}
	for _, bearer := range []string{key, "wrong"} { // its address is gone, and asks for no key any more
		p.must(p.score("tidy", bearer, "{}"), 404)
	}
}

// What served serves again by itself after a restart, under the same keys; and
// an endpoint without a deployment still knows its callers.
func TestServingDeploymentsServeAgainAfterARestart(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	p.createEndpoint("lasting-ep", nil)
	p.createEndpoint("empty-ep", nil)
	p.echoing("lasting-ep", "blue")
	key, wrong := p.key("lasting-ep"), p.key("empty-ep")
	p.must(p.score("lasting-ep", key, "hi"), 200)
	for range 2 {
		p.stop()
		p = start(t, dir)
		p.must(p.score("empty-ep", key, "{}"), 401)
		p.must(p.score("empty-ep", wrong, "{}"), 404)
		p.must(p.score("lasting-ep", wrong, "{}"), 401)
		var a answer
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if a = p.score("lasting-ep", key, "hi"); a.status == 200 {
				break
			}
		}
		if a.status != 200 || a.str("echo") != "hi" || a.str("from") != "blue" {
			t.Fatalf("after a restart: %d %s\n%s", a.status, a.text, p.getLogs("lasting-ep", "blue"))
		}
		if now := revisions(t, dir); len(now) != 1 {
			t.Errorf("after a restart there are the scripts %v", now)
		}
	}
}

// askingScript tells what its token endpoint answers to a query.
const askingScript = `
import json, os, urllib.error, urllib.request

def init(): pass

def run(raw):
    ask = urllib.request.Request(os.environ["MSI_ENDPOINT"] + json.loads(raw)["query"], headers={"secret": os.environ["MSI_SECRET"]})
    try:
        return {"status": 200, "client": json.load(urllib.request.urlopen(ask)).get("client_id")}
    except urllib.error.HTTPError as e:
        return {"status": e.code, "text": e.read().decode()}
`

// An instance gets tokens for its own identities and for what the platform
// serves; of several identities none is guessed, and the user's variables do
// not lead it to another's token endpoint.
func TestInstanceGetsTokensOfItsOwnIdentitiesAlone(t *testing.T) {
	p := start(t, t.TempDir())
	ws := p.must(p.arm("GET", p.workspace(), mlVersion, nil), 200)
	ids, clients := object{}, []string{}
	for _, name := range []string{"one-id", "two-id", "foreign-id"} {
		made := p.must(p.arm("PUT", identityPath(name), identityVersion, object{"location": p.info.Location}), 201)
		clients = append(clients, made.str("properties.clientId"))
		if name == "foreign-id" {
			continue
		}
		ids[made.str("id")] = object{}
		p.grant(made.str("properties.principalId"), "Storage Blob Data Reader", ws.str("properties.storageAccount"))
		p.grant(made.str("properties.principalId"), "AcrPull", ws.str("properties.containerRegistry"))
	}
	p.createEndpoint("two-ids", object{"type": "UserAssigned", "userAssignedIdentities": ids})
	code := p.upload("codes", "asking", "onlinescoring", map[string]string{"score.py": askingScript})
	body := p.deploymentBody(code, p.environment(), map[string]string{"MSI_ENDPOINT": "http://127.0.0.1:1/MSI/auth", "MSI_SECRET": "mine"})
	if op := p.deploy("two-ids", "blue", body); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	p.settle(p.traffic("two-ids", object{"blue": 100}))
	key := p.key("two-ids")
	ask := func(query string) answer {
		return p.must(p.score("two-ids", key, `{"query":"?`+query+`"}`), 200)
	}
	for _, c := range []struct {
		query  string
		status float64
		client string
	}{
		{"resource=https://storage.azure.com/&clientid=" + clients[0], 200, clients[0]},
		{"resource=https://storage.azure.com/&clientid=" + clients[1], 200, clients[1]},
		{"resource=https://storage.azure.com/&clientid=" + clients[2], 400, ""},
		{"resource=https://storage.azure.com/", 400, ""},
		{"resource=https://example.org/&clientid=" + clients[0], 400, ""},
	} {
		a := ask(c.query)
		if a.path("status") != c.status || c.client != "" && a.str("client") != c.client {
			t.Errorf("%s: %s, want %v %s", c.query, a.text, c.status, c.client)
		}
	}
}

// Tokens of Entra ID are held at the scoring address to what every other plane
// holds them to.
func TestScoringRefusesTokensThatAreNotGood(t *testing.T) {
	const scoring = "https://ml.azure.com"
	p := start(t, t.TempDir())
	p.settle(p.putEndpoint("tokened", object{"authMode": "AADToken"}))
	principal, clientID, secret, err := p.server.NewApplication("caller")
	if err != nil {
		t.Fatal(err)
	}
	p.grant(principal, "AzureML Data Scientist", p.endpoint("tokened"))
	good := p.token(clientID, secret, scoring)
	p.must(p.score("tokened", good, "{}"), 404) // it is let in, and there is no deployment
	mint := func(tenant string, at time.Time) string {
		token, err := p.server.Mint(principal, scoring, tenant, at)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	cut := strings.Split(good, ".")
	other := strings.Split(mint("", time.Now().Add(-time.Hour)), ".")
	for name, token := range map[string]string{
		"garbage": "garbage", "expired": mint("", time.Now().Add(-26*time.Hour)), "tenant": mint("11111111-2222-3333-4444-555555555555", time.Now()),
		"audience": p.token(clientID, secret, armHost), "alg none": withoutSignature(good), "HS256": hs256(good, p.jwks().pem(t, p.jwks().kid(good))),
		"tampered": tampered(good, "exp", 9999999999.0), "another principal": tampered(good, "oid", p.ownerID()),
		"signature of another": strings.Join(append(slices.Clone(cut[:2]), other[2]), "."),
	} {
		if a := p.score("tokened", token, "{}"); a.status != 401 || strings.Contains(a.text, token) && len(token) > 40 {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
	p.must(p.score("tokened", good, "{}"), 404)
}
