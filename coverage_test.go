package lapis_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"lapis"
	"lapis/arm"
	"lapis/blob/dataplane"
	"lapis/graph"
	"lapis/login"
	"lapis/msi"
	"lapis/page"
	"lapis/registry"
	"lapis/resource"
	"lapis/scoring"
)

const coverageFile = "docs/coverage.md"

// table is a table of the document: the cells of its rows, without backquotes.
type table [][]string

// coverage reads the document: the first table below each heading.
func coverage(t *testing.T) map[string]table {
	t.Helper()
	text, err := os.ReadFile(coverageFile)
	if err != nil {
		t.Fatal(err)
	}
	tables, heading, inTable := map[string]table{}, "", false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if title := strings.TrimLeft(line, "#"); title != line {
			heading = strings.TrimSpace(title)
		}
		if !strings.HasPrefix(line, "|") {
			inTable = false
			continue
		}
		if !inTable || strings.HasPrefix(line, "|--") { // the head of a table, and the line below it
			inTable = true
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(strings.ReplaceAll(cell, "`", "")))
		}
		tables[heading] = append(tables[heading], cells)
	}
	return tables
}

// rows are the first n cells of each row.
func (tb table) rows(t *testing.T, heading string, n int) []string {
	t.Helper()
	var rows []string
	for _, cells := range tb {
		if len(cells) < n {
			t.Errorf("%s, %q: the row %q has not %d cells", coverageFile, heading, cells, n)
			continue
		}
		rows = append(rows, strings.Join(cells[:n], " | "))
	}
	return rows
}

// same fails for each row that only one side has.
func same(t *testing.T, heading string, code, document []string) {
	t.Helper()
	for _, row := range code {
		if !slices.Contains(document, row) {
			t.Errorf("%s, %q lacks the row\n| %s |", coverageFile, heading, row)
		}
	}
	for _, row := range document {
		if !slices.Contains(code, row) {
			t.Errorf("%s, %q has a row that the code has not (or tells otherwise):\n| %s |", coverageFile, heading, row)
		}
	}
	if seen := map[string]bool{}; len(document) > len(code) {
		for _, row := range document {
			if seen[row] {
				t.Errorf("%s, %q has the row twice: %s", coverageFile, heading, row)
			}
			seen[row] = true
		}
	}
}

func TestCoverageListsEveryRowOfEveryFace(t *testing.T) {
	server, err := lapis.New(lapis.Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	tables := coverage(t)
	check := func(heading string, cells int, code []string) {
		t.Helper()
		same(t, heading, code, tables[heading].rows(t, heading, cells))
	}
	check("Names", 1, server.HostNames())

	const own, types = "Resource Manager", "Resource types"
	var managed []string
	for _, cells := range tables[types] {
		managed = append(managed, rowsOfType(t, cells)...)
	}
	document := append(tables[own].rows(t, own, 3), managed...)
	var code []string
	for _, row := range server.Routes() {
		code = append(code, row.Method+" | "+row.Path+" | "+needOf(row.Action))
	}
	same(t, own+"/"+types, code, document)

	check("Token issuer", 2, mapped(login.Operations(), func(pattern string) string {
		method, path, found := strings.Cut(pattern, " ")
		if !found {
			method, path = "any", pattern
		}
		return method + " | " + path
	}))
	check("Graph", 2, mapped(graph.Operations(), func(o graph.Operation) string { return o.Method + " | " + o.Path }))
	check("Token endpoint of an instance", 2, mapped(msi.Operations(), func(path string) string { return "GET | " + path }))
	check("Registry", 3, mapped(registry.Operations(), func(o registry.Operation) string { return o.Method + " | " + o.Path + " | " + o.Need }))
	check("Page", 2, mapped(page.Operations(), func(o page.Operation) string {
		if len(o.Needs) == 0 {
			return o.Path + " | nothing"
		}
		return o.Path + " | " + strings.Join(o.Needs, ", ")
	}))
	check("Scoring", 2, mapped(scoring.Operations(), func(o scoring.Operation) string {
		if o.Path == "" {
			o.Path = "any other"
		}
		return "any | " + o.Path
	}))
	var done, missing []string
	for _, o := range dataplane.Operations() {
		row := o.Name + " | " + o.Method + " | " + o.Path + " | " + strings.TrimPrefix(o.Action, "Microsoft.Storage/storageAccounts/blobServices/")
		if o.Data {
			row += " (data)"
		}
		if o.Implemented {
			done = append(done, row)
		} else {
			missing = append(missing, row)
		}
	}
	check("Blob service", 4, done)
	check("Blob service: not implemented", 4, missing)
}

func mapped[T any](list []T, text func(T) string) []string {
	rows := make([]string, 0, len(list))
	for _, v := range list {
		rows = append(rows, text(v))
	}
	return rows
}

func needOf(action string) string {
	switch action {
	case "":
		return "nothing"
	case arm.Authenticated:
		return "a token"
	}
	return action
}

// rowsOfType expands a row of the table of resource types: the type, the verbs
// read, write and delete, and its POST actions.
func rowsOfType(t *testing.T, cells []string) []string {
	t.Helper()
	if len(cells) < 3 {
		t.Fatalf("%s: the row of types %q has not 3 cells", coverageFile, cells)
	}
	name, group := cells[0], cells[0] == "Microsoft.Resources/resourceGroups"
	const subscription = "/subscriptions/{subscription}"
	collection := subscription + "/resourceGroups"
	item := collection + "/{resourceGroup}"
	parts := strings.Split(name, "/")
	if !group {
		item += "/providers/" + parts[0]
		for _, part := range parts[1:] {
			collection = item + "/" + part
			item = collection + "/{" + part + "}"
		}
	}
	var rows []string
	add := func(method, path, verb string) {
		rows = append(rows, method+" | "+path+" | "+resource.ActionOf(name, verb))
	}
	for verb := range strings.SplitSeq(cells[1], ", ") {
		switch verb {
		case "read":
			add("GET", item, verb)
			add("HEAD", item, verb)
			add("GET", collection, verb)
			if len(parts) == 2 && !group {
				add("GET", subscription+"/providers/"+name, verb)
			}
		case "write":
			add("PUT", item, verb)
			add("PATCH", item, verb)
		case "delete":
			add("DELETE", item, verb)
		default:
			t.Errorf("%s: %s has the verb %q", coverageFile, name, verb)
		}
	}
	for action := range strings.SplitSeq(cells[2], ", ") {
		need := action
		if name, other, found := strings.Cut(action, " (as "); found {
			action, need = name, strings.TrimSuffix(other, ")")
		}
		if action != "" {
			add("POST", item+"/"+action, need+"/action")
		}
	}
	return rows
}

// quoted are the parts of the document in backquotes.
func quoted(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(coverageFile)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(string(text), -1) {
		found = append(found, m[1])
	}
	return found
}

// tests are those of the tree, as folder.TestName; those of the root have no folder.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	found := map[string]bool{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(name)
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			prefix := ""
			if folder := path.Dir(filepath.ToSlash(name)); folder != "." {
				prefix = folder + "."
			}
			found[prefix+m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var (
	testName   = regexp.MustCompile(`^(?:[a-z/0-9]+\.)?(?:Test|Fuzz)[A-Z]\w*$`)
	scriptName = regexp.MustCompile(`^[\w./-]+\.(?:py|txt|sh)$`)
)

func TestCoverageNamesOnlyTestsThatExist(t *testing.T) {
	there := tests(t)
	for _, name := range quoted(t) {
		switch {
		case testName.MatchString(name) && !there[name]:
			t.Errorf("%s names the test %s, which does not exist", coverageFile, name)
		case scriptName.MatchString(name):
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s names a script: %v", coverageFile, err)
			}
		}
	}
	for heading, rows := range coverage(t) {
		if strings.Contains(heading, "not implemented") {
			continue
		}
		for _, cells := range rows {
			proved := slices.ContainsFunc(strings.Split(cells[len(cells)-1], ", "), func(name string) bool {
				return there[name] || scriptName.MatchString(name)
			})
			if !proved {
				t.Errorf("%s, %q: no test proves the row %s", coverageFile, heading, strings.Join(cells, " | "))
			}
		}
	}
}

// What is refused with 501 is in the document, by the code that clients see.
func TestCoverageListsWhatIsNotImplemented(t *testing.T) {
	refused := regexp.MustCompile(`fault\.NotImplemented, "(\w+)"`)
	in := map[string]string{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		for _, m := range refused.FindAllStringSubmatch(string(text), -1) {
			in[m[1]] = name
		}
		return err
	})
	if err != nil || len(in) < 8 {
		t.Fatalf("codes %v, %v", in, err)
	}
	named := quoted(t)
	for _, code := range slices.Sorted(maps.Keys(in)) {
		if !slices.Contains(named, code) {
			t.Errorf("%s does not name %s, by which %s refuses", coverageFile, fmt.Sprintf("`%s`", code), in[code])
		}
	}
}
