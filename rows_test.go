package lapis_test

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// values are the members of a list's answer.
func (a answer) values() []map[string]any {
	list, _ := a.json["value"].([]any)
	found := make([]map[string]any, 0, len(list))
	for _, v := range list {
		m, _ := v.(map[string]any)
		found = append(found, m)
	}
	return found
}

// names are the names in a list's answer, sorted.
func (a answer) names() []string {
	var found []string
	for _, v := range a.values() {
		name, _ := v["name"].(string)
		found = append(found, name)
	}
	slices.Sort(found)
	return found
}

func TestTenantSubscriptionAndProvidersAreShown(t *testing.T) {
	p := start(t, t.TempDir())
	get := func(path string) answer { return p.must(p.arm("GET", path, groupVersion, nil), 200) }
	sub := "/subscriptions/" + p.info.SubscriptionID
	if a := get("/tenants"); len(a.values()) != 1 || a.values()[0]["tenantId"] != p.info.TenantID {
		t.Errorf("tenants: %s", a.text)
	}
	if a := get("/subscriptions"); len(a.values()) != 1 || a.values()[0]["subscriptionId"] != p.info.SubscriptionID {
		t.Errorf("subscriptions: %s", a.text)
	}
	if a := get(sub); a.str("state") != "Enabled" || a.str("tenantId") != p.info.TenantID {
		t.Errorf("subscription: %s", a.text)
	}
	if a := get(sub + "/locations"); !slices.Equal(a.names(), []string{p.info.Location}) {
		t.Errorf("locations: %s", a.text)
	}
	const ml = "Microsoft.MachineLearningServices"
	shown := func(a answer) bool {
		return a.str("namespace") == ml && a.str("registrationState") == "Registered" && strings.Contains(a.text, `"workspaces/onlineEndpoints"`)
	}
	if a := get(sub + "/providers"); !strings.Contains(a.text, ml) || len(a.values()) < 4 {
		t.Errorf("providers: %s", a.text)
	}
	if a := get(sub + "/providers/" + strings.ToLower(ml)); !shown(a) {
		t.Errorf("provider: %s", a.text)
	}
	if a := p.must(p.arm("POST", sub+"/providers/"+ml+"/register", groupVersion, nil), 200); !shown(a) {
		t.Errorf("register: %s", a.text)
	}
	if a := get(p.group() + "/resources"); len(a.values()) != 3 { // workspace, account and registry
		t.Errorf("resources of the group: %s", a.text)
	}
	for _, name := range []string{"free", p.info.Workspace + "!"} {
		a := p.must(p.arm("POST", sub+"/providers/Microsoft.Storage/checkNameAvailability", storageVersion, object{"name": name}), 200)
		if available := a.path("nameAvailable"); available != (name == "free") {
			t.Errorf("%s: %s", name, a.text)
		}
	}
}

func TestThePlatformDescribesItselfAsACloud(t *testing.T) {
	p := start(t, t.TempDir())
	get := func(version string) answer {
		return p.must(p.do("GET", "https://management.lapis.localhost/metadata/endpoints?api-version="+version, nil, nil), 200)
	}
	now := get("2022-09-01")
	if now.str("authentication.loginEndpoint") != "https://login.lapis.localhost" || now.str("suffixes.storage") != "core.lapis.localhost" || now.str("resourceManager") != "https://management.lapis.localhost" {
		t.Errorf("metadata: %s", now.text)
	}
	var list []map[string]any
	if err := json.Unmarshal([]byte(get("2019-05-01").text), &list); err != nil || len(list) != 1 {
		t.Errorf("metadata of 2019: %v", err)
	}
	if a := get("2015-01-01"); a.str("authentication.loginEndpoint") != "https://login.lapis.localhost" {
		t.Errorf("metadata of 2015: %s", a.text)
	}
	if a := p.must(p.arm("GET", "/providers/Lapis.Platform/status", groupVersion, nil), 200); a.str("state") != "ready" || a.str("address") == "" {
		t.Errorf("status: %s", a.text)
	}
}

func TestExplainTellsWhyAndWhatWouldMend(t *testing.T) {
	p := start(t, t.TempDir())
	account := p.storage("explained")
	who, token := p.application("somebody")
	ask := func(token, principal string) answer {
		query := url.Values{"principal": {principal}, "scope": {account}, "data": {"true"},
			"action": {"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"}}
		return p.armAs(token, "GET", "/providers/Lapis.Platform/explain?"+query.Encode(), groupVersion, nil)
	}
	owner := p.owner(armHost)
	if a := p.must(ask(owner, who), 200); a.path("allowed") != false || !strings.Contains(a.text, `"role":"Storage Blob Data Reader"`) || !strings.Contains(a.text, "az role assignment create") {
		t.Errorf("denied: %s", a.text)
	}
	assignment := p.grant(who, "Storage Blob Data Reader", account)
	if a := p.must(ask(owner, who), 200); a.path("allowed") != true || a.str("assignment.id") != assignment {
		t.Errorf("allowed: %s", a.text)
	}
	p.must(ask(token, who), 200) // of oneself, everybody may ask
	if a := ask(token, p.ownerID()); a.status != 403 {
		t.Errorf("of another, without the right to read assignments: %d %s", a.status, a.text)
	}
}

func TestRolesAndAssignmentsOverTheWire(t *testing.T) {
	p := start(t, t.TempDir())
	who, token := p.application("lister")
	const version = "2022-04-01"
	roles := p.group() + "/providers/Microsoft.Authorization/roleDefinitions"
	if a := p.must(p.arm("GET", roles+"?$filter="+url.QueryEscape("type eq 'BuiltInRole'"), version, nil), 200); len(a.values()) < 20 {
		t.Errorf("built-in roles: %d", len(a.values()))
	}
	custom := roles + "/11111111-2222-4333-8444-555555555555"
	body := object{"properties": object{"roleName": "Account Lister", "assignableScopes": []string{p.group()},
		"permissions": []object{{"actions": []string{"Microsoft.Storage/storageAccounts/read"}}}}}
	made := p.must(p.arm("PUT", custom, version, body), 201)
	if got := p.must(p.arm("GET", custom, version, nil), 200); got.str("properties.roleName") != "Account Lister" || got.str("properties.type") != "CustomRole" {
		t.Errorf("role: %s", got.text)
	}
	accounts := p.group() + "/providers/Microsoft.Storage/storageAccounts"
	p.must(p.armAs(token, "GET", accounts, storageVersion, nil), 403)
	assignment := p.grant(who, "Account Lister", p.group())
	p.must(p.armAs(token, "GET", accounts, storageVersion, nil), 200)
	if a := p.must(p.arm("GET", assignment, version, nil), 200); a.str("properties.roleDefinitionId") != made.str("id") || a.str("properties.principalId") != who {
		t.Errorf("assignment: %s", a.text)
	}
	list := p.group() + "/providers/Microsoft.Authorization/roleAssignments?$filter=" + url.QueryEscape("principalId eq '"+who+"'")
	if a := p.must(p.arm("GET", list, version, nil), 200); len(a.values()) != 1 {
		t.Errorf("assignments: %s", a.text)
	}
	if a := p.must(p.arm("DELETE", custom, version, nil), 400); a.str("error.code") != "RoleDefinitionHasAssignments" {
		t.Errorf("delete of a role in use: %s", a.text)
	}
	p.must(p.arm("DELETE", assignment, version, nil), 200)
	p.must(p.arm("DELETE", assignment, version, nil), 204)
	p.must(p.armAs(token, "GET", accounts, storageVersion, nil), 403)
	p.must(p.arm("DELETE", custom, version, nil), 200)
	p.must(p.arm("GET", custom, version, nil), 404)
}

func TestAccountKeysOpenTheirAccountUntilReplaced(t *testing.T) {
	p := start(t, t.TempDir())
	id := p.storage("keyed")
	keys := func(action string, body any) []any {
		list, _ := p.must(p.arm("POST", id+"/"+action, storageVersion, body), 200).json["keys"].([]any)
		return list
	}
	before := keys("listKeys", nil)
	after := keys("regenerateKey", object{"keyName": "key1"})
	if len(before) != 2 || len(after) != 2 {
		t.Fatalf("keys: %d, %d", len(before), len(after))
	}
	value := func(list []any, i int) any { return list[i].(map[string]any)["value"] }
	if value(before, 0) == value(after, 0) || value(before, 1) != value(after, 1) {
		t.Error("not just the first key was replaced")
	}
	box := id + "/blobServices/default/containers"
	if a := p.must(p.arm("GET", id+"/blobServices", storageVersion, nil), 200); !slices.Equal(a.names(), []string{"default"}) {
		t.Errorf("services: %s", a.text)
	}
	p.must(p.arm("GET", id+"/blobServices/default", storageVersion, nil), 200)
	if a := p.must(p.arm("GET", box, storageVersion, nil), 200); !slices.Equal(a.names(), []string{"box"}) {
		t.Errorf("containers: %s", a.text)
	}
	p.must(p.arm("DELETE", box+"/box", storageVersion, nil), 200)
	p.must(p.arm("GET", box+"/box", storageVersion, nil), 404)
	p.must(p.arm("DELETE", id, storageVersion, nil), 200)
	p.must(p.arm("GET", id, storageVersion, nil), 404)
	p.must(p.do("GET", "https://keyed.blob.core.windows.net/box/hello.txt", bearerHeader(p.owner(storageHost), "x-ms-version", "2021-12-02"), nil), 404)
}

func TestIdentitiesAndRegistriesComeAndGo(t *testing.T) {
	p := start(t, t.TempDir())
	sub := "/subscriptions/" + p.info.SubscriptionID
	for _, c := range []struct {
		path, version string
		body          object
	}{
		{"providers/Microsoft.ManagedIdentity/userAssignedIdentities/passing", identityVersion, object{"location": p.info.Location}},
		{"providers/Microsoft.ContainerRegistry/registries/passing1", "2023-07-01", object{"location": p.info.Location, "sku": object{"name": "Basic"}}},
	} {
		made := p.must(p.arm("PUT", c.path, c.version, c.body), 200, 201)
		tagged := p.must(p.arm("PATCH", c.path, c.version, object{"tags": object{"a": "b"}}), 200)
		if tagged.str("tags.a") != "b" || tagged.str("id") != made.str("id") {
			t.Errorf("PATCH: %s", tagged.text)
		}
		collection := c.path[:strings.LastIndexByte(c.path, '/')]
		for _, list := range []string{collection, sub + "/" + collection} {
			if a := p.must(p.arm("GET", list, c.version, nil), 200); !slices.Contains(a.names(), made.str("name")) {
				t.Errorf("%s: %s", list, a.text)
			}
		}
		p.must(p.arm("HEAD", c.path, c.version, nil), 204)
		p.must(p.arm("DELETE", c.path, c.version, nil), 200)
		p.must(p.arm("GET", c.path, c.version, nil), 404)
	}
}

func TestWorkspaceShowsItsStoreAndVersionsNeverChange(t *testing.T) {
	p := start(t, t.TempDir())
	ws := p.workspace()
	if a := p.must(p.arm("GET", ws, mlVersion, nil), 200); a.str("identity.principalId") == "" || a.str("properties.workspaceId") == "" {
		t.Errorf("workspace: %s", a.text)
	}
	if a := p.must(p.arm("POST", ws+"/listKeys", mlVersion, nil), 200); a.str("userStorageKey") == "" || a.str("userStorageArmId") == "" ||
		a.str("userStorageArmId") != a.str("userStorageResourceId") {
		t.Error("the keys, or the account in both of its names, are not there")
	}
	if a := p.must(p.arm("GET", ws+"/datastores", mlVersion, nil), 200); !slices.Equal(a.names(), []string{"workspaceblobstore"}) {
		t.Errorf("datastores: %s", a.text)
	}
	store := p.must(p.arm("GET", ws+"/datastores/workspaceblobstore", mlVersion, nil), 200)
	secrets := p.must(p.arm("POST", ws+"/datastores/workspaceblobstore/listSecrets", mlVersion, object{"expirableSecret": true}), 200)
	account := store.str("properties.accountName")
	address := "https://" + account + ".blob.core.windows.net/" + store.str("properties.containerName") + "/LocalUpload/a.txt?" + strings.TrimPrefix(secrets.str("sasToken"), "?")
	p.must(p.do("PUT", address, map[string]string{"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-12-02"}, []byte("a")), 201)
	p.must(p.do("GET", address, nil, nil), 200)

	p.upload("codes", "script", "src", map[string]string{"score.py": "pass"})
	p.upload("models", "small", "model", map[string]string{"model.pkl": "x"})
	p.environment()
	p.must(p.arm("PUT", ws+"/data/rows/versions/1", mlVersion, object{"properties": object{"dataUri": "https://" + account + ".blob.core.windows.net/x/y", "dataType": "uri_file"}}), 201)
	for collection, change := range map[string]object{"codes": {"codeUri": "https://other"}, "models": {"modelUri": "https://other"}, "environments": {"image": "other"}, "data": {"dataUri": "https://other"}} {
		all := p.must(p.arm("GET", ws+"/"+collection, mlVersion, nil), 200)
		name := map[string]string{"codes": "script", "models": "small", "environments": "bare", "data": "rows"}[collection]
		versions := p.must(p.arm("GET", ws+"/"+collection+"/"+name+"/versions", mlVersion, nil), 200)
		if !slices.Equal(versions.names(), []string{"1"}) || collection != "codes" && collection != "models" && !slices.Equal(all.names(), []string{name}) {
			t.Errorf("%s: %s\n%s", collection, all.text, versions.text) // what the helper uploads is anonymous and not listed
		}
		if a := p.must(p.arm("GET", ws+"/"+collection+"/"+name, mlVersion, nil), 200); a.str("properties.latestVersion") != "1" || a.str("properties.nextVersion") != "2" {
			t.Errorf("%s: %s", collection, a.text)
		}
		version := ws + "/" + collection + "/" + name + "/versions/1"
		if a := p.arm("PUT", version, mlVersion, object{"properties": change}); a.status != 409 {
			t.Errorf("%s changed: %d %s", collection, a.status, a.text)
		}
		p.must(p.arm("POST", version+"/startPendingUpload", mlVersion, object{}), 200)
		p.must(p.arm("DELETE", version, mlVersion, nil), 200)
		p.must(p.arm("GET", version, mlVersion, nil), 404)
	}
	if a := p.must(p.arm("PATCH", ws, mlVersion, object{"tags": object{"a": "b"}}), 200); a.str("tags.a") != "b" {
		t.Errorf("tags: %s", a.text)
	}
	p.must(p.arm("DELETE", ws, mlVersion, nil), 200)
	p.must(p.arm("GET", ws, mlVersion, nil), 404)
}

// What cannot be done yet is refused by name, and never answered as if it were done.
func TestWhatIsNotSupportedIsRefusedByName(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("refusing", nil)
	code := p.upload("codes", "c", "src", map[string]string{"score.py": "def init(): pass\ndef run(raw): return raw\n"})
	docker := p.workspace() + "/environments/docker/versions/1"
	deployment := func(name string, value any) (string, string, object) {
		body := p.deploymentBody(code, p.environment(), nil)
		body["properties"].(object)[name] = value
		return p.workspace() + "/onlineEndpoints/refusing/deployments/blue", mlVersion, body
	}
	endpoint := func(name string, value any) (string, string, object) {
		return p.workspace() + "/onlineEndpoints/other", mlVersion, object{"location": p.info.Location, "properties": object{"authMode": "Key", name: value}}
	}
	account := func(identity object) (string, string, object) {
		return p.accountPath("refusing"), storageVersion, object{"location": p.info.Location, "kind": "StorageV2", "sku": object{"name": "Standard_LRS"}, "identity": identity}
	}
	refused := func(code, path, version string, body object) {
		t.Helper()
		if a := p.arm("PUT", path, version, body); a.status != 501 || a.str("error.code") != code || a.str("error.message") == "" {
			t.Errorf("%s: %d %s", code, a.status, a.text)
		}
	}
	refused("BuildContextNotSupported", docker, mlVersion, object{"properties": object{"build": object{"contextUri": "https://x.blob.core.windows.net/c/p", "dockerfilePath": "Dockerfile"}}})
	for _, c := range []struct {
		code, name string
		value      any
	}{
		{"ComputeNotSupported", "endpointComputeType", "Kubernetes"},
		{"EgressNotSupported", "egressPublicNetworkAccess", "Disabled"},
	} {
		path, version, body := deployment(c.name, c.value)
		refused(c.code, path, version, body)
	}
	raw := p.upload("models", "raw", "model", map[string]string{"MLmodel": "flavors:\n  python_function:\n    loader_module: x\n"})
	uri := p.must(p.arm("GET", raw, mlVersion, nil), 200).str("properties.modelUri")
	p.must(p.arm("PUT", p.workspace()+"/models/flow/versions/1", mlVersion, object{"properties": object{"modelType": "mlflow_model", "modelUri": uri}}), 201)
	path, version, body := deployment("model", "azureml:flow:1")
	delete(body["properties"].(object), "codeConfiguration")
	refused("NoCodeDeploymentNotSupported", path, version, body)
	path, version, body = endpoint("compute", "aks")
	refused("ComputeNotSupported", path, version, body)
	path, version, body = endpoint("publicNetworkAccess", "Disabled")
	refused("PrivateEndpointNotSupported", path, version, body)
	path, version, body = account(object{"type": "SystemAssigned"})
	refused("IdentityNotSupported", path, version, body)
	now := p.must(p.arm("GET", p.workspace(), mlVersion, nil), 200)
	refused("IdentityNotSupported", p.workspace(), mlVersion, object{"location": p.info.Location, "properties": now.path("properties"),
		"identity": object{"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": object{p.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/x": object{}}}})
	for _, closed := range []object{{"networkAcls": object{"defaultAction": "Deny"}}, {"publicNetworkAccess": "Disabled"}} {
		path, version, body = account(nil)
		body["properties"] = closed
		refused("NetworkRulesNotSupported", path, version, body)
	}
	images := p.group() + "/providers/Microsoft.ContainerRegistry/registries/refused1"
	for name, code := range map[string]string{"adminUserEnabled": "AdminUserNotSupported", "anonymousPullEnabled": "AnonymousPullNotSupported"} {
		refused(code, images, "2023-07-01", object{"location": p.info.Location, "sku": object{"name": "Basic"}, "properties": object{name: true}})
	}
	path, version, body = deployment("environmentId", "azureml://registries/azureml/environments/sklearn-1.5/versions/1")
	refused("RegistriesNotSupported", path, version, body)
	datastore := func(change object) object {
		properties := object{"datastoreType": "AzureBlob", "accountName": "other", "containerName": "box", "credentials": object{"credentialsType": "None"}}
		maps.Copy(properties, change)
		return object{"properties": properties}
	}
	refused("DatastoreTypeNotSupported", p.workspace()+"/datastores/other", mlVersion, datastore(object{"datastoreType": "AzureFile"}))
	refused("CredentialsTypeNotSupported", p.workspace()+"/datastores/other", mlVersion, datastore(object{"credentials": object{"credentialsType": "Certificate"}}))
}
