// Package template reads and evaluates Resource Manager templates: it turns a
// template and parameter values into a plan, which says what resources to make
// in what order, and evaluates each resource's body when its turn comes.
//
// It is pure: it makes nothing and asks nobody but the function that it is
// given for reference(). Every refusal is an InvalidTemplate that names the
// place in the template. What it does not know (copy loops, linked templates,
// other functions) it refuses; it never passes over it.
//
// Language: "Template structure and syntax" and "Template functions" of the
// Resource Manager documentation, schema 2019-04-01 and its predecessors.
package template

import (
	"encoding/json"
	"strings"

	"lapis/armid"
	"lapis/fault"
)

// Limits of a template. The first three are Resource Manager's.
const (
	maxParameters = 256
	maxVariables  = 256
	maxResources  = 800
	maxOutputs    = 64
	maxNesting    = 5       // templates inside templates
	maxSize       = 4 << 20 // bytes of strings, and as many values, in a result
	maxWork       = 2 << 20 // calls and values in all
)

// Place is where a template is deployed.
type Place struct {
	Tenant       string
	Subscription string
	Group        string
	Location     string            // of the group
	Tags         map[string]string // of the group
}

func (p Place) group() armid.ID { return armid.ResourceGroup(p.Subscription, p.Group) }

// Template is a parsed template. Nothing in it is evaluated yet.
type Template struct {
	parameters map[string]any
	variables  map[string]any
	resources  []any
	outputs    map[string]any
}

// Parse reads a template, in plain JSON (see package jsonc).
func Parse(raw json.RawMessage) (*Template, error) {
	value, err := decode(raw)
	if err != nil {
		return nil, invalid("template", "The template is no JSON: %s", err.Error())
	}
	return parse(value, "template")
}

func parse(value any, at string) (*Template, error) {
	root, ok := value.(map[string]any)
	if !ok {
		return nil, invalid(at, "A template is a JSON object")
	}
	if _, ok := member(root, "resources"); !ok {
		return nil, invalid(at, "The template has no 'resources'")
	}
	t := &Template{}
	for name := range root {
		switch strings.ToLower(name) {
		case "$schema", "contentversion", "apiprofile", "metadata", "parameters", "variables", "resources", "outputs":
		case "functions":
			if m, ok := root[name].([]any); !ok || len(m) > 0 {
				return nil, invalid(at+".functions", "Functions of the user's own are not supported by this platform")
			}
		default:
			return nil, invalid(at+"."+name, "Could not find member '%s' on a template", name)
		}
	}
	for _, part := range []struct {
		name  string
		into  *map[string]any
		limit int
	}{{"parameters", &t.parameters, maxParameters}, {"variables", &t.variables, maxVariables}, {"outputs", &t.outputs, maxOutputs}} {
		found, _ := member(root, part.name)
		object, ok := found.(map[string]any)
		if found != nil && !ok {
			return nil, invalid(at+"."+part.name, "The '%s' of a template are an object", part.name)
		}
		if len(object) > part.limit {
			return nil, invalid(at+"."+part.name, "The template has %d %s; at most %d are allowed", len(object), part.name, part.limit)
		}
		*part.into = object
	}
	found, _ := member(root, "resources")
	if t.resources, ok = found.([]any); !ok {
		return nil, invalid(at+".resources", "The 'resources' of a template are an array; resources by symbolic name are not supported by this platform")
	}
	if _, ok := member(t.variables, "copy"); ok {
		return nil, noCopy(at + ".variables")
	}
	return t, nil
}

// invalid is the fault of a template that cannot be deployed.
func invalid(at, format string, args ...any) error {
	f := fault.E(fault.Invalid, "InvalidTemplate", "Deployment template validation failed: "+format, args...)
	f.Message = strings.TrimSuffix(f.Message, ".") + " (at '" + at + "')."
	f.Target = at
	return f
}

func noCopy(at string) error {
	return invalid(at, "'copy' loops are not supported by this platform; write the elements out")
}

// member finds an object's member without regard to case.
func member(object map[string]any, name string) (any, bool) {
	if v, ok := object[name]; ok {
		return v, true
	}
	for key, v := range object {
		if strings.EqualFold(key, name) {
			return v, true
		}
	}
	return nil, false
}
