package template

import (
	"fmt"
	"strconv"
	"strings"
)

// node is a part of an expression: literal, call, access or index.
type node any

type literal struct{ value any }

type call struct {
	name string
	args []node
}

// access is a member of an object: of.name
type access struct {
	of   node
	name string
}

// index is an element of an array, or a member: of[by]
type index struct{ of, by node }

// maxDepth bounds calls within calls.
const maxDepth = 64

// expression returns the text between the brackets of a string that is one;
// a string that begins with "[[" is text with one bracket less.
func expression(text string) (inner string, is bool) {
	if len(text) < 2 || text[0] != '[' || text[len(text)-1] != ']' || strings.HasPrefix(text, "[[") {
		return "", false
	}
	return text[1 : len(text)-1], true
}

// parseExpression reads the inside of an expression.
func parseExpression(text string) (node, error) {
	p := &parser{text: text}
	n, err := p.node(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(text) {
		return nil, fmt.Errorf("the expression '%s' ends at position %d, and more follows", shorten(text), p.at+1)
	}
	return n, nil
}

type parser struct {
	text string
	at   int
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

func (p *parser) take(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) bad(want string) error {
	return fmt.Errorf("the expression '%s' needs %s at position %d", shorten(p.text), want, p.at+1)
}

func (p *parser) node(depth int) (node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("the expression '%s' nests more than %d calls", shorten(p.text), maxDepth)
	}
	n, err := p.head(depth)
	for err == nil {
		switch {
		case p.take('.'):
			name := p.word()
			if name == "" {
				return nil, p.bad("the name of a member")
			}
			n = access{n, name}
		case p.take('['):
			var by node
			if by, err = p.node(depth + 1); err == nil && !p.take(']') {
				err = p.bad("']'")
			}
			n = index{n, by}
		default:
			return n, nil
		}
	}
	return nil, err
}

// head reads a literal or a call.
func (p *parser) head(depth int) (node, error) {
	p.space()
	if p.at >= len(p.text) {
		return nil, p.bad("a function or a value")
	}
	switch c := p.text[p.at]; {
	case c == '\'':
		return p.quoted()
	case c == '-' || c >= '0' && c <= '9':
		end := p.at + 1
		for end < len(p.text) && p.text[end] >= '0' && p.text[end] <= '9' {
			end++
		}
		n, err := strconv.ParseInt(p.text[p.at:end], 10, 64)
		if err != nil {
			return nil, p.bad("a whole number")
		}
		p.at = end
		return literal{n}, nil
	}
	name := p.word()
	if name == "" || !p.take('(') {
		return nil, p.bad("a function with '('")
	}
	c := call{name: name}
	if p.take(')') {
		return c, nil
	}
	for {
		arg, err := p.node(depth + 1)
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, arg)
		if p.take(')') {
			return c, nil
		}
		if !p.take(',') {
			return nil, p.bad("',' or ')'")
		}
	}
}

// quoted reads a string in single quotes; two of them are one.
func (p *parser) quoted() (node, error) {
	var b strings.Builder
	for i := p.at + 1; i < len(p.text); i++ {
		if p.text[i] != '\'' {
			b.WriteByte(p.text[i])
			continue
		}
		if i+1 < len(p.text) && p.text[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		p.at = i + 1
		return literal{b.String()}, nil
	}
	return nil, p.bad("the end of the string that begins")
}

func (p *parser) word() string {
	p.space()
	begin := p.at
	for p.at < len(p.text) {
		c := p.text[p.at]
		if !isLetter(c) && c != '_' && c != '$' && (p.at == begin || c < '0' || c > '9') {
			break
		}
		p.at++
	}
	return p.text[begin:p.at]
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func shorten(text string) string {
	if len(text) > 120 {
		return strings.ToValidUTF8(text[:120], "") + "…"
	}
	return text
}
