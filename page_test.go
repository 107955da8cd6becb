package lapis_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

const pageAudience = "https://page.lapis.localhost"

// look asks for the page's state, or for more of it by a path.
func (p *platform) look(token string) answer { return p.plain("/page/state", token) }

func TestPageIsForThoseWhoMayReadWhatItShows(t *testing.T) {
	p := start(t, t.TempDir())
	subscription := "/subscriptions/" + p.info.SubscriptionID
	if a := p.plain("/page", ""); a.status != 200 || !strings.Contains(a.text, "<title>Lapis</title>") || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the page itself: %d %v", a.status, a.header)
	}
	who, token := p.application("onlooker")
	mint := func(audience, tenant string, at time.Time) string {
		t.Helper()
		signed, err := p.server.Mint(who, audience, tenant, at)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	log := "/page/log?deployment=" + p.endpoint("none") + "/deployments/blue"
	bad := map[string]string{
		"no token": "", "no JWT": "nonsense", "for storage": p.owner("https://storage.azure.com"), "for the registry": p.owner("https://containerregistry.azure.net"),
		"expired": mint(armHost, "", time.Now().Add(-48*time.Hour)), "expired, for the page": mint(pageAudience, "", time.Now().Add(-48*time.Hour)),
		"of another tenant": mint(pageAudience, "11111111-2222-4333-8444-555555555555", time.Now()),
	}
	for name, token := range bad {
		for _, path := range []string{"/page/state", log} {
			if a := p.plain(path, token); a.status != 401 || a.header.Get("WWW-Authenticate") == "" || strings.Contains(a.text, "endpoints") {
				t.Errorf("%s, %s: %d %s", path, name, a.status, a.text)
			}
		}
	}
	own := mint(pageAudience, "", time.Now())
	for name, token := range map[string]string{"a token for Resource Manager": token, "one for the page": own} {
		if a := p.look(token); a.status != 403 || !strings.Contains(a.header.Get("x-lapis-denied"), "Reader") || !strings.Contains(a.text, `"remedy":"az role assignment create`) || strings.Contains(a.text, `"denials"`) {
			t.Errorf("%s, no role: %d %s", name, a.status, a.text)
		}
	}
	if a := p.armAs(own, "GET", subscription, "2022-12-01", nil); a.status != 401 {
		t.Errorf("a token for the page at Resource Manager: %d %s", a.status, a.text)
	}
	if a := p.plain(log, token); a.status != 403 || !strings.Contains(a.text, "deployments/getLogs/action") {
		t.Errorf("a log, no role: %d %s", a.status, a.text)
	}
	p.grant(who, "Reader", p.group()) // not where it is asked
	if a := p.look(token); a.status != 403 {
		t.Errorf("the role at a group: %d %s", a.status, a.text)
	}
	p.grant(who, "Reader", subscription)
	for name, token := range map[string]string{"a token for Resource Manager": token, "one for the page": own} {
		if a := p.look(token); a.status != 200 || !strings.Contains(a.text, `"denials"`) || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s, Reader: %d %s", name, a.status, a.text)
		}
	}
	if a := p.plain(log, token); a.status != 403 { // reading is not getting logs
		t.Errorf("a log, Reader: %d %s", a.status, a.text)
	}
	owner := p.owner(armHost)
	if a := p.plain(log, owner); a.status != 404 {
		t.Errorf("the log of nothing: %d %s", a.status, a.text)
	}
	for _, id := range []string{"", "nonsense", p.workspace(), "/../../etc/passwd", p.endpoint("none") + "/deployments/.."} {
		if a := p.plain("/page/log?deployment="+id, owner); a.status != 400 && a.status != 404 {
			t.Errorf("the log of %q: %d %s", id, a.status, a.text)
		}
	}
	if a := p.plain("/page/state?search="+strings.Repeat("x", 1000), owner); a.status != 400 {
		t.Errorf("a long search: %d %s", a.status, a.text)
	}
}

// A name that somebody makes lead to this machine is no way to the page, and
// neither is another method.
func TestPageAnswersAsThisMachineOnly(t *testing.T) {
	p := start(t, t.TempDir())
	ask := func(method, host, path string) *http.Response {
		t.Helper()
		req, err := http.NewRequest(method, p.info.Proxy+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Authorization", "Bearer "+p.owner(armHost))
		resp, err := new(http.Client).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	for _, path := range []string{"/page", "/page/page.js", "/page/state"} {
		if resp := ask("GET", "localhost:1", path); resp.StatusCode != 200 {
			t.Errorf("%s as localhost: %s", path, resp.Status)
		}
		for _, host := range []string{"rebound.example.org", "management.azure.com", "127.0.0.1.example.org"} {
			if resp := ask("GET", host, path); resp.StatusCode != 421 {
				t.Errorf("%s as %s: %s", path, host, resp.Status)
			}
		}
		if resp := ask("POST", "127.0.0.1", path); resp.StatusCode != 405 {
			t.Errorf("POST %s: %s", path, resp.Status)
		}
	}
	if a := p.do("GET", "https://management.lapis.localhost/page/state", map[string]string{"Authorization": "Bearer " + p.owner(armHost)}, nil); a.status != 404 {
		t.Errorf("at Resource Manager: %d %s", a.status, a.text)
	}
}

// denied finds a denial by who and on which plane.
func denied(a answer, who, plane string) object {
	list, _ := a.json["denials"].([]any)
	for _, one := range list {
		if d := one.(object); d["principal"] == who && d["plane"] == plane {
			return d
		}
	}
	return nil
}

func TestPageShowsADenialAndTheCommandThatMendsIt(t *testing.T) {
	p := start(t, t.TempDir())
	account := p.storage("denials")
	const name = `<img src=x onerror=alert(1)>"&`
	who, manage := p.application(name)
	storage, err := p.server.Mint(who, "https://storage.azure.com", "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	tries := map[string]func() int{
		"management": func() int { return p.armAs(manage, "GET", account, "2023-01-01", nil).status },
		"blob": func() int {
			return p.do("GET", "https://denials.blob.core.windows.net/box/hello.txt", map[string]string{"Authorization": "Bearer " + storage, "x-ms-version": "2021-12-02"}, nil).status
		},
	}
	for plane, try := range tries {
		for range 3 {
			if status := try(); status != 403 {
				t.Fatalf("%s: %d", plane, status)
			}
		}
		a := p.must(p.look(p.owner(armHost)), 200)
		if strings.ContainsAny(a.text, "<>&") {
			t.Errorf("%s: the answer has what could be markup", plane)
		}
		if strings.Contains(a.text, storage) || strings.Contains(a.text, manage) || strings.Contains(a.text, p.info.ClientSecret) {
			t.Errorf("%s: the answer has a secret", plane)
		}
		d := denied(a, who, plane)
		if d == nil {
			t.Fatalf("%s: no denial in %s", plane, a.text)
		}
		if d["who"] != name || d["times"] != 3.0 || d["allowed"] != false || !strings.HasPrefix(d["scope"].(string), account) {
			t.Errorf("%s: %v", plane, d)
		}
		p.runs(d["remedy"].(string))
		if status := try(); status != 200 {
			t.Errorf("%s: after its command: %d", plane, status)
		}
		if d := denied(p.look(p.owner(armHost)), who, plane); d["allowed"] != true || d["times"] != 3.0 {
			t.Errorf("%s: after its command: %v", plane, d)
		}
	}
}

// runs does what an az role assignment create says.
func (p *platform) runs(command string) {
	p.t.Helper()
	rest, ok := strings.CutPrefix(command, "az role assignment create ")
	if !ok {
		p.t.Fatalf("no command that assigns a role: %s", command)
	}
	options := map[string]string{}
	for option := range strings.SplitSeq(rest, "--") {
		name, value, _ := strings.Cut(strings.TrimSpace(option), " ")
		options[name] = strings.Trim(value, `"'`)
	}
	p.grant(options["assignee-object-id"], options["role"], options["scope"])
}

func TestPageShowsWhatServesAndWhatFailed(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("seen", object{"type": "SystemAssigned"})
	p.createEndpoint("other", nil)
	good := p.upload("codes", "good", "src", map[string]string{"score.py": "def init(): print('loaded <b>')\ndef run(raw): return 1 // len(raw)\n"})
	broken := p.upload("codes", "broken", "src", map[string]string{"score.py": "def init(): raise ValueError('no <model>')\ndef run(raw): pass\n"})
	if op := p.deploy("seen", "blue", p.deploymentBody(good, p.environment(), nil)); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	if op := p.deploy("seen", "green", p.deploymentBody(broken, p.environment(), nil)); op.str("status") != "Failed" {
		t.Fatal(op.text)
	}
	p.settle(p.traffic("seen", object{"blue": 100}))
	key := p.key("seen")
	p.must(p.score("seen", key, "x"), 200)
	p.must(p.score("seen", key, ""), 424)
	p.must(p.score("seen", "wrong", "x"), 401)

	a := p.must(p.look(p.owner(armHost)), 200)
	if strings.ContainsAny(a.text, "<>&") || strings.Contains(a.text, key) {
		t.Error("the answer has what could be markup, or a key")
	}
	endpoints := named(a.json["endpoints"])
	seen, other := endpoints["seen"], endpoints["other"]
	if other == nil || seen == nil || seen["scoringUri"] != "https://seen.local.inference.ml.azure.com/score" || seen["refused"].(object)["401"] != 1.0 {
		t.Fatalf("endpoints: %s", a.text)
	}
	deployments := named(seen["deployments"])
	blue, green := deployments["blue"], deployments["green"]
	for field, want := range map[string]any{"state": "Succeeded", "traffic": 100.0, "ready": 1.0, "wanted": 1.0, "asleep": false, "served": true, "requests": 2.0} {
		if blue[field] != want {
			t.Errorf("blue's %s is %v, want %v", field, blue[field], want)
		}
	}
	if statuses, _ := blue["statuses"].(object); statuses["200"] != 1.0 || statuses["424"] != 1.0 {
		t.Errorf("blue's statuses: %v", statuses)
	}
	failure, _ := green["failure"].(object)
	if green["state"] != "Failed" || green["served"] != false || failure["code"] != "ResourceNotReady" || !strings.Contains(failure["message"].(string), "no <model>") {
		t.Errorf("green: %v", green)
	}
	if counts := a.json["counts"].(object); counts["endpoints"] != 2.0 || counts["awake"] != 1.0 || counts["failed"] != 1.0 || counts["instances"] != 1.0 {
		t.Errorf("counts: %v", counts)
	}
	identity := seen["identities"].([]any)[0].(object)
	grants, _ := identity["grants"].([]any)
	if len(grants) != 2 || !strings.Contains(a.text, `"role":"AcrPull"`) || !strings.Contains(a.text, `"role":"Storage Blob Data Reader"`) {
		t.Errorf("identity: %v", identity)
	}
	if a := p.plain("/page/log?deployment="+blue["id"].(string), p.owner(armHost)); a.status != 200 || !strings.Contains(a.str("content"), "loaded <b>") {
		t.Errorf("blue's log: %d %s", a.status, a.text)
	}
	if a := p.plain("/page/state?search=OTH", p.owner(armHost)); len(named(a.json["endpoints"])) != 1 || a.json["left"] != 1.0 {
		t.Errorf("searched: %d %s", a.status, a.text)
	}
	p.wait(p.must(p.arm("DELETE", p.endpoint("seen")+"/deployments/green", mlVersion, nil), 202))
	if a := p.look(p.owner(armHost)); strings.Contains(a.text, "green") || a.json["counts"].(object)["failed"] != 0.0 {
		t.Errorf("after the deletion: %s", a.text)
	}
}

// named makes a list of objects a map by their names.
func named(list any) map[string]object {
	found := map[string]object{}
	items, _ := list.([]any)
	for _, one := range items {
		o := one.(object)
		found[o["name"].(string)] = o
	}
	return found
}
