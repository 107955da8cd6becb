package lapis_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layers says in which layer each folder of the module lies, with all that is
// below it. A package imports packages of lower layers only.
var layers = map[string]int{
	"armid": 0, "fault": 0, "secret": 0, "client": 0, "diskfile": 0, "examples": 0, "heap": 0, "http1": 0, "jsonc": 0, "logline": 0, "processors": 0, "socket": 0,
	"store": 1, "content": 1,
	"identity": 2, "token": 2, "rbac": 2, "resource": 2, "operation": 2,
	"storageaccount": 3, "managedidentity": 3, "blob": 3, "registry": 3, "workspace": 3,
	"environment": 3, "worker": 3, "endpoint": 3, "scoring": 3, "msi": 3, "template": 3, "companion": 3, "telemetry": 3,
	"arm": 4, "login": 4, "graph": 4, "gateway": 4, "page": 4,
	".":   5,
	"cli": 6, "cmd": 6, "bench": 6, "test": 6,
}

// beside lists what a folder may import of its own layer. Below one folder,
// packages import one another as they like.
var beside = map[string][]string{
	"client":    {"diskfile"},
	"token":     {"identity"},
	"resource":  {"operation"},
	"endpoint":  {"environment", "msi", "registry", "scoring", "worker"},
	"scoring":   {"worker"},
	"telemetry": {"worker"},
	"cmd":       {"cli"},
}

// only narrows what a folder may import to these folders, whatever its layer.
var only = map[string][]string{
	// The command line has no private door: it speaks what every client speaks.
	"cli": {"armid", "fault", "secret", "client", "diskfile", "examples", "heap", "jsonc", "logline", "processors"},
	// These can run in another process or a pod, away from the platform.
	"worker":  {"socket"},
	"client":  {},
	"http1":   {},
	"socket":  {},
	"scoring": {"fault", "logline", "worker"},
}

const module = "lapis"

// goPackage is the files of one folder, parsed.
type goPackage struct {
	dir   string // relative to the module's root, with slashes
	fset  *token.FileSet
	files map[string]*ast.File // without tests, by path
	tests map[string]*ast.File
}

// folder is the first element of the package's path.
func (p goPackage) folder() string { return folderOf(p.dir) }

func folderOf(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

// imports lists the packages of this module that files import, by folder path.
func imports(files map[string]*ast.File) []string {
	var found []string
	for _, file := range files {
		for _, spec := range file.Imports {
			name := strings.Trim(spec.Path.Value, `"`)
			if name == module {
				found = append(found, ".")
			} else if dir, ok := strings.CutPrefix(name, module+"/"); ok {
				found = append(found, dir)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// sources parses every Go file of the module, whatever its build constraints.
func sources(t *testing.T) []goPackage {
	t.Helper()
	byDir := map[string]goPackage{}
	var order []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() && name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(base, ".go") {
			return nil
		}
		dir := path.Dir(filepath.ToSlash(name))
		p, ok := byDir[dir]
		if !ok {
			p = goPackage{dir: dir, fset: token.NewFileSet(), files: map[string]*ast.File{}, tests: map[string]*ast.File{}}
			byDir[dir] = p
			order = append(order, dir)
		}
		file, err := parser.ParseFile(p.fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if strings.HasSuffix(base, "_test.go") {
			p.tests[name] = file
		} else {
			p.files[name] = file
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list := make([]goPackage, 0, len(order))
	for _, dir := range order {
		list = append(list, byDir[dir])
	}
	return list
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range sources(t) {
		if _, ok := layers[p.folder()]; !ok {
			t.Errorf("%s is in no layer: give it one in layers_test.go", p.dir)
			continue
		}
		for _, imported := range imports(p.files) {
			if why := refuseImport(p.folder(), folderOf(imported)); why != "" {
				t.Errorf("%s imports %s: %s", p.dir, imported, why)
			}
		}
	}
}

// refuseImport says why a folder must not import another; "" if it may.
func refuseImport(from, to string) string {
	if from == to || slices.Contains(beside[from], to) {
		return ""
	}
	if allowed, ok := only[from]; ok && !slices.Contains(allowed, to) {
		return "it may import " + strings.Join(append(slices.Clone(allowed), "nothing else"), ", ")
	}
	switch {
	case layers[to] > layers[from]:
		return "that is a layer above it"
	case layers[to] == layers[from]:
		return "that is beside it; take what is needed as a func, a struct or a small interface of its own"
	}
	return ""
}

func TestLayersNameFoldersThatExist(t *testing.T) {
	named := slices.Collect(maps.Keys(layers))
	for from, list := range beside {
		named = append(append(named, from), list...)
	}
	for _, folder := range named {
		if _, err := os.Stat(folder); err != nil {
			t.Errorf("layers_test.go names the folder %s: %v", folder, err)
		}
	}
}

func TestImportRulesRefuseWhatTheyShould(t *testing.T) {
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"blob", "store", true}, {"blob", "blob", true}, {"endpoint", "scoring", true}, {".", "gateway", true},
		{"cli", "client", true}, {"cmd", ".", true},
		{"store", "blob", false}, {"blob", "registry", false}, {"scoring", "endpoint", false}, {"arm", "login", false},
		{"cli", ".", false}, {"cli", "rbac", false}, {"worker", "armid", false}, {"cli", "cmd", false},
	} {
		if why := refuseImport(c.from, c.to); (why == "") != c.allowed {
			t.Errorf("%s imports %s: allowed %v, want %v", c.from, c.to, why == "", c.allowed)
		}
	}
}

// uses resolves the names of a package without its imports, which is enough to
// tell a package-level variable from a local one.
func (p goPackage) uses() map[*ast.Ident]types.Object {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: noImports{}, Error: func(error) {}}
	files := make([]*ast.File, 0, len(p.files))
	for _, name := range slices.Sorted(maps.Keys(p.files)) {
		files = append(files, p.files[name])
	}
	_, _ = conf.Check(p.dir, p.fset, files, info) // it misses imports: always an error
	return info.Uses
}

type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, errors.New("not loaded") }
