package lapis_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// follow asks once for the lines of a deployment's log after a position.
func (p *platform) follow(token, endpoint, name, position string) answer {
	p.t.Helper()
	return p.armAs(token, "POST", p.endpoint(endpoint)+"/deployments/"+name+"/followLogs", mlVersion, object{"position": position, "tail": 1000})
}

func TestFollowedLogsComeAtOnceAndComplete(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("follows", nil)
	code := p.upload("codes", "talks", "onlinescoring", map[string]string{"score.py": `
import time
def init(): pass
def run(raw):
    if raw == "now": print("said at", time.time(), flush=True)
    for n in range(2000 if raw == "much" else 0): print("line %d of many" % n)
    return 1
`})
	if op := p.deploy("follows", "blue", p.deploymentBody(code, p.environment(), nil)); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	key, owner := p.key("follows"), p.owner(armHost)
	at := p.must(p.follow(owner, "follows", "blue", ""), 200).str("position")
	text := ""
	more := func(until string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(text, until); {
			a := p.must(p.follow(owner, "follows", "blue", at), 200)
			text, at = text+a.str("content"), a.str("position")
			if time.Now().After(deadline) {
				t.Fatalf("it never said %q:\n%s", until, text)
			}
		}
	}
	var late time.Duration
	for range 3 { // one of them on a quiet machine
		text = ""
		go p.try("POST", "https://follows."+p.info.Location+".inference.ml.azure.com/score", map[string]string{
			"Authorization": "Bearer " + key, "azureml-model-deployment": "blue"}, []byte("now"))
		more("said at ")
		var seconds float64
		if _, err := fmt.Sscan(text[strings.Index(text, "said at ")+len("said at "):], &seconds); err != nil {
			t.Fatal(err)
		}
		if late = time.Since(time.UnixMicro(int64(seconds * 1e6))); late < 100*time.Millisecond {
			break
		}
	}
	t.Logf("from print() to the follower in %v", late)
	if late > 100*time.Millisecond {
		t.Error("that is late")
	}
	text = ""
	p.must(p.scoreAt("follows", "blue", key, "much"), 200)
	more("line 1999 of many")
	for n := range 2000 {
		if got := strings.Count(text, fmt.Sprintf(" line %d of many\n", n)); got != 1 {
			t.Fatalf("line %d came %d times", n, got)
		}
	}
	who, token := p.application("stranger")
	p.grant(who, "AzureML Data Scientist", p.endpoint("follows"))
	p.must(p.follow(token, "follows", "blue", ""), 200)
	other, denied := p.application("reader")
	p.grant(other, "Reader", p.endpoint("follows"))
	if a := p.follow(denied, "follows", "blue", ""); a.status != 403 || !strings.Contains(a.text, "deployments/getLogs/action") {
		t.Errorf("who may not read logs: %d %s", a.status, a.text)
	}
	ended := make(chan answer, 1)
	go func() {
		for {
			a := p.follow(owner, "follows", "blue", at)
			at = a.str("position")
			if ended, _ := a.path("ended").(bool); a.status != 200 || ended {
				break
			}
		}
		ended <- answer{}
	}()
	began := time.Now()
	p.settle(p.arm("DELETE", p.endpoint("follows")+"/deployments/blue", mlVersion, nil))
	<-ended
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the follower learned of the deletion after %v", took)
	}
	began = time.Now()
	p.stop()
	t.Logf("stopped in %v", time.Since(began))
}

func TestLogHasWhatWasPrintedBeforeAnAnswer(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("says", nil)
	code := p.upload("codes", "says", "onlinescoring", map[string]string{"score.py": `
def init(): pass
def run(raw): print("said", raw + ".")
`})
	if op := p.deploy("says", "blue", p.deploymentBody(code, p.environment(), nil)); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	p.settle(p.traffic("says", object{"blue": 100}))
	key := p.key("says")
	for n := range 50 {
		p.must(p.score("says", key, fmt.Sprint(n)), 200)
		if log := p.getLogs("says", "blue"); !strings.Contains(log, fmt.Sprintf("said %d.", n)) {
			t.Fatalf("after its answer to %d the log ends so:\n%s", n, log[max(0, len(log)-500):])
		}
	}
}
