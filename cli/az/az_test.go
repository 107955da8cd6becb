package az

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"lapis/client"
)

func TestArgumentsFollowAzsGrammar(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want map[string][]string
	}{
		{"ml online-deployment create -e ep -n blue -f d.yml --all-traffic --set a=1 b.c=2 --set d=3", map[string][]string{
			"endpoint-name": {"ep"}, "name": {"blue"}, "file": {"d.yml"}, "all-traffic": {"true"}, "set": {"a=1", "b.c=2", "d=3"}}},
		{"ml online-endpoint update --name e --traffic blue=90 green=10 --add l k=v w --remove x", map[string][]string{
			"name": {"e"}, "traffic": {"blue=90", "green=10"}, "add": {`["l","k=v","w"]`}, "remove": {`["x"]`}}},
		{"storage blob upload -c con --account-name=acct -n b -f f --overwrite false", map[string][]string{
			"container-name": {"con"}, "account-name": {"acct"}, "name": {"b"}, "file": {"f"}, "overwrite": {"false"}}},
		{"storage blob upload --overwrite -c con -nb -f=f", map[string][]string{"container-name": {"con"}, "name": {"b"}, "file": {"f"}, "overwrite": {"true"}}},
		{"storage account create --na x --loc y --tags a=1 b", map[string][]string{"name": {"x"}, "location": {"y"}, "tags": {"a=1", "b"}}},
		{"storage account create --name x --kind storagev2 --tags", map[string][]string{"name": {"x"}, "kind": {"StorageV2"}, "tags": {""}}},
		{"group create --resource-group g -l x", map[string][]string{"name": {"g"}, "location": {"x"}}},
		{"ml online-deployment get-logs -e e -n n -l -5", map[string][]string{"endpoint-name": {"e"}, "name": {"n"}, "lines": {"-5"}}},
		{"ml online-deployment get-logs -e e -n n --follow", map[string][]string{"endpoint-name": {"e"}, "name": {"n"}, "follow": {"true"}}},
		{"role assignment list --role -x", nil}, // a word with a dash is no value
	} {
		app := &App{Program: "az", Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, Getenv: func(string) string { return "" }}
		root := app.Root()
		got := map[string][]string{}
		hijack(root, got)
		args, err := expand(root, strings.Fields(tt.in))
		if err == nil {
			root.SetArgs(args)
			err = root.Execute()
		}
		if tt.want == nil {
			if err == nil {
				t.Errorf("%s: no error", tt.in)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", tt.in, err, diff)
		}
	}
}

// hijack makes every command put down what it was given instead of running.
func hijack(cmd *cobra.Command, got map[string][]string) {
	for _, sub := range cmd.Commands() {
		hijack(sub, got)
	}
	if !cmd.HasSubCommands() {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			seen := cmd.LocalNonPersistentFlags()
			for _, spec := range seenInputs(seen) {
				if spec.given {
					got[spec.arg.key()] = spec.texts
				}
			}
			return nil
		}
	}
}

func TestEveryCommandIsComplete(t *testing.T) {
	var walk func(path string, b branch)
	walk = func(path string, b branch) {
		for _, sub := range b.branches {
			if sub.help == "" {
				t.Errorf("%s %s has no help", path, sub.name)
			}
			walk(path+" "+sub.name, sub)
		}
		for _, c := range b.commands {
			if c.help == "" || c.run == nil {
				t.Errorf("%s %s has no help or no run", path, c.name)
			}
			for _, a := range c.args {
				if len(a.long()) == 0 || a.help == "" && !a.hidden {
					t.Errorf("%s %s: argument %q has no long name or no help", path, c.name, a.names)
				}
			}
		}
	}
	walk("az", tree())
}

func parsed(t *testing.T, file string) object {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// The wanted shapes are what azure-ai-ml 1.35.2 makes of the same answers, but
// for its slips: enum names in place of their values, and half seconds that it
// rounds away.
func TestShownShapesAreThoseOfTheRealClient(t *testing.T) {
	for name, show := range map[string]func(object) object{
		"endpoint-uai": showEndpoint, "endpoint-sai": showEndpoint, "deployment": showDeployment, "model": showModel, "environment": showEnvironment,
	} {
		pair := parsed(t, name+".json")
		got := show(child(pair, "wire"))
		data, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var tree object
		if err := json.Unmarshal(data, &tree); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(child(pair, "shown"), tree); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestWhatIsShownGoesBackUnchanged(t *testing.T) {
	for _, name := range []string{"endpoint-uai", "endpoint-sai"} {
		wire := child(parsed(t, name+".json"), "wire")
		body := wireEndpoint(editable(showEndpoint(wire)), text(wire, "location"))
		for _, path := range []string{"properties.authMode", "properties.traffic", "properties.mirrorTraffic", "properties.properties", "tags", "location", "identity.type"} {
			if diff := cmp.Diff(at(wire, path), at(body, path)); diff != "" {
				t.Errorf("%s: %s: %s", name, path, diff)
			}
		}
		for id := range child(wire, "identity.userAssignedIdentities") {
			if _, ok := child(body, "identity.userAssignedIdentities")[id]; !ok {
				t.Errorf("%s: the identity %s is lost", name, id)
			}
		}
	}
	wire := child(parsed(t, "deployment.json"), "wire")
	body := wireDeployment(editable(showDeployment(wire)), "", "", "", "local")
	for _, path := range []string{"properties.requestSettings", "properties.livenessProbe", "properties.readinessProbe", "properties.scaleSettings",
		"properties.environmentVariables", "properties.instanceType", "sku", "properties.endpointComputeType"} {
		if diff := cmp.Diff(at(wire, path), at(body, path)); diff != "" {
			t.Errorf("deployment: %s: %s", path, diff)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, ms := range map[string]int64{"PT5S": 5000, "PT0.5S": 500, "PT1M30S": 90_000, "PT2M": 120_000, "PT1H": 3_600_000, "P1D": 86_400_000, "P1DT1S": 86_401_000} {
		if got, ok := durationMS(text); !ok || got != ms {
			t.Errorf("%s: %d %v", text, got, ok)
		}
		if got := isoDuration(ms); got != text {
			t.Errorf("%d: %s, want %s", ms, got, text)
		}
	}
	for _, text := range []string{"", "P", "PT", "5S", "PT-1S", "P1M", "PT1e9S"} {
		if _, ok := durationMS(text); ok {
			t.Errorf("%q was read", text)
		}
	}
}

func FuzzDuration(f *testing.F) {
	f.Add("PT1M0.5S")
	f.Fuzz(func(t *testing.T, text string) {
		if ms, ok := durationMS(text); ok {
			if again, ok := durationMS(isoDuration(ms)); !ok || again != ms {
				t.Errorf("%q: %d, written %q, read %d %v", text, ms, isoDuration(ms), again, ok)
			}
		}
	})
}

// app is a program with a client file that leads nowhere.
func app(t *testing.T) (*App, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	err := client.Write(dir, client.Info{Proxy: "http://127.0.0.1:1", TenantID: "t", ClientID: "c", ClientSecret: "s", SubscriptionID: "sub",
		ResourceGroup: "rg", Workspace: "ws", ConfigDir: filepath.Join(dir, "azure")})
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	return &App{Program: "az", Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, DataDir: dir,
		Getenv: func(name string) string { return map[string]string{"HOME": dir}[name] }}, &out, &errs
}

func TestTheSlipOfTheArticleIsTakenAsMeant(t *testing.T) {
	a, _, errs := app(t)
	if code := a.Execute(context.Background(), a.Root(), strings.Fields("configure --defaults gitworkspace=mine group=g2")); code != 0 {
		t.Fatal(errs)
	}
	a.session = nil
	s, err := a.settings()
	if err != nil || s.Default("workspace") != "mine" || s.Default("group") != "g2" || !strings.Contains(errs.String(), "gitworkspace") {
		t.Errorf("%v %q %q %s", err, s.Default("workspace"), s.Default("group"), errs)
	}
}

func TestNothingIsSentBeforeTheFileIsRight(t *testing.T) {
	file := filepath.Join(t.TempDir(), "e.yml")
	if err := os.WriteFile(file, []byte("name: e\nauth-mode: key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, _, errs := app(t)
	code := a.Execute(context.Background(), a.Root(), []string{"ml", "online-endpoint", "create", "-f", file})
	if code != 1 || !strings.Contains(errs.String(), "e.yml:2: auth-mode: unknown field; did you mean auth_mode?") {
		t.Errorf("%d %s", code, errs)
	}
}
