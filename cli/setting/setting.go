// Package setting owns what users write as name=value on a command line: the
// expressions of --set, --add and --remove, which change a tree before it is
// sent, and the pairs of --tags and --traffic.
//
// Values are taken as text, except JSON objects and lists, and null: whoever
// checks the tree knows which fields are numbers.
package setting

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// step is one part of a path: a key of an object, or a place in a list.
type step struct {
	key   string // name of a field, or of the field that selects an element
	value string // with isMatch: what the selecting field holds
	index int
	kind  stepKind
}

type stepKind int

const (
	isKey   stepKind = iota // .key
	isIndex                 // [3]
	isMatch                 // [key=value]
)

// maxIndex bounds lists that a path makes.
const maxIndex = 1000

// parsePath reads a.b[0].c, a[name=x].b and a."dotted.key".
func parsePath(path string) ([]step, error) {
	var steps []step
	rest := path
	for expectKey := true; ; {
		switch {
		case rest == "" && expectKey:
			return nil, fmt.Errorf("%q is not a property path: a name is missing at its end", path)
		case rest == "":
			return steps, nil
		case expectKey:
			key, after, err := parseKey(rest)
			if err != nil {
				return nil, fmt.Errorf("%q is not a property path: %v", path, err)
			}
			steps, rest, expectKey = append(steps, step{key: key}), after, false
		case rest[0] == '.':
			rest, expectKey = rest[1:], true
		case rest[0] == '[':
			s, after, err := parseIndex(rest[1:])
			if err != nil {
				return nil, fmt.Errorf("%q is not a property path: %v", path, err)
			}
			steps, rest = append(steps, s), after
		default:
			return nil, fmt.Errorf("%q is not a property path: unexpected %q", path, rest[:1])
		}
	}
}

func parseKey(text string) (key, rest string, err error) {
	if text[0] == '"' {
		end := strings.IndexByte(text[1:], '"')
		if end < 0 {
			return "", "", fmt.Errorf("the quote is not closed")
		}
		key, rest = text[1:1+end], text[end+2:]
	} else {
		end := strings.IndexAny(text, `.[]"`)
		if end < 0 {
			end = len(text)
		}
		key, rest = text[:end], text[end:]
	}
	if key == "" {
		return "", "", fmt.Errorf("a name is empty")
	}
	return key, rest, nil
}

func parseIndex(text string) (step, string, error) {
	inside, rest, ok := strings.Cut(text, "]")
	if !ok {
		return step{}, "", fmt.Errorf("the bracket is not closed")
	}
	if key, value, ok := strings.Cut(inside, "="); ok {
		if key == "" {
			return step{}, "", fmt.Errorf("[%s] lacks a name before =", inside)
		}
		return step{kind: isMatch, key: key, value: strings.Trim(value, `'"`)}, rest, nil
	}
	index, err := strconv.Atoi(inside)
	if err != nil || index < 0 || index > maxIndex {
		return step{}, "", fmt.Errorf("[%s] is not an index", inside)
	}
	return step{kind: isIndex, index: index}, rest, nil
}

// Set applies one expression path=value to the tree.
func Set(tree map[string]any, expression string) error {
	path, raw, ok := cutAssignment(expression)
	if !ok {
		return fmt.Errorf("--set %q: write it as path=value, such as environment_variables.NAME=value", expression)
	}
	steps, err := parsePath(path)
	if err != nil {
		return fmt.Errorf("--set: %v", err)
	}
	value := Value(raw)
	_, err = change(tree, steps, path, func(any) (any, error) { return value, nil })
	if err != nil {
		return fmt.Errorf("--set: %v", err)
	}
	return nil
}

// cutAssignment splits at the first = that is not inside brackets or quotes.
func cutAssignment(expression string) (path, value string, ok bool) {
	depth, quoted := 0, false
	for i, r := range expression {
		switch {
		case r == '"':
			quoted = !quoted
		case quoted:
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == '=' && depth <= 0:
			return strings.TrimSpace(expression[:i]), expression[i+1:], true
		}
	}
	return "", "", false
}

// Value reads the right-hand side of a setting.
func Value(raw string) any {
	trimmed := strings.TrimSpace(raw)
	if trimmed == "null" {
		return nil
	}
	if strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[") {
		var v any
		if json.Unmarshal([]byte(trimmed), &v) == nil {
			return v
		}
	}
	if n := len(raw); n >= 2 && raw[0] == '\'' && raw[n-1] == '\'' {
		return raw[1 : n-1]
	}
	return raw
}

// Add appends to the list at words[0]: an object made of the key=value words
// that follow, or the words themselves.
func Add(tree map[string]any, words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("--add: write it as --add path key=value, or --add path text")
	}
	steps, err := parsePath(words[0])
	if err != nil {
		return fmt.Errorf("--add: %v", err)
	}
	var items []any
	object := map[string]any{}
	for _, word := range words[1:] {
		if key, value, ok := strings.Cut(word, "="); ok && key != "" && !strings.HasPrefix(word, "{") && !strings.HasPrefix(word, "[") {
			object[key] = Value(value)
			continue
		}
		items = append(items, Value(word))
	}
	if len(object) > 0 {
		items = append(items, object)
	}
	_, err = change(tree, steps, words[0], func(old any) (any, error) {
		switch old := old.(type) {
		case nil:
			return items, nil
		case []any:
			return append(old, items...), nil
		}
		return nil, fmt.Errorf("%s is not a list", words[0])
	})
	if err != nil {
		return fmt.Errorf("--add: %v", err)
	}
	return nil
}

// Remove takes away the property at words[0], or the element of its list at
// the index words[1].
func Remove(tree map[string]any, words []string) error {
	if len(words) == 0 || len(words) > 2 {
		return fmt.Errorf("--remove: write it as --remove path, or --remove path index")
	}
	path := words[0]
	if len(words) == 2 {
		path += "[" + words[1] + "]"
	}
	steps, err := parsePath(path)
	if err != nil {
		return fmt.Errorf("--remove: %v", err)
	}
	if err := remove(tree, steps, path); err != nil {
		return fmt.Errorf("--remove: %v", err)
	}
	return nil
}

func remove(tree map[string]any, steps []step, path string) error {
	last := steps[len(steps)-1]
	missing := fmt.Errorf("%s is not there", path)
	if len(steps) == 1 {
		if _, ok := tree[last.key]; !ok {
			return missing
		}
		delete(tree, last.key)
		return nil
	}
	_, err := change(tree, steps[:len(steps)-1], path, func(old any) (any, error) {
		switch old := old.(type) {
		case map[string]any:
			if _, ok := old[last.key]; !ok || last.kind != isKey {
				return nil, missing
			}
			delete(old, last.key)
			return old, nil
		case []any:
			i := find(old, last)
			if i < 0 || i >= len(old) {
				return nil, missing
			}
			return append(old[:i:i], old[i+1:]...), nil
		}
		return nil, missing
	})
	return err
}

// change replaces what stands at the path by what f makes of it, and returns
// node as changed. Missing objects and lists on the way are made.
func change(node any, steps []step, path string, f func(any) (any, error)) (any, error) {
	if len(steps) == 0 {
		return f(node)
	}
	s := steps[0]
	if s.kind == isKey {
		object, ok := node.(map[string]any)
		if node == nil {
			object, ok = map[string]any{}, true
		}
		if !ok {
			return nil, fmt.Errorf("%s: %q has no place in a %s", path, s.key, kindName(node))
		}
		child, err := change(object[s.key], steps[1:], path, f)
		if err != nil {
			return nil, err
		}
		object[s.key] = child
		return object, nil
	}
	list, ok := node.([]any)
	if node != nil && !ok {
		return nil, fmt.Errorf("%s: a %s has no element %s", path, kindName(node), s)
	}
	i := find(list, s)
	switch {
	case i < 0:
		return nil, fmt.Errorf("%s: no element has %s", path, s)
	case i > len(list):
		return nil, fmt.Errorf("%s: there are %d elements, the next index is %d", path, len(list), len(list))
	case i == len(list):
		list = append(list, nil)
	}
	child, err := change(list[i], steps[1:], path, f)
	if err != nil {
		return nil, err
	}
	list[i] = child
	return list, nil
}

// find returns the place of an element in the list, or -1.
func find(list []any, s step) int {
	if s.kind == isIndex {
		return s.index
	}
	for i, item := range list {
		if object, ok := item.(map[string]any); ok && s.kind == isMatch && fmt.Sprint(object[s.key]) == s.value {
			return i
		}
	}
	return -1
}

func (s step) String() string {
	switch s.kind {
	case isIndex:
		return "[" + strconv.Itoa(s.index) + "]"
	case isMatch:
		return "[" + s.key + "=" + s.value + "]"
	}
	return s.key
}

func kindName(v any) string {
	switch v.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "list"
	}
	return "plain value"
}
