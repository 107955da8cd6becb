package workspace

import (
	"strings"
	"testing"

	"lapis/armid"
)

func TestReferencesNameVersionsOfTheWorkspace(t *testing.T) {
	ws := armid.MustParse("/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w")
	version, label := ws.String()+"/models/m/versions/1", ws.String()+"/models/m/labels/latest"
	s := &Service{}
	for reference, want := range map[string]string{
		"azureml:m:1": version, "m:1": version, "azureml:m@latest": label, "m@latest": label,
		version: version, "azureml:" + version: version, label: label,
		"azureml://subscriptions/s/resourcegroups/g/workspaces/w/models/m/versions/1":                                             version,
		"azureml://subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/models/m/versions/1": version,
		"": "", "m": "", "azureml:m": "", "azureml:m:": "", "azureml::1": "", "azureml:../x:1": "", "azureml:m:1/2": "",
		"azureml://registries/azureml/models/m/versions/1": "", "azureml://subscriptions/s": "", "/subscriptions/s": "",
		strings.Replace(version, "/workspaces/w/", "/workspaces/other/", 1): "", strings.Replace(version, "/models/", "/codes/", 1): "",
	} {
		id, err := s.refer(ws, "models", reference)
		if want == "" {
			if err == nil {
				t.Errorf("%q became %s", reference, id)
			}
			continue
		}
		if err != nil || !strings.EqualFold(id.String(), want) {
			t.Errorf("%q: %s %v", reference, id, err)
		}
	}
}

func FuzzRefer(f *testing.F) {
	ws := armid.MustParse("/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w")
	for _, seed := range []string{"azureml:m:1", "azureml:m@latest", ws.String() + "/models/m/versions/1", "azureml://subscriptions/s/resourcegroups/g/workspaces/w/models/m/versions/1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, reference string) {
		id, err := (&Service{}).refer(ws, "models", reference)
		if err == nil && !ws.Contains(id) {
			t.Errorf("%q leads out of the workspace: %s", reference, id)
		}
	})
}

func FuzzParseMLmodel(f *testing.F) {
	for _, seed := range []string{"flavors: {sklearn: {sklearn_version: 1.2}}", "flavors:\n  a:\n    b: [1, {c: d}]\n", "x: &a [*a]", "flavors: []"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if flavors, err := parseMLmodel(data); err == nil && len(flavors) == 0 {
			t.Error("no flavors and no error")
		}
	})
}
