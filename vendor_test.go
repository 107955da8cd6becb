package lapis_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// vendorSource is a set of models of one package.
type vendorSource struct {
	plane   string // which specimens it models
	name    string // NAME==VERSION of a Python package, @SCOPE/NAME@VERSION of one of npm
	folder  string // where its models lie
	version string // the api-version that they are made for
	asked   []string
	without []string // models that it has not got
}

// perVersion are the sources of a package with a folder for each api-version.
func perVersion(plane, name, folder string, without []string, versions ...string) (sources []vendorSource) {
	for _, v := range versions {
		sources = append(sources, vendorSource{
			plane: plane, name: name, version: v, asked: []string{v}, without: without,
			folder: fmt.Sprintf(folder, strings.ReplaceAll(v, "-", "_")),
		})
	}
	return sources
}

// one is the source of a package whose models are made for one api-version.
func one(plane, name, folder, version string, without ...string) vendorSource {
	return vendorSource{plane: plane, name: name, folder: folder, version: version, asked: []string{version}, without: without}
}

// vendorSources are two or three generations of each package. Those of npm up
// to 2025 ship mappers, and later ones functions; Python's have attribute maps,
// and then fields. Both are read.
func vendorSources() []vendorSource {
	const (
		aiml   = "azure-ai-ml==1.28.0"
		mapper = "dist-esm/src/models"
		esm    = "dist/esm/models"
	)
	newest := one("ml", "azure-ai-ml==1.35.2", "azure/ai/ml/_restclient/arm_ml_service/models", "2025-12-01")
	newest.asked = []string{ // the older ones are asked for by the same client, and read with the same models
		"2025-12-01", "2022-02-01-preview", "2022-05-01", "2022-10-01", "2022-10-01-preview", "2023-02-01-preview", "2023-04-01", "2023-04-01-preview",
		"2023-06-01-preview", "2023-08-01-preview", "2023-10-01", "2024-01-01-preview", "2024-04-01-preview", "2024-10-01-preview", "2025-01-01-preview",
	}
	return slices.Concat(
		perVersion("ml", aiml, "azure/ai/ml/_restclient/v%s/models", []string{"PendingUploadResponseDto", "Workspace", "ListWorkspaceKeysResult"}, "2022-02-01-preview"),
		perVersion("ml", aiml, "azure/ai/ml/_restclient/v%s/models", []string{"PendingUploadResponseDto"},
			"2022-05-01", "2022-10-01", "2022-10-01-preview", "2022-12-01-preview", "2023-02-01-preview"),
		perVersion("ml", aiml, "azure/ai/ml/_restclient/v%s/models", nil, "2023-04-01", "2023-04-01-preview", "2023-06-01-preview",
			"2023-08-01-preview", "2023-10-01", "2024-01-01-preview", "2024-04-01-preview", "2024-07-01-preview", "2024-10-01-preview", "2025-01-01-preview"),
		[]vendorSource{
			newest,
			one("ml", "azure-mgmt-machinelearningservices==2.0.0b2", "azure/mgmt/machinelearningservices/models", "2023-04-01"),
			one("ml", "@azure/arm-machinelearning@1.0.0", mapper, "2022-05-01", "PendingUploadResponseDto"),
			one("ml", "@azure/arm-machinelearning@2.1.1", mapper, "2022-10-01", "PendingUploadResponseDto"),

			one("storage", "azure-mgmt-storage==22.2.0", "azure/mgmt/storage/v2019_06_01/models", "2019-06-01"),
			one("storage", "azure-mgmt-storage==24.0.1", "azure/mgmt/storage/models", "2025-06-01"),
			one("storage", "azure-mgmt-storage==25.0.0", "azure/mgmt/storage/models", "2025-08-01"),
			one("storage", "azure-mgmt-storage==25.3.0", "azure/mgmt/storage/models", "2026-09-01"),
			one("storage", "@azure/arm-storage@17.2.1", mapper, "2021-09-01"),
			one("storage", "@azure/arm-storage@18.6.0", esm, "2024-01-01"),
			one("storage", "@azure/arm-storage@19.1.0", esm, "2025-06-01"),
			one("storage", "@azure/arm-storage@20.1.0", esm, "2025-08-01"),
			one("storage", "@azure/arm-storage@21.0.0", esm, "2026-09-01"),

			one("identities", "azure-mgmt-msi==8.0.0b2", "azure/mgmt/msi/models", "2025-05-31-preview"),
			one("identities", "@azure/arm-msi@2.1.0", mapper, "2023-01-31"),
			one("identities", "@azure/arm-msi@2.2.0", esm, "2024-11-30"),

			one("roles", "azure-mgmt-authorization==5.0.0b2", "azure/mgmt/authorization/models", "2022-05-01-preview"),
			one("roles", "@azure/arm-authorization@9.0.0", mapper, "2022-04-01"),

			one("registries", "azure-mgmt-containerregistry==15.0.0", "azure/mgmt/containerregistry/models", "2025-11-01"),
			one("registries", "@azure/arm-containerregistry@10.1.0", mapper, "2022-12-01"),
			one("registries", "@azure/arm-containerregistry@11.0.0", esm, "2025-11-01"),
			one("registries", "@azure/arm-containerregistry@12.0.0", esm, "2025-11-01"),

			one("resources", "azure-mgmt-resource==26.0.0", "azure/mgmt/resource/resources/models", "2025-04-01"),
			one("resources", "@azure/arm-resources@5.2.0", mapper, "2021-04-01"),
			one("resources", "@azure/arm-resources@6.1.0", esm, "2025-03-01"),
			one("resources", "@azure/arm-resources@8.0.0", esm, "2025-04-01"),
			one("deployments", "azure-mgmt-resource-deployments==2.0.0", "azure/mgmt/resource/deployments/models", "2026-06-01"),
			one("deployments", "@azure/arm-resources@5.2.0", mapper, "2021-04-01"),
			one("deployments", "@azure/arm-resources@6.1.0", esm, "2025-03-01"),
			one("vaults", "azure-mgmt-keyvault==12.1.1", "azure/mgmt/keyvault/models", "2025-05-01"),
			one("vaults", "azure-mgmt-keyvault==14.1.0", "azure/mgmt/keyvault/models", "2026-05-15"),
			one("analytics", "azure-mgmt-loganalytics==12.0.0", "azure/mgmt/loganalytics/models", "2021-06-01"),
			one("analytics", "azure-mgmt-loganalytics==14.0.0", "azure/mgmt/loganalytics/models", "2025-07-01"),
			one("subscriptions", "@azure/arm-resources-subscriptions@2.1.0", mapper, "2022-12-01"),
		},
		perVersion("components", "azure-mgmt-applicationinsights==4.1.0", "azure/mgmt/applicationinsights/v%s/models", nil, "2015-05-01", "2018-05-01-preview", "2020-02-02"),
		perVersion("identities", "azure-mgmt-msi==7.1.0", "azure/mgmt/msi/v%s/models", nil, "2018-11-30", "2021-09-30-preview", "2022-01-31-preview", "2024-11-30"),
		perVersion("roles", "azure-mgmt-authorization==4.0.0", "azure/mgmt/authorization/v%s/models", nil, "2018-01-01-preview", "2022-04-01"),
		perVersion("roles", "azure-mgmt-authorization==4.0.0", "azure/mgmt/authorization/v%s/models", []string{"RoleDefinition"}, "2020-10-01-preview"),
		perVersion("roles", "azure-mgmt-authorization==4.0.0", "azure/mgmt/authorization/v%s/models", []string{"RoleAssignment"}, "2022-05-01-preview"),
		perVersion("registries", "azure-mgmt-containerregistry==14.0.0", "azure/mgmt/containerregistry/v%s/models", []string{"ErrorDetail"}, "2019-05-01"),
		perVersion("registries", "azure-mgmt-containerregistry==14.0.0", "azure/mgmt/containerregistry/v%s/models", nil,
			"2020-11-01-preview", "2022-02-01-preview", "2023-01-01-preview", "2024-11-01-preview", "2025-03-01-preview", "2025-04-01"),
		perVersion("resources", "azure-mgmt-resource==23.4.0", "azure/mgmt/resource/resources/v%s/models", nil,
			"2016-09-01", "2018-05-01", "2019-10-01", "2020-06-01", "2021-04-01", "2022-09-01", "2024-11-01", "2025-03-01"),
		perVersion("deployments", "azure-mgmt-resource==23.4.0", "azure/mgmt/resource/resources/v%s/models", nil,
			"2016-09-01", "2018-05-01", "2019-10-01", "2020-06-01", "2021-04-01", "2022-09-01", "2024-11-01", "2025-03-01"),
		perVersion("subscriptions", "azure-mgmt-resource==23.4.0", "azure/mgmt/resource/subscriptions/v%s/models", nil, "2016-06-01", "2019-06-01", "2022-12-01"),
	)
}

// knownMisfits are places where an answer is right and a model is not: a part
// of the misfit, and why.
var knownMisfits = map[string]string{
	".properties.lapisNotServed is not known":                                                             "it says that there is a record and no service",
	"(2022-02-01-preview of azure-ai-ml==1.28.0, 2022-02-01-preview): .properties.modelType is '":         "other words in that version alone; its clients ask for models in later ones",
	"(2022-02-01-preview of azure-ai-ml==1.28.0, 2022-02-01-preview): .value[].properties.modelType is '": "the same in lists",
	"(2022-02-01-preview of azure-ai-ml==1.28.0, 2022-02-01-preview): .properties.dataType is '":          "other words in that version alone; its clients ask for data in later ones",
	"(2022-02-01-preview of azure-ai-ml==1.28.0, 2022-02-01-preview): .value[].properties.dataType is '":  "the same in lists",
	".properties.credentials.secrets is missing":                                                          "required of requests, and never shown",
	".keys[].permissions is 'FULL', which KeyPermission has not":                                          "the real service's spelling; clients take any case",
	".userStorageResourceId is not known to ListWorkspaceKeysResult":                                      "the older name of userStorageArmId; both are answered, as it is not known which versions have which",
	".additionalInfo is not known to CloudErrorBody":                                                      "every plane tells more of a denial; clients leave it alone, or print it",
	"): .nextLink is missing": "required of lists of subscriptions and tenants alone, where Azure leaves it out too when there is no next page",
}

// Every field of an answer is one that the vendors' own models know, of their
// type, with enums in their case; what the models require is there. An answer
// in an older api-version may have the fields of newer ones, as all versions of
// a type have the same body.
func TestAnswersFitTheVendorsModels(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no packages")
	}
	sources := vendorSources()
	models := map[string]*vendorModels{}
	for _, s := range sources {
		models[s.name+s.folder] = readVendorModels(t, s.name, s.folder)
	}
	p := start(t, t.TempDir())
	h := &vendorHolding{t: t, specimens: p.specimens(), newest: map[string]string{}, met: map[string]int{}}
	for _, s := range sources {
		for _, version := range s.asked {
			h.hold(s, version, models[s.name+s.folder])
		}
	}
	h.report()
}

// specimen is one kind of answer.
type specimen struct {
	plane, name string
	model       string   // what it, or each item of it, is
	models      []string // what else it may be called
	lists       []string // what a list of it may be called; nil for one
	since       string   // the first api-version that has it
	ask         func(version string) answer
}

// vendorHolding gathers what was found.
type vendorHolding struct {
	t         *testing.T
	specimens []specimen
	found     []vendorMisfit
	newest    map[string]string // the latest models that know a field
	met       map[string]int    // known misfits
	lines     []string
	bodies    int
	fields    int
}

type vendorMisfit struct {
	misfit
	source  vendorSource
	version string
	name    string
}

func (m vendorMisfit) String() string {
	return fmt.Sprintf("%s %s (%s of %s, %s): %s", m.plane(), m.name, m.source.version, m.source.name, m.version, m.misfit)
}

func (m vendorMisfit) plane() string { return m.source.plane }
func (m vendorMisfit) place() string { return m.source.plane + " " + m.name + " " + m.path }

// hold holds every specimen of a source's plane against its models.
func (h *vendorHolding) hold(s vendorSource, version string, models *vendorModels) {
	h.t.Helper()
	held, bodies, fields, absent := map[string]bool{}, 0, 0, map[string]bool{}
	for _, sp := range h.specimens {
		if sp.plane != s.plane || version < sp.since {
			continue
		}
		class := models.find(sp)
		if slices.Contains(s.without, sp.model) != (class == "") {
			h.t.Errorf("%s %s: it has a model of %s: %v", s.name, s.folder, sp.model, class != "")
			continue
		}
		if class == "" {
			absent[sp.model] = true
			continue
		}
		a := sp.ask(version)
		if a.json == nil {
			h.t.Errorf("%s in %s: %d %.300s", sp.name, version, a.status, a.text)
			continue
		}
		misfits, n := models.holdSpecimen(sp, class, a.json)
		held[sp.model] = true
		bodies, fields = bodies+1, fields+n
		h.take(s, version, sp, a.json, misfits)
	}
	h.bodies, h.fields = h.bodies+bodies, h.fields+fields
	if bodies == 0 {
		h.t.Errorf("%s %s: nothing is held against it", s.name, s.folder)
	}
	h.lines = append(h.lines, fmt.Sprintf("%-45s %-18s asked in %-18s %2d models, %3d bodies, %5d fields, %d without model",
		s.name, s.version, version, len(held), bodies, fields, len(absent)))
}

// take keeps the misfits of a body, and notes which fields the models know.
func (h *vendorHolding) take(s vendorSource, version string, sp specimen, body any, misfits []misfit) {
	unknown := map[string]bool{}
	for _, m := range misfits {
		unknown[m.path] = unknown[m.path] || m.unknown
		h.found = append(h.found, vendorMisfit{misfit: m, source: s, version: version, name: sp.name})
	}
	for _, path := range pathsOf(body, "") {
		if place := s.plane + " " + sp.name + " " + path; !unknown[path] && s.version > h.newest[place] {
			h.newest[place] = s.version
		}
	}
}

// report tells each misfit once, in the first source that has it.
func (h *vendorHolding) report() {
	h.t.Helper()
	told := map[string]bool{}
	for _, m := range h.found {
		if m.unknown && h.newest[m.place()] > m.source.version {
			continue
		}
		if known := h.known(m); known || told[m.place()+m.text] {
			continue
		}
		told[m.place()+m.text] = true
		h.t.Error(m)
	}
	for part := range knownMisfits {
		if h.met[part] == 0 {
			h.t.Errorf("nothing says %q any more: take it from the known misfits", part)
		}
	}
	h.t.Logf("%d answers were held against the models of %d sources, %d fields in all:\n%s", h.bodies, len(h.lines), h.fields, strings.Join(h.lines, "\n"))
}

func (h *vendorHolding) known(m vendorMisfit) bool {
	for part := range knownMisfits {
		if strings.Contains(m.String(), part) {
			h.met[part]++
			return true
		}
	}
	return false
}

// find returns the name that models have for a specimen, or none.
func (m *vendorModels) find(sp specimen) string {
	for _, name := range append([]string{sp.model, sp.model + "Data"}, sp.models...) {
		if _, ok := m.Classes[name]; ok {
			return name
		}
	}
	return ""
}

// holdSpecimen holds a body against a class; a list against the class of the
// list, or against its items' where the package has none.
func (m *vendorModels) holdSpecimen(sp specimen, class string, body map[string]any) ([]misfit, int) {
	if sp.lists == nil {
		return m.hold(class, body)
	}
	for _, name := range sp.lists {
		for _, prefix := range []string{"", "_"} {
			if _, ok := m.Classes[prefix+name]; ok {
				return m.hold(prefix+name, body)
			}
		}
	}
	h := &holder{models: m}
	h.value("[]@"+class, body["value"], ".value")
	for key := range body {
		if key != "value" && key != "nextLink" {
			h.misfits = append(h.misfits, misfit{path: "." + key, text: "is not known to lists", unknown: true})
		}
	}
	return h.misfits, h.fields
}

// pathsOf are the places of a body, with its fields' names even where a model has a map.
func pathsOf(body any, at string) (paths []string) {
	switch v := body.(type) {
	case map[string]any:
		for key, item := range v {
			paths = append(append(paths, at+"."+key), pathsOf(item, at+"."+key)...)
		}
	case []any:
		for _, item := range v {
			paths = append(paths, pathsOf(item, at+"[]")...)
		}
	}
	return paths
}

// Clients have an api-version for each folder of models, and every one is
// served. The two spellings of a version are those of folders and of requests.
func TestEveryVersionOfTheVendorsClientsIsServed(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no packages")
	}
	p := start(t, t.TempDir())
	for _, c := range []struct{ name, folder, model, path string }{
		{"azure-ai-ml==1.28.0", "azure/ai/ml/_restclient/v", "Workspace", p.group() + "/providers/Microsoft.MachineLearningServices/workspaces"},
		{"azure-ai-ml==1.28.0", "azure/ai/ml/_restclient/v", "OnlineEndpoint", p.workspace() + "/onlineEndpoints"},
		{"azure-mgmt-storage==21.2.1", "azure/mgmt/storage/v", "StorageAccount", p.group() + "/providers/Microsoft.Storage/storageAccounts"},
		{"azure-mgmt-storage==21.2.1", "azure/mgmt/storage/v", "BlobContainer", ""},
		{"azure-mgmt-msi==7.1.0", "azure/mgmt/msi/v", "Identity", p.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"},
		{"azure-mgmt-containerregistry==14.0.0", "azure/mgmt/containerregistry/v", "Registry", p.group() + "/providers/Microsoft.ContainerRegistry/registries"},
		{"azure-mgmt-authorization==4.0.0", "azure/mgmt/authorization/v", "RoleAssignment", p.group() + "/providers/Microsoft.Authorization/roleAssignments"},
		{"azure-mgmt-authorization==4.0.0", "azure/mgmt/authorization/v", "RoleDefinition", p.group() + "/providers/Microsoft.Authorization/roleDefinitions"},
		{"azure-mgmt-keyvault==10.3.1", "azure/mgmt/keyvault/v", "Vault", p.group() + "/providers/Microsoft.KeyVault/vaults"},
		{"azure-mgmt-applicationinsights==4.1.0", "azure/mgmt/applicationinsights/v", "ApplicationInsightsComponent", p.group() + "/providers/Microsoft.Insights/components"},
		{"azure-mgmt-resource==23.4.0", "azure/mgmt/resource/resources/v", "ResourceGroup", "/subscriptions/" + p.info.SubscriptionID + "/resourceGroups"},
		{"azure-mgmt-resource==23.4.0", "azure/mgmt/resource/resources/v", "DeploymentExtended", p.group() + "/providers/Microsoft.Resources/deployments"},
		{"azure-mgmt-resource==23.4.0", "azure/mgmt/resource/subscriptions/v", "Subscription", "/subscriptions"},
	} {
		path := c.path
		if path == "" {
			path = p.storage("vendorversions") + "/blobServices/default/containers"
		}
		served := 0
		for _, folder := range vendorFolders(t, c.name, c.folder) {
			models := readVendorModels(t, c.name, folder)
			if models.find(specimen{model: c.model}) == "" {
				continue
			}
			version := strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(folder, c.folder), "/models"), "_", "-")
			if a := p.arm("GET", path, version, nil); a.status != 200 {
				t.Errorf("%s in %s, which %s has: %d %.200s", c.model, version, c.name, a.status, a.text)
			}
			served++
		}
		if served < 3 {
			t.Errorf("%s has %d versions of %s", c.name, served, c.model)
		}
	}
}
