package jsonc

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestWhatPeopleWriteIsRead(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": 1, /* c */ "b": "//no", }`:    `{"a": 1,         "b": "//no"  }`,
		"{\"a\": \"x\ny\"} // end":           "{\"a\": \"x\\ny\"\n}       ",
		"\ufeff[1, 2.5e3, true,]":            `[1, 2.5e3, true ]`,
		"[1, // one,\n2, /* two,\n\n*/ ]":    "[1,        \n2         \n\n   ]",
		`{"a": "q\"}"}`:                      `{"a": "q\"}"}`,
		`{"a": -1.5E+3, "b": [null, false]}`: `{"a": -1.5E+3, "b": [null, false]}`,
	} {
		for name, read := range readers() {
			if got, err := read([]byte(text)); err != nil || string(got) != want {
				t.Errorf("%s(%q) = %q, %v, want %q", name, text, got, err, want)
			}
		}
	}
}

func readers() map[string]func([]byte) (json.RawMessage, error) {
	return map[string]func([]byte) (json.RawMessage, error){"Plain": Plain, "Spliced": Spliced}
}

func TestNamesOfSplicedTextsNeedNoQuotes(t *testing.T) {
	const text = `{"properties": {template: {$schema : "x", a_1: 1, "b": true, c: -2.5e+3,}, Mode: null}}`
	const want = `{"properties": {"template": {"$schema" : "x", "a_1": 1, "b": true, "c": -2.5e+3 }, "Mode": null}}`
	if got, err := Spliced([]byte(text)); err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	if got, err := Plain([]byte(text)); err == nil {
		t.Errorf("Plain took names without quotes: %s", got)
	}
}

func TestWhatIsNoJSONIsRefusedWithItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "{": "", `{"a": }`: "line 1:", "{a b: 1}": "line 1:", "/": "line 1: '/' begins no comment", "{\n/* x": "line 2: '/' begins no comment",
		`"x`: "", "\xff": "not UTF-8", `{"a": 1} {`: "line 1:", "[1,,]": "line 1:", "{\"a\": \"x\ny\", // no\n\n  1: 1}": "line 4:", "{1: 2}": "line 1:", "{a-b: 2}": "line 1:",
	} {
		for name, read := range readers() {
			if got, err := read([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s(%q) = %q, %v, want %s", name, text, got, err, want)
			}
		}
	}
}

func Fuzz(f *testing.F) {
	for _, text := range []string{`{"a": "//", /* x */ "b": [1,],}`, "\"a\n\"", `"\"`, `[,]`, "/*/", `{template: {"x": [1,],}} // c`, `[-1.5e+3, null]`, `/**/1`, "{é: 1}"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, read := range readers() {
			got, err := read(data)
			if err == nil && !json.Valid(got) {
				t.Errorf("%s: %q became %q", name, data, got)
			}
			valid := json.Valid(data) && bytes.Equal(bytes.ToValidUTF8(data, nil), data)
			if valid && (err != nil || !bytes.Equal(got, data)) {
				t.Errorf("%s: %q is JSON, and became %q, %v", name, data, got, err)
			}
		}
	})
}
