package lapis_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lapis"
)

// scoreAt sends a request to one deployment by its name.
func (p *platform) scoreAt(endpoint, deployment, key, body string) answer {
	p.t.Helper()
	return p.do("POST", "https://"+endpoint+"."+p.info.Location+".inference.ml.azure.com/score", map[string]string{
		"Authorization": "Bearer " + key, "Content-Type": "application/json", "azureml-model-deployment": deployment,
	}, []byte(body))
}

// eventually waits for what another process brings about.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

func TestMirroredTrafficReachesTheShadowAndNeverTheClient(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("mirrors", nil)
	environment := p.environment()
	live := p.upload("codes", "live", "onlinescoring", map[string]string{"score.py": "def init(): pass\ndef run(raw): return 'live'\n"})
	// The shadow hangs on "hang" and logs everything else.
	shadow := p.upload("codes", "shadow", "onlinescoring", map[string]string{"score.py": `
import logging, time
def init(): pass
def run(raw):
    logging.info("shadow saw %s", raw)
    if raw == "hang": time.sleep(600)
    raise ValueError("shadows may fail")
`})
	for name, code := range map[string]string{"blue": live, "green": shadow, "red": live} {
		body := p.deploymentBody(code, environment, nil)
		body["properties"].(object)["requestSettings"] = object{"requestTimeout": "PT3S"}
		if op := p.deploy("mirrors", name, body); op.str("status") != "Succeeded" {
			t.Fatal(op.text)
		}
	}
	put := func(traffic, mirror object) answer {
		return p.putEndpoint("mirrors", object{"authMode": "Key", "traffic": traffic, "mirrorTraffic": mirror})
	}
	for name, a := range map[string]answer{
		"more than half":    put(object{"blue": 100}, object{"green": 51}),
		"negative":          put(object{"blue": 100}, object{"green": -1}),
		"nobody":            put(object{"blue": 100}, object{"none": 10}),
		"two":               put(object{"blue": 100}, object{"green": 10, "red": 10}),
		"live and mirrored": put(object{"blue": 50, "green": 50}, object{"green": 10}),
		"the same twice":    put(object{"blue": 50, "BLUE": 50}, nil),
		"no number":         put(object{"blue": 100}, object{"green": "10"}),
	} {
		if a.status != 400 {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
	if shown := p.must(p.arm("GET", p.endpoint("mirrors"), mlVersion, nil), 200); len(shown.path("properties.mirrorTraffic").(object)) != 0 {
		t.Errorf("what was refused is stored: %s", shown.text)
	}
	p.settle(put(object{"Blue": 100}, object{"GREEN": 50, "red": 0}))
	shown := p.must(p.arm("GET", p.endpoint("mirrors"), mlVersion, nil), 200)
	if fmt.Sprint(shown.path("properties.traffic")) != "map[blue:100]" || fmt.Sprint(shown.path("properties.mirrorTraffic")) != "map[green:50]" {
		t.Errorf("shown: %s", shown.text)
	}
	if a := p.arm("DELETE", p.endpoint("mirrors")+"/deployments/green", mlVersion, nil); a.status != 400 || a.str("error.code") != "DeploymentHasTraffic" {
		t.Errorf("deleting the shadow: %d %s", a.status, a.text)
	}
	key := p.key("mirrors")
	for range 20 {
		if a := p.must(p.score("mirrors", key, "copy"), 200); a.text != `"live"` {
			t.Fatalf("the shadow answered: %s", a.text)
		}
	}
	eventually(t, "the shadow's log shows copies", func() bool { return strings.Contains(p.getLogs("mirrors", "green"), "shadow saw copy") })
	for range 10 {
		p.must(p.scoreAt("mirrors", "Blue", key, "routed"), 200)
	}
	var took []time.Duration
	for range 40 {
		began := time.Now()
		p.must(p.score("mirrors", key, "hang"), 200)
		took = append(took, time.Since(began))
	}
	if slowest := slices.Max(took); slowest > 2*time.Second { // the shadow holds each copy for three
		t.Errorf("a live request took %v while the shadow hung", slowest)
	}
	logs := p.getLogs("mirrors", "green")
	if strings.Contains(logs, "shadow saw routed") {
		t.Errorf("what a header routed was mirrored:\n%s", logs)
	}
	metrics := p.must(p.plain("/metrics", p.owner(armHost)), 200).text
	for _, start := range []string{`lapis_mirror_requests_total{deployment="green",endpoint="mirrors",outcome="failed"} `,
		`lapis_mirror_compared_total{deployment="green",endpoint="mirrors",result="different_status"} `} {
		if at := strings.Index(metrics, start); at < 0 || metrics[at+len(start)] == '0' {
			t.Errorf("the metrics do not tell of the copies: %s", start)
		}
	}
	if !strings.Contains(logs, "Mirrored traffic: 50%") {
		t.Errorf("the log does not say how the copies fare:\n%s", logs)
	}
	p.settle(put(object{"green": 100}, nil)) // the shadow goes live
	if a := p.score("mirrors", key, "copy"); a.status != 424 && a.status != 408 {
		t.Errorf("green's own failure: %d %s", a.status, a.text)
	}
}

// Blue and green as people do it: the new one is tried by its header, gets a
// share, then all, and the old one goes.
func TestBlueGreenWithHeaderRouting(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("rollout", nil)
	p.echoing("rollout", "blue", "Green")
	key := p.key("rollout")
	for range 5 {
		if a := p.must(p.score("rollout", key, "x"), 200); a.str("from") != "blue" {
			t.Fatalf("before the rollout: %s", a.text)
		}
	}
	for _, name := range []string{"Green", "green"} {
		if a := p.must(p.scoreAt("rollout", name, key, "x"), 200); a.str("from") != "Green" || a.header.Get("azureml-model-deployment") != "Green" {
			t.Errorf("by the header %s: %s %v", name, a.text, a.header)
		}
	}
	p.must(p.scoreAt("rollout", "none", key, "x"), 404)
	p.settle(p.traffic("rollout", object{"blue": 50, "green": 50})) // clients write names in lower case
	if shown := p.must(p.arm("GET", p.endpoint("rollout"), mlVersion, nil), 200); fmt.Sprint(shown.path("properties.traffic")) != "map[Green:50 blue:50]" {
		t.Errorf("shown: %s", shown.text)
	}
	seen := map[string]int{}
	for range 60 {
		seen[p.must(p.score("rollout", key, "x"), 200).str("from")]++
	}
	if seen["blue"] < 10 || seen["Green"] < 10 || seen["blue"]+seen["Green"] != 60 {
		t.Errorf("of 60 requests: %v", seen)
	}
	p.settle(p.traffic("rollout", object{"green": 100, "blue": 0}))
	p.settle(p.arm("DELETE", p.endpoint("rollout")+"/deployments/blue", mlVersion, nil))
	if a := p.must(p.score("rollout", key, "x"), 200); a.str("from") != "Green" {
		t.Errorf("after the rollout: %s", a.text)
	}
	p.must(p.scoreAt("rollout", "blue", key, "x"), 404)
	p.settle(p.traffic("rollout", object{})) // none at all is allowed, and stops the calls that name nobody
	p.must(p.score("rollout", key, "x"), 404)
	p.must(p.scoreAt("rollout", "green", key, "x"), 200)
}

// A change of the count alone starts and ends instances beside the ones that
// run: what those hold in memory stays.
func TestScalingKeepsWhatRuns(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	p.createEndpoint("scales", nil)
	code := p.upload("codes", "pid", "onlinescoring", map[string]string{"score.py": `
import os, time
def init(): print("init of", os.getpid())
def run(raw):
    time.sleep(0.05)
    return os.getpid()
`})
	body := func(count int) object {
		b := p.deploymentBody(code, p.environment(), nil)
		b["sku"] = object{"name": "Default", "capacity": count}
		b["properties"].(object)["requestSettings"] = object{"maxConcurrentRequestsPerInstance": 50}
		return b
	}
	if op := p.deploy("scales", "blue", body(1)); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	p.settle(p.traffic("scales", object{"blue": 100}))
	key := p.key("scales")
	pids := func(requests int) map[string]bool {
		found, answers := map[string]bool{}, make(chan string, requests)
		for range requests {
			go func() { answers <- p.score("scales", key, "{}").text }()
		}
		for range requests {
			found[<-answers] = true
		}
		return found
	}
	first := p.must(p.score("scales", key, "{}"), 200).text
	began := time.Now()
	if op := p.deploy("scales", "blue", body(3)); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	t.Logf("one to three instances in %v", time.Since(began))
	if got := pids(12); len(got) != 3 || !got[first] {
		t.Errorf("after scaling up, %s is not among three: %v", first, got)
	}
	shown := p.must(p.arm("GET", p.endpoint("scales")+"/deployments/blue", mlVersion, nil), 200)
	if shown.path("sku.capacity") != 3.0 || shown.str("properties.provisioningState") != "Succeeded" {
		t.Errorf("shown: %s", shown.text)
	}
	p.settle(p.arm("PATCH", p.endpoint("scales")+"/deployments/blue", mlVersion, object{"sku": object{"capacity": 1}}))
	if got := pids(4); len(got) != 1 || !got[first] {
		t.Errorf("after scaling down, %s is not the only one: %v", first, got)
	}
	for _, count := range []int{-1, 51, 1 << 40} {
		if a := p.arm("PUT", p.endpoint("scales")+"/deployments/blue", mlVersion, body(count)); a.status != 400 {
			t.Errorf("%d instances: %d %s", count, a.status, a.text)
		}
	}
	changed := body(2)
	changed["properties"].(object)["environmentVariables"] = object{"NEW": "1"}
	if op := p.deploy("scales", "blue", changed); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	if got := pids(8); len(got) != 2 || got[first] {
		t.Errorf("a change of more than the count kept %s: %v", first, got)
	}
	p.settle(p.arm("PUT", p.endpoint("scales")+"/deployments/blue", mlVersion, func() object { changed["sku"] = object{"capacity": 3}; return changed }()))
	p.stop()
	p = start(t, dir)
	eventually(t, "three instances run again", func() bool { return len(pids(12)) == 3 })
}

func TestMirrorReportComparesBothAnswers(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("compares", nil)
	environment := p.environment()
	for name, script := range map[string]string{
		"blue":  "import json\ndef init(): pass\ndef run(raw): return {'rows': [json.loads(raw)['n'], 2.0], 'secret-of': 'user'}\n",
		"green": "import json\ndef init(): pass\ndef run(raw): return {'rows': [json.loads(raw)['n'], 2.0 + (json.loads(raw)['n'] > 5)], 'secret-of': 'user'}\n",
	} {
		code := p.upload("codes", name, "onlinescoring", map[string]string{"score.py": script})
		if op := p.deploy("compares", name, p.deploymentBody(code, environment, nil)); op.str("status") != "Succeeded" {
			t.Fatal(op.text)
		}
	}
	report := func() answer {
		return p.arm("POST", p.endpoint("compares")+"/deployments/green/mirrorReport", mlVersion, nil)
	}
	if a := report(); a.status != 404 || !strings.Contains(a.str("error.message"), "--mirror-traffic green=10") {
		t.Errorf("without mirroring: %d %s", a.status, a.text)
	}
	mirror := func(percent int) {
		p.settle(p.putEndpoint("compares", object{"authMode": "Key", "traffic": object{"blue": 100}, "mirrorTraffic": object{"green": percent}}))
	}
	mirror(50)
	key := p.key("compares")
	for _, body := range []string{`{"n": 1}`, `{"n": 7}`} {
		eventually(t, "copies of "+body+" are compared", func() bool {
			before := p.must(report(), 200)
			p.must(p.score("compares", key, body), 200)
			after := p.must(report(), 200)
			return after.path("same").(float64)+after.path("differentBody").(float64) > before.path("same").(float64)+before.path("differentBody").(float64)
		})
	}
	eventually(t, "a difference is told", func() bool { return p.must(report(), 200).path("differentBody").(float64) > 0 })
	shown := p.must(report(), 200)
	found := shown.json["differences"].([]any)[0].(object)
	if found["path"] != "$.rows[1]" || found["live"] != "2.0" || found["shadow"] != "3.0" || found["liveDeployment"] != "blue" || shown.path("percent") != 50.0 {
		t.Errorf("got %s", shown.text)
	}
	if strings.Contains(shown.text, "secret-of") || strings.Contains(shown.text, key) {
		t.Errorf("the report shows more than the difference: %s", shown.text)
	}
	// It is read with the right to read logs, and no less.
	reader, clientID, secret, err := p.server.NewApplication("reader")
	if err != nil {
		t.Fatal(err)
	}
	p.grant(reader, "Reader", p.group())
	token := p.token(clientID, secret, armHost)
	if a := p.armAs(token, "POST", p.endpoint("compares")+"/deployments/green/mirrorReport", mlVersion, nil); a.status != 403 || !strings.Contains(a.text, "deployments/getLogs/action") {
		t.Errorf("a reader: %d %s", a.status, a.text)
	}
	mirror(0)
	if a := p.must(report(), 200); a.path("percent") != 0.0 || a.path("differentBody").(float64) == 0 {
		t.Errorf("after the mirroring: %s", a.text)
	}
}

// With --routing in-turn a test can count on every single request; and each has
// one line in the log, without its credential.
func TestTrafficInTurnIsExact(t *testing.T) {
	p := start(t, t.TempDir(), func(c *lapis.Config) { c.RouteInTurn = true })
	p.createEndpoint("counted", nil)
	p.echoing("counted", "blue", "green", "shade")
	p.settle(p.putEndpoint("counted", object{"authMode": "Key", "traffic": object{"blue": 90, "green": 10}, "mirrorTraffic": object{"shade": 20}}))
	key := p.key("counted")
	for range 3 {
		seen := map[string]int{}
		for range 10 {
			seen[p.must(p.score("counted", key, "x"), 200).str("from")]++
		}
		if seen["blue"] != 9 || seen["green"] != 1 {
			t.Errorf("of ten requests: %v", seen)
		}
	}
	// The scripts answer with their own names, so that every copy differs.
	eventually(t, "six of thirty are copied", func() bool {
		a := p.must(p.arm("POST", p.endpoint("counted")+"/deployments/shade/mirrorReport", mlVersion, nil), 200)
		return a.path("differentBody") == 6.0
	})
	logs := p.logs.String()
	if n := strings.Count(logs, "msg=scored endpoint=counted"); n != 30 {
		t.Errorf("%d lines for 30 requests", n)
	}
	if !strings.Contains(logs, "protocol=HTTP/1.1 auth=key status=200") || strings.Contains(logs, key) {
		t.Errorf("the lines are\n%s", logs)
	}
}
