package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestStatusShowsWhatRuns(t *testing.T) {
	one := func(name string) string {
		return `{"endpoint":"` + name + `","deployment":"blue","ready":1,"wanted":2,"cpuSeconds":3.25,"memoryBytes":125829120,"processes":2,
			"limitsEach":{"cpus":4,"memoryBytes":15032385536,"processes":1024}}`
	}
	var many []string
	for n := range 25 {
		many = append(many, one(fmt.Sprintf("many-%02d", n)))
	}
	unlimited := `{"endpoint":"odd","deployment":"blue","ready":1,"wanted":1,"limitsEach":{"cpus":0,"memoryBytes":0}}`
	for name, c := range map[string]struct {
		told  string
		wants []string
		lines int
	}{
		"nothing":        {`{"value":[],"atZero":0}`, nil, 0},
		"all at zero":    {`{"value":[],"atZero":7}`, []string{"deployments    0 with instances, 7 at zero"}, 1},
		"one":            {`{"value":[` + one("diabetes") + `],"atZero":0}`, []string{"1 with instances, 0 at zero", "diabetes/blue", "1/2", "3.2 s", "120 MiB", "4 CPU, 14 GiB"}, 4},
		"no limit":       {`{"value":[` + unlimited + `],"atZero":0}`, []string{"not known"}, 4},
		"too many":       {`{"value":[` + strings.Join(many, ",") + `],"atZero":9}`, []string{"25 with instances, 9 at zero", "many-19/blue", "and 5 more"}, 24},
		"not what it is": {`{"value":"x"}`, nil, 0},
	} {
		var told any
		if err := json.Unmarshal([]byte(c.told), &told); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		showRunning(&out, told)
		if lines := strings.Count(out.String(), "\n"); lines != c.lines {
			t.Errorf("%s: %d lines:\n%s", name, lines, out.String())
		}
		for _, want := range c.wants {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", name, want, out.String())
			}
		}
	}
}
