package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"lapis/cli/az"
)

func TestMirrorReportIsTold(t *testing.T) {
	const report = `{"deployment":"green","percent":10,"since":"2026-01-02T03:04:05Z","same":7,"differentBody":1,"shadowFailed":1,"differentStatus":0,
"differentContentType":0,"notCompared":0,"dropped":2,"pending":0,"liveLatency":{"count":8,"p50Ms":1.5,"p95Ms":2,"maxMs":3},"shadowLatency":{"count":8,"p50Ms":4,"p95Ms":5,"maxMs":6},
"differences":[{"kind":"body","liveStatus":200,"shadowStatus":200,"liveDeployment":"blue","requestId":"r1","path":"$.a[1]","live":"1","shadow":"2\u001b[31m","time":"t"},
{"kind":"shadowFailed","liveStatus":200,"shadowStatus":0,"reason":"UpstreamRequestTimeout","liveDeployment":"blue","requestId":"r2","time":"t"}]}`
	var o map[string]any
	if err := json.Unmarshal([]byte(report), &o); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	(&platform{App: &az.App{Stdout: &out}}).tellMirror(o)
	got := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"green: 10 % of the traffic", "same 7", "different body 1", "dropped 2", "live 8 1.5 2 3", "shadow 8 4 5 6",
		"blue 200, shadow 200 request r1 $.a[1]", `shadow "2\x1b[31m"`, "blue 200, shadow UpstreamRequestTimeout request r2"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}
