package template

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"lapis/armid"
)

// DeploymentType is the type of templates inside templates.
const DeploymentType = "Microsoft.Resources/deployments"

// Plan is what a deployment makes.
type Plan struct {
	// Steps are the resources, each behind those it depends on.
	Steps []*Step
	root  *scope
	outs  map[string]any
}

// Step is one resource to make.
type Step struct {
	ID         armid.ID
	APIVersion string
	DependsOn  []armid.ID

	at     string
	raw    map[string]any
	scope  *scope
	behind []*Step
}

// Output is a value that a deployment gives back.
type Output struct {
	Type  string `json:"type"`
	Value any    `json:"value,omitempty"`
}

// entry is a resource of a template: a step, or a template inside with its
// steps, or nothing where its condition is false.
type entry struct {
	key, name string
	steps     []*Step
	needs     []string
	at        string
}

// Plan evaluates conditions, names and dependencies.
func (t *Template) Plan(parameters map[string]Parameter, place Place) (*Plan, error) {
	work := 0
	s := t.scope(parameters, place, &work)
	p := &Plan{root: s, outs: t.outputs}
	b := &planner{place: place}
	entries, err := b.entries(t, s, "template", 0)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		p.Steps = append(p.Steps, e.steps...)
	}
	seen := map[string]bool{}
	for _, step := range p.Steps {
		if seen[step.ID.Key()] {
			return nil, invalid(step.at, "The resource '%s' is defined more than once in the template", step.ID)
		}
		seen[step.ID.Key()] = true
	}
	resolve := func(name string) armid.ID {
		for _, step := range p.Steps {
			if strings.EqualFold(strings.Join(step.ID.Names(), "/"), name) {
				return step.ID
			}
		}
		return armid.ID{}
	}
	s.resolve = resolve
	for _, step := range p.Steps {
		step.scope.resolve = resolve
	}
	for _, step := range p.Steps {
		p.implied(step)
	}
	p.Steps, err = order(p.Steps)
	return p, err
}

func (t *Template) scope(parameters map[string]Parameter, place Place, work *int) *scope {
	s := &scope{place: place, into: place.Group, values: map[string]any{}, variables: t.variables, known: map[string]any{}, open: map[string]bool{}, work: work}
	for name, p := range parameters {
		s.values[name] = p.Value
	}
	return s
}

type planner struct {
	place Place
	count int
}

// entries reads the resources of a template and binds their dependencies.
func (b *planner) entries(t *Template, s *scope, at string, depth int) ([]*entry, error) {
	var entries []*entry
	var read func(list []any, at string, parent *family) error
	read = func(list []any, at string, parent *family) error {
		for i, raw := range list {
			here := fmt.Sprintf("%s.resources[%d]", at, i)
			object, ok := raw.(map[string]any)
			if !ok {
				return invalid(here, "A resource is an object")
			}
			if b.count++; b.count > maxResources {
				return invalid(here, "The template has more than %d resources", maxResources)
			}
			e, f, err := b.entry(object, s, here, parent, depth)
			if err != nil {
				return err
			}
			entries = append(entries, e)
			children, _ := member(object, "resources")
			below, isList := children.([]any)
			if children != nil && !isList {
				return invalid(here+".resources", "The 'resources' of a resource are an array")
			}
			if err := read(below, here, f); err != nil {
				return err
			}
		}
		return nil
	}
	if err := read(t.resources, at, nil); err != nil {
		return nil, err
	}
	return entries, bind(entries)
}

// family is what children of a resource inherit.
type family struct {
	typ, name, key string
	active         bool
}

// entry reads one resource.
func (b *planner) entry(object map[string]any, s *scope, at string, parent *family, depth int) (*entry, *family, error) {
	if _, ok := member(object, "copy"); ok {
		return nil, nil, noCopy(at)
	}
	field := func(name string) (string, error) {
		raw, ok := member(object, name)
		if !ok {
			return "", invalid(at, "The resource has no '%s'", name)
		}
		return s.str(raw, at+"."+name)
	}
	f := &family{active: parent == nil || parent.active}
	var err error
	if f.typ, err = field("type"); err != nil {
		return nil, nil, err
	}
	if f.name, err = field("name"); err != nil {
		return nil, nil, err
	}
	version, err := field("apiVersion")
	if err != nil {
		return nil, nil, err
	}
	if parent != nil {
		f.typ, f.name = parent.typ+"/"+f.typ, parent.name+"/"+f.name
	}
	if raw, ok := member(object, "condition"); ok {
		v, err := s.value(raw, at+".condition")
		if err != nil {
			return nil, nil, err
		}
		yes, err := convert("bool", v)
		if err != nil {
			return nil, nil, invalid(at+".condition", "A condition is true or false: %s", err.Error())
		}
		f.active = f.active && yes.(bool)
	}
	where, err := b.scopeOf(object, s, at)
	if err != nil {
		return nil, nil, err
	}
	id, ok := nest(where, f.typ, strings.Split(f.name, "/"))
	if !ok {
		return nil, nil, invalid(at+".name", "The name '%s' has not as many parts as the type '%s' needs", shorten(f.name), shorten(f.typ))
	}
	f.key = strings.ToLower(id)
	e := &entry{key: f.key, name: f.name, at: at}
	if e.needs, err = dependsOn(object, s, at); err != nil {
		return nil, nil, err
	}
	if parent != nil {
		e.needs = append(e.needs, parent.key)
	}
	if !f.active {
		return e, f, nil
	}
	if strings.EqualFold(f.typ, DeploymentType) {
		e.steps, err = b.nested(object, s, at, depth)
		return e, f, err
	}
	parsed, err := armid.Parse(id)
	if err != nil {
		return nil, nil, invalid(at+".name", "'%s' is no id of a resource: %s", shorten(id), err.Error())
	}
	e.steps = []*Step{{ID: parsed, APIVersion: version, at: at, raw: object, scope: s}}
	return e, f, nil
}

// scopeOf is where a resource lies: its group, or what it is an extension of.
func (b *planner) scopeOf(object map[string]any, s *scope, at string) (string, error) {
	raw, ok := member(object, "scope")
	if !ok {
		return "/subscriptions/" + s.place.Subscription + "/resourceGroups/" + s.into, nil
	}
	text, err := s.str(raw, at+".scope")
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(text, "/") { // type/name, in the group
		parts := strings.Split(text, "/")
		id := "/subscriptions/" + s.place.Subscription + "/resourceGroups/" + s.into + "/providers/" + parts[0]
		for _, part := range parts[1:] {
			id += "/" + part
		}
		text = id
	}
	return strings.TrimRight(text, "/"), nil
}

func dependsOn(object map[string]any, s *scope, at string) ([]string, error) {
	raw, ok := member(object, "dependsOn")
	if !ok {
		return nil, nil
	}
	v, err := s.value(raw, at+".dependsOn")
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	needs, allText := strs(list)
	if !ok || !allText {
		return nil, invalid(at+".dependsOn", "'dependsOn' is an array of ids or names")
	}
	return needs, nil
}

// nested reads a template inside the template.
func (b *planner) nested(object map[string]any, s *scope, at string, depth int) ([]*Step, error) {
	if depth+1 > maxNesting {
		return nil, invalid(at, "Templates nest more than %d deep", maxNesting)
	}
	raw, _ := member(object, "properties")
	properties, _ := raw.(map[string]any)
	if _, linked := member(properties, "templateLink"); linked {
		return nil, invalid(at+".properties.templateLink", "Linked templates are not supported by this platform; write the template into 'template'")
	}
	if mode, _ := member(properties, "mode"); !strings.EqualFold(fmt.Sprint(mode), "Incremental") {
		return nil, invalid(at+".properties.mode", "The mode of a nested deployment is Incremental")
	}
	inside, ok := member(properties, "template")
	if !ok {
		return nil, invalid(at+".properties", "A nested deployment needs a 'template'")
	}
	t, err := parse(inside, at+".properties.template")
	if err != nil {
		return nil, err
	}
	place, err := placeOf(object, s, at)
	if err != nil {
		return nil, err
	}
	inner := *s // expressions see the outer parameters, variables and group, as is usual
	inner.into = place.Group
	options, _ := member(properties, "expressionEvaluationOptions")
	chosen, _ := options.(map[string]any)
	if text, _ := member(chosen, "scope"); strings.EqualFold(fmt.Sprint(text), "inner") {
		given, _ := member(properties, "parameters")
		values, err := s.value(given, at+".properties.parameters")
		if err != nil {
			return nil, err
		}
		object, _ := values.(map[string]any)
		parameters, err := t.resolve(object, place, s.newGUID)
		if err != nil {
			return nil, err
		}
		inner = *t.scope(parameters, place, s.work)
	}
	entries, err := b.entries(t, &inner, at+".properties.template", depth+1)
	var steps []*Step
	for _, e := range entries {
		steps = append(steps, e.steps...)
	}
	return steps, err
}

// placeOf is the group that a nested deployment goes to.
func placeOf(object map[string]any, s *scope, at string) (Place, error) {
	place := s.place
	place.Group = s.into
	if raw, ok := member(object, "subscriptionId"); ok {
		sub, err := s.str(raw, at+".subscriptionId")
		if err != nil {
			return place, err
		}
		if !strings.EqualFold(sub, place.Subscription) {
			return place, invalid(at+".subscriptionId", "The subscription '%s' is not the one of this platform", shorten(sub))
		}
	}
	if raw, ok := member(object, "resourceGroup"); ok {
		group, err := s.str(raw, at+".resourceGroup")
		if err != nil {
			return place, err
		}
		place.Group = group
	}
	return place, nil
}

// bind leads the needs of entries to steps.
func bind(entries []*entry) error {
	for _, e := range entries {
		for _, need := range e.needs {
			found := false
			for _, other := range entries {
				if strings.EqualFold(need, other.key) || strings.EqualFold(need, other.name) {
					found = true
					for _, step := range e.steps {
						step.behind = append(step.behind, other.steps...)
					}
				}
			}
			if !found && len(e.steps) > 0 { // of one that is not made, nobody waits
				return invalid(e.at+".dependsOn", "The resource '%s' that the resource '%s' depends on is not defined in the template", shorten(need), shorten(e.name))
			}
		}
	}
	return nil
}

// implied adds what a resource refers to: reference('x') waits for x.
func (p *Plan) implied(step *Step) {
	var look func(v any)
	visit := func(n node) {
		walk(n, func(c call) {
			if !strings.EqualFold(c.name, "reference") || len(c.args) == 0 {
				return
			}
			v, err := step.scope.eval(c.args[0]) // a fault is told when the body is evaluated
			text, _ := v.(string)
			if err != nil {
				return
			}
			id, err := step.scope.target(text)
			for _, other := range p.Steps {
				if err == nil && other != step && other.ID.Equal(id) {
					step.behind = append(step.behind, other)
				}
			}
		})
	}
	look = func(v any) {
		switch v := v.(type) {
		case string:
			if inner, is := expression(v); is {
				if n, err := parseExpression(inner); err == nil {
					visit(n)
				}
			}
		case []any:
			for _, inner := range v {
				look(inner)
			}
		case map[string]any:
			for key, inner := range v {
				look(key)
				look(inner)
			}
		}
	}
	for name, v := range step.raw {
		if !strings.EqualFold(name, "resources") { // children have steps of their own
			look(v)
		}
	}
}

// walk visits the calls of an expression.
func walk(n node, visit func(call)) {
	switch n := n.(type) {
	case call:
		visit(n)
		for _, arg := range n.args {
			walk(arg, visit)
		}
	case access:
		walk(n.of, visit)
	case index:
		walk(n.of, visit)
		walk(n.by, visit)
	}
}

// order puts steps behind what they need, else leaves them as they are.
func order(steps []*Step) ([]*Step, error) {
	var out []*Step
	done := map[*Step]bool{}
	for len(out) < len(steps) {
		before := len(out)
		for _, step := range steps {
			if done[step] || slices.ContainsFunc(step.behind, func(b *Step) bool { return !done[b] }) {
				continue
			}
			for _, b := range step.behind {
				if !slices.ContainsFunc(step.DependsOn, b.ID.Equal) {
					step.DependsOn = append(step.DependsOn, b.ID)
				}
			}
			done[step], out = true, append(out, step)
		}
		if len(out) == before {
			for _, step := range steps {
				if !done[step] {
					return nil, invalid(step.at+".dependsOn", "Circular dependency detected: the resource '%s' waits for itself", step.ID)
				}
			}
		}
	}
	return out, nil
}

// Body evaluates what a resource is made of.
func (p *Plan) Body(step *Step, reference Reference) (json.RawMessage, error) {
	s := *step.scope
	s.reference, s.known = reference, map[string]any{}
	body := map[string]any{}
	for name, raw := range step.raw {
		switch strings.ToLower(name) {
		case "type", "name", "apiversion", "condition", "dependson", "scope", "resources", "comments", "metadata":
			continue
		}
		v, err := s.value(raw, step.at+"."+name)
		if err != nil {
			return nil, err
		}
		body[name] = v
	}
	return json.Marshal(body)
}

// Outputs evaluates the template's outputs; those of secure types have no value.
func (p *Plan) Outputs(reference Reference) (map[string]Output, error) {
	s := *p.root
	s.reference, s.known = reference, map[string]any{}
	outputs := map[string]Output{}
	for name, raw := range p.outs {
		at := "template.outputs." + name
		def, ok := raw.(map[string]any)
		if !ok {
			return nil, invalid(at, "An output is an object with 'type' and 'value'")
		}
		if _, ok := member(def, "copy"); ok {
			return nil, noCopy(at)
		}
		if raw, ok := member(def, "condition"); ok {
			v, err := s.value(raw, at+".condition")
			if err != nil {
				return nil, err
			}
			if v == false {
				continue
			}
		}
		declared, _ := member(def, "type")
		text, _ := declared.(string)
		kind := strings.ToLower(text)
		v, _ := member(def, "value")
		v, err := s.value(v, at+".value")
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(kind, "secure") {
			outputs[name] = Output{Type: text}
			continue
		}
		if kindOf(v) != kind {
			return nil, invalid(at, "The value of the output '%s' is of the type %s; '%s' is declared", name, kindOf(v), text)
		}
		outputs[name] = Output{Type: text, Value: v}
	}
	return outputs, nil
}
