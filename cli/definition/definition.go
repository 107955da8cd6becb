// Package definition owns the YAML files that describe endpoints and
// deployments: it reads them, applies what the command line sets over them,
// and checks them against the fields that azure-ai-ml knows. What it complains
// about is named by file, line and field.
package definition

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"lapis/cli/setting"
)

// Document is a definition: the tree of a file, or an empty one.
type Document struct {
	File string // "" when there is none
	Tree map[string]any

	lines map[string]int    // by field path
	raw   map[string]string // scalars as written, by field path
	set   []string          // field paths that the command line set
	notes []string
}

// Problems is what is wrong with a definition, one entry for each field.
type Problems []string

func (p Problems) Error() string { return strings.Join(p, "\n") }

// Load reads a file. Where it is missing and its twin with the other of the
// endings .yml and .yaml is there, that one is read, with a note.
func Load(file string) (*Document, error) {
	d := &Document{Tree: map[string]any{}, lines: map[string]int{}, raw: map[string]string{}}
	if file == "" {
		return d, nil
	}
	d.File = d.twin(file)
	data, err := os.ReadFile(d.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file; paths are taken from the folder %s", file, workingDir())
	}
	if err != nil {
		return nil, err
	}
	return d, d.parse(data)
}

func workingDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return "."
	}
	return dir
}

// twin returns the file, or the one with the other YAML ending where only that
// exists.
func (d *Document) twin(file string) string {
	if _, err := os.Stat(file); err == nil {
		return file
	}
	other := ""
	switch {
	case strings.HasSuffix(file, ".yml"):
		other = strings.TrimSuffix(file, ".yml") + ".yaml"
	case strings.HasSuffix(file, ".yaml"):
		other = strings.TrimSuffix(file, ".yaml") + ".yml"
	}
	if _, err := os.Stat(other); other == "" || err != nil {
		return file
	}
	d.notes = append(d.notes, fmt.Sprintf("%s is missing; %s is taken", file, filepath.Base(other)))
	return other
}

// Notes returns what the user should know of how the definition was read.
func (d *Document) Notes() []string { return d.notes }

func (d *Document) parse(data []byte) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return fmt.Errorf("%s: the file is empty", d.File)
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return d.syntax(err)
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			return fmt.Errorf("%s:%d: a second document begins; a definition has one", d.File, doc.Body.GetToken().Position.Line)
		}
		body = doc.Body
	}
	var tree any
	if body != nil {
		if err := yaml.NodeToValue(body, &tree); err != nil {
			return d.syntax(err)
		}
	}
	var ok bool
	if d.Tree, ok = plain(tree).(map[string]any); !ok {
		return fmt.Errorf("%s: a definition is a list of fields such as name: blue", d.File)
	}
	d.walk(body, "", 0)
	return nil
}

// syntax words the parser's error as file:line:column.
func (d *Document) syntax(err error) error {
	var located yaml.Error
	if errors.As(err, &located) && located.GetToken() != nil {
		p := located.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", d.File, p.Line, p.Column, located.GetMessage())
	}
	return fmt.Errorf("%s: %v", d.File, err)
}

// plain brings the numbers and maps of the parser into JSON's types.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = plain(value)
		}
	case map[any]any:
		out := map[string]any{}
		for key, value := range v {
			out[fmt.Sprint(key)] = plain(value)
		}
		return out
	case []any:
		for i, value := range v {
			v[i] = plain(value)
		}
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	case float32:
		return float64(v)
	case nil, string, bool, float64:
	default:
		return fmt.Sprint(v)
	}
	return v
}

// maxDepth bounds the nesting that is walked for positions.
const maxDepth = 100

// walk notes lines and raw texts.
func (d *Document) walk(node ast.Node, path string, depth int) {
	if node == nil || depth > maxDepth {
		return
	}
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, value := range n.Values {
			d.walk(value, path, depth+1)
		}
	case *ast.MappingValueNode:
		key := strings.Trim(n.Key.GetToken().Value, `"'`)
		at := joinPath(path, key)
		d.lines[at] = n.Key.GetToken().Position.Line
		d.walk(n.Value, at, depth+1)
	case *ast.SequenceNode:
		for i, value := range n.Values {
			at := fmt.Sprintf("%s[%d]", path, i)
			if value != nil && value.GetToken() != nil {
				d.lines[at] = value.GetToken().Position.Line
			}
			d.walk(value, at, depth+1)
		}
	case *ast.AnchorNode:
		d.walk(n.Value, path, depth+1)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		d.raw[path] = n.GetToken().Value
	}
}

func joinPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Set applies the expressions of --set, in order.
func (d *Document) Set(expressions []string) error {
	for _, expression := range expressions {
		if err := setting.Set(d.Tree, expression); err != nil {
			return err
		}
		path, _, _ := strings.Cut(expression, "=")
		d.set = append(d.set, strings.TrimSpace(path))
	}
	return nil
}

// Put sets a field from an argument of its own, such as --name.
func (d *Document) Put(field string, value any) {
	d.Tree[field] = value
	d.set = append(d.set, field)
}

// where names the place of a field in messages.
func (d *Document) where(path string) string {
	for _, set := range d.set {
		if path == set || strings.HasPrefix(set, path+".") || strings.HasPrefix(set, path+"[") || strings.HasPrefix(path, set+".") {
			return "command line: " + path
		}
	}
	for at := path; at != ""; at = parentPath(at) {
		if line, ok := d.lines[at]; ok {
			return fmt.Sprintf("%s:%d: %s", d.File, line, path)
		}
	}
	if d.File != "" {
		return d.File + ": " + path
	}
	return path
}

func parentPath(path string) string {
	if i := strings.LastIndexAny(path, ".["); i >= 0 {
		return path[:i]
	}
	return ""
}

// Where names the place of a field: file, line and field.
func (d *Document) Where(path string) string { return d.where(path) }

// Path resolves a path that a field holds against the folder of the file, and
// falls back between .yml and .yaml. It must exist.
func (d *Document) Path(field, value string) (string, error) {
	local := strings.TrimPrefix(value, "file:")
	if !filepath.IsAbs(local) {
		local = filepath.Join(filepath.Dir(d.File), filepath.FromSlash(local))
	}
	local = d.twin(local)
	if _, err := os.Stat(local); err != nil {
		reason := "it is not there"
		if !errors.Is(err, fs.ErrNotExist) {
			reason = err.Error()
		}
		return "", fmt.Errorf("%s: %q leads to %s: %s", d.where(field), value, local, reason)
	}
	return filepath.Abs(local)
}
