package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// running is what runs, as the platform tells it.
type running struct {
	Value []struct {
		Endpoint   string
		Deployment string
		Ready      int
		Wanted     int
		CPU        float64 `json:"cpuSeconds"`
		Memory     float64 `json:"memoryBytes"`
		Limits     struct {
			CPU    float64 `json:"cpus"`
			Memory float64 `json:"memoryBytes"`
		} `json:"limitsEach"`
	}
	AtZero int
}

// shownRunning is how many deployments the table has; -o json has all.
const shownRunning = 20

// showRunning draws the deployments that have instances as a table.
func showRunning(out io.Writer, told any) {
	data, err := json.Marshal(told)
	if err != nil {
		return
	}
	var now running
	if err := json.Unmarshal(data, &now); err != nil || len(now.Value)+now.AtZero == 0 {
		return
	}
	fmt.Fprintf(out, "%-14s %d with instances, %d at zero\n", "deployments", len(now.Value), now.AtZero)
	if len(now.Value) == 0 {
		return
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nENDPOINT/DEPLOYMENT\tREADY\tCPU TIME\tMEMORY\tLIMITS OF EACH")
	for _, d := range now.Value[:min(len(now.Value), shownRunning)] {
		fmt.Fprintf(table, "%s/%s\t%d/%d\t%.1f s\t%s\t%s\n", d.Endpoint, d.Deployment, d.Ready, d.Wanted, d.CPU, inBytes(d.Memory), limitsOf(d.Limits.CPU, d.Limits.Memory))
	}
	_ = table.Flush()
	if more := len(now.Value) - shownRunning; more > 0 {
		fmt.Fprintf(out, "and %d more; all of them: lapis status -o json\n", more)
	}
}

func limitsOf(cpus, memory float64) string {
	if cpus == 0 && memory == 0 {
		return "not known"
	}
	return fmt.Sprintf("%g CPU, %s", cpus, inBytes(memory))
}

func inBytes(n float64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.4g GiB", n/(1<<30))
	}
	return fmt.Sprintf("%.4g MiB", n/(1<<20))
}
