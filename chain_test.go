package lapis_test

import (
	"strings"
	"testing"
)

// blobScript reads a blob with its identity in init(), and again in run(), by
// REST and with nothing but the standard library.
const blobScript = `
import json, logging, os, urllib.error, urllib.request

def read():
    url = os.environ["MSI_ENDPOINT"] + "?resource=https://storage.azure.com/"
    if "UAI_CLIENT_ID" in os.environ:
        url += "&clientid=" + os.environ["UAI_CLIENT_ID"]
    ask = urllib.request.Request(url, headers={"secret": os.environ["MSI_SECRET"], "Metadata": "true"})
    token = json.load(urllib.request.urlopen(ask))["access_token"]
    blob = "https://" + os.environ["ACCOUNT"] + ".blob.core.windows.net/box/hello.txt"
    get = urllib.request.Request(blob, headers={"Authorization": "Bearer " + token, "x-ms-version": "2019-02-02"})
    return urllib.request.urlopen(get).read().decode()

def init():
    logging.info("Blob contains: %s", read())

def run(raw):
    try:
        return {"blob": read(), "sum": sum(json.loads(raw)["data"])}
    except urllib.error.HTTPError as e:
        return {"denied": e.code, "code": e.headers.get("x-ms-error-code")}
`

// The sentence the product exists for: a model behind an endpoint reads a blob
// with the endpoint's identity and no secret, and answers.
func TestScriptReadsABlobWithTheEndpointsIdentity(t *testing.T) {
	p := start(t, t.TempDir())
	account := p.storage("dataone")
	endpoint := p.createEndpoint("my-endpoint", nil)
	assignment := p.grant(endpoint.str("identity.principalId"), "Storage Blob Data Reader", account)
	code := p.upload("codes", "score", "onlinescoring", map[string]string{"score.py": blobScript})
	op := p.deploy("my-endpoint", "blue", p.deploymentBody(code, p.environment(), map[string]string{"ACCOUNT": "dataone"}))
	if op.str("status") != "Succeeded" {
		t.Fatalf("deployment: %s\n%s", op.text, p.getLogs("my-endpoint", "blue"))
	}
	if a := p.wait(p.must(p.traffic("my-endpoint", object{"blue": 100}), 200)); a.str("status") != "Succeeded" {
		t.Fatal(a.text)
	}
	key := p.key("my-endpoint")
	a := p.must(p.score("my-endpoint", key, `{"data":[1,2,3]}`), 200)
	if a.str("blob") != "Hello world!" || a.path("sum") != 6.0 {
		t.Errorf("answer: %s", a.text)
	}
	if logs := p.getLogs("my-endpoint", "blue"); !strings.Contains(logs, "Blob contains: Hello world!") {
		t.Errorf("the log does not show the blob:\n%s", logs)
	}

	// A role that goes acts at the next request, and so does one that comes.
	p.must(p.arm("DELETE", assignment, "2022-04-01", nil), 200)
	if a := p.must(p.score("my-endpoint", key, `{"data":[1]}`), 200); a.path("denied") != 403.0 || a.str("code") != "AuthorizationPermissionMismatch" {
		t.Errorf("after the role was removed: %s", a.text)
	}
	if logs := p.getLogs("my-endpoint", "blue"); !strings.Contains(logs, "az role assignment create") {
		t.Errorf("the log does not say what would mend the denial:\n%s", logs)
	}
	p.grant(endpoint.str("identity.principalId"), "Storage Blob Data Reader", account)
	if a := p.must(p.score("my-endpoint", key, `{"data":[1]}`), 200); a.str("blob") != "Hello world!" {
		t.Errorf("after the role came back: %s", a.text)
	}
}
