// Package output owns how a command's result is shown: the --query expression
// and the formats of -o, each as az prints it.
//
// A result is a tree of map[string]any, []any, string, float64, bool and nil,
// such as encoding/json makes. A nil result prints nothing, in every format.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"

	"github.com/jmespath-community/go-jmespath"
)

// Formats are the names that -o takes.
var formats = [...]string{"json", "jsonc", "none", "table", "tsv", "yaml", "yamlc"}

// Formats returns the names that -o takes.
func Formats() []string { return formats[:] }

// Options say how to show a result.
type Options struct {
	Format string // one of Formats
	Query  string // JMESPath, or ""
	Color  bool   // whether jsonc and yamlc may use colours
}

// Check reports what is wrong with the options before any work is done.
func (o Options) Check() error {
	for _, name := range formats {
		if o.Format == name {
			if o.Query == "" {
				return nil
			}
			return checkQuery(o.Query)
		}
	}
	return fmt.Errorf("argument --output/-o: %q is not one of %s", o.Format, strings.Join(formats[:], ", "))
}

func checkQuery(query string) error {
	if _, err := jmespath.Compile(query); err != nil {
		return fmt.Errorf("argument --query: invalid jmespath query %q: %v", query, err)
	}
	return nil
}

// Write shows the result.
func Write(w io.Writer, result any, o Options) error {
	result, err := Tree(result)
	if err != nil {
		return err
	}
	if o.Query != "" {
		result, err = jmespath.Search(o.Query, result)
		if err != nil {
			return fmt.Errorf("argument --query: %q: %v", o.Query, err)
		}
	}
	if result == nil {
		return nil
	}
	var buf bytes.Buffer
	order := keyOrder(o.Query)
	switch o.Format {
	case "none":
		return nil
	case "tsv":
		writeTSV(&buf, result, order)
	case "table":
		writeTable(&buf, result, order, o.Query != "")
	case "yaml", "yamlc":
		buf.WriteString(YAML(result))
		if o.Format == "yamlc" && o.Color {
			colorYAML(&buf)
		}
	default:
		if err := writeJSON(&buf, result); err != nil {
			return err
		}
		if o.Format == "jsonc" && o.Color {
			colorJSON(&buf)
		}
	}
	_, err = w.Write(buf.Bytes())
	return err
}

// Tree turns any value that JSON can carry into a tree.
func Tree(v any) (any, error) {
	switch v.(type) {
	case nil, string, bool, float64:
		return v, nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var tree any
	err = json.Unmarshal(data, &tree)
	return tree, err
}

func writeJSON(buf *bytes.Buffer, v any) error {
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// queryKey finds the keys that a multiselect hash of a query names.
var queryKey = regexp.MustCompile(`("[^"]+"|[A-Za-z_][A-Za-z0-9_]*)\s*:`)

// keyOrder returns a comparison that puts keys in the order in which the query
// names them, and others after them by name.
func keyOrder(query string) func(map[string]any) []string {
	rank := map[string]int{}
	for i, match := range queryKey.FindAllStringSubmatch(query, -1) {
		key := strings.Trim(match[1], `"`)
		if _, ok := rank[key]; !ok {
			rank[key] = i + 1
		}
	}
	return func(m map[string]any) []string {
		keys := make([]string, 0, len(m))
		for k := range m {
			keys = append(keys, k)
		}
		sort.Slice(keys, func(i, j int) bool {
			a, b := rank[keys[i]], rank[keys[j]]
			switch {
			case a != 0 && b != 0:
				return a < b
			case a != 0 || b != 0:
				return a != 0
			}
			return keys[i] < keys[j]
		})
		return keys
	}
}

const (
	colorReset  = "\x1b[0m"
	colorKey    = "\x1b[34m"
	colorString = "\x1b[32m"
	colorOther  = "\x1b[35m"
)

var (
	jsonLine = regexp.MustCompile(`(?m)^(\s*)("(?:[^"\\]|\\.)*")(: )?(.*)$`)
	yamlLine = regexp.MustCompile(`(?m)^(\s*(?:- )*)([^\s:'"-][^:\n]*):( |$)`)
)

func colorJSON(buf *bytes.Buffer) {
	text := jsonLine.ReplaceAllStringFunc(buf.String(), func(line string) string {
		m := jsonLine.FindStringSubmatch(line)
		if m[3] == "" { // a string in a list
			return m[1] + colorString + m[2] + colorReset + m[4]
		}
		color := colorOther
		if strings.HasPrefix(m[4], `"`) {
			color = colorString
		}
		return m[1] + colorKey + m[2] + colorReset + m[3] + color + m[4] + colorReset
	})
	buf.Reset()
	buf.WriteString(text)
}

func colorYAML(buf *bytes.Buffer) {
	text := yamlLine.ReplaceAllString(buf.String(), "${1}"+colorKey+"${2}"+colorReset+":${3}")
	buf.Reset()
	buf.WriteString(text)
}
