package lapis_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// turnScript answers with its process's id. Its init() says so in the log.
const turnScript = `
import os
def init(): print("init of", os.getpid(), flush=True)
def run(raw): return [os.getpid(), os.environ.get("TURN", "")]
`

// ranged is the body of a deployment that scales by our properties.
func (p *platform) ranged(code string, properties map[string]string) object {
	body := p.deploymentBody(code, p.environment(), nil)
	body["properties"].(object)["properties"] = properties
	return body
}

func (p *platform) deployment(endpoint, name string) answer {
	p.t.Helper()
	return p.must(p.arm("GET", p.endpoint(endpoint)+"/deployments/"+name, mlVersion, nil), 200)
}

func (p *platform) atZero(endpoint, name string) bool {
	p.t.Helper()
	inner, _ := p.deployment(endpoint, name).path("properties.properties").(object)
	return strings.HasPrefix(fmt.Sprint(inner["lapis.instances"]), "0, scaled to zero")
}

func TestDeploymentGoesToZeroAndComesBackWithItsLog(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	p.createEndpoint("sleeper", nil)
	code := p.upload("codes", "pid", "onlinescoring", map[string]string{"score.py": turnScript})
	zero := map[string]string{"lapis.min_instances": "0", "lapis.idle": "PT1S", "mine": "kept"}
	for _, name := range []string{"blue", "other"} {
		if op := p.deploy("sleeper", name, p.ranged(code, zero)); op.str("status") != "Succeeded" {
			t.Fatal(op.text)
		}
	}
	p.settle(p.traffic("sleeper", object{"blue": 100}))
	inits := func() int { return strings.Count(p.getLogs("sleeper", "blue"), "init of") }
	if inits() != 1 {
		t.Errorf("a create proves the script once:\n%s", p.getLogs("sleeper", "blue"))
	}
	asleep := func() bool { return p.atZero("sleeper", "blue") && p.atZero("sleeper", "other") }
	eventually(t, "both are at zero", asleep)
	key := p.key("sleeper")
	began := time.Now()
	p.must(p.score("sleeper", key, "{}"), 200)
	t.Logf("from zero to the answer in %v", time.Since(began))
	eventually(t, "the log shows the second start", func() bool { return inits() == 2 })
	if logs := p.getLogs("sleeper", "blue"); !strings.Contains(logs, "scaled to zero") || !strings.Contains(logs, "1 of 1 ready") {
		t.Errorf("the log:\n%s", logs)
	}
	shown := p.deployment("sleeper", "blue")
	if inner := shown.path("properties.properties").(object); inner["mine"] != "kept" || inner["lapis.idle"] != "PT1S" || shown.str("properties.scaleSettings.scaleType") != "Default" {
		t.Errorf("shown: %s", shown.text)
	}
	eventually(t, "both are at zero again", asleep)
	before := inits()
	p.stop()
	p = start(t, dir)
	if !asleep() || inits() != before {
		t.Errorf("after a restart: %s\n%s", p.deployment("sleeper", "blue").text, p.getLogs("sleeper", "blue"))
	}
	p.must(p.score("sleeper", key, "{}"), 200)
	p.stop() // now it has an instance
	p = start(t, dir)
	p.must(p.score("sleeper", key, "{}"), 200) // at once: it waits for what is being started
	eventually(t, "the log shows one start more", func() bool { return inits() == before+2 })
	if !p.atZero("sleeper", "other") {
		t.Error("the one at zero was started")
	}
	// A change of the range alone keeps what runs.
	pid := p.must(p.score("sleeper", key, "{}"), 200).text
	kept := maps.Clone(zero)
	kept["lapis.min_instances"] = "1"
	if op := p.deploy("sleeper", "blue", p.ranged(code, kept)); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	if now := p.must(p.score("sleeper", key, "{}"), 200).text; now != pid {
		t.Errorf("%s was replaced by %s", pid, now)
	}
	longer := maps.Clone(zero)
	longer["lapis.idle"] = "PT2S"
	log := p.getLogs("sleeper", "other")
	if op := p.deploy("sleeper", "other", p.ranged(code, longer)); op.str("status") != "Succeeded" || !p.atZero("sleeper", "other") {
		t.Errorf("another idle time: %s", op.text)
	}
	if now := p.getLogs("sleeper", "other"); strings.Count(now, "init of") != strings.Count(log, "init of") {
		t.Errorf("another idle time started an instance:\n%s", now)
	}
	if op := p.deploy("sleeper", "other", p.ranged(code, kept)); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	if p.atZero("sleeper", "other") {
		t.Error("it is at zero, with a minimum of one")
	}
	p.settle(p.arm("DELETE", p.endpoint("sleeper")+"/deployments/other", mlVersion, nil))
}

func TestStartFromZeroThatFailsSaysWhy(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("broken-zero", nil)
	// It works once; what it needs is gone then.
	code := p.upload("codes", "once", "onlinescoring", map[string]string{"score.py": `
import os
def init():
    path = os.path.join(os.path.dirname(__file__), "data")
    open(path).close()
    os.remove(path)
def run(raw): return 1
`, "data": "x"})
	if op := p.deploy("broken-zero", "blue", p.ranged(code, map[string]string{"lapis.min_instances": "0", "lapis.idle": "PT1S"})); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	p.settle(p.traffic("broken-zero", object{"blue": 100}))
	eventually(t, "it is at zero", func() bool { return p.atZero("broken-zero", "blue") })
	a := p.score("broken-zero", p.key("broken-zero"), "{}")
	if a.status != http.StatusFailedDependency || a.header.Get("ms-azureml-model-error-reason") != "model_not_ready" || !strings.Contains(a.str("error.message"), "UserScriptInitFailed") {
		t.Errorf("%d %v %s", a.status, a.header, a.text)
	}
	if logs := p.getLogs("broken-zero", "blue"); !strings.Contains(logs, "FileNotFoundError") {
		t.Errorf("the log:\n%s", logs)
	}
}

func TestTargetUtilizationIsTakenAndShown(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("ranged", nil)
	code := p.upload("codes", "pid", "onlinescoring", map[string]string{"score.py": "import time\ndef init(): pass\ndef run(raw): time.sleep(0.05); return 1\n"})
	body := func(scale any, properties map[string]string) object {
		b := p.ranged(code, properties)
		b["properties"].(object)["scaleSettings"] = scale
		b["properties"].(object)["requestSettings"] = object{"maxConcurrentRequestsPerInstance": 50}
		return b
	}
	target := func(more object) object {
		o := object{"scaleType": "TargetUtilization"}
		maps.Copy(o, more)
		return o
	}
	for name, c := range map[string]struct {
		scale      any
		properties map[string]string
		code       string
	}{
		"unknown type":       {object{"scaleType": "Sometimes"}, nil, "BadArgument"},
		"type in lower case": {object{"scaleType": "targetutilization"}, nil, "BadArgument"},
		"no object":          {[]int{1}, nil, "InvalidRequestContent"},
		"text for a number":  {target(object{"minInstances": "1"}), nil, "InvalidRequestContent"},
		"half an instance":   {target(object{"maxInstances": 1.5}), nil, "InvalidRequestContent"},
		"below zero":         {target(object{"minInstances": -1}), nil, "BadArgument"},
		"none at most":       {target(object{"minInstances": 0, "maxInstances": 0}), nil, "BadArgument"},
		"too many":           {target(object{"maxInstances": 51}), nil, "BadArgument"},
		"far too many":       {target(object{"maxInstances": 1e300}), nil, "InvalidRequestContent"},
		"min over max":       {target(object{"minInstances": 3, "maxInstances": 2}), nil, "BadArgument"},
		"no target":          {target(object{"targetUtilizationPercentage": 0}), nil, "BadArgument"},
		"more than all":      {target(object{"targetUtilizationPercentage": 101}), nil, "BadArgument"},
		"a number of polls":  {target(object{"pollingInterval": 5}), nil, "InvalidRequestContent"},
		"no interval":        {target(object{"pollingInterval": "5s"}), nil, "BadArgument"},
		"too fast":           {target(object{"pollingInterval": "PT0.1S"}), nil, "BadArgument"},
		"too slow":           {target(object{"pollingInterval": "P1D"}), nil, "BadArgument"},
		"property no number": {nil, map[string]string{"lapis.min_instances": "none"}, "BadArgument"},
		"property too large": {nil, map[string]string{"lapis.max_instances": "99999999999999999999"}, "BadArgument"},
		"property over max":  {target(object{"maxInstances": 2}), map[string]string{"lapis.min_instances": "3"}, "BadArgument"},
		"idle no duration":   {nil, map[string]string{"lapis.idle": "5m"}, "BadArgument"},
		"idle never":         {nil, map[string]string{"lapis.min_instances": "0", "lapis.idle": "PT0S"}, "BadArgument"},
		"idle for years":     {nil, map[string]string{"lapis.min_instances": "0", "lapis.idle": "P31D"}, "BadArgument"},
	} {
		if a := p.arm("PUT", p.endpoint("ranged")+"/deployments/blue", mlVersion, body(c.scale, c.properties)); a.status != 400 || a.str("error.code") != c.code {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
	if op := p.deploy("ranged", "blue", body(target(object{"maxInstances": 3, "targetUtilizationPercentage": 80}), nil)); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	shown := p.deployment("ranged", "blue")
	if got := fmt.Sprint(shown.path("properties.scaleSettings")); got != "map[maxInstances:3 minInstances:1 pollingInterval:PT1S scaleType:TargetUtilization targetUtilizationPercentage:80]" {
		t.Errorf("shown: %s", got)
	}
	p.settle(p.traffic("ranged", object{"blue": 100}))
	load := p.loaded("ranged", 6)
	eventually(t, "three instances carry the load", func() bool {
		inner, _ := p.deployment("ranged", "blue").path("properties.properties").(object)
		return inner["lapis.instances"] == "3 of 3 ready"
	})
	load.stop(t)
}

// load is clients that call an endpoint until they are stopped.
type load struct {
	end   chan struct{}
	all   sync.WaitGroup
	good  atomic.Int64
	mu    sync.Mutex
	wrong []string // answers other than 200
}

func (p *platform) loaded(endpoint string, clients int) *load {
	p.t.Helper()
	l := &load{end: make(chan struct{})}
	address := "https://" + endpoint + "." + p.info.Location + ".inference.ml.azure.com/score"
	key := p.key(endpoint)
	for range clients {
		l.all.Go(func() {
			for {
				select {
				case <-l.end:
					return
				default:
				}
				a, err := p.try("POST", address, map[string]string{"Authorization": "Bearer " + key, "Content-Type": "application/json"}, []byte(`"x"`))
				if err == nil && a.status == 200 {
					l.good.Add(1)
					continue
				}
				l.mu.Lock()
				l.wrong = append(l.wrong, fmt.Sprint(a.status, " ", a.text, " ", err))
				l.mu.Unlock()
			}
		})
	}
	return l
}

// stop ends the clients, and fails the test for every request that failed.
func (l *load) stop(t *testing.T) {
	t.Helper()
	close(l.end)
	l.all.Wait()
	t.Logf("%d requests", l.good.Load())
	if len(l.wrong) > 0 {
		t.Errorf("%d of %d requests failed, such as %v", len(l.wrong), l.good.Load(), l.wrong[:min(len(l.wrong), 3)])
	}
}

// Nothing that is done to an endpoint costs a request: flips of traffic,
// updates, updates that fail, changes of the count.
func TestChangesUnderLoadCostNoRequest(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	p.createEndpoint("busy", nil)
	good := p.upload("codes", "pid", "onlinescoring", map[string]string{"score.py": turnScript})
	bad := map[string]string{
		"raises": p.upload("codes", "raises", "onlinescoring", map[string]string{"score.py": "def init(): raise ValueError('not today')\ndef run(raw): pass\n"}),
		"ends":   p.upload("codes", "ends", "onlinescoring", map[string]string{"score.py": "import os, threading\ndef init(): threading.Timer(0.03, lambda: os._exit(3)).start()\ndef run(raw): pass\n"}),
		"freezes": p.upload("codes", "freezes", "onlinescoring", map[string]string{"score.py": `
import os, signal, subprocess
def init(): subprocess.Popen(["sh", "-c", "while kill -STOP %d; do sleep 0.001; done" % os.getpid()])
def run(raw): pass
`}),
	}
	body := func(code string, count int, turn string) object {
		b := p.deploymentBody(code, p.environment(), map[string]string{"TURN": turn})
		b["sku"] = object{"name": "Default", "capacity": count}
		b["properties"].(object)["requestSettings"] = object{"maxConcurrentRequestsPerInstance": 50}
		b["properties"].(object)["readinessProbe"] = object{"timeout": "PT0.2S", "period": "PT0.1S", "failureThreshold": 3}
		return b
	}
	for _, name := range []string{"blue", "green"} {
		if op := p.deploy("busy", name, body(good, 1, "")); op.str("status") != "Succeeded" {
			t.Fatal(op.text)
		}
	}
	p.settle(p.traffic("busy", object{"blue": 100}))
	load := p.loaded("busy", 4)
	for n := range 100 {
		name := []string{"green", "blue"}[n%2]
		p.settle(p.traffic("busy", object{name: 100}))
	}
	for n := range 3 {
		if op := p.deploy("busy", "blue", body(good, 1, fmt.Sprint(n))); op.str("status") != "Succeeded" {
			t.Fatal(op.text)
		}
	}
	for _, count := range []int{4, 1} {
		began := time.Now()
		if op := p.deploy("busy", "blue", body(good, count, "2")); op.str("status") != "Succeeded" {
			t.Fatal(op.text)
		}
		t.Logf("to %d instances in %v", count, time.Since(began))
	}
	for how, code := range bad {
		began := time.Now()
		op := p.deploy("busy", "blue", body(code, 1, how))
		if op.str("status") != "Failed" || op.str("error.code") != "ResourceNotReady" {
			t.Errorf("%s: %s", how, op.text)
		}
		t.Logf("%s: %s after %v", how, op.str("error.message"), time.Since(began))
		if shown := p.deployment("busy", "blue"); shown.str("properties.provisioningState") != "Failed" || !strings.Contains(shown.text, "lapis.error") {
			t.Errorf("%s: %s", how, shown.text)
		}
	}
	if logs := p.getLogs("busy", "blue"); !strings.Contains(logs, "the instances that served before go on") {
		t.Errorf("the log:\n%s", logs)
	}
	load.stop(t)
	// After a restart the revision that served serves again, not what failed.
	p.stop()
	p = start(t, dir)
	key := p.key("busy")
	eventually(t, "blue serves", func() bool { return p.scoreAt("busy", "blue", key, "{}").status == 200 })
	if a := p.scoreAt("busy", "blue", key, "{}"); !strings.Contains(a.text, `"2"`) {
		t.Errorf("another revision serves: %s", a.text)
	}
}
