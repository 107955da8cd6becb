package az

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const typedTemplate = `{
  // one of each
  "parameters": {"name": {"type": "string"}, "count": {"type": "int"}, "on": {"type": "bool"}, "tags": {"type": "object"},
    "zones": {"type": "Array"}, "pass": {"type": "secureString"}, "keys": {"type": "secureObject"},},
  "resources": [] /* none */
}`

func filesOf(files map[string]string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if data, ok := files[name]; ok {
			return []byte(data), nil
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
}

func TestParametersOfTemplatesAreRead(t *testing.T) {
	template, err := parseTemplate([]byte(typedTemplate))
	if err != nil {
		t.Fatal(err)
	}
	read := filesOf(map[string]string{
		"enveloped.json": `{"$schema": "s", "contentVersion": "1.0.0.0", "parameters": {"name": {"value": "file"}, "count": {"value": 12345678901234567}}}`,
		"bare.json":      "\ufeff{\"name\": {\"value\": \"bare\"}, // said twice\n\"on\": {\"value\": false,},}",
		"pass.txt":       "hush\n",
		"list.json":      `[1]`,
		"broken.json":    "{\n\"name\": {\"value\": }\n}",
		"inner.json":     `{"parameters": 3}`,
		"null.json":      `null`,
	})
	for _, tt := range []struct {
		name  string
		words []string
		want  string // JSON, or part of the error
	}{
		{"nothing", nil, `{}`},
		{"each type", []string{"name=7", "count=7", "on=True", `tags={"a": 1,}`, "zones=[1]", "pass=p"},
			`{"name":{"value":"7"},"count":{"value":7},"on":{"value":true},"tags":{"value":{"a":1}},"zones":{"value":[1]},"pass":{"value":"p"}}`},
		{"only the first = parts", []string{"name=a=b"}, `{"name":{"value":"a=b"}}`},
		{"no value is the empty one", []string{"name="}, `{"name":{"value":""}}`},
		{"names in any case", []string{"NAME=a", "Name=b"}, `{"name":{"value":"b"}}`},
		{"a parameter file", []string{"@enveloped.json"}, `{"name":{"value":"file"},"count":{"value":12345678901234567}}`},
		{"a file without envelope and without @", []string{"bare.json"}, `{"name":{"value":"bare"},"on":{"value":false}}`},
		{"what is later goes before", []string{"@enveloped.json", "name=own"}, `{"name":{"value":"own"},"count":{"value":12345678901234567}}`},
		{"what is later goes before, files too", []string{"name=own", "bare.json"}, `{"name":{"value":"bare"},"on":{"value":false}}`},
		{"JSON itself", []string{`{"name": {"value": "x"}}`, "{}"}, `{"name":{"value":"x"}}`},
		{"a value from a file", []string{"pass=@pass.txt"}, `{"pass":{"value":"hush"}}`},
		{"unknown names of files are for the service", []string{`{"other": {"value": 1}}`}, `{"other":{"value":1}}`},
		{"unknown", []string{"nam=x"}, "no parameter 'nam'; it has: count, keys, name, on, pass, tags, zones"},
		{"no number", []string{"count=x"}, "count: a whole number is needed"},
		{"a number too long", []string{"count=99999999999999999999"}, "count: a whole number is needed"},
		{"no truth", []string{"on=yes"}, "on: true or false is needed"},
		{"no object", []string{"tags=x"}, "tags: JSON of the type object is needed"},
		{"neither", []string{"nothing.json"}, `"nothing.json" is neither key=value nor a file`},
		{"not there", []string{"@nothing.json"}, `"nothing.json" is neither`},
		{"value not there", []string{"pass=@nothing"}, "pass: open nothing"},
		{"empty", []string{""}, "expected key=value"},
		{"a list", []string{"@list.json"}, "list.json: parameters are an object"},
		{"null", []string{"@null.json"}, "null.json: parameters are an object"},
		{"an envelope of nothing", []string{"@inner.json"}, "'parameters' is an object"},
		{"a broken file", []string{"@broken.json"}, "broken.json: line 2:"},
		{"Bicep", []string{"main.bicepparam"}, "main.bicepparam is a Bicep file"},
	} {
		got, err := template.parameters(tt.words, read)
		if !strings.HasPrefix(tt.want, "{") {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
			}
			continue
		}
		data, _ := json.Marshal(got)
		var have, want any
		if err != nil || json.Unmarshal(data, &have) != nil || json.Unmarshal([]byte(tt.want), &want) != nil {
			t.Errorf("%s: %v %s", tt.name, err, data)
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestSecretsOfTemplatesAreInNoError(t *testing.T) {
	template, err := parseTemplate([]byte(typedTemplate))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"keys=canary", "keys={canary", "wrong=canary", "count=canary"} {
		_, err := template.parameters([]string{word}, filesOf(nil))
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", word, err)
		}
	}
}

func TestTemplatesThatAreNoneAreRefused(t *testing.T) {
	for data, want := range map[string]string{
		"":                                   "",
		"[]":                                 "a template is an object",
		"null":                               "a template is an object",
		`{"parameters": []}`:                 "a template is an object",
		"{\n/* open":                         "line 2: '/' begins no comment",
		"{\"a\": \"x\ny\", // no\n\n  b: 1}": "line 4:",
		"{\"a\": \xff}":                      "not UTF-8",
	} {
		if _, err := parseTemplate([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", data, err, want)
		}
	}
}

func TestTemplateFilesAreJudgedBeforeAnythingIsSent(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{"broken.json": "{\n  \"resources\": [}\n", "typed.json": typedTemplate} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args string
		code int
		want []string
	}{
		{"-f main.bicep", 1, []string{"main.bicep is a Bicep file", "hint: bicep build main.bicep --outfile main.json"}},
		{"-f none.json", 1, []string{"--template-file/-f", "none.json"}},
		{"-f broken.json", 1, []string{"broken.json: line 2:"}},
		{"-f typed.json -p count=x", 2, []string{"count: a whole number is needed"}},
		{"-f typed.json --mode other", 2, []string{"Complete, Incremental"}},
		{"-n x", 2, []string{"--template-file/-f"}},
	} {
		a, _, errs := app(t)
		words := strings.Fields("deployment group create " + tt.args)
		for i, word := range words {
			if strings.HasSuffix(word, ".json") {
				words[i] = filepath.Join(dir, word)
			}
		}
		code := a.Execute(context.Background(), a.Root(), words)
		for _, want := range tt.want {
			if code != tt.code || !strings.Contains(errs.String(), want) {
				t.Errorf("%s: %d %s, want %s", tt.args, code, errs, want)
			}
		}
	}
}

func TestDeploymentsAreNamedAfterTheirTemplate(t *testing.T) {
	for file, want := range map[string]string{"a/main.json": "main", "main.v1.json": "main.v1", "main": "main", ".json": ".json"} {
		if got := baseName(file); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}

func TestDeploymentIsShownAsAzDoes(t *testing.T) {
	const id = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/a"
	got := showTemplate(object{"id": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Resources/deployments/d",
		"properties": object{"outputResources": []any{object{"id": id}}, "mode": "Incremental"}})
	if got["resourceGroup"] != "rg" || text(got, "properties.mode") != "Incremental" {
		t.Error(got)
	}
	if _, has := child(got, "properties")["templateHash"]; !has {
		t.Error("what the service leaves out is not shown as null")
	}
	want := []any{object{"id": id, "resourceGroup": "rg"}}
	if diff := cmp.Diff(want, at(got, "properties.outputResources")); diff != "" {
		t.Error(diff)
	}
}

func FuzzTemplateParameters(f *testing.F) {
	for _, word := range []string{"name=a", "count=1", "on=true", "tags={}", "@file", "file", `{"parameters":{"a":{"value":1}}}`, "=", "zones=[1,]"} {
		f.Add(word, `{"name": {"value": "x"}} // end`)
	}
	template, err := parseTemplate([]byte(typedTemplate))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, word, file string) {
		got, err := template.parameters([]string{word}, filesOf(map[string]string{"file": file}))
		if err != nil {
			return
		}
		if _, err := json.Marshal(got); err != nil {
			t.Errorf("%q %q: %v", word, file, err)
		}
	})
}
