package lapis_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"lapis"
)

const deploymentVersion = "2021-04-01"

// template makes an identity, an account that is tagged with it, and the
// identity's role at the account.
const template = `{
  // made for a test
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
  "parameters": {
    "prefix": {"type": "string", "minLength": 3},
    "secret": {"type": "secureString", "defaultValue": "[newGuid()]"},
    "location": {"type": "string", "defaultValue": "[resourceGroup().location]"}
  },
  "variables": {"account": "[concat(parameters('prefix'), 'store')]", "role": "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1')]"},
  "resources": [
    {"type": "Microsoft.Authorization/roleAssignments", "apiVersion": "2022-04-01", "name": "[guid(resourceGroup().id, parameters('prefix'))]",
      "scope": "[resourceId('Microsoft.Storage/storageAccounts', variables('account'))]",
      "dependsOn": ["[resourceId('Microsoft.Storage/storageAccounts', variables('account'))]"],
      "properties": {"roleDefinitionId": "[variables('role')]", "principalId": "[reference('someone').principalId]", "principalType": "ServicePrincipal"}},
    {"type": "Microsoft.Storage/storageAccounts", "apiVersion": "2023-01-01", "name": "[variables('account')]", "kind": "StorageV2", "sku": {"name": "Standard_LRS"},
      "location": "[parameters('location')]", "tags": {"of": "[reference('someone').clientId]"}},
    {"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "apiVersion": "2023-01-31", "name": "someone", "location": "[parameters('location')]"},
    {"type": "Microsoft.KeyVault/vaults", "apiVersion": "2023-07-01", "name": "never", "condition": "[equals(parameters('prefix'), 'nothing')]"}
  ],
  "outputs": {"blob": {"type": "string", "value": "[reference(variables('account')).primaryEndpoints.blob]"}, "pass": {"type": "secureString", "value": "[parameters('secret')]"}},
}`

func (p *platform) deployTemplate(token, name, body string) answer {
	p.t.Helper()
	return p.do("PUT", armHost+p.group()+"/providers/Microsoft.Resources/deployments/"+name+"?api-version="+deploymentVersion,
		map[string]string{"Authorization": "Bearer " + token, "Content-Type": "application/json"}, []byte(body))
}

func templateBody(template, parameters string) string {
	return `{"properties": {"mode": "incremental", "parameters": ` + parameters + `, template: ` + template + `}}`
}

func TestTemplateIsDeployed(t *testing.T) {
	p := start(t, t.TempDir())
	body := templateBody(template, `{"prefix": {"value": "abc"}, "secret": {"value": "hush-hush-17"}}`)
	valid := p.do("POST", armHost+p.group()+"/providers/Microsoft.Resources/deployments/one/validate?api-version="+deploymentVersion, bearerHeader(p.owner(armHost)), []byte(body))
	if p.must(valid, 200); !strings.Contains(valid.text, "abcstore") || strings.Contains(valid.text, "hush-hush-17") {
		t.Errorf("validate: %s", valid.text)
	}
	id := p.group() + "/providers/Microsoft.Resources/deployments/one"
	if a := p.arm("GET", id, deploymentVersion, nil); a.status != 404 {
		t.Errorf("validate made the deployment: %d", a.status)
	}
	made := p.must(p.deployTemplate(p.owner(armHost), "one", body), 201)
	if end := p.wait(made); end.str("status") != "Succeeded" {
		t.Fatalf("deployment: %s", end.text)
	}
	shown := p.must(p.arm("GET", id, deploymentVersion, nil), 200)
	if shown.str("properties.provisioningState") != "Succeeded" || shown.str("properties.outputs.blob.value") != "https://abcstore.blob.core.windows.net/" ||
		shown.str("properties.parameters.prefix.value") != "abc" || !strings.HasPrefix(shown.str("properties.duration"), "PT") || shown.str("properties.correlationId") == "" {
		t.Errorf("deployment: %s", shown.text)
	}
	if strings.Contains(shown.text, "hush-hush-17") || strings.Contains(p.logs.String(), "hush-hush-17") {
		t.Error("a secure parameter is shown")
	}
	for _, path := range []string{"/providers/Microsoft.Resources", ""} {
		ops := p.must(p.arm("GET", strings.Replace(p.group(), "resourceGroups", "resourcegroups", 1)+path+"/deployments/one/operations", "2020-06-01", nil), 200)
		var order []string
		for _, op := range ops.values() {
			a := answer{json: op}
			if a.str("properties.provisioningState") != "Succeeded" || a.str("operationId") == "" {
				t.Errorf("operation: %v", op)
			}
			order = append(order, a.str("properties.targetResource.resourceType"))
		}
		if got := strings.Join(order, " "); got != "Microsoft.ManagedIdentity/userAssignedIdentities Microsoft.Storage/storageAccounts Microsoft.Authorization/roleAssignments" {
			t.Errorf("order: %s", got)
		}
	}
	identity := p.must(p.arm("GET", p.group()+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/someone", "2023-01-31", nil), 200)
	account := p.must(p.arm("GET", p.group()+"/providers/Microsoft.Storage/storageAccounts/abcstore", storageVersion, nil), 200)
	if account.str("tags.of") != identity.str("properties.clientId") {
		t.Errorf("account: %s", account.text)
	}
	if a := p.must(p.arm("GET", account.str("id")+"/providers/Microsoft.Authorization/roleAssignments", "2022-04-01", nil), 200); !strings.Contains(a.text, identity.str("properties.principalId")) {
		t.Errorf("assignments: %s", a.text)
	}
	// Again: nothing changes, and nothing else goes.
	if end := p.wait(p.must(p.deployTemplate(p.owner(armHost), "one", body), 200)); end.str("status") != "Succeeded" {
		t.Errorf("again: %s", end.text)
	}
	p.wait(p.must(p.arm("DELETE", id, deploymentVersion, nil), 202))
	p.must(p.arm("GET", account.str("id"), storageVersion, nil), 200) // a deployment's record goes, not what it made
	if a := p.arm("GET", id, deploymentVersion, nil); a.status != 404 {
		t.Errorf("after its deletion: %d", a.status)
	}
}

func TestTemplateMakesNothingThatItsCallerMayNot(t *testing.T) {
	p := start(t, t.TempDir())
	who, token := p.application("deployer")
	p.grant(who, "Contributor", p.group()) // which assigns no roles
	body := templateBody(template, `{"prefix": {"value": "abd"}}`)
	a := p.deployTemplate(token, "denied", body)
	if a.status != 403 || a.str("error.code") != "InvalidTemplateDeployment" || !strings.Contains(a.text, "roleAssignments/write") || a.header.Get("x-lapis-denied") == "" {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := p.arm("GET", p.group()+"/providers/Microsoft.Storage/storageAccounts/abdstore", storageVersion, nil); a.status != 404 {
		t.Errorf("something was made: %s", a.text)
	}
	// What the template refers to must be readable, and an identity assignable, too.
	p.grant(who, "User Access Administrator", p.group())
	if end := p.wait(p.must(p.deployTemplate(token, "denied", body), 201)); end.str("status") != "Succeeded" {
		t.Errorf("with the role: %s", end.text)
	}
}

func TestFailedDeploymentNamesTheResource(t *testing.T) {
	p := start(t, t.TempDir())
	p.storage("takenname")
	other := "/subscriptions/" + p.info.SubscriptionID + "/resourceGroups/other"
	p.must(p.arm("PUT", other, groupVersion, object{"location": p.info.Location}), 201)
	body := `{"properties": {"mode": "Incremental", "template": {"resources": [
		{"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "apiVersion": "2023-01-31", "name": "before", "location": "local"},
		{"type": "Microsoft.Storage/storageAccounts", "apiVersion": "2023-01-01", "name": "takenname", "dependsOn": ["before"], "location": "local", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}},
		{"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "apiVersion": "2023-01-31", "name": "after", "dependsOn": ["takenname"], "location": "local"}]}}}`
	id := other + "/providers/Microsoft.Resources/deployments/fails"
	put := p.do("PUT", armHost+id+"?api-version="+deploymentVersion, bearerHeader(p.owner(armHost)), []byte(body))
	end := p.wait(p.must(put, 201))
	if end.str("status") != "Failed" || end.str("error.code") != "DeploymentFailed" || !strings.Contains(end.text, "StorageAccountAlreadyTaken") || !strings.Contains(end.text, "storageAccounts/takenname") {
		t.Errorf("operation: %s", end.text)
	}
	shown := p.must(p.arm("GET", id, deploymentVersion, nil), 200)
	if shown.str("properties.provisioningState") != "Failed" || shown.str("properties.error.code") != "DeploymentFailed" {
		t.Errorf("deployment: %s", shown.text)
	}
	ops := p.must(p.arm("GET", id+"/operations", deploymentVersion, nil), 200)
	if len(ops.values()) != 2 || !strings.Contains(ops.text, "statusMessage") {
		t.Errorf("operations: %s", ops.text)
	}
	if a := p.arm("GET", other+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/after", "2023-01-31", nil); a.status != 404 {
		t.Errorf("what depends on the failed one was made: %d", a.status)
	}
	if a := p.arm("POST", id+"/cancel", deploymentVersion, nil); a.status != 409 {
		t.Errorf("cancelling one that has ended: %d %s", a.status, a.text)
	}
}

func TestBadDeploymentsAreRefusedAndNotKept(t *testing.T) {
	p := start(t, t.TempDir())
	for name, tt := range map[string]struct{ body, code, part string }{
		"no-json":  {`{"properties": `, "InvalidRequestContent", ""},
		"empty":    {`{}`, "InvalidRequestContent", "properties"},
		"complete": {`{"properties": {"mode": "Complete", "template": {"resources": []}}}`, "InvalidDeploymentMode", "Incremental"},
		"link":     {`{"properties": {"mode": "Incremental", "templateLink": {"uri": "https://example.com"}}}`, "InvalidTemplateLink", "links"},
		"function": {templateBody(`{"resources": [{"type": "Microsoft.Storage/storageAccounts", "apiVersion": "2023-01-01", "name": "[noSuch()]"}]}`, `{}`), "InvalidTemplate", "resources[0].name"},
		"type":     {templateBody(`{"resources": [{"type": "Microsoft.Sql/servers", "apiVersion": "2023-01-01", "name": "x"}]}`, `{}`), "NoRegisteredProviderFound", "Microsoft.Sql/servers"},
		"version":  {templateBody(`{"resources": [{"type": "Microsoft.Storage/storageAccounts", "apiVersion": "1999-01-01", "name": "xyz"}]}`, `{}`), "NoRegisteredProviderFound", "1999-01-01"},
		"missing":  {templateBody(template, `{}`), "InvalidTemplate", "'prefix'"},
		"bad.":     {templateBody(`{"resources": []}`, `{}`), "InvalidDeploymentName", "bad."},
	} {
		a := p.deployTemplate(p.owner(armHost), name, tt.body)
		if a.status != 400 || a.str("error.code") != tt.code || !strings.Contains(a.text, tt.part) {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
	if a := p.must(p.arm("GET", p.group()+"/providers/Microsoft.Resources/deployments", deploymentVersion, nil), 200); len(a.values()) != 0 {
		t.Errorf("kept: %s", a.text)
	}
	a := p.arm("GET", p.group()+"/providers/Microsoft.Resources/deployments/none", deploymentVersion, nil)
	if a.status != 404 || a.str("error.code") != "DeploymentNotFound" {
		t.Errorf("a deployment that there is not: %d %s", a.status, a.text)
	}
}

// A deployment that a power cut interrupts goes on with the next start.
func TestDeploymentsAreThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	made := p.must(p.deployTemplate(p.owner(armHost), "long", templateBody(template, `{"prefix": {"value": "abe"}}`)), 201)
	p.stop()
	p = start(t, dir, func(*lapis.Config) {})
	if end := p.wait(made); end.str("status") != "Succeeded" {
		t.Errorf("after the restart: %s", end.text)
	}
	p.must(p.arm("GET", p.group()+"/providers/Microsoft.Storage/storageAccounts/abestore", storageVersion, nil), 200)
}

func TestCompanionsAreRecordsOnly(t *testing.T) {
	p := start(t, t.TempDir())
	for typ, version := range map[string]string{
		"Microsoft.KeyVault/vaults": "2023-07-01", "Microsoft.Insights/components": "2020-02-02", "Microsoft.OperationalInsights/workspaces": "2020-08-01",
	} {
		id := p.group() + "/providers/" + typ + "/record"
		made := p.must(p.arm("PUT", id, version, object{"location": p.info.Location, "properties": object{"Application_Type": "web"}}), 201)
		if said := made.str("properties.lapisNotServed"); !strings.Contains(said, "a record only") {
			t.Errorf("%s does not say that nothing serves it: %s", typ, made.text)
		}
		if a := p.arm("PUT", p.group()+"/providers/"+typ+"/a%25%26", version, object{"location": p.info.Location}); a.status != 400 {
			t.Errorf("%s: a bad name gives %d %s", typ, a.status, a.text)
		}
		p.must(p.arm("DELETE", id, version, nil), 200)
	}
}

// A workspace that names no registry has one of its own from the start.
func TestWorkspaceMakesItsRegistry(t *testing.T) {
	p := start(t, t.TempDir())
	store := p.storage("registryless")
	id := p.group() + "/providers/Microsoft.MachineLearningServices/workspaces/second"
	body := object{"location": p.info.Location, "properties": object{"storageAccount": store, "containerRegistry": nil}}
	made := p.must(p.arm("PUT", id, mlVersion, body), 201)
	registry := made.str("properties.containerRegistry")
	p.must(p.arm("GET", registry, "2023-07-01", nil), 200)
	if again := p.must(p.arm("PUT", id, mlVersion, body), 200); again.str("properties.containerRegistry") != registry {
		t.Errorf("another registry: %s", again.text)
	}
}

// azure-ai-ml makes a workspace by a template of its own, of sixteen resources.
func TestWorkspaceIsMadeByTheSDK(t *testing.T) {
	python := venv(t, "test/clients/python/requirements-newest.txt")
	p := start(t, t.TempDir())
	cmd := exec.Command(python, "test/clients/python/workspace_create.py")
	cmd.Env = append(os.Environ(), p.info.Env(os.Getenv)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
