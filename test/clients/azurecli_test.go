package clients

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// TestAzureCLI signs the genuine azure-cli in and makes what the article makes
// with it. It takes minutes to install, so it runs with LAPIS_LONG=1 only.
func TestAzureCLI(t *testing.T) {
	if os.Getenv("LAPIS_LONG") != "1" {
		t.Skip("installs the whole azure-cli; LAPIS_LONG=1 runs it")
	}
	python := environment(t, findPython(t), "requirements-azure-cli.txt")
	p := start(t)
	const setup = `az() { "$AZ" -m azure.cli "$@"; }
principal() { az identity show -g lapis -n cli-identity --query principalId -o tsv; }
account() { az storage account show -n clistore -g lapis --query id -o tsv; }
`
	for _, tc := range []struct{ command, want string }{
		{`az login --service-principal -u "$AZURE_CLIENT_ID" -p "$AZURE_CLIENT_SECRET" --tenant "$AZURE_TENANT_ID" --query [0].id -o tsv`, "$AZURE_SUBSCRIPTION_ID"},
		{`az account show --query tenantId -o tsv`, "$AZURE_TENANT_ID"},
		{`az group list --query [].name -o tsv`, "lapis"},
		{`az group create -n cli-group -l local --query properties.provisioningState -o tsv`, "Succeeded"},
		{`az identity create -g lapis -n cli-identity --query name -o tsv`, "cli-identity"},
		{`az storage account create -g lapis -n clistore -l local --sku Standard_LRS --query primaryEndpoints.blob -o tsv`, "https://clistore.blob.core.windows.net/"},
		{`az storage container create --account-name clistore -n files --query created -o tsv`, "true"},
		{`az storage blob upload --account-name clistore -c files -n hello.txt -f hello.txt --no-progress --query "type(etag)" -o tsv`, "string"},
		{`az storage blob list --account-name clistore -c files --query [].name -o tsv`, "hello.txt"},
		{`az storage blob list --account-name clistore -c files --auth-mode login 2>&1 | grep -c "do not have the required permissions"`, "1"},
		{`az role assignment create --assignee-object-id "$(principal)" --assignee-principal-type ServicePrincipal --role "Storage Blob Data Reader" --scope "$(account)" --query principalType -o tsv`, "ServicePrincipal"},
		{`az role assignment create --assignee "$AZURE_CLIENT_ID" --role "Storage Blob Data Reader" --scope "$(account)" --query principalType -o tsv`, "ServicePrincipal"},
		{`az storage blob list --account-name clistore -c files --auth-mode login --query [].name -o tsv`, "hello.txt"},
		{`az role assignment list --scope "$(account)" --query "length(@)" -o tsv`, "2"},
		{`az acr list --query "length(@)" -o tsv`, "1"},
		{`az storage account delete -n clistore -g lapis --yes`, ""},
		{`az identity delete -g lapis -n cli-identity`, ""},
		{`az group delete -n cli-group --yes`, ""},
		{`az group exists -n cli-group`, "false"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		cmd := p.shell(ctx, "", "/bin/sh", "-c", setup+tc.command+"\necho \"want "+tc.want+"\"")
		cmd.Dir = absolute(t, "..", "..", "examples", "managed-identity")
		cmd.Env = append(cmd.Env, "AZ="+python, "AZURE_CORE_COLLECT_TELEMETRY=no", "AZURE_CORE_ONLY_SHOW_ERRORS=1")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		began := time.Now()
		out, err := cmd.Output()
		cancel()
		got, want, _ := strings.Cut(string(out), "want ")
		t.Logf("%8.3f s  %s", time.Since(began).Seconds(), tc.command)
		if err != nil || strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s: %v, answered %q, not %q\n%s", tc.command, err, got, want, tail(stderr.Bytes(), 3000))
		}
	}
}
