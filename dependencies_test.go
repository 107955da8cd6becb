package lapis_test

import (
	"go/ast"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every module that is imported has a reason in docs/dependencies.md, and
// nothing is explained there that is not imported.
func TestEveryDependencyHasItsReason(t *testing.T) {
	gomod := readText(t, "go.mod")
	reasons := readText(t, "docs/dependencies.md")
	required := submatches(gomod, `(?m)^(?:require)?\s+(\S+) v\S+`)
	program, tests := map[string]bool{}, map[string]bool{}
	for _, p := range sources(t) {
		use := program
		if strings.HasSuffix(p.dir, "test") { // a suite that backends are held to
			use = tests
		}
		addModules(t, use, required, p.files)
		addModules(t, tests, required, p.tests)
	}
	maps.DeleteFunc(tests, func(name string, _ bool) bool { return program[name] })
	tools := submatches(gomod, `(?m)^(?:tool)?\s+(\S+/cmd/\S+)$`)
	for heading, want := range map[string][]string{
		"In the program": slices.Sorted(maps.Keys(program)),
		"In tests only":  slices.Sorted(maps.Keys(tests)),
		"Tools":          slices.Sorted(slices.Values(tools)),
	} {
		_, rest, _ := strings.Cut(reasons, "\n## "+heading+"\n")
		rows, _, _ := strings.Cut(rest, "\n## ")
		got := submatches(rows, "(?m)^\\| `([^`]+)` \\|")
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("docs/dependencies.md, %q, has rows for\n%q\nbut it should be\n%q", heading, got, want)
		}
	}
}

// addModules notes the required module of each import that is neither ours nor
// the standard library's.
func addModules(t *testing.T, found map[string]bool, required []string, files map[string]*ast.File) {
	t.Helper()
	for name, file := range files {
		for _, spec := range file.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
				continue
			}
			owner := ""
			for _, one := range required {
				if (imported == one || strings.HasPrefix(imported, one+"/")) && len(one) > len(owner) {
					owner = one
				}
			}
			if owner == "" {
				t.Errorf("%s imports %s, which is in no module of go.mod", name, imported)
				continue
			}
			found[owner] = true
		}
	}
}

func readText(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// submatches returns what the first group of each match holds.
func submatches(text, pattern string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}
