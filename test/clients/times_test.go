package clients

import (
	"fmt"
	"strings"
	"testing"
)

// times are where the time of one or more steps went, in seconds: see steps.py.
type times struct {
	Seconds float64 `json:"seconds"` // all of it
	Answers float64 `json:"answers"`
	AZ      float64 `json:"az"`
	Pauses  float64 `json:"pauses"`
	Own     float64 `json:"own"`
	CPU     float64 `json:"cpu"`
}

func (a times) plus(b times) times {
	return times{a.Seconds + b.Seconds, a.Answers + b.Answers, a.AZ + b.AZ, a.Pauses + b.Pauses, a.Own + b.Own, a.CPU + b.CPU}
}

// clientTime is how long, in seconds, a client may compute for an endpoint and
// its deployment: more would be spent on answers that are too many or too large.
const clientTime = 2.0

// logTimes writes a table of the steps of a flow by two generations of the
// clients, in the order of the first; steps of one name are added up.
func logTimes(t *testing.T, title string, newest, older []step) {
	t.Helper()
	var order []string
	sums := map[string][2]times{}
	counts := map[string]int{}
	total := [2]times{}
	for i, steps := range [][]step{newest, older} {
		for _, s := range steps {
			if _, seen := sums[s.Name]; !seen {
				order = append(order, s.Name)
			}
			sum := sums[s.Name]
			sum[i] = sum[i].plus(s.times)
			sums[s.Name] = sum
			total[i] = total[i].plus(s.times)
			if i == 0 {
				counts[s.Name]++
			}
		}
	}
	if len(newest) == 0 || len(older) == 0 {
		return // only some of the flows were run
	}
	var b strings.Builder
	line := func(name string, sum [2]times) {
		fmt.Fprintf(&b, "| %s ", name)
		for _, one := range sum {
			fmt.Fprintf(&b, "| %.3f | %.3f | %.3f | %.3f | %.3f ", one.Seconds, one.Answers, one.Pauses, one.AZ, one.Own)
		}
		b.WriteString("|\n")
	}
	fmt.Fprintf(&b, "| %s | newest: all | answers | pauses | az | own | 1.28: all | answers | pauses | az | own |\n", title)
	b.WriteString("|---" + strings.Repeat("|--:", 10) + "|\n")
	for _, name := range order {
		shown := name
		if counts[name] > 1 {
			shown = fmt.Sprintf("%s (%d times)", name, counts[name])
		}
		line(shown, sums[name])
	}
	line("in all", total)
	t.Logf("seconds\n%s", b.String())
	for i, generation := range []string{"newest", "1.28"} {
		made := sums["online_endpoints.begin_create_or_update"][i].plus(sums["online_deployments.begin_create_or_update"][i])
		t.Logf("%s: of %.3f s for an endpoint and its deployment the client's own part is %.3f s, with az %.3f s",
			generation, made.Seconds, made.Own, made.Own+made.AZ)
		if made.CPU > clientTime {
			t.Errorf("%s: the client computes for %.1f s to make an endpoint and its deployment, more than %.0f s", generation, made.CPU, clientTime)
		}
	}
}
