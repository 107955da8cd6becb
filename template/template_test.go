package template

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lapis/armid"
	"lapis/fault"
	"lapis/jsonc"
)

func here() Place {
	return Place{Tenant: "t-1", Subscription: "s-1", Group: "rg", Location: "local", Tags: map[string]string{"a": "b"}}
}

func plan(text string, given string) (*Plan, error) {
	raw, err := jsonc.Spliced([]byte(text))
	if err != nil {
		return nil, err
	}
	t, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	parameters, err := t.Resolve(json.RawMessage(given), here(), func() (string, error) { return "g-1", nil })
	if err != nil {
		return nil, err
	}
	return t.Plan(parameters, here())
}

// output evaluates one expression as the output of an empty template.
func output(typ, expression string) (any, error) {
	value, _ := json.Marshal(expression)
	p, err := plan(`{"resources": [], "parameters": {"p": {"type": "string", "defaultValue": "Hello"}, "o": {"type": "object", "defaultValue": {"Key": [1, 2, {"x": "y"}]}}},
		"variables": {"v": "[concat(parameters('p'), '!')]", "self": "[variables('self')]", "list": ["a", "b"]},
		"outputs": {"out": {"type": "`+typ+`", "value": `+string(value)+`}}}`, "")
	if err != nil {
		return nil, err
	}
	outputs, err := p.Outputs(func(id armid.ID, full bool) (any, error) {
		if full {
			return map[string]any{"id": id.String()}, nil
		}
		return map[string]any{"name": id.Name()}, nil
	})
	return outputs["out"].Value, err
}

func TestFunctions(t *testing.T) {
	for _, tt := range []struct {
		typ, expression string
		want            any
	}{
		{"string", "[[not an expression]", "[not an expression]"},
		{"string", "plain", "plain"},
		{"string", "['it''s']", "it's"},
		{"string", "[variables('V')]", "Hello!"},
		{"bool", "[and(true(), not(false()), or(false(), true()))]", true},
		{"string", "[if(equals(1, 1), 'yes', variables('nothing'))]", "yes"},
		{"bool", "[equals('a', 'A')]", false},
		{"bool", "[equals(createArray(1, 'a'), createArray(1, 'a'))]", true},
		{"bool", "[empty('')]", true},
		{"bool", "[empty(json('null'))]", true},
		{"string", "[concat('a', 1, true())]", "a1True"},
		{"array", "[concat(variables('list'), createArray('c'))]", []any{"a", "b", "c"}},
		{"array", "[array('x')]", []any{"x"}},
		{"object", `[json('{"a": {"b": [1, 2.5]}}')]`, map[string]any{"a": map[string]any{"b": []any{int64(1), json.Number("2.5")}}}},
		{"int", "[parameters('o').key[1]]", int64(2)},
		{"string", "[parameters('o')['key'][2].x]", "y"},
		{"string", "[toUpper(toLower('AbC'))]", "ABC"},
		{"string", "[format('{0}-{1}{{}}', 'a', 2)]", "a-2{}"},
		{"object", "[createObject('a', 1, 'b', createArray())]", map[string]any{"a": int64(1), "b": []any{}}},
		{"bool", "[contains('haystack', 'hay')]", true},
		{"bool", "[contains(variables('list'), 'b')]", true},
		{"bool", "[contains(parameters('o'), 'key')]", true},
		{"int", "[length('äbc')]", int64(3)},
		{"string", "[first(variables('list'))]", "a"},
		{"string", "[last('abc')]", "c"},
		{"array", "[split('a,b;c', createArray(',', ';'))]", []any{"a", "b", "c"}},
		{"string", "[replace('a-b-c', '-', '')]", "abc"},
		{"string", "[string(createObject('a', 1))]", `{"a":1}`},
		{"int", "[int('42')]", int64(42)},
		{"bool", "[bool('True')]", true},
		{"string", "[coalesce(json('null'), 'x')]", "x"},
		{"object", "[union(createObject('a', createObject('x', 1)), createObject('a', createObject('y', 2)))]",
			map[string]any{"a": map[string]any{"x": int64(1), "y": int64(2)}}},
		{"array", "[union(createArray(1, 2), createArray(2, 3))]", []any{int64(1), int64(2), int64(3)}},
		{"string", "[resourceGroup().name]", "rg"},
		{"string", "[resourceGroup().tags.a]", "b"},
		{"string", "[subscription().tenantId]", "t-1"},
		{"string", "[resourceId('A.B/c/d', 'x', 'y')]", "/subscriptions/s-1/resourceGroups/rg/providers/A.B/c/x/d/y"},
		{"string", "[resourceId('s2', 'rg2', 'A.B/c', 'x')]", "/subscriptions/s2/resourceGroups/rg2/providers/A.B/c/x"},
		{"string", "[subscriptionResourceId('A.B/c', 'x')]", "/subscriptions/s-1/providers/A.B/c/x"},
		{"string", "[reference(resourceId('A.B/c', 'x'), '2020-01-01').name]", "x"},
		{"string", "[reference(resourceId('A.B/c', 'x'), '2020-01-01', 'full').id]", "/subscriptions/s-1/resourceGroups/rg/providers/A.B/c/x"},
		{"string", "[guid('a', 'b')]", "b6a3b2ba"},
	} {
		got, err := output(tt.typ, tt.expression)
		if err != nil {
			t.Errorf("%s: %v", tt.expression, err)
			continue
		}
		if strings.HasPrefix(tt.expression, "[guid") { // a name for ever the same, in the form of a UUID
			again, _ := output(tt.typ, tt.expression)
			if text, _ := got.(string); len(text) != 36 || again != got {
				t.Errorf("%s: %v, then %v", tt.expression, got, again)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.expression, diff)
		}
	}
	one, _ := output("string", "[uniqueString('a')]")
	two, _ := output("string", "[uniqueString('a', 'b')]")
	if text, _ := one.(string); len(text) != 13 || one == two {
		t.Errorf("uniqueString: %v %v", one, two)
	}
}

// wantInvalid checks that a template is refused as InvalidTemplate, with a place.
func wantInvalid(t *testing.T, name string, err error, part string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != "InvalidTemplate" || f.Kind != fault.Invalid || f.Target == "" || !strings.Contains(f.Message, part) {
		t.Errorf("%s: %v; it must be an InvalidTemplate with a place that says %q", name, err, part)
	}
}

func TestBadExpressionsAreRefusedWithTheirPlace(t *testing.T) {
	for expression, part := range map[string]string{
		"[noSuch()]": "'noSuch'", "[concat('a'": "plain", "[concat('a]": "end of the string", "[concat(]": "function",
		"[parameters('x')]": "'x'", "[variables('self')]": "needs itself", "[variables('gone')]": "'gone'",
		"[1 2]": "more follows", "['a'.b]": "of string", "[createArray(1)[5]]": "outside", "[newGuid()]": "newGuid",
		"[if('x', 1, 2)]": "bool", "[and(1)]": "bools", "[toLower(1)]": "(int)", "[int('x')]": "whole number", "[json('{')]": "no JSON",
		"[format('{5}')]": "{5}", "[resourceId('A.B/c')]": "takes 1 names", "[concat(createArray(), 'a')]": "(array, string)",
		"[parameters('o').nope]": "'nope'", "[reference('nope')]": "'nope'", "[copyIndex()]": "copyIndex", "[" + strings.Repeat("not(", 100) + "true()" + strings.Repeat(")", 100) + "]": "nests",
	} {
		_, err := output("string", expression)
		if part == "plain" { // no closing bracket: text
			if err != nil {
				t.Errorf("%s: %v", expression, err)
			}
			continue
		}
		wantInvalid(t, expression, err, part)
	}
}

func TestHugeResultsAreRefused(t *testing.T) {
	variables := `"v0": "0123456789abcdef"`
	lists := `"w0": [1]`
	for i := 1; i < 60; i++ {
		former, now := string(rune('a'+(i-1)/10))+string(rune('0'+(i-1)%10)), string(rune('a'+i/10))+string(rune('0'+i%10))
		if i == 1 {
			former = "0"
		}
		variables += `, "v` + now + `": "[concat(variables('v` + former + `'), variables('v` + former + `'))]"`
		lists += `, "w` + now + `": "[createArray(variables('w` + former + `'), variables('w` + former + `'))]"`
	}
	for _, text := range []string{`"[variables('vf9')]"`, `"[string(variables('wf9'))]"`} {
		p, err := plan(`{"resources": [], "variables": {`+variables+`, `+lists+`}, "outputs": {"o": {"type": "string", "value": `+text+`}}}`, "")
		if err == nil {
			_, err = p.Outputs(nil)
		}
		wantInvalid(t, text, err, "too much")
	}
}

func TestParameters(t *testing.T) {
	template := `{"resources": [], "parameters": {
		"name": {"type": "string", "minLength": 3, "maxLength": 5},
		"size": {"type": "int", "defaultValue": 2, "minValue": 1, "maxValue": 3},
		"sort": {"type": "String", "defaultValue": "a", "allowedValues": ["a", "b"]},
		"pass": {"type": "secureString", "defaultValue": "[newGuid()]"},
		"from": {"type": "object", "defaultValue": {"n": "[parameters('name')]"}},
		"list": {"type": "array", "defaultValue": []}, "flag": {"type": "bool", "defaultValue": true}}}`
	parse := func(given string) (map[string]Parameter, error) {
		tmpl, err := Parse(json.RawMessage(template))
		if err != nil {
			t.Fatal(err)
		}
		return tmpl.Resolve(json.RawMessage(given), here(), func() (string, error) { return "g-1", nil })
	}
	got, err := parse(`{"NAME": {"value": "abc"}, "sort": {"value": "b"}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Parameter{
		"name": {Type: "string", Value: "abc"}, "size": {Type: "int", Value: int64(2)}, "sort": {Type: "String", Value: "b"},
		"pass": {Type: "secureString", Value: "g-1", Secure: true}, "from": {Type: "object", Value: map[string]any{"n": "abc"}},
		"list": {Type: "array", Value: []any{}}, "flag": {Type: "bool", Value: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for given, part := range map[string]string{
		``: "'name' is not provided", `{"name": {"value": "ab"}}`: "minLength 3", `{"name": {"value": "abcdef"}}`: "maxLength 5",
		`{"name": {"value": 5}}`: "string is needed", `{"name": {"value": "abc"}, "size": {"value": 9}}`: "maxValue 3",
		`{"name": {"value": "abc"}, "sort": {"value": "c"}}`: "allowed values", `{"name": {"value": "abc"}, "other": {"value": 1}}`: "no parameter 'other'",
		`{"name": "abc"}`: `{"value"`, `{"name": {"reference": {}}}`: "key vaults", `[]`: "object", `{"name": {"value": null}}`: "null",
	} {
		_, err := parse(given)
		wantInvalid(t, given, err, part)
	}
	_, err = parse(`{"name": {"value": "abc"}, "pass": {"value": 17171717}}`)
	if err == nil || strings.Contains(err.Error(), "17171717") {
		t.Errorf("a secure value is told: %v", err)
	}
}

func TestPlanOrdersResources(t *testing.T) {
	p, err := plan(`{
		// az lets people write comments
		"resources": [
			{"type": "A.B/c", "apiVersion": "1", "name": "last", "dependsOn": ["[resourceId('A.B/c', 'middle')]", "never"], "properties": {"x": 1,}},
			{"type": "A.B/c", "apiVersion": "1", "name": "middle", "properties": {"from": "[reference('first').name]"},
				"resources": [{"type": "d", "apiVersion": "1", "name": "child"}]},
			{"type": "A.B/c", "apiVersion": "1", "name": "never", "condition": "[equals(1, 2)]"},
			{"type": "A.B/c", "apiVersion": "1", "name": "first", "location": "[resourceGroup().location]", "tags": {"[concat('a', 'b')]": "c"}},
			{"type": "Microsoft.Resources/deployments", "apiVersion": "1", "name": "inside", "dependsOn": ["last"], "resourceGroup": "other",
				"properties": {"mode": "Incremental", "template": {"resources": [
					{"type": "A.B/c", "apiVersion": "1", "name": "inner"},
					{"type": "M.A/r", "apiVersion": "1", "name": "ext", "scope": "[resourceId('A.B/c', 'last')]"}]}}}
		], outputs: {}}`, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range p.Steps {
		got = append(got, strings.TrimPrefix(s.ID.String(), "/subscriptions/s-1/resourceGroups/"))
	}
	want := []string{
		"rg/providers/A.B/c/first", "rg/providers/A.B/c/middle", "rg/providers/A.B/c/middle/d/child", "rg/providers/A.B/c/last",
		"other/providers/A.B/c/inner", "rg/providers/A.B/c/last/providers/M.A/r/ext",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	body, err := p.Body(p.Steps[1], func(id armid.ID, _ bool) (any, error) { return map[string]any{"name": id.Name()}, nil })
	if err != nil || string(body) != `{"properties":{"from":"first"}}` {
		t.Errorf("%s %v", body, err)
	}
	body, err = p.Body(p.Steps[0], nil)
	if err != nil || string(body) != `{"location":"local","tags":{"ab":"c"}}` {
		t.Errorf("%s %v", body, err)
	}
}

func TestBadTemplatesAreRefusedWithTheirPlace(t *testing.T) {
	r := func(more string) string {
		return `{"resources": [{"type": "A.B/c", "apiVersion": "1", "name": "x"` + more + `}]}`
	}
	for text, part := range map[string]string{
		`[]`: "object", `{}`: "resources", `{"resources": {}}`: "array", `{"resources": [1]}`: "object", `{"resources": [], "x": 1}`: "'x'",
		`{"resources": [{"type": "A.B/c", "apiVersion": "1"}]}`:                                                                 "'name'",
		`{"resources": [{"type": "A.B/c/d", "apiVersion": "1", "name": "x"}]}`:                                                  "as many parts",
		`{"resources": [{"type": "A.B/c", "name": "x"}]}`:                                                                       "apiVersion",
		`{"resources": [], "functions": [{}]}`:                                                                                  "Functions",
		`{"resources": [{"type": "A.B/c", "apiVersion": "1", "name": "x"}, {"type": "a.b/C", "apiVersion": "1", "name": "X"}]}`: "more than once",
		`{"resources": [{"type": "A.B/c", "apiVersion": "1", "name": "x", "dependsOn": ["y"]}, {"type": "A.B/c", "apiVersion": "1", "name": "y", "dependsOn": ["x"]}]}`:                                 "Circular",
		`{"resources": [{"type": "Microsoft.Resources/deployments", "apiVersion": "1", "name": "x", "properties": {"mode": "Incremental", "templateLink": {"uri": "https://example.com"}}}]}`:           "Linked",
		`{"resources": [{"type": "Microsoft.Resources/deployments", "apiVersion": "1", "name": "x", "subscriptionId": "other", "properties": {"mode": "Incremental", "template": {"resources": []}}}]}`: "subscription",
		r(`, "copy": {"name": "n", "count": 3}`):                   "copy",
		r(`, "dependsOn": ["nope"]`):                               "not defined",
		r(`, "dependsOn": "nope"`):                                 "array",
		r(`, "condition": "maybe"`):                                "condition",
		`{"resources": [], "variables": {"copy": []}}`:             "copy",
		`{"resources": [], "parameters": {"p": {"type": "date"}}}`: "'date'",
	} {
		_, err := plan(text, "")
		wantInvalid(t, text, err, part)
	}
}

func FuzzPlan(f *testing.F) {
	for _, name := range []string{"testdata/nested.json"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(`{"resources": [{"type": "A.B/c", "apiVersion": "1", "name": "[concat('a', uniqueString('b'))]", "properties": {"x": "[reference('y').z[0]]"}}], "variables": {"v": "[variables('v')]"}}`)
	f.Add(`{"resources": [], "outputs": {"o": {"type": "string", "value": "[format('{0}', createObject('a', split('x,y', ',')))]"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := plan(text, "")
		if err != nil {
			return
		}
		reference := func(armid.ID, bool) (any, error) { return map[string]any{}, nil }
		for _, step := range p.Steps {
			if body, err := p.Body(step, reference); err == nil && !json.Valid(body) {
				t.Errorf("a body is %q", body)
			}
		}
		_, _ = p.Outputs(reference)
	})
}
