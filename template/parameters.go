package template

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Parameter is a parameter with the value that a deployment gives it.
type Parameter struct {
	Type   string // string, secureString, int, bool, object, secureObject, array
	Value  any
	Secure bool // never shown
}

// Resolve gives every parameter of the template its value: the one in given,
// which is the 'parameters' object of a deployment, else its default.
func (t *Template) Resolve(given json.RawMessage, place Place, newGUID func() (string, error)) (map[string]Parameter, error) {
	var values map[string]any
	if len(given) > 0 {
		v, err := decode(given)
		if err != nil {
			return nil, invalid("parameters", "The parameters are no JSON: %s", err.Error())
		}
		var ok bool
		if values, ok = v.(map[string]any); !ok && v != nil {
			return nil, invalid("parameters", "The parameters are an object of names and {\"value\": …}")
		}
	}
	return t.resolve(values, place, newGUID)
}

func (t *Template) resolve(given map[string]any, place Place, newGUID func() (string, error)) (map[string]Parameter, error) {
	for name := range given {
		if _, ok := member(t.parameters, name); !ok {
			return nil, invalid("parameters."+name, "The template has no parameter '%s'; it has: %s", name, strings.Join(names(t.parameters), ", "))
		}
	}
	work := 0
	s := &scope{place: place, values: map[string]any{}, known: map[string]any{}, open: map[string]bool{}, newGUID: newGUID, work: &work}
	resolved := map[string]Parameter{}
	// A default may use other parameters; those that are given come first, and
	// the rest as often as one of them can be evaluated.
	var waiting []string
	for _, name := range names(t.parameters) {
		def, _ := t.parameters[name].(map[string]any)
		_, hasDefault := member(def, "defaultValue")
		entry, _ := member(given, name)
		object, _ := entry.(map[string]any)
		if value, _ := member(object, "value"); hasDefault && value == nil { // clients send null for what they leave to the default
			waiting = append(waiting, name)
			continue
		}
		p, err := t.parameter(s, name, given)
		if err != nil {
			return nil, err
		}
		resolved[name], s.values[name] = p, p.Value
	}
	for len(waiting) > 0 {
		var still []string
		var failed error
		for _, name := range waiting {
			p, err := t.parameter(s, name, given)
			if err != nil {
				if still = append(still, name); failed == nil {
					failed = err
				}
				continue
			}
			resolved[name], s.values[name] = p, p.Value
		}
		if len(still) == len(waiting) {
			return nil, failed
		}
		waiting = still
	}
	return resolved, nil
}

func names(m map[string]any) []string {
	var found []string
	for name := range m {
		found = append(found, name)
	}
	slices.Sort(found)
	return found
}

func (t *Template) parameter(s *scope, name string, given map[string]any) (Parameter, error) {
	at := "template.parameters." + name
	def, ok := t.parameters[name].(map[string]any)
	if !ok {
		return Parameter{}, invalid(at, "A parameter is declared by an object with 'type'")
	}
	declared, _ := member(def, "type")
	text, _ := declared.(string)
	p := Parameter{Type: text}
	kind := strings.ToLower(text)
	p.Secure = strings.HasPrefix(kind, "secure")
	kind = strings.TrimPrefix(kind, "secure")
	if !slices.Contains([]string{"string", "int", "bool", "object", "array"}, kind) || p.Secure && kind != "string" && kind != "object" {
		return p, invalid(at+".type", "The type '%s' of the parameter '%s' is none of string, secureString, int, bool, object, secureObject, array", text, name)
	}
	fallback, hasDefault := member(def, "defaultValue")
	entry, isGiven := member(given, name)
	switch {
	case isGiven:
		object, ok := entry.(map[string]any)
		value, has := member(object, "value")
		if !ok || !has {
			return p, invalid("parameters."+name, "The value of the parameter '%s' is given as {\"value\": …}; references to key vaults are not supported by this platform", name)
		}
		at, p.Value = "parameters."+name, value
		if value == nil && !hasDefault {
			return p, invalid(at, "The value of the parameter '%s' is null", name)
		}
	case !hasDefault:
		return p, invalid(at, "The value for the template parameter '%s' is not provided", name)
	}
	if p.Value == nil && hasDefault {
		var err error
		if p.Value, err = s.value(fallback, at+".defaultValue"); err != nil {
			return p, err
		}
	}
	if p.Value != nil && kindOf(p.Value) != kind {
		return p, invalid(at, "The value of the parameter '%s' is of the type %s; %s is needed", name, kindOf(p.Value), kind)
	}
	return p, constrain(name, at, def, p)
}

// constrain holds a value against allowedValues and the limits.
func constrain(name, at string, def map[string]any, p Parameter) error {
	shown := func(v any) string {
		if p.Secure {
			return "(secure)"
		}
		return shorten(fmt.Sprint(v))
	}
	if allowed, ok := member(def, "allowedValues"); ok {
		list, isList := allowed.([]any)
		if !isList {
			return invalid(at, "The 'allowedValues' of the parameter '%s' are an array", name)
		}
		if !slices.ContainsFunc(list, func(v any) bool { return equal(v, p.Value) }) {
			return invalid(at, "The provided value '%s' for the template parameter '%s' is not one of the allowed values '%s'", shown(p.Value), name, shorten(fmt.Sprint(list)))
		}
	}
	measure, isInt := p.Value.(int64)
	n, hasLength := size(p.Value)
	for _, limit := range []struct {
		name   string
		length bool
		most   bool
	}{{"minValue", false, false}, {"maxValue", false, true}, {"minLength", true, false}, {"maxLength", true, true}} {
		raw, ok := member(def, limit.name)
		if !ok || p.Value == nil {
			continue
		}
		bound, isNumber := raw.(int64)
		have, fits := measure, isInt
		if limit.length {
			have, fits = int64(n), hasLength
		}
		if !isNumber || !fits {
			return invalid(at, "'%s' does not go with a parameter of the type %s", limit.name, p.Type)
		}
		if limit.most && have > bound || !limit.most && have < bound {
			return invalid(at, "The value '%s' of the parameter '%s' is outside of its %s %d", shown(p.Value), name, limit.name, bound)
		}
	}
	return nil
}
