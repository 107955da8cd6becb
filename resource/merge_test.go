package resource

import (
	"encoding/json"
	"testing"
)

// The vectors of RFC 7396, appendix A, as far as both sides are what a
// request's properties can be.
func TestMergePatchFollowsTheRFC(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{``, `{"a":1}`, `{"a":1}`},
		{`{"n":9007199254740993}`, `{"a":1}`, `{"a":1,"n":9007199254740993}`},
		{`{"n":1.10}`, `{"m":12345678901234567890}`, `{"m":12345678901234567890,"n":1.10}`},
	} {
		got, err := mergePatch(json.RawMessage(c[0]), json.RawMessage(c[1]))
		if err != nil || string(got) != c[2] {
			t.Errorf("%s with %s: %s %v, want %s", c[0], c[1], got, err, c[2])
		}
	}
}

func FuzzMergePatch(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1}}`), []byte(`{"a":{"b":null,"c":[1]}}`))
	f.Add([]byte(``), []byte(`{}`))
	f.Add([]byte(`[]`), []byte(`null`))
	f.Fuzz(func(t *testing.T, base, patch []byte) {
		if !json.Valid(patch) || len(base) > 0 && !json.Valid(base) {
			return
		}
		once, err := mergePatch(base, patch)
		if err != nil {
			t.Skip(err) // deeper than the decoder goes
		}
		if !json.Valid(once) {
			t.Fatalf("%s with %s is no JSON: %s", base, patch, once)
		}
		twice, err := mergePatch(once, patch)
		if err != nil || string(twice) != string(once) {
			t.Errorf("a patch applied again changes %s to %s: %v", once, twice, err)
		}
	})
}
