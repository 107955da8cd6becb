// Package jsonc makes plain JSON of what people write for it: comments (// and
// /* */), a comma before a closing bracket, and line breaks within strings;
// [Spliced] takes names without quotes besides. Templates of the resource
// manager and their parameter files are written so.
//
// Lines stay where they are, so that an error names the line of the input.
// What is JSON already comes back as it is, but for a byte order mark.
package jsonc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Plain returns data as JSON.
func Plain(data []byte) (json.RawMessage, error) { return plain(data, false) }

// Spliced is [Plain] for an object that a program has put around such a text
// without quoting its own names, as the Azure CLI does.
func Spliced(data []byte) (json.RawMessage, error) { return plain(data, true) }

func plain(data []byte, bareNames bool) (json.RawMessage, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		return nil, errors.New("the text is not UTF-8")
	}
	out := make([]byte, 0, len(data))
	comma := -1 // where the last comma stands in out, if only space follows it
	for i := 0; i < len(data); {
		c, end := data[i], i+1
		switch {
		case c == '"':
			var text []byte
			text, end = quoted(data, i)
			out, comma = append(out, text...), -1
		case c == '/':
			if end = i + commentLen(data[i:]); end == i {
				return nil, fmt.Errorf("line %d: '/' begins no comment, or one without an end", line(data, i))
			}
			out = append(out, blank(data[i:end])...)
		case bareNames && inWord(c):
			end = i + wordLen(data[i:])
			out, comma = append(out, word(data[i:end], data[end:])...), -1
		default:
			if (c == ']' || c == '}') && comma >= 0 {
				out[comma] = ' '
			}
			if c == ',' && comma < 0 {
				comma = len(out)
			} else if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
				comma = -1
			}
			out = append(out, c)
		}
		i = end
	}
	var probe json.RawMessage
	err := json.Unmarshal(out, &probe)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return nil, fmt.Errorf("line %d: %w", line(out, int(syntax.Offset)-1), err)
	}
	return out, err
}

// quoted returns the string that begins at data[i], and where it ends. Line
// breaks within it are escaped, and stand behind it instead.
func quoted(data []byte, i int) (text []byte, end int) {
	lines := 0
	for end = i; end < len(data); end++ {
		switch c := data[end]; {
		case c == '\n':
			text, lines = append(text, `\n`...), lines+1
		case c == '\r':
			text = append(text, `\r`...)
		case c == '\t':
			text = append(text, `\t`...)
		case c == '\\' && end+1 < len(data):
			text = append(text, c, data[end+1])
			end++
		case c == '"' && end > i:
			return append(append(text, c), bytes.Repeat([]byte("\n"), lines)...), end + 1
		default:
			text = append(text, c)
		}
	}
	return text, end
}

// inWord reports what names, numbers and the three literals are made of.
func inWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_$+-.", c) >= 0
}

func wordLen(data []byte) int {
	n := bytes.IndexFunc(data, func(r rune) bool { return r >= utf8.RuneSelf || !inWord(byte(r)) })
	if n < 0 {
		return len(data)
	}
	return n
}

// word quotes a name: a word that a colon follows.
func word(text, rest []byte) []byte {
	isName := (text[0] >= 'A' || text[0] == '$') && !bytes.ContainsAny(text, "+-.")
	if isName && bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(":")) {
		return []byte(`"` + string(text) + `"`)
	}
	return text
}

// commentLen is the length of the comment at the start, 0 if there is none.
func commentLen(data []byte) int {
	switch {
	case bytes.HasPrefix(data, []byte("//")):
		if n := bytes.IndexByte(data, '\n'); n >= 0 {
			return n
		}
		return len(data)
	case bytes.HasPrefix(data, []byte("/*")):
		if n := bytes.Index(data[2:], []byte("*/")); n >= 0 {
			return n + 4
		}
	}
	return 0
}

func blank(comment []byte) []byte {
	out := bytes.Repeat([]byte(" "), len(comment))
	for i, c := range comment {
		if c == '\n' {
			out[i] = c
		}
	}
	return out
}

func line(data []byte, offset int) int {
	return 1 + bytes.Count(data[:min(max(offset, 0), len(data))], []byte("\n"))
}
