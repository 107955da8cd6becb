package lapis_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestInstancesAreToldWithWhatTheyUseAndMayUse(t *testing.T) {
	p := start(t, t.TempDir())
	const path = "/providers/Lapis.Platform/instances"
	look := func() answer { return p.must(p.arm("GET", path, groupVersion, nil), 200) }
	if a := look(); fmt.Sprint(a.json["value"]) != "[]" || fmt.Sprint(a.json["atZero"]) != "0" {
		t.Errorf("before anything runs: %s", a.text)
	}
	p.createEndpoint("runs", nil)
	code := p.upload("codes", "pid", "onlinescoring", map[string]string{"score.py": turnScript})
	for name, minimum := range map[string]string{"awake": "1", "sleepy": "0"} {
		body := p.ranged(code, map[string]string{"lapis.min_instances": minimum, "lapis.idle": "PT1S"})
		if op := p.deploy("runs", name, body); op.str("status") != "Succeeded" {
			t.Fatal(op.text)
		}
	}
	eventually(t, "one is at zero", func() bool { return fmt.Sprint(look().json["atZero"]) == "1" })
	a := look()
	list, _ := a.json["value"].([]any)
	if len(list) != 1 {
		t.Fatal(a.text)
	}
	one := list[0].(object)
	limits := one["limitsEach"].(object)
	if one["endpoint"] != "runs" || one["deployment"] != "awake" || one["ready"] != 1.0 || one["wanted"] != 1.0 || one["processes"].(float64) < 1 ||
		one["memoryBytes"].(float64) < 1<<20 || limits["cpus"] != 4.0 || limits["memoryBytes"] != float64(14<<30) {
		t.Errorf("what runs: %s", a.text)
	}
	who, token := p.application("curious")
	if a := p.armAs(token, "GET", path, groupVersion, nil); a.status != 403 || !strings.Contains(a.header.Get("x-lapis-denied"), "Reader") {
		t.Errorf("without a role: %d %s", a.status, a.text)
	}
	p.grant(who, "Monitoring Reader", "/subscriptions/"+p.info.SubscriptionID)
	p.must(p.armAs(token, "GET", path, groupVersion, nil), 200)
}
