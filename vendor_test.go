package lapis_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// vendorWheels are the packages whose models the answers are held against: the
// last ones that ship attribute maps, which a script can read without running them.
var vendorWheels = []string{
	"azure-ai-ml==1.28.0", "azure-mgmt-storage==24.0.1", "azure-mgmt-msi==7.1.0", "azure-mgmt-authorization==4.0.0",
}

// wheels downloads packages once per machine, without what they need, and
// skips the test where there is no index to take them from.
func wheels(t *testing.T, packages ...string) []string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no Python packages")
	}
	base := os.Getenv("LAPIS_TEST_CACHE")
	if base == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skip("no cache folder: ", err)
		}
		base = filepath.Join(cache, "lapis-test")
	}
	var found []string
	for _, p := range packages {
		dir := filepath.Join(base, "wheel-"+strings.ReplaceAll(p, "==", "-"))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Skip("no cache folder: ", err)
		}
		lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = lock.Close() }()
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*.whl"))
		if len(files) == 0 {
			out, err := exec.Command("python3", "-m", "pip", "download", "-q", "--disable-pip-version-check",
				"--retries", "1", "--timeout", "20", "--no-deps", "-d", dir, p).CombinedOutput()
			if err != nil {
				t.Skipf("cannot download %s; is a package index within reach? %v %s", p, err, out)
			}
			files, _ = filepath.Glob(filepath.Join(dir, "*.whl"))
		}
		found = append(found, files...)
	}
	return found
}

type modelCheck struct {
	Name   string         `json:"name"`
	Module string         `json:"module"`
	Model  string         `json:"model"`
	Body   map[string]any `json:"body"`
	Allow  []string       `json:"allow"` // ends of the problems that are known
}

// known are the places where an answer is right and the models are not. Older
// api-versions are answered with the fields of newer ones as well, which their
// clients leave alone.
func known(module string) []string {
	allow := []string{
		"permissions is 'FULL', which KeyPermission has not: ['Full', 'Read']", // the real service's spelling, which clients take in any case
		".properties.credentials.secrets is missing",                           // required of requests alone
	}
	switch {
	case strings.Contains(module, "2022_05_01"):
		allow = append(allow, ".properties.provisioningState is not known to CodeVersionDetails", ".properties.provisioningState is not known to ModelVersionDetails",
			".properties.provisioningState is not known to EnvironmentVersionDetails", ".properties.publicNetworkAccess is not known to OnlineEndpointDetails",
			".properties.mirrorTraffic is not known to OnlineEndpointDetails")
	case strings.Contains(module, "2018_11_30"):
		allow = append(allow, ".systemData is not known to Identity")
	case strings.Contains(module, "2024_10_01"): // dropped there
		allow = append(allow, ".userStorageResourceId is not known to ListWorkspaceKeysResult")
	}
	return allow
}

// Every field of an answer is one that the vendors' own models know, of their
// type, with enums in their case; what the models require is there.
func TestAnswersFitTheVendorsModels(t *testing.T) {
	packages := wheels(t, vendorWheels...)
	p := start(t, t.TempDir())
	var checks []modelCheck
	check := func(a answer, model string, modules ...string) {
		t.Helper()
		if a.status != 200 && a.status != 201 {
			t.Fatalf("%s: %d %s", model, a.status, a.text)
		}
		for _, m := range modules {
			checks = append(checks, modelCheck{Name: model, Module: m, Model: model, Body: a.json, Allow: known(m)})
		}
	}
	ml := func(versions ...string) []string {
		var modules []string
		for _, v := range versions {
			modules = append(modules, "azure/ai/ml/_restclient/v"+v+"/models")
		}
		return modules
	}
	get := func(path, version string) answer { return p.arm("GET", path, version, nil) }
	p.machineLearning(check, get, ml)
	p.otherPlanes(check, get)

	if problems := vendorProblems(t, packages, checks); problems != "" {
		t.Errorf("%d answers were checked:\n%s", len(checks), problems)
	}
}

// The check must see what it is there for.
func TestVendorCheckSeesWhatIsWrong(t *testing.T) {
	packages := wheels(t, vendorWheels...)
	const module = "azure/ai/ml/_restclient/v2023_04_01_preview/models"
	problems := vendorProblems(t, packages, []modelCheck{
		{Name: "endpoint", Module: module, Model: "OnlineEndpoint", Allow: []string{}, Body: object{
			"location": 7, "properties": object{"authMode": "key", "traffic": object{"blue": "100"}, "mystery": 1}, "systemData": object{"createdAt": "now"},
		}},
		{Name: "deployment", Module: module, Model: "OnlineDeployment", Allow: []string{}, Body: object{
			"location": "local", "properties": object{"endpointComputeType": "managed"},
		}},
		{Name: "fine", Module: module, Model: "EndpointAuthKeys", Allow: []string{}, Body: object{"primaryKey": "k"}},
	})
	for _, want := range []string{".location is no str", "authMode is 'key'", "traffic[blue] is no int", "mystery is not known", "createdAt is no iso-8601", "'managed'"} {
		if !strings.Contains(problems, want) {
			t.Errorf("it does not see that %s:\n%s", want, problems)
		}
	}
	if strings.Contains(problems, "fine") {
		t.Errorf("it sees what is not: %s", problems)
	}
}

func vendorProblems(t *testing.T, packages []string, checks []modelCheck) string {
	t.Helper()
	input, err := json.Marshal(map[string]any{"wheels": packages, "checks": checks})
	if err != nil {
		t.Fatal(err)
	}
	script := exec.Command("python3", "testdata/vendor_models.py")
	script.Stdin = bytes.NewReader(input)
	out, err := script.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

type (
	checkFunc = func(a answer, model string, modules ...string)
	getFunc   = func(path, version string) answer
)

// machineLearning asks for one of each type of the workspace.
func (p *platform) machineLearning(check checkFunc, get getFunc, ml func(...string) []string) {
	newest := ml("2023_04_01_preview", "2024_10_01_preview")
	ws := p.workspace()
	check(get(ws, "2024-10-01-preview"), "Workspace", newest...)
	check(p.arm("POST", ws+"/listKeys", mlVersion, nil), "ListWorkspaceKeysResult", newest...)
	p.createEndpoint("vendor", nil)
	p.echoing("vendor", "blue", "green")
	p.settle(p.putEndpoint("vendor", object{"authMode": "Key", "traffic": object{"blue": 100}, "mirrorTraffic": object{"green": 10}, "description": "d"}))
	uai := p.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/vendor"
	p.must(p.arm("PUT", uai, "2023-01-31", object{"location": p.info.Location}), 201)
	body := object{"location": p.info.Location, "tags": object{"a": "b"}, "properties": object{"authMode": "AMLToken"},
		"identity": object{"type": "UserAssigned", "userAssignedIdentities": object{uai: object{}}}}
	p.settle(p.arm("PUT", p.endpoint("vendor-user"), mlVersion, body))
	for _, name := range []string{"vendor", "vendor-user"} {
		check(get(p.endpoint(name), mlVersion), "OnlineEndpoint", newest...)
		check(get(p.endpoint(name), "2022-02-01-preview"), "OnlineEndpointData", ml("2022_02_01_preview", "2022_05_01")...)
	}
	check(get(ws+"/onlineEndpoints", mlVersion), "OnlineEndpointTrackedResourceArmPaginatedResult", newest...)
	check(p.post("vendor", "listKeys", nil), "EndpointAuthKeys", newest...)
	check(p.post("vendor-user", "token", nil), "EndpointAuthToken", newest...)
	blue := p.endpoint("vendor") + "/deployments/blue"
	check(get(blue, mlVersion), "OnlineDeployment", newest...)
	check(get(blue, "2022-02-01-preview"), "OnlineDeploymentData", ml("2022_02_01_preview", "2022_05_01")...)
	check(get(p.endpoint("vendor")+"/deployments", mlVersion), "OnlineDeploymentTrackedResourceArmPaginatedResult", newest...)
	check(p.arm("POST", blue+"/getLogs", mlVersion, object{"tail": 10}), "DeploymentLogs", newest...)

	p.upload("models", "m", "model", map[string]string{"x": "y"})
	p.must(p.arm("PUT", ws+"/data/d/versions/1", mlVersion, object{"properties": object{"dataUri": "https://example.org/a", "dataType": "uri_file"}}), 201)
	for collection, v := range map[string]struct{ name, model string }{
		"codes": {"echo", "Code"}, "models": {"m", "Model"}, "environments": {"bare", "Environment"}, "data": {"d", "Data"},
	} {
		version, item := v.model+"Version", ws+"/"+collection+"/"+v.name
		if v.model == "Data" {
			version = "DataVersionBase"
		}
		check(get(item+"/versions/1", mlVersion), version, newest...)
		check(get(item+"/versions/1", "2022-05-01"), version+"Data", ml("2022_05_01")...)
		check(get(item, mlVersion), v.model+"Container", newest...)
		check(get(item+"/versions", mlVersion), version+"ResourceArmPaginatedResult", newest...)
		check(get(ws+"/"+collection, mlVersion), v.model+"ContainerResourceArmPaginatedResult", newest...)
	}
	check(p.arm("POST", ws+"/codes/new/versions/1/startPendingUpload", mlVersion, object{"pendingUploadType": "TemporaryBlobReference"}), "PendingUploadResponseDto", newest...)

	store := ws + "/datastores/workspaceblobstore"
	check(get(store, datastoreVersion), "Datastore", newest...)
	check(get(ws+"/datastores", datastoreVersion), "DatastoreResourceArmPaginatedResult", newest...)
	for _, expirable := range []bool{true, false} {
		check(p.arm("POST", store+"/listSecrets", datastoreVersion, object{"expirableSecret": expirable}), "DatastoreSecrets", newest...)
	}
	p.must(p.arm("PUT", ws+"/datastores/none", datastoreVersion, blobDatastore("anybody", "box", object{"credentialsType": "None"})), 201)
	check(get(ws+"/datastores/none", datastoreVersion), "Datastore", newest...)
}

// otherPlanes asks for storage, identities and roles.
func (p *platform) otherPlanes(check checkFunc, get getFunc) {
	const storage, msi, roles = "azure/mgmt/storage/models", "azure/mgmt/msi/v2024_11_30/models", "azure/mgmt/authorization/"
	account := p.storage("vendordata")
	check(get(account, "2024-01-01"), "StorageAccount", storage)
	check(get(p.group()+"/providers/Microsoft.Storage/storageAccounts", "2024-01-01"), "StorageAccountListResult", storage)
	check(p.arm("POST", account+"/listKeys?$expand=kerb", "2024-01-01", nil), "StorageAccountListKeysResult", storage)
	check(get(account+"/blobServices/default/containers/box", "2024-01-01"), "BlobContainer", storage)
	check(get(account+"/blobServices/default/containers", "2024-01-01"), "ListContainerItems", storage)

	uai := p.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
	check(get(uai+"vendor", "2023-01-31"), "Identity", msi, "azure/mgmt/msi/v2018_11_30/models")
	check(get(uai[:len(uai)-1], "2023-01-31"), "UserAssignedIdentitiesListResult", msi)
	assignment := p.grant(p.ownerID(), "Reader", account)
	for version, folder := range map[string]string{"2022-04-01": "v2022_04_01", "2020-10-01-preview": "v2020_10_01_preview"} {
		check(get(assignment, version), "RoleAssignment", roles+folder+"/models")
		check(get(account+"/providers/Microsoft.Authorization/roleAssignments", version), "RoleAssignmentListResult", roles+folder+"/models")
	}
	definitions := account + "/providers/Microsoft.Authorization/roleDefinitions"
	for version, folder := range map[string]string{"2022-04-01": "v2022_04_01", "2018-01-01-preview": "v2018_01_01_preview"} {
		check(get(definitions, version), "RoleDefinitionListResult", roles+folder+"/models")
		check(get(definitions+"/acdd72a7-3385-48ef-bd42-f606fba81ae7", version), "RoleDefinition", roles+folder+"/models")
	}
}
