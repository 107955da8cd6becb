package lapis_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// walkVersion is the api-version of the public walk through the REST API.
const walkVersion = "2022-05-01"

// putBlob uploads with an account key (Shared Key, as of 2021-12-02), the way
// of those who read the default datastore's secrets.
func (p *platform) putBlob(account, key, path, text string) {
	p.t.Helper()
	date := time.Now().UTC().Format(http.TimeFormat)
	const kind, version = "text/plain", "2021-12-02"
	signed := strings.Join([]string{
		"PUT", "", "", fmt.Sprint(len(text)), "", kind, "", "", "", "", "", "",
		"x-ms-blob-type:BlockBlob", "x-ms-date:" + date, "x-ms-version:" + version,
		"/" + account + "/" + path,
	}, "\n")
	secret, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		p.t.Fatal(err)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	p.must(p.do("PUT", "https://"+account+".blob.core.windows.net/"+path, map[string]string{
		"Authorization": "SharedKey " + account + ":" + base64.StdEncoding.EncodeToString(mac.Sum(nil)),
		"x-ms-date":     date, "x-ms-version": version, "x-ms-blob-type": "BlockBlob", "Content-Type": kind,
	}, []byte(text)), 201)
}

// followProperty polls what the answer's own properties name, and nothing else.
func (p *platform) followProperty(a answer) {
	p.t.Helper()
	address := a.str("properties.properties.AzureAsyncOperationUri")
	if !strings.HasPrefix(address, armHost+"/subscriptions/"+p.info.SubscriptionID+"/providers/Microsoft.MachineLearningServices/locations/") {
		p.t.Fatalf("no address of the operation in %s", a.text)
	}
	end := p.wait(answer{header: http.Header{"Azure-Asyncoperation": {address}}})
	if end.str("status") != "Succeeded" {
		p.t.Fatalf("operation: %s", end.text)
	}
}

// An endpoint by REST alone, from the first request to the last, in the one
// api-version and with the spellings of the public example.
func TestRESTWalk(t *testing.T) {
	p := start(t, t.TempDir())
	call := func(method, path string, body any) answer {
		t.Helper()
		return p.must(p.arm(method, p.workspace()+path, walkVersion, body), 200, 201, 202)
	}
	stores := call("GET", "/datastores?isDefault=true", nil)
	if len(stores.values()) != 1 {
		t.Fatalf("default datastores: %s", stores.text)
	}
	store := answer{json: stores.values()[0]}
	account, container, name := store.str("properties.accountName"), store.str("properties.containerName"), store.str("name")
	key := call("POST", "/datastores/"+name+"/listSecrets", nil).str("key")

	const script = `import json, os
def init():
    global factor
    factor = int(open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "factor.txt")).read())
    print("init is done")
def run(raw):
    return [x * factor for x in json.loads(raw)["data"]]
`
	p.putBlob(account, key, container+"/score/score.py", script)
	p.putBlob(account, key, container+"/model/factor.txt", "7")

	code := call("PUT", "/codes/score-numbers/versions/1", object{"properties": object{
		"description": "a scoring script", "codeUri": "https://" + account + ".blob.core.windows.net/" + container + "/score",
	}})
	model := call("PUT", "/models/numbers/versions/1", object{"properties": object{
		"modelUri": "azureml://subscriptions/" + p.info.SubscriptionID + "/resourceGroups/" + p.info.ResourceGroup +
			"/workspaces/" + p.info.Workspace + "/datastores/" + name + "/paths/model",
	}})
	environment := call("PUT", "/environments/numbers-env/versions/1", object{"properties": object{
		"image": "mcr.microsoft.com/azureml/openmpi3.1.2-ubuntu18.04:20210727.v1", "condaFile": "name: numbers\ndependencies: [python]\n",
	}})

	const endpoint = "/onlineEndpoints/rest-walk"
	identity := object{"type": "systemAssigned"}
	made := call("PUT", endpoint, object{
		"identity": identity, "location": p.info.Location, "properties": object{"authMode": "AMLToken"},
	})
	p.followProperty(made)
	shown := call("GET", endpoint, nil)
	if shown.str("identity.type") != "SystemAssigned" || shown.str("identity.principalId") == "" || shown.str("properties.provisioningState") != "Succeeded" {
		t.Errorf("endpoint: %s", shown.text)
	}

	const blue = endpoint + "/deployments/blue"
	p.followProperty(call("PUT", blue, object{
		"location": p.info.Location, "sku": object{"capacity": 1, "name": "Default"},
		"properties": object{
			"endpointComputeType": "Managed", "scaleSettings": object{"scaleType": "Default"}, "instanceType": "Standard_F2s_v2",
			"model": model.str("id"), "environmentId": environment.str("id"),
			"codeConfiguration": object{"codeId": code.str("id"), "scoringScript": "score.py"},
		},
	}))
	if a := call("POST", blue+"/getLogs", object{"tail": 100}); !strings.Contains(a.str("content"), "init is done") {
		t.Errorf("logs: %s", a.text)
	}

	// The body that a client read goes back with one change, as is usual.
	again := call("GET", endpoint, nil)
	properties, _ := again.json["properties"].(map[string]any)
	properties["traffic"] = object{"blue": 100}
	p.followProperty(call("PUT", endpoint, again.json))

	token := call("POST", endpoint+"/token", nil).str("accessToken")
	score := func(token string) answer {
		return p.do("POST", shown.str("properties.scoringUri"),
			map[string]string{"Authorization": "Bearer " + token, "Content-Type": "application/json"}, []byte(`{"data": [1, 2, 3]}`))
	}
	if a := score(token); a.status != 200 || strings.Join(strings.Fields(a.text), "") != "[7,14,21]" {
		t.Errorf("score: %d %s", a.status, a.text)
	}
	if a := score("none"); a.status != 401 {
		t.Errorf("score without a token: %d %s", a.status, a.text)
	}

	if end := p.wait(call("DELETE", endpoint, nil)); end.str("status") != "Succeeded" {
		t.Errorf("delete: %s", end.text)
	}
	if a := p.arm("GET", p.workspace()+endpoint, walkVersion, nil); a.status != 404 {
		t.Errorf("after the deletion: %d %s", a.status, a.text)
	}
}
