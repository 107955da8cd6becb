package output

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// writeTSV writes a row for each element: the values of an object or a list
// joined by tabs. A list inside a row shows as its length, an object as
// nothing, null as None, as az has it.
func writeTSV(buf *bytes.Buffer, v any, order func(map[string]any) []string) {
	rows, ok := v.([]any)
	if !ok {
		rows = []any{v}
	}
	for _, row := range rows {
		switch row := row.(type) {
		case map[string]any:
			for i, key := range order(row) {
				if i > 0 {
					buf.WriteByte('\t')
				}
				buf.WriteString(tsvCell(row[key]))
			}
		case []any:
			for i, cell := range row {
				if i > 0 {
					buf.WriteByte('\t')
				}
				buf.WriteString(tsvCell(cell))
			}
		case bool:
			buf.WriteString(strconv.FormatBool(row))
		default:
			buf.WriteString(tsvCell(row))
		}
		buf.WriteByte('\n')
	}
}

func tsvCell(v any) string {
	switch v := v.(type) {
	case []any:
		return strconv.Itoa(len(v))
	case map[string]any:
		return ""
	}
	return text(v)
}

// text writes a scalar as Python's str does.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case string:
		return v
	}
	return ""
}

// unshown are the keys that a table leaves out unless a query asks for them.
func unshown(key string) bool {
	switch key {
	case "id", "type", "etag", "revision":
		return true
	}
	return false
}

// writeTable writes a line of headings, a rule, and a line for each element.
// Only scalars have columns; a column that no row fills is left out.
func writeTable(buf *bytes.Buffer, v any, order func(map[string]any) []string, queried bool) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var heads []string
	column := map[string]int{}
	rows := make([]map[string]string, 0, len(list))
	put := func(row map[string]string, head, value string) {
		if _, ok := column[head]; !ok {
			column[head] = len(heads)
			heads = append(heads, head)
		}
		row[head] = value
	}
	for _, item := range list {
		row := map[string]string{}
		switch item := item.(type) {
		case map[string]any:
			for _, key := range order(item) {
				if value := item[key]; isScalar(value) && (queried || !unshown(key) && !isAssetID(value)) {
					put(row, capital(key), text(value))
				}
			}
		case []any:
			for i, value := range item {
				if isScalar(value) {
					put(row, "Column"+strconv.Itoa(i+1), text(value))
				}
			}
		default:
			put(row, "Result", text(item))
		}
		rows = append(rows, row)
	}
	drawTable(buf, heads, rows)
}

// isAssetID tells the ids of models and environments, which fill a screen.
func isAssetID(v any) bool {
	s, ok := v.(string)
	return ok && strings.HasPrefix(s, "azureml:/")
}

func isScalar(v any) bool {
	switch v.(type) {
	case nil, map[string]any, []any:
		return false
	}
	return true
}

func capital(key string) string {
	if key == "" {
		return key
	}
	return strings.ToUpper(key[:1]) + key[1:]
}

func drawTable(buf *bytes.Buffer, heads []string, rows []map[string]string) {
	if len(heads) == 0 {
		return
	}
	width := make([]int, len(heads))
	for i, head := range heads {
		width[i] = utf8.RuneCountInString(head)
		for _, row := range rows {
			row[head] = oneLine(row[head])
			width[i] = max(width[i], utf8.RuneCountInString(row[head]))
		}
	}
	line := func(cell func(i int) string) {
		var out strings.Builder
		for i := range heads {
			if i > 0 {
				out.WriteString("  ")
			}
			text := cell(i)
			out.WriteString(text)
			out.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(text)))
		}
		buf.WriteString(strings.TrimRight(out.String(), " "))
		buf.WriteByte('\n')
	}
	line(func(i int) string { return heads[i] })
	line(func(i int) string { return strings.Repeat("-", width[i]) })
	for _, row := range rows {
		line(func(i int) string { return row[heads[i]] })
	}
}

func oneLine(s string) string {
	return strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ").Replace(s)
}
