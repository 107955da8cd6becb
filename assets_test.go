package lapis_test

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

const datastoreVersion = "2024-07-01-preview"

// inOrder are the names of a list's resources as they came.
func (a answer) inOrder() []string {
	var found []string
	for _, v := range a.values() {
		found = append(found, fmt.Sprint(v["name"]))
	}
	return found
}

func blobDatastore(account, container string, credentials any) object {
	return object{"properties": object{"datastoreType": "AzureBlob", "accountName": account, "containerName": container, "credentials": credentials}}
}

func TestDatastoresKeepTheirSecrets(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	account := p.storage("dsdata")
	key := p.must(p.arm("POST", account+"/listKeys", "2023-01-01", nil), 200).json["keys"].([]any)[0].(object)["value"].(string)
	at := p.workspace() + "/datastores/"
	put := func(name string, body object) answer { return p.arm("PUT", at+name, datastoreVersion, body) }
	const token = "sv=2021-12-02&sr=c&sp=rl&sig=abcdefg%3D"
	withKey := blobDatastore("dsdata", "box", object{"credentialsType": "AccountKey", "secrets": object{"secretsType": "AccountKey", "key": key}})
	made := []answer{
		p.must(put("with_key", withKey), 201),
		p.must(put("with_sas", blobDatastore("dsdata", "box", object{"credentialsType": "Sas", "secrets": object{"secretsType": "Sas", "sasToken": token}})), 201),
		p.must(put("without", blobDatastore("dsdata", "box", object{"credentialsType": "None"})), 201),
	}
	list := p.must(p.arm("GET", at[:len(at)-1], datastoreVersion, nil), 200)
	if names := list.inOrder(); !slices.Equal(names, []string{"with_key", "with_sas", "without", "workspaceblobstore"}) {
		t.Errorf("list: %v", names)
	}
	for _, a := range append(made, list, answer{text: p.logs.String()}) {
		if strings.Contains(a.text, key) || strings.Contains(a.text, "abcdefg") {
			t.Errorf("a secret is shown: %s", a.text)
		}
	}
	secrets := func(name string, body any) answer {
		return p.arm("POST", at+name+"/listSecrets", datastoreVersion, body)
	}
	if a := p.must(secrets("with_key", nil), 200); a.str("secretsType") != "AccountKey" || a.str("key") != key {
		t.Errorf("with_key: %s", a.text)
	}
	expirable := p.must(secrets("with_key", object{"expirableSecret": true, "expireAfterHours": 1}), 200)
	if expirable.str("secretsType") != "Sas" {
		t.Errorf("with_key: %s", expirable.text)
	}
	read := p.do("GET", "https://dsdata.blob.core.windows.net/box/hello.txt?"+expirable.str("sasToken"), map[string]string{"x-ms-version": "2021-12-02"}, nil)
	if read.status != 200 || read.text != "Hello world!" {
		t.Errorf("the signature does not read: %d %s", read.status, read.text)
	}
	for _, body := range []any{nil, object{"expirableSecret": true}} {
		if a := p.must(secrets("with_sas", body), 200); a.str("secretsType") != "Sas" || a.str("sasToken") != token {
			t.Errorf("with_sas: %s", a.text)
		}
	}
	if a := secrets("without", nil); a.status != 400 || !strings.Contains(a.text, "None") {
		t.Errorf("without: %d %s", a.status, a.text)
	}

	// An echo keeps the secret, another kind replaces it.
	echo := p.must(p.arm("GET", at+"with_key", datastoreVersion, nil), 200)
	p.must(p.arm("PUT", at+"with_key", datastoreVersion, echo.json), 200)
	if a := p.must(secrets("with_key", nil), 200); a.str("key") != key {
		t.Errorf("after an echo: %s", a.text)
	}
	p.must(put("with_key", blobDatastore("dsdata", "box", object{"credentialsType": "None"})), 200)
	p.must(put("with_key", blobDatastore("dsdata", "box", object{"credentialsType": "AccountKey"})), 400)
	p.must(put("with_key", withKey), 200)

	query := func(q string) []string {
		return p.must(p.arm("GET", at[:len(at)-1]+"?"+q, datastoreVersion, nil), 200).inOrder()
	}
	for q, want := range map[string][]string{
		"isDefault=true":           {"workspaceblobstore"},
		"isDefault=false":          {"with_key", "with_sas", "without"},
		"count=30&orderByAsc=true": {"with_key", "with_sas", "without", "workspaceblobstore"},
		"orderByAsc=false&count=2": {"workspaceblobstore", "without"},
		"names=WITHOUT,none":       {"without"},
		"searchText=_sas":          {"with_sas"},
	} {
		if got := query(q); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", q, got, want)
		}
	}
	page := p.must(p.arm("GET", at[:len(at)-1]+"?count=3", datastoreVersion, nil), 200)
	next := p.must(p.do("GET", page.str("nextLink"), map[string]string{"Authorization": "Bearer " + p.owner(armHost)}, nil), 200)
	if got := append(page.inOrder(), next.inOrder()...); len(got) != 4 || next.str("nextLink") != "" {
		t.Errorf("pages: %v", got)
	}
	for name, a := range map[string]answer{
		"delete the default": p.arm("DELETE", at+"workspaceblobstore", datastoreVersion, nil),
		"bad base64":         put("bad", blobDatastore("dsdata", "box", object{"credentialsType": "AccountKey", "secrets": object{"secretsType": "AccountKey", "key": "!!!"}})),
		"short key":          put("bad", blobDatastore("dsdata", "box", object{"credentialsType": "AccountKey", "secrets": object{"secretsType": "AccountKey", "key": base64.StdEncoding.EncodeToString([]byte("x"))}})),
		"no secret":          put("bad", blobDatastore("dsdata", "box", object{"credentialsType": "AccountKey"})),
		"other secret":       put("bad", blobDatastore("dsdata", "box", object{"credentialsType": "Sas", "secrets": object{"secretsType": "AccountKey", "key": key}})),
		"no credentials":     put("bad", blobDatastore("dsdata", "box", nil)),
		"unknown kind":       put("bad", blobDatastore("dsdata", "box", object{"credentialsType": "none"})),
		"no account":         put("bad", blobDatastore("", "box", object{"credentialsType": "None"})),
		"bad container":      put("bad", blobDatastore("dsdata", "Box!", object{"credentialsType": "None"})),
		"unknown type":       put("bad", object{"properties": object{"datastoreType": "Floppy", "credentials": object{"credentialsType": "None"}}}),
		"wrong type":         put("bad", object{"properties": object{"datastoreType": 7}}),
		"bad name":           put("a.b", blobDatastore("dsdata", "box", object{"credentialsType": "None"})),
		"no body":            put("bad", nil),
	} {
		if a.status != 400 || a.str("error.code") == "" {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
		if strings.Contains(a.text, key) {
			t.Errorf("%s: the refusal shows the key", name)
		}
	}
	p.must(p.arm("GET", at+"bad", datastoreVersion, nil), 404)
	if a := put("workspaceblobstore", blobDatastore("dsdata", "box", object{"credentialsType": "None"})); a.status != 409 {
		t.Errorf("moving the default datastore: %d %s", a.status, a.text)
	}
	p.must(p.arm("DELETE", at+"without", datastoreVersion, nil), 200)
	p.must(p.arm("DELETE", at+"without", datastoreVersion, nil), 204)
	p.must(p.arm("GET", at+"without", datastoreVersion, nil), 404)
	p.stop()
	p = start(t, dir)
	if a := p.must(p.arm("POST", at+"with_key/listSecrets", datastoreVersion, nil), 200); a.str("key") != key {
		t.Errorf("after a restart: %s", a.text)
	}
}

// A workspace whose datastores have no secrets: clients upload with their own
// tokens, and the deployment reads with the endpoint's.
func TestWorkspaceWithoutSecretsServes(t *testing.T) {
	p := start(t, t.TempDir())
	ws := p.must(p.arm("GET", p.workspace(), datastoreVersion, nil), 200)
	properties := ws.json["properties"].(object)
	properties["systemDatastoresAuthMode"] = "identity"
	p.must(p.arm("PUT", p.workspace(), datastoreVersion, object{"location": p.info.Location, "properties": properties}), 200)
	store := p.must(p.arm("GET", p.workspace()+"/datastores/workspaceblobstore", datastoreVersion, nil), 200)
	if store.str("properties.credentials.credentialsType") != "None" {
		t.Fatalf("the default datastore: %s", store.text)
	}
	p.must(p.arm("POST", p.workspace()+"/datastores/workspaceblobstore/listSecrets", datastoreVersion, nil), 400)
	p.grant(p.ownerID(), "Storage Blob Data Contributor", ws.str("properties.storageAccount"))
	p.must(p.arm("PATCH", ws.str("properties.storageAccount"), "2023-01-01", object{"properties": object{"allowSharedKeyAccess": false}}), 200)
	blob := "https://" + store.str("properties.accountName") + ".blob.core.windows.net/" + store.str("properties.containerName") + "/LocalUpload/1/model/weights.txt"
	p.must(p.do("PUT", blob, map[string]string{
		"Authorization": "Bearer " + p.owner("https://storage.azure.com"), "x-ms-version": "2021-12-02", "x-ms-blob-type": "BlockBlob",
	}, []byte("42")), 201)
	uri := "azureml://subscriptions/" + p.info.SubscriptionID + "/resourcegroups/" + p.info.ResourceGroup + "/workspaces/" + p.info.Workspace + "/datastores/workspaceblobstore/paths/LocalUpload/1/model"
	p.must(p.arm("PUT", p.workspace()+"/models/weights/versions/1", mlVersion, object{"properties": object{"modelUri": uri, "modelType": "CUSTOM_model"}}), 201)
	code := p.upload("codes", "score", "onlinescoring", map[string]string{"score.py": `
import os
def init():
    global w
    w = open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "weights.txt")).read()
def run(raw): return w
`})
	p.environment()
	p.createEndpoint("secretless", nil)
	body := p.deploymentBody(code, "azureml:bare@latest", nil)
	body["properties"].(object)["model"] = "azureml:weights:1"
	if op := p.deploy("secretless", "blue", body); op.str("status") != "Succeeded" {
		t.Fatalf("%s\n%s", op.text, p.getLogs("secretless", "blue"))
	}
	shown := p.must(p.arm("GET", p.endpoint("secretless")+"/deployments/blue", mlVersion, nil), 200)
	if shown.str("properties.environmentId") != p.workspace()+"/environments/bare/versions/1" || shown.str("properties.model") != p.workspace()+"/models/weights/versions/1" {
		t.Errorf("references: %s", shown.text)
	}
	if a := p.must(p.scoreAt("secretless", "blue", p.key("secretless"), "{}"), 200); a.text != `"42"` {
		t.Errorf("answer: %s", a.text)
	}
}

// A workspace of an account that takes no keys signs in its own name: what it
// signs is worth what its identity may do, at the time of the request.
func TestWorkspaceSignsInItsOwnName(t *testing.T) {
	p := start(t, t.TempDir())
	ws := p.must(p.arm("GET", p.workspace(), datastoreVersion, nil), 200)
	account := ws.str("properties.storageAccount")
	properties := ws.json["properties"].(object)
	properties["systemDatastoresAuthMode"] = "userDelegationSAS"
	p.must(p.arm("PUT", p.workspace(), datastoreVersion, object{"location": p.info.Location, "properties": properties}), 200)
	at := p.workspace() + "/datastores/workspaceblobstore"
	store := p.must(p.arm("GET", at, datastoreVersion, nil), 200)
	if store.str("properties.credentials.credentialsType") != "Sas" {
		t.Fatalf("the default datastore: %s", store.text)
	}
	p.must(p.arm("PUT", at, datastoreVersion, store.json), 200) // an echo of it changes nothing
	p.must(p.arm("PATCH", account, "2023-01-01", object{"properties": object{"allowSharedKeyAccess": false}}), 200)
	uri := p.must(p.arm("POST", p.workspace()+"/codes/c/versions/1/startPendingUpload", mlVersion, object{}), 200).str("blobReferenceForConsumption.credential.sasUri")
	box, token, _ := strings.Cut(uri, "?")
	secrets := p.must(p.arm("POST", at+"/listSecrets", datastoreVersion, object{"expirableSecret": true}), 200)
	own := "https://" + store.str("properties.accountName") + ".blob.core.windows.net/" + store.str("properties.containerName")
	put := func(box, token string) answer {
		return p.do("PUT", box+"/score.py?"+token, map[string]string{"x-ms-version": "2021-12-02", "x-ms-blob-type": "BlockBlob"}, []byte("pass"))
	}
	signer := ws.str("identity.principalId")
	for _, token := range []string{token, secrets.str("sasToken")} {
		if !strings.Contains(token, "skoid="+signer) {
			t.Errorf("signed by somebody else: %s", token)
		}
	}
	p.must(put(box, token), 201)
	p.must(put(own, secrets.str("sasToken")), 201)
	if a := put(own, token); a.status != 403 || !strings.Contains(a.text, "AuthenticationFailed") {
		t.Errorf("another container: %d %s", a.status, a.text)
	}
	p.must(p.arm("POST", account+"/revokeUserDelegationKeys", "2023-01-01", nil), 200)
	if a := put(box, token); a.status != 403 || !strings.Contains(a.text, "AuthenticationFailed") {
		t.Errorf("after all keys were revoked: %d %s", a.status, a.text)
	}
	fresh := p.must(p.arm("POST", at+"/listSecrets", datastoreVersion, object{"expirableSecret": true}), 200).str("sasToken")
	p.must(put(own, fresh), 201)
	for _, role := range p.must(p.arm("GET", account+"/providers/Microsoft.Authorization/roleAssignments?$filter=atScope()", "2022-04-01", nil), 200).values() {
		if role["properties"].(object)["principalId"] == signer {
			p.must(p.arm("DELETE", role["id"].(string), "2022-04-01", nil), 200)
		}
	}
	if a := put(own, fresh); a.status != 403 || !strings.Contains(a.text, "AuthorizationPermissionMismatch") || !strings.Contains(a.text, signer) {
		t.Errorf("after its role was taken away: %d %s", a.status, a.text)
	}
	if a := p.arm("POST", p.workspace()+"/codes/c/versions/1/startPendingUpload", mlVersion, object{}); a.status != 403 || !strings.Contains(a.text, "generateUserDelegationKey") {
		t.Errorf("a signature without the right to sign: %d %s", a.status, a.text)
	}
}

func TestAssetVersionsLatestArchiveAndDelete(t *testing.T) {
	p := start(t, t.TempDir())
	env := p.workspace() + "/environments/conda"
	put := func(version, image string, archived bool) answer {
		return p.arm("PUT", env+"/versions/"+version, mlVersion, object{"properties": object{"image": image, "isArchived": archived, "tags": object{"v": version}}})
	}
	p.must(p.arm("GET", env, mlVersion, nil), 404)
	if names := p.must(p.arm("GET", env+"/versions?$orderBy="+url.QueryEscape("createdtime desc")+"&$top=1", mlVersion, nil), 200).inOrder(); len(names) != 0 {
		t.Errorf("versions of nothing: %v", names)
	}
	for _, v := range []string{"1", "2", "10"} {
		p.must(put(v, "img:"+v, false), 201)
	}
	p.must(put("2", "img:2", false), 200) // the same again
	if a := put("2", "img:other", false); a.status != 409 || a.str("error.code") != "UserError" || a.str("error.message") != "Asset paths cannot be updated." || !strings.Contains(a.text, "register a new version") {
		t.Errorf("a duplicate: %d %s", a.status, a.text)
	}
	container := func() answer { return p.must(p.arm("GET", env, mlVersion, nil), 200) }
	if c := container(); c.str("properties.latestVersion") != "10" || c.str("properties.nextVersion") != "11" || c.path("properties.isArchived") != false {
		t.Errorf("container: %s", c.text)
	}
	versions := func(query string) string {
		return strings.Join(p.must(p.arm("GET", env+"/versions?"+query, mlVersion, nil), 200).inOrder(), " ")
	}
	desc := "$orderBy=" + url.QueryEscape("createdtime desc")
	if got := versions(desc) + "|" + versions("$orderBy="+url.QueryEscape("createdtime asc")) + "|" + versions(desc+"&$top=1"); got != "10 2 1|1 2 10|10" {
		t.Errorf("order: %s", got)
	}
	// Archive a version, as the SDK does: GET, change, PUT the whole.
	echo := p.must(p.arm("GET", env+"/versions/10", mlVersion, nil), 200).json
	echo["properties"].(object)["isArchived"] = true
	p.must(p.arm("PUT", env+"/versions/10", mlVersion, echo), 200)
	if got := versions("listViewType=ActiveOnly") + "|" + versions("listViewType=ArchivedOnly") + "|" + versions("listViewType=All"); got != "2 1|10|10 2 1" {
		t.Errorf("views: %s", got)
	}
	p.createEndpoint("labels", nil)
	code := p.upload("codes", "echo", "onlinescoring", map[string]string{"score.py": echoScript})
	refer := func(reference string) answer {
		return p.arm("PUT", p.endpoint("labels")+"/deployments/blue", mlVersion, p.deploymentBody(code, reference, nil))
	}
	for _, bad := range []string{"azureml:conda", "azureml:conda@first", "azureml:none@latest", "azureml:conda:77", "conda:1:2", "azureml:@latest",
		"/subscriptions/" + p.info.SubscriptionID + "/resourceGroups/other/providers/Microsoft.MachineLearningServices/workspaces/w/environments/conda/versions/1",
		strings.Replace(env, p.info.SubscriptionID, "00000000-0000-4000-8000-000000000000", 1) + "/versions/1", p.workspace() + "/models/conda/versions/1", "azureml://subscriptions/x"} {
		if a := refer(bad); a.status != 400 {
			t.Errorf("%s: %d %s", bad, a.status, a.text)
		}
	}
	p.must(p.arm("GET", p.endpoint("labels")+"/deployments/blue", mlVersion, nil), 404)
	for _, good := range []string{"azureml:conda@latest", env + "/labels/latest", "azureml:" + env + "/versions/2", "azureml:conda:2",
		"azureml://subscriptions/" + p.info.SubscriptionID + "/resourcegroups/" + p.info.ResourceGroup + "/workspaces/" + p.info.Workspace + "/environments/conda/versions/2"} {
		a := p.must(refer(good), 201, 200)
		if got := a.str("properties.environmentId"); !strings.EqualFold(got, env+"/versions/2") {
			t.Errorf("%s became %s", good, got)
		}
		p.wait(a)
	}

	// Archive the asset as a whole.
	whole := container().json
	whole["properties"].(object)["isArchived"] = true
	p.must(p.arm("PUT", env, mlVersion, whole), 200, 201)
	if c := container(); c.path("properties.isArchived") != true || c.str("properties.latestVersion") != "10" && c.str("properties.latestVersion") != "2" {
		t.Errorf("container: %s", c.text)
	}
	assets := func(view string) []string {
		return p.must(p.arm("GET", p.workspace()+"/environments?listViewType="+view, mlVersion, nil), 200).inOrder()
	}
	if slices.Contains(assets("ActiveOnly"), "conda") || !slices.Contains(assets("ArchivedOnly"), "conda") || !slices.Contains(assets("All"), "conda") {
		t.Errorf("assets: %v %v %v", assets("ActiveOnly"), assets("ArchivedOnly"), assets("All"))
	}
	whole["properties"].(object)["isArchived"] = false
	p.must(p.arm("PUT", env, mlVersion, whole), 200)
	p.must(p.arm("DELETE", env+"/versions/1", mlVersion, nil), 200)
	p.must(p.arm("DELETE", env+"/versions/1", mlVersion, nil), 204)
	p.must(p.arm("GET", env+"/versions/1", mlVersion, nil), 404)
	p.must(p.arm("DELETE", env, mlVersion, nil), 200)
	p.must(p.arm("GET", env, mlVersion, nil), 404)
	p.must(p.arm("GET", env+"/versions/2", mlVersion, nil), 404)

	build := p.arm("PUT", env+"/versions/1", mlVersion, object{"properties": object{"build": object{"contextUri": "https://x/", "dockerfilePath": "Dockerfile"}}})
	if build.status != 501 || build.str("error.code") != "BuildContextNotSupported" {
		t.Errorf("build context: %d %s", build.status, build.text)
	}
	p.must(p.arm("GET", env, mlVersion, nil), 404)
}

func TestDataAndModelAssets(t *testing.T) {
	p := start(t, t.TempDir())
	data := p.workspace() + "/data/sheet"
	p.must(p.arm("PUT", data+"/versions/1", mlVersion, object{"properties": object{"dataType": "uri_file", "dataUri": "https://example.org/a.csv"}}), 201)
	p.must(p.arm("PUT", data+"/versions/v-2", mlVersion, object{"properties": object{"dataType": "MLTable", "dataUri": "azureml://datastores/workspaceblobstore/paths/t/"}}), 201)
	if a := p.must(p.arm("GET", data, mlVersion, nil), 200); a.str("properties.latestVersion") != "v-2" || a.str("properties.nextVersion") != "2" || a.str("properties.dataType") != "mltable" {
		t.Errorf("data: %s", a.text)
	}
	model := func(name, kind string, files map[string]string) answer {
		version := p.upload("models", name+"-raw", "model", files)
		uri := p.must(p.arm("GET", version, mlVersion, nil), 200).str("properties.modelUri")
		return p.arm("PUT", p.workspace()+"/models/"+name+"/versions/1", mlVersion, object{"properties": object{"modelType": kind, "modelUri": uri}})
	}
	const mlmodel = "artifact_path: model\nflavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    python_version: 3.11.2\n  sklearn:\n    sklearn_version: 1.2.1\n    code: null\n"
	a := p.must(model("flow", "mlflow_model", map[string]string{"MLmodel": mlmodel, "model.pkl": "x"}), 201)
	if a.str("properties.modelType") != "mlflow_model" || a.str("properties.flavors.python_function.data.loader_module") != "mlflow.sklearn" ||
		fmt.Sprint(a.path("properties.flavors.sklearn.data")) != "map[sklearn_version:1.2.1]" {
		t.Errorf("mlflow: %s", a.text)
	}
	if a := p.must(model("plain", "", map[string]string{"model.pkl": "x"}), 201); a.str("properties.modelType") != "custom_model" || len(a.path("properties.flavors").(object)) != 0 {
		t.Errorf("custom: %s", a.text)
	}
	for name, a := range map[string]answer{
		"no MLmodel":    model("none", "mlflow_model", map[string]string{"model.pkl": "x"}),
		"bad MLmodel":   model("broken", "mlflow_model", map[string]string{"MLmodel": "flavors: [x"}),
		"empty MLmodel": model("empty", "mlflow_model", map[string]string{"MLmodel": "flavors: {}\n"}),
		"unknown type":  model("other", "onnx", map[string]string{"m": "x"}),
	} {
		if a.status != 400 || a.str("error.code") != "ValidationError" {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
}
