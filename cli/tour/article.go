package tour

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// step is one command of the article.
type step struct {
	title string // row of the table of times; "" gives none
	line  string // as typed; with keep, without the variable before it
	keep  string // variable of the shell that takes the output
	check func(t *tour, out string) error
	show  func(out string) string // short form of the output; nil: one line of it
}

// follow runs both ways of the article.
func (t *tour) follow(ctx context.Context) error {
	suffix := fmt.Sprintf("%05d", os.Getpid()%100000)
	for way, name := range []string{"system-assigned", "user-assigned"} {
		t.say("\n== The %s identity\n", name)
		short := []string{"sai", "uai"}[way]
		t.vars["SUBSCRIPTION"] = t.info.SubscriptionID
		t.vars["GROUP"] = t.info.ResourceGroup
		t.vars["WORKSPACE"] = t.info.Workspace
		t.vars["LOCATION"] = t.info.Location
		t.vars["ENDPOINT_NAME"] = "tour-" + short + "-" + suffix
		t.vars["STORAGE_ACCOUNT_NAME"] = "tour" + short + suffix
		t.vars["STORAGE_CONTAINER_NAME"] = "hellocontainer"
		t.vars["FILE_NAME"] = "hello.txt"
		t.vars["UAI_NAME"] = "tour-identity-" + suffix
		for _, s := range steps(short, t.Keep) {
			if err := t.run(ctx, way, s); err != nil {
				return err
			}
		}
	}
	t.conclude()
	return nil
}

func (t *tour) run(ctx context.Context, way int, s step) error {
	typed, line := s.line, s.line
	if s.keep != "" {
		typed = s.keep + "=$(" + s.line + ")"
	}
	t.say("$ %s", typed)
	out, took, err := t.shell(ctx, line)
	if err != nil && t.MayHost && strings.Contains(err.Error(), noIndex) {
		if err := t.host(ctx); err != nil {
			return err
		}
		t.say("$ %s", typed)
		out, took, err = t.shell(ctx, line)
	}
	if err != nil {
		return fmt.Errorf("not as the article says: %w", err)
	}
	if s.keep != "" {
		t.vars[s.keep] = strings.TrimRight(out, "\n")
		if t.vars[s.keep] == "" {
			return fmt.Errorf("not as the article says: %s gave nothing", typed)
		}
	}
	if s.check != nil {
		if err := s.check(t, out); err != nil {
			return fmt.Errorf("not as the article says: %s: %w", typed, err)
		}
	}
	show := s.show
	if show == nil {
		show = brief
	}
	if text := show(out); text != "" {
		t.say("  %s", strings.ReplaceAll(text, "\n", "\n  "))
	}
	t.say("  (%s)\n", milliseconds(took))
	t.record(way, s.title, took)
	return nil
}

func (t *tour) record(way int, title string, took time.Duration) {
	if title == "" {
		return
	}
	for i := range t.times {
		if t.times[i].title == title {
			t.times[i].took[way] += took
			return
		}
	}
	row := timing{title: title}
	row.took[way] = took
	t.times = append(t.times, row)
}

// steps are the commands of one way: sai or uai.
func steps(way string, keep bool) []step {
	uai := way == "uai"
	list := []step{
		{title: "choose subscription and defaults", line: "az account set --subscription $SUBSCRIPTION"},
		{title: "choose subscription and defaults", line: "az configure --defaults gitworkspace=$WORKSPACE group=$GROUP"},
	}
	if uai {
		list = append(list, step{title: "create the identity", line: "az identity create --name $UAI_NAME", show: pick("name", "principalId", "clientId")})
	}
	list = append(list,
		step{title: "create the storage account", line: "az storage account create --name $STORAGE_ACCOUNT_NAME --location $LOCATION", show: pick("name", "kind", "provisioningState")},
		step{title: "look up ids", line: `az storage account show --name $STORAGE_ACCOUNT_NAME --query "id" -o tsv`, keep: "storage_id"},
		step{title: "create the container", line: "az storage container create --account-name $STORAGE_ACCOUNT_NAME --name $STORAGE_CONTAINER_NAME"},
		step{title: "upload the blob", line: "az storage blob upload --account-name $STORAGE_ACCOUNT_NAME --container-name $STORAGE_CONTAINER_NAME --name $FILE_NAME --file hello.txt", show: pick("etag", "lastModified")},
	)
	endpoint := "az ml online-endpoint create --name $ENDPOINT_NAME -f endpoint-sai.yml"
	deployment := "az ml online-deployment create --endpoint-name $ENDPOINT_NAME --all-traffic --name blue --file deployment-" + way + ".yml" +
		" --set environment_variables.STORAGE_ACCOUNT_NAME=$STORAGE_ACCOUNT_NAME environment_variables.STORAGE_CONTAINER_NAME=$STORAGE_CONTAINER_NAME environment_variables.FILE_NAME=$FILE_NAME"
	if uai {
		list = append(list,
			step{title: "look up ids", line: `az identity list --query "[?name=='$UAI_NAME'].clientId" -o tsv`, keep: "uai_clientid"},
			step{title: "look up ids", line: `az identity list --query "[?name=='$UAI_NAME'].principalId" -o tsv`, keep: "uai_principalid"},
			step{title: "look up ids", line: `az identity list --query "[?name=='$UAI_NAME'].id" -o tsv`, keep: "uai_id"},
		)
		endpoint = "az ml online-endpoint create --name $ENDPOINT_NAME -f endpoint-uai.yml --set identity.user_assigned_identities[0].resource_id=$uai_id"
		deployment += " environment_variables.UAI_CLIENT_ID=$uai_clientid"
	}
	list = append(list,
		step{title: "create the endpoint", line: endpoint, show: pick("name", "provisioning_state", "identity.type")},
		step{title: "look at the endpoint", line: "az ml online-endpoint show --name $ENDPOINT_NAME", check: succeeded, show: pick("name", "auth_mode", "scoring_uri", "provisioning_state")},
	)
	list = append(list, roles(uai)...)
	list = append(list,
		step{title: "create the deployment", line: deployment, check: succeeded, show: pick("name", "instance_type", "provisioning_state")},
		step{title: "look at the deployment", line: "az ml online-deployment show --endpoint-name $ENDPOINT_NAME --name blue", check: succeeded, show: pick("name", "provisioning_state")},
		step{title: "read the log", line: "az ml online-deployment get-logs --endpoint-name $ENDPOINT_NAME --name blue", check: blobWasRead, show: blobLines},
		step{title: "invoke", line: "az ml online-endpoint invoke --name $ENDPOINT_NAME --request-file sample-request.json -o tsv", check: predicted},
	)
	if keep {
		return list
	}
	list = append(list,
		step{title: "delete", line: "az ml online-endpoint delete --name $ENDPOINT_NAME --yes"},
		step{title: "delete", line: "az storage account delete --name $STORAGE_ACCOUNT_NAME --yes"},
	)
	if uai {
		list = append(list, step{title: "delete", line: "az identity delete --name $UAI_NAME"})
	}
	return list
}

// roles are the commands that let the identity reach what it must.
func roles(uai bool) []step {
	assign := func(who, role, scope string) step {
		return step{title: "assign roles", show: pick("principalId", "scope"),
			line: "az role assignment create --assignee-object-id $" + who + " --assignee-principal-type ServicePrincipal --role \"" + role + "\" --scope $" + scope}
	}
	if !uai {
		return []step{
			{title: "look up ids", line: `az ml online-endpoint show --name $ENDPOINT_NAME --query "identity.principal_id" -o tsv`, keep: "system_identity"},
			assign("system_identity", "Storage Blob Data Reader", "storage_id"),
		}
	}
	return []step{
		{title: "look up ids", line: "az ml workspace show --name $WORKSPACE --query container_registry -o tsv", keep: "container_registry"},
		{title: "look up ids", line: "az ml workspace show --name $WORKSPACE --query storage_account -o tsv", keep: "storage_account"},
		assign("uai_principalid", "Storage Blob Data Reader", "storage_id"),
		assign("uai_principalid", "AcrPull", "container_registry"),
		assign("uai_principalid", "Storage Blob Data Reader", "storage_account"),
	}
}

func succeeded(_ *tour, out string) error {
	var o map[string]any
	if err := json.Unmarshal([]byte(out), &o); err != nil {
		return fmt.Errorf("the answer is no JSON: %v", err)
	}
	if o["provisioning_state"] != "Succeeded" {
		return fmt.Errorf("provisioning_state is %v, not Succeeded", o["provisioning_state"])
	}
	return nil
}

// blobWasRead wants the blob's content in the log twice: read by REST, and by
// the SDK.
func blobWasRead(t *tour, out string) error {
	data, err := os.ReadFile(filepath.Join(t.dir, "files", "hello.txt"))
	if err != nil {
		return err
	}
	want := "Blob contains: " + strings.TrimSpace(string(data))
	if n := strings.Count(out, want); n < 2 {
		return fmt.Errorf("the log says %q %d times, not twice; its end:\n%s", want, n, tail(out, 15))
	}
	t.proof = append(t.proof, "The log of "+t.vars["ENDPOINT_NAME"]+":\n"+blobLines(out))
	return nil
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func blobLines(out string) string {
	var lines []string
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "Blob contains") {
			lines = append(lines, "  "+strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}

// predicted wants a number for each row of the request.
func predicted(t *tour, out string) error {
	data, err := os.ReadFile(filepath.Join(t.dir, "files", "sample-request.json"))
	if err != nil {
		return err
	}
	var request struct {
		Data []any `json:"data"`
	}
	var answer []float64
	if err := json.Unmarshal(data, &request); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer) != len(request.Data) {
		return fmt.Errorf("the answer %q is not a number for each of the %d rows", strings.TrimSpace(out), len(request.Data))
	}
	t.proof = append(t.proof, "The prediction of "+t.vars["ENDPOINT_NAME"]+": "+strings.TrimSpace(out))
	return nil
}

// pick shows some fields of an object.
func pick(paths ...string) func(string) string {
	return func(out string) string {
		var tree any
		if json.Unmarshal([]byte(out), &tree) != nil {
			return brief(out)
		}
		var parts []string
		for _, path := range paths {
			v := tree
			for _, name := range strings.Split(path, ".") {
				o, _ := v.(map[string]any)
				v = o[name]
			}
			if v != nil {
				parts = append(parts, fmt.Sprintf("%s: %v", path, v))
			}
		}
		return strings.Join(parts, ", ")
	}
}

// brief is an output in one line.
func brief(out string) string {
	line := strings.Join(strings.Fields(out), " ")
	if r := []rune(line); len(r) > 160 {
		line = string(r[:157]) + "..."
	}
	return line
}

// conclude shows the proofs again, the times, and how to go on.
func (t *tour) conclude() {
	t.say("\n== What was seen\n")
	for _, text := range t.proof {
		t.say("%s", text)
	}
	t.say("\n== Times\n")
	width := 0
	var sum [2]time.Duration
	for _, row := range t.times {
		width = max(width, len(row.title))
		for way := range sum {
			sum[way] += row.took[way]
		}
	}
	t.say("%-*s  %15s  %15s", width, "", "system-assigned", "user-assigned")
	for _, row := range append(t.times, timing{"all commands", sum}) {
		t.say("%-*s  %15s  %15s", width, row.title, cell(row.took[0]), cell(row.took[1]))
	}
	if t.hosted {
		t.say("\nNo package index could be reached: the environment was made of what this machine's Python has (--environment host).")
	}
	t.say("\nThe whole tour took %.1f s.", time.Since(t.total).Seconds())
	if !t.Keep {
		t.say("\nTo go on with a platform of your own:\n  lapis up                   in one terminal\n  eval \"$(lapis env)\"        in another: az and every Azure client now reach it")
	}
}

func cell(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return milliseconds(d)
}
