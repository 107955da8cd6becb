package definition

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Kind is what a field holds.
type Kind int

const (
	Text      Kind = iota
	Int            // a whole number, also as text
	Bool           // true or false, also as text
	Texts          // an object of texts; other scalars are taken as written
	Ints           // an object of whole numbers
	Anything       // whatever it is
	Object         // an object of Fields
	List           // a list whose elements are as Fields[""] says
	Reference      // a text that names an asset, or an object of Fields
)

// Field says what a field may hold.
type Field struct {
	Kind     Kind
	Required bool
	ReadOnly bool // the service fills it in: taken out, with a note
	Enum     []string
	Fields   Fields
	Min, Max int // of Int, where Max > 0
}

// Fields are the fields of an object, by name.
type Fields map[string]Field

// Check holds the tree against the fields, brings values into their kinds, and
// returns every problem at once.
func (d *Document) Check(fields Fields) error {
	var problems Problems
	d.object(d.Tree, "", fields, &problems)
	if len(problems) == 0 {
		return nil
	}
	return problems
}

func (d *Document) object(tree map[string]any, path string, fields Fields, problems *Problems) {
	names := make([]string, 0, len(tree))
	for name := range tree {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		at := joinPath(path, name)
		field, known := fields[name]
		switch {
		case name == "$schema" && path == "":
			delete(tree, name)
		case !known:
			problems.add("%s: unknown field%s", d.where(at), near(name, fields))
		case field.ReadOnly:
			d.notes = append(d.notes, fmt.Sprintf("%s: the service fills this field in; it is ignored", d.where(at)))
			delete(tree, name)
		case tree[name] == nil:
			delete(tree, name)
		default:
			tree[name] = d.value(tree[name], at, field, problems)
		}
	}
	required := []string{}
	for name, field := range fields {
		if _, there := tree[name]; field.Required && !there {
			required = append(required, name)
		}
	}
	sort.Strings(required)
	for _, name := range required {
		problems.add("%s: missing, and it is required", d.where(joinPath(path, name)))
	}
}

func (p *Problems) add(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

// near suggests the known field that an unknown one may be.
func near(name string, fields Fields) string {
	flat := strings.NewReplacer("-", "", "_", "")
	for _, known := range sortedNames(fields) {
		if strings.EqualFold(flat.Replace(name), flat.Replace(known)) {
			return fmt.Sprintf("; did you mean %s?", known)
		}
	}
	return "; the fields here are " + strings.Join(sortedNames(fields), ", ")
}

func sortedNames(fields Fields) []string {
	names := make([]string, 0, len(fields))
	for name, field := range fields {
		if !field.ReadOnly {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

func (d *Document) value(v any, path string, field Field, problems *Problems) any {
	switch field.Kind {
	case Anything:
		return v
	case Object, Reference:
		if text, ok := v.(string); ok && field.Kind == Reference {
			return text
		}
		tree, ok := v.(map[string]any)
		if !ok {
			problems.add("%s: an object is wanted, not %s", d.where(path), describe(v))
			return v
		}
		d.object(tree, path, field.Fields, problems)
		return tree
	case List:
		list, ok := v.([]any)
		if !ok {
			problems.add("%s: a list is wanted, not %s", d.where(path), describe(v))
			return v
		}
		for i := range list {
			list[i] = d.value(list[i], fmt.Sprintf("%s[%d]", path, i), field.Fields[""], problems)
		}
		return list
	case Texts, Ints:
		return d.entries(v, path, field, problems)
	}
	return d.scalar(v, path, field, problems)
}

func (d *Document) entries(v any, path string, field Field, problems *Problems) any {
	tree, ok := v.(map[string]any)
	if !ok {
		problems.add("%s: an object of name: value is wanted, not %s", d.where(path), describe(v))
		return v
	}
	for _, name := range sortedKeys(tree) {
		at := joinPath(path, name)
		if field.Kind == Ints {
			tree[name] = d.scalar(tree[name], at, Field{Kind: Int, Min: field.Min, Max: field.Max}, problems)
			continue
		}
		tree[name] = d.scalar(tree[name], at, Field{Kind: Text}, problems)
	}
	return tree
}

func sortedKeys(tree map[string]any) []string {
	keys := make([]string, 0, len(tree))
	for key := range tree {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

func (d *Document) scalar(v any, path string, field Field, problems *Problems) any {
	switch v.(type) {
	case map[string]any, []any:
		problems.add("%s: one value is wanted, not %s", d.where(path), describe(v))
		return v
	}
	text := d.written(v, path)
	switch field.Kind {
	case Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			problems.add("%s: %q is not a whole number", d.where(path), text)
			return v
		}
		if field.Max > 0 && (n < field.Min || n > field.Max) {
			problems.add("%s: %d is not between %d and %d", d.where(path), n, field.Min, field.Max)
		}
		return float64(n)
	case Bool:
		switch strings.ToLower(text) {
		case "true", "yes", "on", "1":
			return true
		case "false", "no", "off", "0":
			return false
		}
		problems.add("%s: %q is neither true nor false", d.where(path), text)
		return v
	}
	if len(field.Enum) > 0 {
		i := slices.IndexFunc(field.Enum, func(e string) bool { return strings.EqualFold(squash(e), squash(text)) })
		if i < 0 {
			problems.add("%s: %q is not one of %s", d.where(path), text, strings.Join(field.Enum, ", "))
			return v
		}
		return field.Enum[i]
	}
	return text
}

// squash lets SystemAssigned stand for system_assigned, as azure-ai-ml does.
func squash(s string) string { return strings.NewReplacer("_", "", " ", "").Replace(s) }

// written is a scalar as the file has it: 1.10 stays 1.10.
func (d *Document) written(v any, path string) string {
	switch v := v.(type) {
	case string:
		return v
	case nil:
		return ""
	case bool:
		if raw, ok := d.raw[path]; ok {
			return raw
		}
		return strconv.FormatBool(v)
	case float64:
		if raw, ok := d.raw[path]; ok {
			return raw
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

func describe(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		if len(v) > 40 {
			v = v[:40] + "..."
		}
		return strconv.Quote(v)
	}
	return fmt.Sprint(v)
}
