package definition

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const deployment = `$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: blue
model:
  path: ../../model-1/model/
code_configuration:
  code: ../../model-1/onlinescoring/
  scoring_script: score.py
environment:
  conda_file: conda.yaml
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest
instance_type: Standard_DS3_v2
instance_count: 1
environment_variables:
  RATIO: 1.10
  FLAG: yes
  ON: true
  NAME: "placeholder"
`

func TestDeploymentIsReadWithItsSettings(t *testing.T) {
	d, err := Load(write(t, "d.yml", deployment))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Set([]string{"environment_variables.NAME=x y", "environment_variables.NEW=1.0", "instance_count=2"}); err != nil {
		t.Fatal(err)
	}
	d.Put("endpoint_name", "e")
	if err := d.Check(Deployment()); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"RATIO": "1.10", "FLAG": "yes", "ON": "true", "NAME": "x y", "NEW": "1.0"}
	if diff := cmp.Diff(want, d.Tree["environment_variables"]); diff != "" {
		t.Error(diff)
	}
	if d.Tree["instance_count"] != 2.0 || d.Tree["$schema"] != nil {
		t.Errorf("got %v", d.Tree)
	}
}

func TestProblemsNameFileLineAndField(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		set        []string
		want       []string
	}{
		{"unknown field", "name: e\nauthmode: key\n", nil, []string{"f.yml:2: authmode: unknown field; did you mean auth_mode?"}},
		{"unknown nested field", "name: e\nidentity:\n  type: system_assigned\n  kind: x\n", nil, []string{"f.yml:4: identity.kind: unknown field; the fields here are type, user_assigned_identities"}},
		{"wrong choice", "name: e\nauth_mode: password\n", nil, []string{`f.yml:2: auth_mode: "password" is not one of key, aml_token, aad_token`}},
		{"several at once", "auth_mode: none\ntraffic: blue\n", nil, []string{"f.yml:1: auth_mode:", "f.yml:2: traffic: an object of name: value is wanted, not \"blue\"", "f.yml: name: missing"}},
		{"traffic beyond", "name: e\ntraffic:\n  blue: 101\n", nil, []string{"f.yml:3: traffic.blue: 101 is not between 0 and 100"}},
		{"set from the command line", "name: e\n", []string{"auth_mode=x"}, []string{"command line: auth_mode:"}},
		{"element of a list", "name: e\nidentity:\n  type: user_assigned\n  user_assigned_identities:\n    - resource: x\n", nil,
			[]string{"f.yml:5: identity.user_assigned_identities[0].resource: unknown field", "f.yml:5: identity.user_assigned_identities[0].resource_id: missing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := write(t, "f.yml", tt.text)
			t.Chdir(filepath.Dir(file))
			d, err := Load("f.yml")
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Set(tt.set); err != nil {
				t.Fatal(err)
			}
			err = d.Check(Endpoint())
			if err == nil {
				t.Fatal("no error")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("got %q", lines)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("got %q, want %q", lines[i], want)
				}
			}
		})
	}
}

func TestFilesThatAreNoDefinition(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "f.yml: the file is empty"},
		{"- a\n", "f.yml: a definition is a list of fields"},
		{"a: b\n  c: d\n", "f.yml:1:4: mapping value is not allowed"},
		{"a: [1\n", "f.yml:1:"},
		{"a: 1\n---\nb: 2\n", "f.yml:3: a second document begins"},
		{"a: 1\na: 2\n", "f.yml:2:"},
		{"# only a comment\n", "f.yml: a definition is a list of fields"},
	} {
		file := write(t, "f.yml", tt.text)
		_, err := Load(file)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %s", tt.text, err, tt.want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yml")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
}

func TestTheOtherEndingIsTaken(t *testing.T) {
	file := write(t, "d.yaml", "name: e\nenvironment:\n  conda_file: conda.yml\n")
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "conda.yaml"), []byte("name: x"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Load(strings.TrimSuffix(file, ".yaml") + ".yml")
	if err != nil {
		t.Fatal(err)
	}
	path, err := d.Path("environment.conda_file", "conda.yml")
	if err != nil || filepath.Base(path) != "conda.yaml" || len(d.Notes()) != 2 {
		t.Errorf("%s %v %v", path, err, d.Notes())
	}
	if _, err := d.Path("environment.conda_file", "../none.yml"); err == nil || !strings.Contains(err.Error(), "d.yaml:3: environment.conda_file") {
		t.Errorf("%v", err)
	}
}

func TestReadOnlyFieldsAreLeftOut(t *testing.T) {
	d, err := Load(write(t, "f.yml", "name: e\nscoring_uri: https://x\nidentity:\n  type: SystemAssigned\n  principal_id: p\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Check(Endpoint()); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"name": "e", "identity": map[string]any{"type": "system_assigned"}}
	if diff := cmp.Diff(want, d.Tree); diff != "" || len(d.Notes()) != 2 {
		t.Error(diff, d.Notes())
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(deployment))
	f.Add([]byte("a: &x {b: *x}\n"))
	f.Add([]byte("a: !!binary x\n? [1]\n: 2"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &Document{File: "f", Tree: map[string]any{}, lines: map[string]int{}, raw: map[string]string{}}
		if d.parse(data) == nil {
			_ = d.Check(Deployment())
		}
	})
}
