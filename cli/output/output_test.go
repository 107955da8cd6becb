package output

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

func tree(t testing.TB, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestFormatsAreThoseOfAz(t *testing.T) {
	const accounts = `[{"name":"a","id":"/x","location":"local","tags":{},"enabled":true,"size":12},
		{"name":"bb","id":"/y","location":"local","tags":null,"enabled":false,"size":3}]`
	for _, tt := range []struct {
		name, in, format, query, want string
	}{
		{"json sorts keys", `{"b":1,"a":"<é>"}`, "json", "", "{\n  \"a\": \"<é>\",\n  \"b\": 1\n}\n"},
		{"json of an empty list", `[]`, "json", "", "[]\n"},
		{"json keeps big integers", `{"n":1763819999}`, "json", "", "{\n  \"n\": 1763819999\n}\n"},
		{"null prints nothing", `{"a":null}`, "tsv", "a", ""},
		{"null prints nothing in json", `{"a":null}`, "json", "a", ""},
		{"none", `{"a":1}`, "none", "", ""},
		{"tsv of a string", accounts, "tsv", "[0].name", "a\n"},
		{"tsv of a filter", accounts, "tsv", "[?name=='bb'].location", "local\n"},
		{"tsv of a hash keeps the query's order", accounts, "tsv", "[].{z:name,b:enabled}", "a\tTrue\nbb\tFalse\n"},
		{"tsv of a boolean", accounts, "tsv", "[0].enabled", "true\n"},
		{"tsv of a number", `{"a":0.25}`, "tsv", "a", "0.25\n"},
		{"tsv of lists and objects", `[{"a":[1,2],"b":{"x":1},"c":null}]`, "tsv", "", "2\t\tNone\n"},
		{"tsv of nulls in a list", `[null,"x"]`, "tsv", "", "None\nx\n"},
		{"tsv of an empty list", `[]`, "tsv", "", ""},
		{"table", accounts, "table", "", "Enabled  Location  Name  Size\n-------  --------  ----  ----\nTrue     local     a     12\nFalse    local     bb    3\n"},
		{"table with a query", accounts, "table", "[].{Name:name,id:id}", "Name  Id\n----  --\na     /x\nbb    /y\n"},
		{"table of one string", `"x"`, "table", "", "Result\n------\nx\n"},
		{"table of lists", `[["a","b"]]`, "table", "", "Column1  Column2\n-------  -------\na        b\n"},
		{"table of nothing", `[]`, "table", "", ""},
		{"yaml", `{"b":["x",{"k":1,"l":[]}],"a":{"n":null,"t":true,"s":"yes","e":"","q":"it's: so"}}`, "yaml", "",
			"a:\n  e: ''\n  n: null\n  q: 'it''s: so'\n  s: 'yes'\n  t: true\nb:\n- x\n- k: 1\n  l: []\n"},
		{"yaml of a list of lists", `[["a"],["b","c"]]`, "yaml", "", "- - a\n- - b\n  - c\n"},
		{"yaml of text with line ends", `{"a":"x\ny"}`, "yaml", "", "a: \"x\\ny\"\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var buf bytes.Buffer
			o := Options{Format: tt.format, Query: tt.query}
			if err := o.Check(); err != nil {
				t.Fatal(err)
			}
			if err := Write(&buf, tree(t, tt.in), o); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, buf.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWrongOptionsAreNamedBeforeWork(t *testing.T) {
	for o, want := range map[Options]string{
		{Format: "xml"}:               `argument --output/-o: "xml" is not one of json, jsonc, none, table, tsv, yaml, yamlc`,
		{Format: "json", Query: "a["}: `argument --query: invalid jmespath query "a["`,
	} {
		err := o.Check()
		if err == nil || !bytes.HasPrefix([]byte(err.Error()), []byte(want)) {
			t.Errorf("%+v: %v, want %s", o, err, want)
		}
	}
}

func TestColoursKeepTheText(t *testing.T) {
	var buf bytes.Buffer
	if err := Write(&buf, tree(t, `{"a":["x",1],"b":null}`), Options{Format: "jsonc", Color: true}); err != nil {
		t.Fatal(err)
	}
	plain := bytes.NewBuffer(nil)
	for text := buf.Bytes(); len(text) > 0; {
		if i := bytes.IndexByte(text, 0x1b); i == 0 {
			text = text[bytes.IndexByte(text, 'm')+1:]
			continue
		}
		plain.WriteByte(text[0])
		text = text[1:]
	}
	var want bytes.Buffer
	if err := Write(&want, tree(t, `{"a":["x",1],"b":null}`), Options{Format: "json"}); err != nil {
		t.Fatal(err)
	}
	if plain.String() != want.String() || plain.Len() == buf.Len() {
		t.Errorf("got %q", buf.String())
	}
}

// FuzzYAMLReadsBack holds the writer against an independent reader.
func FuzzYAMLReadsBack(f *testing.F) {
	for _, s := range []string{`{"a":"b"}`, `["x: y","- z","#","","0x1F","1_0","on","2026-01-01"]`, `{"a":[{"b":[[1]]}]}`, `{"k":"a\tb\u0000"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var v any
		if json.Unmarshal([]byte(text), &v) != nil {
			return
		}
		list := []any{v} // a document of one scalar is a case of its own
		var back any
		if err := yaml.Unmarshal([]byte(YAML(list)), &back); err != nil {
			t.Fatalf("%q does not parse: %v", YAML(list), err)
		}
	})
}
