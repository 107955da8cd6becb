package output

import (
	"encoding/json"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// YAML writes a tree in the block style of az and of azure-ai-ml: keys sorted,
// lists at the indentation of their key, single quotes where quotes are needed.
func YAML(v any) string {
	var out strings.Builder
	switch t := v.(type) {
	case map[string]any, []any:
		yamlBlock(&out, t, 0, false)
	default:
		out.WriteString(yamlScalar(v))
		out.WriteString("\n")
		if s, ok := v.(string); !ok || isPlain(s) {
			out.WriteString("...\n")
		}
	}
	return out.String()
}

// yamlBlock writes a map or list; inline means that the cursor already stands
// where the first line begins, behind a dash.
func yamlBlock(out *strings.Builder, v any, depth int, inline bool) {
	pad := strings.Repeat("  ", depth)
	first := func(i int) {
		if i > 0 || !inline {
			out.WriteString(pad)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			out.WriteString("{}\n")
			return
		}
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for i, key := range keys {
			first(i)
			out.WriteString(yamlScalar(key))
			out.WriteString(":")
			yamlValue(out, v[key], depth)
		}
	case []any:
		if len(v) == 0 {
			out.WriteString("[]\n")
			return
		}
		for i, item := range v {
			first(i)
			out.WriteString("- ")
			if isEmptyOrScalar(item) {
				out.WriteString(yamlScalar(item) + "\n")
				continue
			}
			yamlBlock(out, item, depth+1, true)
		}
	}
}

// yamlValue writes what follows a key's colon.
func yamlValue(out *strings.Builder, v any, depth int) {
	if isEmptyOrScalar(v) {
		out.WriteString(" " + yamlScalar(v) + "\n")
		return
	}
	out.WriteString("\n")
	if _, ok := v.([]any); ok {
		yamlBlock(out, v, depth, false)
		return
	}
	yamlBlock(out, v, depth+1, false)
}

func isEmptyOrScalar(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return true
}

func yamlScalar(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case float64:
		text := strconv.FormatFloat(v, 'f', -1, 64)
		return text
	case map[string]any:
		return "{}"
	case []any:
		return "[]"
	case string:
		if isPlain(v) {
			return v
		}
		if isPrintable(v) {
			return "'" + strings.ReplaceAll(v, "'", "''") + "'"
		}
		quoted, _ := json.Marshal(v) // YAML takes JSON's escapes
		return string(quoted)
	}
	return ""
}

// resolves matches plain scalars that YAML 1.1 reads as something other than a
// string, as PyYAML does.
var resolves = regexp.MustCompile(`^(?:~|null|Null|NULL|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF|=|<<` +
	`|[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?` +
	`|[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)` +
	`|\d{4}-\d\d?-\d\d?(?:(?:[Tt]|[ \t]+)\d\d?:\d\d:\d\d(?:\.\d*)?(?:[ \t]*(?:Z|[-+]\d\d?(?::\d\d)?))?)?)$`)

func isPlain(s string) bool {
	if s == "" || strings.TrimSpace(s) != s || !isPrintable(s) || resolves.MatchString(s) {
		return false
	}
	if strings.ContainsRune("#,[]{}&*!|>'\"%@`", rune(s[0])) {
		return false
	}
	if strings.ContainsRune("-?:", rune(s[0])) && (len(s) == 1 || s[1] == ' ') {
		return false
	}
	if strings.HasPrefix(s, "---") || strings.HasPrefix(s, "...") {
		return false
	}
	return !strings.Contains(s, ": ") && !strings.Contains(s, " #") && !strings.HasSuffix(s, ":")
}

func isPrintable(s string) bool {
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffd {
			return false
		}
	}
	return true
}
