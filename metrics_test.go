package lapis_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// plain asks the gateway's own port, as Prometheus does without TLS.
func (p *platform) plain(path, token string) answer {
	p.t.Helper()
	req, err := http.NewRequest("GET", p.info.Proxy+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := new(http.Client).Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(data)}
	_ = json.Unmarshal(data, &a.json)
	return a
}

func TestMetricsAreForMonitoringReaders(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("watched", nil)
	subscription := "/subscriptions/" + p.info.SubscriptionID
	who, token := p.application("prometheus")
	looks := map[string]func(token string) answer{
		"plain": func(token string) answer { return p.plain("/metrics", token) },
		"https": func(token string) answer {
			return p.do("GET", "https://management.lapis.localhost/metrics", map[string]string{"Authorization": "Bearer " + token}, nil)
		},
	}
	for name, look := range looks {
		if a := look(""); a.status != 401 || a.header.Get("WWW-Authenticate") == "" || strings.Contains(a.text, "lapis_") {
			t.Errorf("%s, no token: %d %s", name, a.status, a.text)
		}
		if a := look(p.owner("https://storage.azure.com")); a.status != 401 {
			t.Errorf("%s, a token for storage: %d %s", name, a.status, a.text)
		}
		a := look(token)
		denied := a.header.Get("x-lapis-denied")
		if a.status != 403 || !strings.Contains(a.text, "Microsoft.Insights/metrics/read") || !strings.Contains(denied, "Reader") || !strings.Contains(denied, subscription) {
			t.Errorf("%s, no role: %d %s %s", name, a.status, denied, a.text)
		}
	}
	p.grant(who, "Monitoring Reader", p.group()) // not where it is asked
	if a := looks["plain"](token); a.status != 403 {
		t.Errorf("the role at a group: %d %s", a.status, a.text)
	}
	p.grant(who, "Monitoring Reader", subscription)
	p.score("watched", "nonsense", "{}")
	for name, look := range looks {
		a := p.must(look(token), 200)
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain; version=0.0.4") {
			t.Errorf("%s: content type %s", name, a.header.Get("Content-Type"))
		}
		for _, line := range []string{
			`lapis_scoring_requests_total{deployment="",endpoint="watched",status="401"} 1`,
			`lapis_access_decisions_total{decision="denied",plane="management"} 3`,
			"lapis_build_info{", "go_goroutines ", "process_resident_memory_bytes ", "lapis_tokens_signed_total ",
		} {
			if !strings.Contains(a.text, "\n"+line) {
				t.Errorf("%s: there is no line %s", name, line)
			}
		}
	}
	if a := p.plain("/metrics/", token); a.status == 200 || strings.Contains(a.text, "lapis_build_info") {
		t.Errorf("another path of the port: %d %s", a.status, a.text)
	}
}

func TestMetricsOfADeploymentComeAndGoWithIt(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("counted", nil)
	code := p.upload("codes", "counted", "onlinescoring", map[string]string{"score.py": "def init(): pass\ndef run(raw): return 1 // len(raw)\n"})
	if op := p.deploy("counted", "blue", p.deploymentBody(code, p.environment(), nil)); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	p.settle(p.traffic("counted", object{"blue": 100}))
	key := p.key("counted")
	for range 3 {
		p.must(p.score("counted", key, "x"), 200)
	}
	p.must(p.score("counted", key, ""), 424)
	metrics := func() string { return "\n" + p.must(p.plain("/metrics", p.owner(armHost)), 200).text }
	text := metrics()
	const of = `{deployment="blue",endpoint="counted"`
	for _, line := range []string{
		"lapis_scoring_requests_total" + of + `,status="200"} 3`, "lapis_scoring_requests_total" + of + `,status="424"} 1`,
		"lapis_scoring_request_duration_seconds_count" + of + "} 4", "lapis_scoring_queue_wait_seconds_count" + of + "} 4",
		"lapis_scoring_request_bytes_total" + of + "} 3",
		"lapis_deployment_instances_wanted" + of + "} 1", "lapis_deployment_instances_ready" + of + "} 1",
		"lapis_deployment_in_flight_requests" + of + "} 0", "lapis_deployment_queued_requests" + of + "} 0",
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
	if !strings.Contains(p.logs.String(), "msg=scored endpoint=counted deployment=blue method=POST path=/score") {
		t.Error("the request has no access line")
	}
	p.settle(p.traffic("counted", object{}))
	p.wait(p.must(p.arm("DELETE", p.endpoint("counted")+"/deployments/blue", mlVersion, nil), 202))
	if text := metrics(); strings.Contains(text, of) {
		t.Error("the deleted deployment has series still")
	}
}
