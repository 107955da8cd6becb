package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

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
