package lapis_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// failed asserts that an operation failed and that what it says has all words.
func failed(t *testing.T, op answer, words ...string) {
	t.Helper()
	if op.str("status") != "Failed" {
		t.Fatalf("the operation did not fail: %s", op.text)
	}
	for _, w := range words {
		if !strings.Contains(op.text, w) {
			t.Errorf("the error does not say %q: %s", w, op.text)
		}
	}
}

func TestMissingRoleOnStorageFailsTheDeploymentAndSaysWhatMendsIt(t *testing.T) {
	p := start(t, t.TempDir())
	account := p.storage("nobody1")
	endpoint := p.createEndpoint("no-role", nil)
	code := p.upload("codes", "score", "onlinescoring", map[string]string{"score.py": blobScript})
	body := p.deploymentBody(code, p.environment(), map[string]string{"ACCOUNT": "nobody1"})

	began := time.Now()
	op := p.deploy("no-role", "blue", body)
	took := time.Since(began)
	principal := endpoint.str("identity.principalId")
	words := []string{"AuthorizationPermissionMismatch", "Storage Blob Data Reader", account, principal, "az role assignment create"}
	failed(t, op, append(words, "ResourceNotReady", "UserScriptInitFailed", ". While it started, ")...)
	if took > 10*time.Second { // the promise is 10 s after the environment is ready; this one has nothing to build
		t.Errorf("the failure took %s", took)
	}
	shown := p.must(p.arm("GET", p.workspace()+"/onlineEndpoints/no-role/deployments/blue", mlVersion, nil), 200)
	logs := p.getLogs("no-role", "blue")
	for _, w := range words {
		if !strings.Contains(shown.text, w) {
			t.Errorf("show does not say %q: %s", w, shown.text)
		}
		if !strings.Contains(logs, w) {
			t.Errorf("the log does not say %q:\n%s", w, logs)
		}
	}
	if shown.str("properties.provisioningState") != "Failed" {
		t.Errorf("state: %s", shown.text)
	}

	p.grant(principal, "Storage Blob Data Reader", account)
	if op := p.deploy("no-role", "blue", body); op.str("status") != "Succeeded" {
		t.Errorf("create again without deleting: %s", op.text)
	}
	p.wait(p.must(p.arm("DELETE", p.workspace()+"/onlineEndpoints/no-role/deployments/blue", mlVersion, nil), 202))
	if op := p.deploy("no-role", "blue", body); op.str("status") != "Succeeded" {
		t.Errorf("create again after deleting: %s", op.text)
	}
}

func TestUserAssignedIdentityNeedsRolesOfItsOwn(t *testing.T) {
	p := start(t, t.TempDir())
	account := p.storage("uaidata")
	uai := p.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader"
	made := p.must(p.arm("PUT", uai, "2023-01-31", object{"location": p.info.Location}), 201)
	principal, clientID := made.str("properties.principalId"), made.str("properties.clientId")
	p.createEndpoint("with-uai", object{"type": "UserAssigned", "userAssignedIdentities": object{uai: object{}}})
	ws := p.must(p.arm("GET", p.workspace(), mlVersion, nil), 200)
	code := p.upload("codes", "score", "onlinescoring", map[string]string{"score.py": blobScript})
	body := p.deploymentBody(code, p.environment(), map[string]string{"ACCOUNT": "uaidata", "UAI_CLIENT_ID": clientID})
	p.grant(principal, "Storage Blob Data Reader", account)

	began := time.Now()
	failed(t, p.deploy("with-uai", "blue", body), "Storage Blob Data Reader", ws.str("properties.storageAccount"), "az role assignment create", principal)
	p.grant(principal, "Storage Blob Data Reader", ws.str("properties.storageAccount"))
	failed(t, p.deploy("with-uai", "blue", body), "Endpoint identity does not have pull permission on the registry", "AcrPull",
		ws.str("properties.containerRegistry"), "az role assignment create", principal)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("two early failures took %s", took)
	}
	p.grant(principal, "AcrPull", ws.str("properties.containerRegistry"))
	if op := p.deploy("with-uai", "blue", body); op.str("status") != "Succeeded" {
		t.Fatalf("with all roles: %s\n%s", op.text, p.getLogs("with-uai", "blue"))
	}
	if logs := p.getLogs("with-uai", "blue"); !strings.Contains(logs, "Blob contains: Hello world!") {
		t.Errorf("log:\n%s", logs)
	}
}

// Every way in which a script or an environment can be wrong gives its own
// cause in the operation's error and in the log, and the name stays usable.
func TestBrokenScriptsAndEnvironmentsSayWhy(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("broken", nil)
	environment := p.environment()
	const good = "def init(): pass\ndef run(raw): return raw\n"
	unsolvable := p.workspace() + "/environments/unsolvable/versions/1"
	p.must(p.arm("PUT", unsolvable, mlVersion, object{"properties": object{"image": "x", "condaFile": "dependencies: [python, pip, {pip: ['no-such-package-of-lapis==9.9.9']}]"}}), 201)
	malformed := p.workspace() + "/environments/malformed/versions/1"
	p.must(p.arm("PUT", malformed, mlVersion, object{"properties": object{"image": "x", "condaFile": "dependencies: [python\nname: : x"}}), 201)
	cases := []struct {
		name, script, environment string
		words                     []string
	}{
		{"init raises", "def init(): raise RuntimeError('the cat ate it')\ndef run(raw): return 1\n", environment,
			[]string{"ResourceNotReady", "UserScriptInitFailed", "the cat ate it"}},
		{"no run", "def init(): pass\n", environment, []string{"ResourceNotReady", "UserScriptFunctionNotFound", "run"}},
		{"syntax error", "def init(:\n", environment, []string{"ResourceNotReady", "UserScriptImportError", "SyntaxError"}},
		{"missing package", "import no_such_module\n" + good, environment, []string{"ResourceNotReady", "UserScriptImportError", "no_such_module"}},
		{"wrong model path", "import os\ndef init(): open(os.path.join(os.environ['AZUREML_MODEL_DIR'], 'nope.pkl'))\ndef run(raw): return 1\n", environment,
			[]string{"ResourceNotReady", "UserScriptInitFailed"}},
		{"exits in init", "import sys\ndef init(): sys.exit(4)\ndef run(raw): return 1\n", environment, []string{"ResourceNotReady"}},
		{"conda file is not YAML", good, malformed, []string{"ImageBuildFailure", "conda file"}},
		{"conda file cannot be solved", good, unsolvable, []string{"ImageBuildFailure", "no-such-package-of-lapis"}},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			code := p.upload("codes", fmt.Sprintf("code%d", i), "onlinescoring", map[string]string{"score.py": c.script})
			body := p.deploymentBody(code, c.environment, map[string]string{})
			op := p.deploy("broken", "blue", body)
			if strings.Contains(op.text, "PackageIndexUnreachable") {
				t.Skip("no package index can be reached")
			}
			failed(t, op, c.words...)
			if logs := p.getLogs("broken", "blue"); !strings.Contains(logs, c.words[len(c.words)-1]) {
				t.Errorf("the log does not show %q:\n%s", c.words[len(c.words)-1], logs)
			}
		})
	}
	code := p.upload("codes", "good", "onlinescoring", map[string]string{"score.py": good})
	if op := p.deploy("broken", "blue", p.deploymentBody(code, environment, map[string]string{})); op.str("status") != "Succeeded" {
		t.Errorf("the name is not usable after the failures: %s", op.text)
	}
}

func TestEndpointRulesAreRefusedWithAzuresCodes(t *testing.T) {
	p := start(t, t.TempDir())
	endpoint := p.workspace() + "/onlineEndpoints/rules"
	p.createEndpoint("rules", nil)
	uai := p.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/other"
	p.must(p.arm("PUT", uai, "2023-01-31", object{"location": p.info.Location}), 201)
	code := p.upload("codes", "score", "onlinescoring", map[string]string{"score.py": "def init(): pass\ndef run(raw): return raw\n"})
	body := p.deploymentBody(code, p.environment(), map[string]string{})
	if op := p.deploy("rules", "blue", body); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	put := func(path string, body object) func() answer {
		return func() answer { return p.arm("PUT", path, mlVersion, body) }
	}
	location := p.info.Location
	bad := func(change func(properties object)) object {
		b := p.deploymentBody(code, p.environment(), map[string]string{})
		change(b["properties"].(object))
		return b
	}
	for _, c := range []struct {
		name   string
		do     func() answer
		status int
		code   string
	}{
		{"identity changed", put(endpoint, object{"location": location, "identity": object{"type": "UserAssigned", "userAssignedIdentities": object{uai: object{}}}, "properties": object{"authMode": "Key"}}), 400, "BadArgument"},
		{"traffic sums to 90", put(endpoint, object{"location": location, "properties": object{"authMode": "Key", "traffic": object{"blue": 90}}}), 400, "InvalidTraffic"},
		{"traffic to nobody", put(endpoint, object{"location": location, "properties": object{"authMode": "Key", "traffic": object{"green": 100}}}), 400, "InvalidTraffic"},
		{"name with underscore", put(p.workspace()+"/onlineEndpoints/a_b_c", object{"location": location, "properties": object{"authMode": "Key"}}), 400, "InvalidName"},
		{"name too short", put(p.workspace()+"/onlineEndpoints/ab", object{"location": location, "properties": object{"authMode": "Key"}}), 400, "InvalidName"},
		{"name with a digit first", put(endpoint+"/deployments/1blue", body), 400, "InvalidName"},
		{"no script", put(endpoint+"/deployments/green", bad(func(o object) { delete(o, "codeConfiguration") })), 400, "MissingDriverProgram"},
		{"unknown code", put(endpoint+"/deployments/green", bad(func(o object) {
			o["codeConfiguration"] = object{"codeId": p.workspace() + "/codes/none/versions/1", "scoringScript": "score.py"}
		})), 400, "BadArgument"},
		{"script outside", put(endpoint+"/deployments/green", bad(func(o object) {
			o["codeConfiguration"] = object{"codeId": code, "scoringScript": "../score.py"}
		})), 400, "BadArgument"},
		{"timeout too long", put(endpoint+"/deployments/green", bad(func(o object) { o["requestSettings"] = object{"requestTimeout": "PT10M"} })), 400, "BadArgument"},
		{"timeout no duration", put(endpoint+"/deployments/green", bad(func(o object) { o["requestSettings"] = object{"requestTimeout": "soon"} })), 400, "BadArgument"},
		{"wrong type", put(endpoint+"/deployments/green", bad(func(o object) { o["environmentVariables"] = 7 })), 400, "InvalidRequestContent"},
		{"in no endpoint", put(p.workspace()+"/onlineEndpoints/none/deployments/blue", body), 404, "ParentResourceNotFound"},
		{"no such deployment", func() answer { return p.arm("GET", endpoint+"/deployments/none", mlVersion, nil) }, 404, "ResourceNotFound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if a := c.do(); a.status != c.status || a.str("error.code") != c.code {
				t.Errorf("%d %s, want %d %s", a.status, a.text, c.status, c.code)
			}
		})
	}
	p.wait(p.must(p.traffic("rules", object{"blue": 100}), 200))
	if a := p.arm("DELETE", endpoint+"/deployments/blue", mlVersion, nil); a.status != 400 || a.str("error.code") != "DeploymentHasTraffic" {
		t.Errorf("delete with traffic: %d %s", a.status, a.text)
	}
	echo := p.must(p.arm("GET", endpoint, mlVersion, nil), 200)
	if a := p.arm("PUT", endpoint, mlVersion, echo.json); a.status != 200 {
		t.Errorf("a PUT of what was shown: %d %s", a.status, a.text)
	}
}

func TestDeletedEndpointLeavesNothing(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("gone", nil)
	code := p.upload("codes", "score", "onlinescoring", map[string]string{"score.py": "def init(): pass\ndef run(raw): return raw\n"})
	body := p.deploymentBody(code, p.environment(), map[string]string{})
	if op := p.deploy("gone", "blue", body); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	p.wait(p.must(p.traffic("gone", object{"blue": 100}), 200))
	key := p.key("gone")
	p.must(p.score("gone", key, "{}"), 200)
	first := p.must(p.arm("GET", p.workspace()+"/onlineEndpoints/gone", mlVersion, nil), 200).str("identity.principalId")
	if op := p.wait(p.must(p.arm("DELETE", p.workspace()+"/onlineEndpoints/gone", mlVersion, nil), 202)); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	p.must(p.arm("GET", p.workspace()+"/onlineEndpoints/gone", mlVersion, nil), 404)
	p.must(p.arm("GET", p.workspace()+"/onlineEndpoints/gone/deployments/blue", mlVersion, nil), 404)
	if a := p.score("gone", key, "{}"); a.status != 404 {
		t.Errorf("scoring a deleted endpoint: %d %s", a.status, a.text)
	}
	again := p.createEndpoint("gone", nil)
	if again.str("identity.principalId") == first {
		t.Error("an endpoint made again has the identity of the deleted one")
	}
	p.must(p.score("gone", key, "{}"), 401)
}
