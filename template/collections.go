package template

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// applyCollection is what works on strings, arrays and objects alike.
func applyCollection(name string, args []any) (any, error) {
	one := len(args) == 1
	switch name {
	case "concat":
		return concat(args)
	case "createarray":
		return slices.Clone(args), nil
	case "createobject":
		return createObject(args)
	case "union":
		return union(args)
	case "contains":
		return contains(args)
	case "array":
		if !one {
			return nil, errArguments
		}
		if list, ok := args[0].([]any); ok {
			return list, nil
		}
		return []any{args[0]}, nil
	case "empty":
		if !one {
			return nil, errArguments
		}
		if args[0] == nil {
			return true, nil
		}
		n, ok := size(args[0])
		if !ok {
			return nil, errArguments
		}
		return n == 0, nil
	case "length":
		n, ok := size(first(args))
		if !one || !ok {
			return nil, errArguments
		}
		return int64(n), nil
	case "first", "last":
		if !one {
			return nil, errArguments
		}
		return end(args[0], name == "last")
	}
	return nil, errUnknown
}

func size(v any) (int, bool) {
	switch v := v.(type) {
	case string:
		return utf8.RuneCountInString(v), true
	case []any:
		return len(v), true
	case map[string]any:
		return len(v), true
	}
	return 0, false
}

// concat joins strings (and what is written as one), or arrays.
func concat(args []any) (any, error) {
	if list, ok := first(args).([]any); ok {
		joined := slices.Clone(list)
		for _, a := range args[1:] {
			more, ok := a.([]any)
			if !ok {
				return nil, errArguments
			}
			if joined = append(joined, more...); len(joined) > maxSize {
				return nil, errTooMuch
			}
		}
		return joined, nil
	}
	var b strings.Builder
	for _, a := range args {
		switch a.(type) {
		case []any, map[string]any, nil:
			return nil, errArguments
		}
		text, err := convert("string", a)
		if err != nil {
			return nil, err
		}
		if _, isBool := a.(bool); isBool {
			text = map[bool]string{true: "True", false: "False"}[a.(bool)]
		}
		if b.WriteString(text.(string)); b.Len() > maxSize {
			return nil, errTooMuch
		}
	}
	if len(args) == 0 {
		return nil, errArguments
	}
	return b.String(), nil
}

func createObject(args []any) (any, error) {
	if len(args)%2 != 0 {
		return nil, errArguments
	}
	object := map[string]any{}
	for i := 0; i < len(args); i += 2 {
		key, ok := args[i].(string)
		if !ok {
			return nil, errArguments
		}
		object[key] = args[i+1]
	}
	return object, nil
}

// union lays objects over one another, the last on top, or gathers the
// elements of arrays, each once.
func union(args []any) (any, error) {
	switch head := first(args).(type) {
	case map[string]any:
		all := maps.Clone(head)
		for _, a := range args[1:] {
			over, ok := a.(map[string]any)
			if !ok {
				return nil, errArguments
			}
			overlay(all, over)
		}
		return all, nil
	case []any:
		var all []any
		seen := map[string]bool{}
		for _, a := range args {
			list, ok := a.([]any)
			if !ok {
				return nil, errArguments
			}
			for _, v := range list {
				key, err := json.Marshal(v)
				if err != nil {
					return nil, err
				}
				if !seen[string(key)] {
					seen[string(key)] = true
					all = append(all, v)
				}
			}
		}
		return all, nil
	}
	return nil, errArguments
}

func overlay(into, over map[string]any) {
	for key, v := range over {
		below, isObject := into[key].(map[string]any)
		above, both := v.(map[string]any)
		if isObject && both {
			below = maps.Clone(below)
			overlay(below, above)
			v = below
		}
		into[key] = v
	}
}

func contains(args []any) (any, error) {
	if len(args) != 2 {
		return nil, errArguments
	}
	text, isText := args[1].(string)
	switch in := args[0].(type) {
	case string:
		if !isText {
			return nil, errArguments
		}
		return strings.Contains(in, text), nil
	case map[string]any:
		if !isText {
			return nil, errArguments
		}
		_, ok := member(in, text)
		return ok, nil
	case []any:
		return slices.ContainsFunc(in, func(v any) bool { return equal(v, args[1]) }), nil
	}
	return nil, errArguments
}

func end(v any, last bool) (any, error) {
	switch v := v.(type) {
	case string:
		runes := []rune(v)
		switch {
		case len(runes) == 0:
			return "", nil
		case last:
			return string(runes[len(runes)-1]), nil
		}
		return string(runes[0]), nil
	case []any:
		switch {
		case len(v) == 0:
			return nil, nil
		case last:
			return v[len(v)-1], nil
		}
		return v[0], nil
	}
	return nil, errArguments
}
