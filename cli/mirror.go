package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"lapis/cli/cloud"
)

func (p *platform) mirrorReport() *cobra.Command {
	var endpoint, deployment, workspace, group string
	cmd := p.withData(p.verb("mirror-report", "Compare what a deployment answered to mirrored traffic with what clients got.", func(ctx context.Context, _ []string) error {
		if endpoint == "" || deployment == "" {
			return errors.New("name both: --endpoint-name and --name, the deployment that gets mirrored traffic")
		}
		s, err := p.Session()
		if err != nil {
			return err
		}
		group, workspace = firstOf(group, s.Default("group")), firstOf(workspace, s.Default("workspace"))
		if group == "" || workspace == "" || s.Subscription == "" {
			return errors.New("no workspace is chosen; give --resource-group and --workspace-name, or az configure --defaults group=NAME workspace=NAME")
		}
		path := "/subscriptions/" + s.Subscription + "/resourceGroups/" + url.PathEscape(group) + "/providers/Microsoft.MachineLearningServices/workspaces/" +
			url.PathEscape(workspace) + "/onlineEndpoints/" + url.PathEscape(endpoint) + "/deployments/" + url.PathEscape(deployment) + "/mirrorReport"
		reply, err := s.Call(ctx, cloud.Request{Method: http.MethodPost, Path: path, Version: "2023-04-01-preview"})
		if err != nil {
			return err
		}
		if p.Formatted() {
			return p.Print(reply.Body)
		}
		p.tellMirror(reply.Object())
		return nil
	}))
	cmd.Flags().StringVarP(&endpoint, "endpoint-name", "e", "", "Name of the online endpoint.")
	cmd.Flags().StringVarP(&deployment, "name", "n", "", "Name of the deployment that gets, or got, mirrored traffic.")
	cmd.Flags().StringVarP(&workspace, "workspace-name", "w", "", "Name of the workspace. Default: the configured one.")
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "Name of the resource group. Default: the configured one.")
	cmd.Example = "lapis mirror-report --endpoint-name diabetes --name green"
	return cmd
}

// tellMirror writes a report for a person.
func (p *platform) tellMirror(o cloud.Object) {
	state := fmt.Sprintf("%v %% of the traffic", o["percent"])
	if o["percent"] == 0.0 {
		state = "mirroring has ended"
	}
	fmt.Fprintf(p.Stdout, "%v: %s, counted since %v\n\n", o["deployment"], state, o["since"])
	for _, row := range [][2]string{
		{"same", "same"}, {"different status", "differentStatus"}, {"different content type", "differentContentType"}, {"different body", "differentBody"},
		{"shadow gave no answer", "shadowFailed"}, {"not compared", "notCompared"}, {"dropped", "dropped"}, {"pending", "pending"},
	} {
		fmt.Fprintf(p.Stdout, "%-22s %10v\n", row[0], o[row[1]])
	}
	fmt.Fprintf(p.Stdout, "\n%-22s %10s %10s %10s %10s\n", "in the instance, ms", "count", "p50", "p95", "max")
	for _, row := range [][2]string{{"live", "liveLatency"}, {"shadow", "shadowLatency"}} {
		l, _ := o[row[1]].(cloud.Object)
		fmt.Fprintf(p.Stdout, "%-22s %10v %10v %10v %10v\n", row[0], l["count"], l["p50Ms"], l["p95Ms"], l["maxMs"])
	}
	differences, _ := o["differences"].([]any)
	if len(differences) > 0 {
		fmt.Fprintf(p.Stdout, "\nlatest differences\n")
	}
	for _, d := range differences {
		if d, ok := d.(cloud.Object); ok {
			fmt.Fprintf(p.Stdout, "  %v  %-11v %v %v, shadow %v  request %v\n", d["time"], d["kind"], d["liveDeployment"], d["liveStatus"],
				firstOf(str(d["reason"]), fmt.Sprint(d["shadowStatus"])), d["requestId"])
			if live, shadow := str(d["live"]), str(d["shadow"]); live+shadow != "" {
				fmt.Fprintf(p.Stdout, "    %s\n      live   %q\n      shadow %q\n", str(d["path"]), live, shadow)
			}
		}
	}
}
