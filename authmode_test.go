package lapis_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lapis"
)

// movingClock is the real time, moved on by a test.
type movingClock struct{ ahead atomic.Int64 }

func (c *movingClock) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *movingClock) move(d time.Duration) { c.ahead.Add(int64(d)) }

// echoScript answers with what it is sent and the name of its deployment.
const echoScript = `
import os
def init(): pass
def run(raw): return {"from": os.environ.get("NAME", ""), "echo": raw}
`

// echoing deploys echoScript under names, each of which tells its own, and
// gives the first all traffic.
func (p *platform) echoing(endpoint string, names ...string) object {
	p.t.Helper()
	code := p.upload("codes", "echo", "onlinescoring", map[string]string{"score.py": echoScript})
	var body object
	for _, name := range names {
		body = p.deploymentBody(code, p.environment(), map[string]string{"NAME": name})
		if op := p.deploy(endpoint, name, body); op.str("status") != "Succeeded" {
			p.t.Fatalf("%s: %s\n%s", name, op.text, p.getLogs(endpoint, name))
		}
	}
	p.settle(p.traffic(endpoint, object{names[0]: 100}))
	return body
}

// settle waits for a change that must be accepted and succeed.
func (p *platform) settle(a answer) {
	p.t.Helper()
	if op := p.wait(p.must(a, 200, 201, 202)); op.str("status") != "Succeeded" {
		p.t.Fatal(op.text)
	}
}

func (p *platform) endpoint(name string) string { return p.workspace() + "/onlineEndpoints/" + name }

// putEndpoint creates or updates an endpoint with properties.
func (p *platform) putEndpoint(name string, properties object) answer {
	p.t.Helper()
	return p.arm("PUT", p.endpoint(name), mlVersion, object{"location": p.info.Location, "properties": properties})
}

func (p *platform) post(name, action string, body any) answer {
	p.t.Helper()
	return p.arm("POST", p.endpoint(name)+"/"+action, mlVersion, body)
}

func TestAMLTokenOpensItsEndpointAlone(t *testing.T) {
	now := &movingClock{}
	p := start(t, t.TempDir(), func(c *lapis.Config) { c.Now = now.now })
	for _, name := range []string{"tok-one", "tok-two"} {
		p.settle(p.putEndpoint(name, object{"authMode": "AMLToken"}))
	}
	if shown := p.must(p.arm("GET", p.endpoint("tok-one"), mlVersion, nil), 200); shown.str("properties.authMode") != "AMLToken" {
		t.Errorf("shown: %s", shown.text)
	}
	given := p.must(p.post("tok-one", "token", nil), 200)
	expires, _ := given.path("expiryTimeUtc").(float64)
	refresh, _ := given.path("refreshAfterTimeUtc").(float64)
	unix := float64(now.now().Unix())
	if given.str("tokenType") != "Bearer" || expires < unix+5400 || expires > unix+3*3600 || refresh <= unix || refresh >= expires {
		t.Errorf("token at %v: %s", unix, given.text)
	}
	token := given.str("accessToken")
	for _, c := range []struct {
		name, endpoint, bearer string
		status                 int
	}{
		{"its own", "tok-one", token, 404}, // it is let in, and there is no deployment
		{"another endpoint's", "tok-two", token, 401},
		{"for Resource Manager", "tok-one", p.owner(armHost), 401},
		{"for scoring", "tok-one", p.owner("https://ml.azure.com"), 401},
		{"no token", "tok-one", "x", 401},
		{"cut short", "tok-one", token[:len(token)-3], 401},
	} {
		a := p.score(c.endpoint, c.bearer, "{}")
		if a.status != c.status || strings.Contains(a.text, c.bearer) && len(c.bearer) > 10 {
			t.Errorf("%s: %d %s", c.name, a.status, a.text)
		}
	}
	if a := p.armAs(token, "GET", p.workspace(), mlVersion, nil); a.status != 401 {
		t.Errorf("Resource Manager takes an endpoint's token: %d", a.status)
	}
	for _, action := range []string{"listKeys", "regenerateKeys"} {
		if a := p.post("tok-one", action, object{"keyType": "Primary"}); a.status != 400 || a.str("error.code") != "BadArgument" {
			t.Errorf("%s: %d %s", action, a.status, a.text)
		}
	}
	now.move(3*time.Hour + time.Minute)
	p.tokens = map[string]string{} // the owner's have expired as well
	if a := p.score("tok-one", token, "{}"); a.status != 401 {
		t.Errorf("an expired token: %d %s", a.status, a.text)
	}
	token = p.must(p.post("tok-one", "token", nil), 200).str("accessToken")
	p.settle(p.arm("DELETE", p.endpoint("tok-one"), mlVersion, nil))
	p.settle(p.putEndpoint("tok-one", object{"authMode": "AMLToken"}))
	if a := p.score("tok-one", token, "{}"); a.status != 401 {
		t.Errorf("a token of the endpoint that was here before: %d %s", a.status, a.text)
	}
}

func TestAADTokenIsCheckedByRoleAtEachRequest(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("entra", nil)
	p.echoing("entra", "blue")
	key := p.key("entra")
	p.settle(p.putEndpoint("entra", object{"authMode": "aadToken", "traffic": object{"blue": 100}}))
	p.must(p.score("entra", key, "{}"), 401)
	object1, clientID, secret, err := p.server.NewApplication("caller")
	if err != nil {
		t.Fatal(err)
	}
	token := p.token(clientID, secret, "https://ml.azure.com")
	denied := p.must(p.score("entra", token, "{}"), 401)
	for _, word := range []string{"onlineEndpoints/score/action", "AzureML Data Scientist", object1, "az role assignment create"} {
		if !strings.Contains(denied.str("error.message"), word) {
			t.Errorf("the refusal does not say %q: %s", word, denied.text)
		}
	}
	if !strings.Contains(denied.header.Get("x-lapis-denied"), `"remedy"`) {
		t.Errorf("header: %q", denied.header.Get("x-lapis-denied"))
	}
	assignment := p.grant(object1, "AzureML Data Scientist", p.endpoint("entra"))
	if a := p.must(p.score("entra", token, "hi"), 200); a.str("echo") != "hi" {
		t.Errorf("with the role: %s", a.text)
	}
	p.must(p.score("entra", p.token(clientID, secret, armHost), "{}"), 401)
	p.must(p.arm("DELETE", assignment, "2022-04-01", nil), 200)
	p.must(p.score("entra", token, "{}"), 401)
	p.grant(object1, "AzureML Data Scientist", p.endpoint("entra"))
	p.must(p.score("entra", token, "{}"), 200)
	if err := p.server.DeleteApplication(object1); err != nil {
		t.Fatal(err)
	}
	p.must(p.score("entra", token, "{}"), 401)
	for _, action := range []string{"listKeys", "regenerateKeys", "token"} {
		if a := p.post("entra", action, object{"keyType": "Primary"}); a.status != 400 || a.str("error.code") != "BadArgument" {
			t.Errorf("%s: %d %s", action, a.status, a.text)
		}
	}
	p.settle(p.traffic("entra", object{"blue": 100})) // back to keys: the same ones
	p.must(p.score("entra", key, "{}"), 200)
	if a := p.post("entra", "token", nil); a.status != 400 {
		t.Errorf("token of an endpoint with keys: %d %s", a.status, a.text)
	}
}

func TestKeysGivenAtCreationCountAndAreNeverShown(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	const mine = "my-own-primary-key-0123456789"
	made := p.putEndpoint("own-keys", object{"authMode": "Key", "keys": object{"primaryKey": mine}})
	p.settle(made)
	listed := p.must(p.post("own-keys", "listKeys", nil), 200)
	if listed.str("primaryKey") != mine || len(listed.str("secondaryKey")) != 32 {
		t.Errorf("keys: %s", listed.text)
	}
	p.must(p.score("own-keys", mine, "{}"), 404)
	p.settle(p.putEndpoint("own-keys", object{"authMode": "Key", "keys": object{"primaryKey": "a-later-one-is-not-taken"}}))
	p.must(p.score("own-keys", mine, "{}"), 404)
	for what, text := range map[string]string{
		"the answer": made.text, "show": p.arm("GET", p.endpoint("own-keys"), mlVersion, nil).text,
		"the list": p.arm("GET", p.workspace()+"/onlineEndpoints", mlVersion, nil).text, "the log": p.logs.String(),
	} {
		if strings.Contains(text, mine) {
			t.Errorf("%s shows the key", what)
		}
	}
	changed := p.must(p.post("own-keys", "regenerateKeys", object{"keyType": "Primary", "keyValue": mine}), 202)
	p.must(p.score("own-keys", mine, "{}"), 401)
	p.settle(changed)
	p.settle(p.post("own-keys", "regenerateKeys", object{"keyType": "secondary", "keyValue": "chosen-by-me"}))
	p.must(p.score("own-keys", "chosen-by-me", "{}"), 404)
	for _, bad := range []object{{"keyType": "Third"}, {}, {"keyType": "Primary", "keyValue": "two words"}, {"keyType": "Primary", "keyValue": 7}, {"keyType": "Primary", "keyValue": strings.Repeat("k", 300)}} {
		if a := p.post("own-keys", "regenerateKeys", bad); a.status != 400 {
			t.Errorf("%v: %d %s", bad, a.status, a.text)
		}
	}
	p.stop()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, form := range []string{mine, base64.StdEncoding.EncodeToString([]byte(mine)), "chosen-by-me"} {
			if strings.Contains(string(data), form) {
				t.Errorf("%s holds a key in the clear", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	again := start(t, dir)
	again.must(again.score("own-keys", "chosen-by-me", "{}"), 404)
}
