// Package article runs the published article as a user would: its commands, its
// files and its scoring script, unmodified, against a fresh platform.
package article

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// flow is the article's CLI tab, command for command; $UAI is empty on its
// system-assigned way.
const flow = `
set -e
az account set --subscription $AZURE_SUBSCRIPTION_ID
az configure --defaults gitworkspace=$WORKSPACE group=$AZURE_DEFAULTS_GROUP
if [ -n "$UAI" ]; then az identity create --name $UAI; fi
az storage account create --name $STORAGE_ACCOUNT_NAME --location $LOCATION
storage_id=` + "`" + `az storage account show --name $STORAGE_ACCOUNT_NAME --query "id" -o tsv` + "`" + `
az storage container create --account-name $STORAGE_ACCOUNT_NAME --name $STORAGE_CONTAINER_NAME
az storage blob upload --account-name $STORAGE_ACCOUNT_NAME --container-name $STORAGE_CONTAINER_NAME --name $FILE_NAME --file endpoints/online/managed/managed-identities/hello.txt
if [ -z "$UAI" ]; then
  az ml online-endpoint create --name $ENDPOINT_NAME -f endpoints/online/managed/managed-identities/1-sai-create-endpoint.yml
  principal=$(az ml online-endpoint show --name $ENDPOINT_NAME --query "identity.principal_id" -o tsv)
else
  uai_clientid=$(az identity list --query "[?name=='$UAI'].clientId" -o tsv)
  principal=$(az identity list --query "[?name=='$UAI'].principalId" -o tsv)
  uai_id=$(az identity list --query "[?name=='$UAI'].id" -o tsv)
  az ml online-endpoint create --name $ENDPOINT_NAME -f endpoints/online/managed/managed-identities/1-uai-create-endpoint.yml --set identity.user_assigned_identities[0].resource_id=$uai_id
  container_registry=$(az ml workspace show --name $WORKSPACE --query container_registry -o tsv)
  storage_account=$(az ml workspace show --name $WORKSPACE --query storage_account -o tsv)
  az role assignment create --assignee-object-id $principal --assignee-principal-type ServicePrincipal --role "AcrPull" --scope $container_registry
  az role assignment create --assignee-object-id $principal --assignee-principal-type ServicePrincipal --role "Storage Blob Data Reader" --scope $storage_account
fi
az role assignment create --assignee-object-id $principal --assignee-principal-type ServicePrincipal --role "Storage Blob Data Reader" --scope $storage_id
if [ -z "$UAI" ]; then
  az ml online-deployment create --endpoint-name $ENDPOINT_NAME --all-traffic --name blue --file endpoints/online/managed/managed-identities/2-sai-deployment.yml --set environment_variables.STORAGE_ACCOUNT_NAME=$STORAGE_ACCOUNT_NAME environment_variables.STORAGE_CONTAINER_NAME=$STORAGE_CONTAINER_NAME environment_variables.FILE_NAME=$FILE_NAME
else
  az ml online-deployment create --endpoint-name $ENDPOINT_NAME --all-traffic --name blue --file endpoints/online/managed/managed-identities/2-uai-deployment.yml --set environment_variables.STORAGE_ACCOUNT_NAME=$STORAGE_ACCOUNT_NAME environment_variables.STORAGE_CONTAINER_NAME=$STORAGE_CONTAINER_NAME environment_variables.FILE_NAME=$FILE_NAME environment_variables.UAI_CLIENT_ID=$uai_clientid
fi
az ml online-deployment show --endpoint-name $ENDPOINT_NAME --name blue --query provisioning_state -o tsv
az ml online-deployment get-logs --endpoint-name $ENDPOINT_NAME --name blue
az ml online-endpoint invoke --name $ENDPOINT_NAME --request-file endpoints/online/model-1/sample-request.json
az ml online-endpoint delete --name $ENDPOINT_NAME --yes
az storage account delete --name $STORAGE_ACCOUNT_NAME --yes
if [ -n "$UAI" ]; then az identity delete --name $UAI; fi
`

// The predictions that are published for the sample request.
const predictions = "[11055.977245525679, 4503.079536107787]"

func TestArticleRunsUnmodified(t *testing.T) {
	work := t.TempDir()
	layOut(t, work)
	program := filepath.Join(work, "lapis")
	run(t, "", nil, "go", "build", "-o", program, "lapis/cmd/lapis")
	data := filepath.Join(work, "data")
	env := append(os.Environ(), "LAPIS_DATA="+data)
	up := exec.Command(program, "up")
	up.Env = env
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = up.Process.Signal(os.Interrupt)
		_ = up.Wait()
	})
	run(t, "", env, program, "status", "--wait", "20s")
	for _, way := range []struct{ name, uai string }{{"system", ""}, {"user", "article-identity"}} {
		t.Run(way.name+"-assigned", func(t *testing.T) {
			settings := append(env, "WORKSPACE=lapis", "LOCATION=local", "UAI="+way.uai, "FILE_NAME=hello.txt",
				"ENDPOINT_NAME=article-"+way.name, "STORAGE_ACCOUNT_NAME=article"+way.name, "STORAGE_CONTAINER_NAME=box")
			began := time.Now()
			out, err := command(t, work, settings, program, "shell", "--", "bash", "-c", flow).CombinedOutput()
			text := string(out)
			if strings.Contains(text, "o package index") {
				t.Skip("no package index can be reached: the article's environment cannot be built")
			}
			if err != nil || !strings.Contains(text, predictions) || strings.Count(text, "Blob contains: Hello world!") != 2 {
				t.Fatalf("%v\n%s", err, text)
			}
			t.Logf("%s", time.Since(began).Round(time.Millisecond))
		})
	}
}

// layOut copies the published samples, with the scoring script restored from
// the article's text. Without them the test skips.
func layOut(t *testing.T, work string) {
	t.Helper()
	shared := os.Getenv("LAPIS_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	samples := filepath.Join(shared, "samples", "endpoints")
	if _, err := os.Stat(samples); err != nil {
		t.Skipf("the published samples are not here: %v", err)
	}
	if err := os.CopyFS(filepath.Join(work, "endpoints"), os.DirFS(samples)); err != nil {
		t.Fatal(err)
	}
	scripts := filepath.Join(work, "endpoints/online/model-1/onlinescoring")
	out, err := exec.Command("python3", "restore.py", "--article", filepath.Join(shared, "article.txt"), scripts).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 {
		t.Skipf("the article's text is not here: %s", out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func command(t *testing.T, dir string, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	return cmd
}

func run(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	if out, err := command(t, dir, env, name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
