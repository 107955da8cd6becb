package token

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// reference reads an object with encoding/json's own tokens: slow, and simple
// enough to believe.
func reference(data []byte) (map[string]string, bool) {
	if !utf8.Valid(data) {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, false
	}
	members := map[string]string{}
	for dec.More() {
		before := dec.InputOffset()
		tok, err := dec.Token()
		if err != nil {
			return nil, false
		}
		if bytes.IndexByte(data[before:dec.InputOffset()], '\\') >= 0 {
			return nil, false
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil, false
		}
		if _, twice := members[tok.(string)]; twice {
			return nil, false
		}
		members[tok.(string)] = string(value)
	}
	if _, err := dec.Token(); err != nil {
		return nil, false
	}
	rest := data[dec.InputOffset():]
	return members, len(bytes.Trim(rest, " \t\r\n")) == 0
}

func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":{"b":[1,{"c":"}"}]},"d":"\\\""}`, `[]`, `null`, `{"a":1} {}`, `{"a":1}x`,
		`{"a" : [ ] , "b" : -1.5e3 , "c":true}`, `{"":""}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", `{"a":1,}`, `{,"a":1}`, `{"a":nul}`, `"{"`, ``, `{`, `{"é":1}`,
		strings.Repeat(`{"a":`, 50) + "1" + strings.Repeat("}", 50),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := object(data)
		want, ok := reference(data)
		if ok && !json.Valid(data) {
			ok = false // the decoder's tokens are laxer about commas
		}
		if (err == nil) != ok || ok && len(got) != len(want) {
			t.Fatalf("%q: %v, want %v, %v", data, err, want, ok)
		}
		for name, value := range want {
			if ok && string(got[name]) != value {
				t.Fatalf("%q: %s is %q, want %q", data, name, got[name], value)
			}
		}
	})
}
