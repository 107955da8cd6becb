package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// Strict makes JSON of what clients send for it: comments (// and /* */),
// names without quotes, commas before a closing bracket, and line breaks
// within strings become what the standard knows. The Azure CLI splices the
// user's file, comments and all, behind a name that it does not quote.
func Strict(data []byte) (json.RawMessage, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		return nil, errors.New("the text is not UTF-8")
	}
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); {
		c := data[i]
		switch {
		case c == '"':
			end, text, err := stringAt(data, i)
			if err != nil {
				return nil, err
			}
			out, i = append(out, text...), end
		case c == '/':
			end, err := commentEnd(data, i)
			if err != nil {
				return nil, err
			}
			out, i = append(out, ' '), end
		case c == ']' || c == '}':
			out = append(bytes.TrimRight(out, " \t\r\n"), c)
			if n := len(out); n > 1 && out[n-2] == ',' {
				out = append(out[:n-2], c)
			}
			i++
		case c == '_' || c == '$' || isLetter(c):
			end := i
			for end < len(data) && (data[end] == '_' || data[end] == '$' || isLetter(data[end]) || data[end] >= '0' && data[end] <= '9') {
				end++
			}
			word := string(data[i:end])
			if bytes.HasPrefix(bytes.TrimLeft(data[end:], " \t\r\n"), []byte(":")) {
				word = `"` + word + `"`
			}
			out, i = append(out, word...), end
		case c == '-' || c >= '0' && c <= '9': // with its exponent, which is no name
			end := i
			for end < len(data) && strings.IndexByte("+-.eE0123456789", data[end]) >= 0 {
				end++
			}
			out, i = append(out, data[i:end]...), end
		default:
			out = append(out, c)
			i++
		}
	}
	if !json.Valid(out) {
		var probe any
		return nil, json.Unmarshal(out, &probe)
	}
	return out, nil
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// stringAt reads the string that begins at data[i], with raw line breaks escaped.
func stringAt(data []byte, i int) (end int, text []byte, err error) {
	text = append(text, '"')
	for j := i + 1; j < len(data); j++ {
		switch data[j] {
		case '"':
			return j + 1, append(text, '"'), nil
		case '\\':
			text = append(text, '\\')
			if j++; j < len(data) {
				text = append(text, data[j])
			}
		case '\n':
			text = append(text, '\\', 'n')
		case '\r':
			text = append(text, '\\', 'r')
		case '\t':
			text = append(text, '\\', 't')
		default:
			text = append(text, data[j])
		}
	}
	return 0, nil, errors.New("a string has no end")
}

func commentEnd(data []byte, i int) (int, error) {
	rest := data[i:]
	switch {
	case bytes.HasPrefix(rest, []byte("//")):
		if n := bytes.IndexByte(rest, '\n'); n >= 0 {
			return i + n, nil
		}
		return len(data), nil
	case bytes.HasPrefix(rest, []byte("/*")):
		if n := bytes.Index(rest[2:], []byte("*/")); n >= 0 {
			return i + 2 + n + 2, nil
		}
		return 0, errors.New("a comment has no end")
	}
	return 0, errors.New("'/' outside of a string begins no comment")
}

// decode reads JSON into the values of the template language: nil, bool,
// int64, json.Number (of what is no int64), string, []any and map[string]any.
func decode(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("there is more behind the end")
	}
	return integers(value), nil
}

func integers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f)
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = integers(v[key])
		}
	}
	return value
}

// kindOf names a value's type as the language does.
func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case int64:
		return "int"
	case json.Number:
		return "float"
	case string:
		return "string"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return fmt.Sprintf("%T", value)
}

// Decode reads JSON into values of the language.
func Decode(data []byte) (any, error) { return decode(data) }

// Normal gives the numbers of a value that encoding/json has read the form
// that the language knows.
func Normal(value any) any {
	data, err := json.Marshal(value)
	if err != nil {
		return value
	}
	if v, err := decode(data); err == nil {
		return v
	}
	return value
}
