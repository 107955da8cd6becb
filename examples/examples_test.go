package examples_test

import (
	"encoding/json"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"lapis/examples"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := fs.ReadFile(examples.ManagedIdentity(), name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestEmbeddedFilesAreTheExampleAndNothingElse(t *testing.T) {
	want := []string{
		"README.md", "deployment-sai.yml", "deployment-uai.yml", "endpoint-sai.yml", "endpoint-uai.yml",
		"environment/conda.yml", "hello.txt", "model/diabetes.joblib", "onlinescoring/score.py",
		"sample-request.json", "train.py",
	}
	var got []string
	err := fs.WalkDir(examples.ManagedIdentity(), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if size := len(read(t, "model/diabetes.joblib")); size > 50_000 {
		t.Errorf("the model has %d bytes, which is too much for a repository", size)
	}
}

func TestDeploymentsNameFilesOfTheExample(t *testing.T) {
	for file, user := range map[string]bool{"deployment-sai.yml": false, "deployment-uai.yml": true} {
		var d struct {
			Model struct{ Path string }
			Code  struct {
				Folder string `yaml:"code"`
				Script string `yaml:"scoring_script"`
			} `yaml:"code_configuration"`
			Environment struct {
				Conda string `yaml:"conda_file"`
			}
			Variables map[string]string `yaml:"environment_variables"`
		}
		if err := yaml.Unmarshal(read(t, file), &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, path := range []string{strings.TrimSuffix(d.Model.Path, "/"), d.Code.Folder + d.Code.Script, d.Environment.Conda} {
			if _, err := fs.Stat(examples.ManagedIdentity(), path); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		if _, ok := d.Variables["UAI_CLIENT_ID"]; ok != user {
			t.Errorf("%s: UAI_CLIENT_ID is set: %v, want %v", file, ok, user)
		}
	}
}

// A pickled model is only good for the versions that wrote it.
func TestEveryPackageIsPinned(t *testing.T) {
	var conda struct{ Dependencies []any }
	if err := yaml.Unmarshal(read(t, "environment/conda.yml"), &conda); err != nil {
		t.Fatal(err)
	}
	pinned := regexp.MustCompile(`^[a-z0-9-]+={1,2}\d[\d.]*$`)
	for _, entry := range conda.Dependencies {
		list := []any{entry}
		if pip, ok := entry.(map[string]any); ok {
			list = pip["pip"].([]any)
		}
		for _, one := range list {
			if !pinned.MatchString(one.(string)) {
				t.Errorf("%v is not pinned", one)
			}
		}
	}
}

func TestSampleRequestHasTheModelsColumns(t *testing.T) {
	var request struct{ Data [][]float64 }
	if err := json.Unmarshal(read(t, "sample-request.json"), &request); err != nil {
		t.Fatal(err)
	}
	if len(request.Data) != 2 {
		t.Errorf("%d rows, want 2", len(request.Data))
	}
	for i, row := range request.Data {
		if len(row) != 10 {
			t.Errorf("row %d has %d columns, want 10", i, len(row))
		}
	}
}
