package environment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"lapis/fault"
)

// Conda is what a conda environment file asks for.
type Conda struct {
	Name     string
	Channels []string
	Packages []Package     // the conda entries, in file order
	Pip      []Requirement // the entries of the pip list, in file order
	Options  []Option      // the options of the pip list, in file order
}

// Limits on a conda file. A real one has a few hundred lines; the depth keeps
// the YAML parser's recursion small.
const (
	maxCondaBytes = 128 << 10
	maxCondaDepth = 32
)

// ParseConda reads a conda environment file, YAML or JSON. Every error is an
// Invalid fault that names line, column and field.
func ParseConda(data []byte) (c Conda, err error) {
	defer func() { // the YAML library has panicked on malformed input before
		if r := recover(); r != nil {
			c, err = Conda{}, condaFault(nil, "", "the file is not valid YAML")
		}
	}()
	if len(data) > maxCondaBytes {
		return c, condaFault(nil, "", "the file has %d bytes; %d is the limit", len(data), maxCondaBytes)
	}
	if tooDeep(data) {
		return c, condaFault(nil, "", "the file nests deeper than %d levels", maxCondaDepth)
	}
	root, err := condaRoot(data)
	if err != nil {
		return c, err
	}
	for _, pair := range root {
		if err := c.take(pair); err != nil {
			return Conda{}, err
		}
	}
	return c, nil
}

// condaRoot parses the text and returns the entries of its mapping.
func condaRoot(data []byte) ([]*ast.MappingValueNode, error) {
	if trimmed := bytes.TrimSpace(data); bytes.HasPrefix(trimmed, []byte("{")) && json.Valid(trimmed) {
		var flat bytes.Buffer // JSON may be indented with tabs, which YAML forbids
		if err := json.Indent(&flat, trimmed, "", "  "); err == nil {
			data = flat.Bytes()
		}
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, yamlFault(err)
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc == nil || doc.Body == nil || doc.Body.Type() == ast.NullType {
			continue
		}
		if body != nil {
			return nil, condaFault(doc.Body, "", "the file holds more than one document")
		}
		body = doc.Body
	}
	if body == nil {
		return nil, condaFault(nil, "", "the file is empty: it needs at least a list of dependencies")
	}
	root, ok := pairs(body)
	if !ok {
		return nil, condaFault(body, "", "the file must be a mapping with name, channels and dependencies")
	}
	return root, nil
}

// yamlFault draws a syntax error of the YAML library with its place.
func yamlFault(err error) error {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) && syntax.Token != nil && syntax.Token.Position != nil {
		pos := syntax.Token.Position
		return fault.E(fault.Invalid, Code, "conda file, line %d, column %d: %s",
			pos.Line, pos.Column, redact(syntax.Message)).At("environment.conda_file")
	}
	return condaFault(nil, "", "the file is not valid YAML")
}

// take reads one field of the file. Unknown fields are left alone, as conda does.
func (c *Conda) take(pair *ast.MappingValueNode) error {
	key, _ := scalar(pair.Key)
	switch key {
	case "name":
		if isNull(pair.Value) {
			return nil
		}
		name, ok := scalar(pair.Value)
		if !ok {
			return condaFault(pair.Value, key, "must be a text")
		}
		c.Name = name
	case "channels":
		return c.takeChannels(pair.Value)
	case "dependencies":
		return c.takeDependencies(pair.Value)
	}
	return nil
}

func (c *Conda) takeChannels(node ast.Node) error {
	items, err := sequence(node, "channels")
	if err != nil {
		return err
	}
	for i, item := range items {
		text, ok := scalar(item)
		if !ok {
			return condaFault(item, fmt.Sprintf("channels[%d]", i), "must be a text")
		}
		c.Channels = append(c.Channels, text)
	}
	return nil
}

func (c *Conda) takeDependencies(node ast.Node) error {
	items, err := sequence(node, "dependencies")
	if err != nil {
		return err
	}
	for i, item := range items {
		field := fmt.Sprintf("dependencies[%d]", i)
		if entries, ok := pairs(item); ok {
			if err := c.takeManager(entries, field); err != nil {
				return err
			}
			continue
		}
		text, ok := scalar(item)
		if !ok {
			return condaFault(item, field, "must be a package such as numpy=2.3.1, or a pip list")
		}
		p, err := parseMatchSpec(text)
		if err != nil {
			return condaFault(item, field, "%v", err)
		}
		p.Line = line(item)
		c.Packages = append(c.Packages, p)
	}
	return nil
}

// takeManager reads `pip:` with its list. No other package manager is known to conda.
func (c *Conda) takeManager(entries []*ast.MappingValueNode, field string) error {
	for _, entry := range entries {
		key, _ := scalar(entry.Key)
		if key != "pip" {
			return condaFault(entry.Key, field, "has the field %q, where only pip is known (a package with its version is written numpy=1.2, with no colon)", key)
		}
		items, err := sequence(entry.Value, field+".pip")
		if err != nil {
			return err
		}
		for i, item := range items {
			if err := c.takePip(item, fmt.Sprintf("%s.pip[%d]", field, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Conda) takePip(item ast.Node, field string) error {
	text, ok := scalar(item)
	if !ok {
		return condaFault(item, field, "must be a requirement such as name==1.2.3")
	}
	r, options, err := parsePipLine(text)
	if err != nil {
		return condaFault(item, field, "%v", err)
	}
	c.Options = append(c.Options, options...)
	if r != nil {
		r.Line = line(item)
		c.Pip = append(c.Pip, *r)
	}
	return nil
}

// condaFault draws an error with the place of the node, when there is one.
func condaFault(node ast.Node, field, format string, args ...any) error {
	text := redact(fmt.Sprintf(format, args...))
	if field != "" {
		text = field + ": " + text
	}
	place := "conda file"
	if node != nil && node.GetToken() != nil && node.GetToken().Position != nil {
		pos := node.GetToken().Position
		place = fmt.Sprintf("conda file, line %d, column %d", pos.Line, pos.Column)
	}
	return fault.E(fault.Invalid, Code, "%s: %s", place, text).At("environment.conda_file")
}

func line(node ast.Node) int {
	if node == nil || node.GetToken() == nil || node.GetToken().Position == nil {
		return 0
	}
	return node.GetToken().Position.Line
}

func isNull(node ast.Node) bool { return node == nil || node.Type() == ast.NullType }

// pairs returns the entries of a mapping.
func pairs(node ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// sequence returns the items of a list; null is an empty one.
func sequence(node ast.Node, field string) ([]ast.Node, error) {
	if isNull(node) {
		return nil, nil
	}
	n, ok := node.(*ast.SequenceNode)
	if !ok {
		return nil, condaFault(node, field, "must be a list")
	}
	return n.Values, nil
}

// scalar returns the text of a scalar as written: 3.10 stays 3.10.
func scalar(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimRight(n.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// tooDeep guesses the nesting from the text alone, before any recursion.
func tooDeep(data []byte) bool {
	brackets := 0
	for row := range bytes.Lines(data) {
		dashes, leading := 0, true
		for _, b := range row {
			switch b {
			case '[', '{':
				brackets++
			case ']', '}':
				brackets = max(0, brackets-1)
			case '-', '?', ':':
				if leading {
					dashes++
				}
			case ' ', '\t':
			default:
				leading = false
			}
			if brackets > maxCondaDepth || dashes > maxCondaDepth {
				return true
			}
		}
	}
	return false
}
