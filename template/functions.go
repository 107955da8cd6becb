package template

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// call evaluates a function. Those that need not look at all their arguments
// do not: if() has branches that fail where the other one is taken.
func (s *scope) call(c call) (any, error) {
	name := strings.ToLower(c.name)
	switch name {
	case "if":
		return s.callIf(c)
	case "and", "or":
		return s.callLogic(c, name == "or")
	case "coalesce":
		for _, arg := range c.args {
			if v, err := s.eval(arg); err != nil || v != nil {
				return v, err
			}
		}
		return nil, nil
	}
	args := make([]any, len(c.args))
	for i, arg := range c.args {
		var err error
		if args[i], err = s.eval(arg); err != nil {
			return nil, err
		}
	}
	v, err := s.apply(name, args)
	switch {
	case errors.Is(err, errUnknown):
		return nil, fmt.Errorf("the template function '%s' is not one that this platform knows", c.name)
	case errors.Is(err, errArguments):
		return nil, fmt.Errorf("the arguments of '%s' are not of the kinds or the number that it takes: %s", c.name, kindsOf(args))
	}
	return v, err
}

var (
	errUnknown   = errors.New("unknown function")
	errArguments = errors.New("bad arguments")
)

func kindsOf(args []any) string {
	kinds := make([]string, len(args))
	for i, a := range args {
		kinds[i] = kindOf(a)
	}
	return "(" + strings.Join(kinds, ", ") + ")"
}

func (s *scope) callIf(c call) (any, error) {
	if len(c.args) != 3 {
		return nil, fmt.Errorf("'if' takes 3 arguments, not %d", len(c.args))
	}
	v, err := s.eval(c.args[0])
	if err != nil {
		return nil, err
	}
	yes, ok := v.(bool)
	if !ok {
		return nil, fmt.Errorf("the first argument of 'if' is a bool, not %s", kindOf(v))
	}
	if yes {
		return s.eval(c.args[1])
	}
	return s.eval(c.args[2])
}

func (s *scope) callLogic(c call, either bool) (any, error) {
	if len(c.args) == 0 {
		return nil, fmt.Errorf("'%s' takes one argument or more", c.name)
	}
	for _, arg := range c.args {
		v, err := s.eval(arg)
		if err != nil {
			return nil, err
		}
		b, ok := v.(bool)
		if !ok {
			return nil, fmt.Errorf("the arguments of '%s' are bools, not %s", c.name, kindOf(v))
		}
		if b == either {
			return either, nil
		}
	}
	return !either, nil
}

// apply gives the result of a function whose arguments are known.
func (s *scope) apply(name string, args []any) (any, error) {
	texts, allText := strs(args)
	one := len(args) == 1
	switch name {
	case "parameters":
		if !one || !allText {
			return nil, errArguments
		}
		v, ok := member(s.values, texts[0])
		if !ok {
			return nil, fmt.Errorf("the template has no parameter '%s'", texts[0])
		}
		return v, nil
	case "variables":
		if !one || !allText {
			return nil, errArguments
		}
		return s.variable(texts[0])
	case "true", "false", "null":
		return map[string]any{"true": true, "false": false}[name], exactly(args, 0)
	case "not":
		b, ok := first(args).(bool)
		if !one || !ok {
			return nil, errArguments
		}
		return !b, nil
	case "equals":
		if len(args) != 2 {
			return nil, errArguments
		}
		return equal(args[0], args[1]), nil
	case "resourcegroup", "subscription", "resourceid", "subscriptionresourceid", "reference", "newguid":
		return s.applyPlace(name, args, texts, allText)
	case "toupper", "tolower", "uniquestring", "guid", "format", "split", "replace", "string", "int", "bool", "json":
		return applyText(name, args, texts, allText)
	}
	return applyCollection(name, args)
}

func first(args []any) any {
	if len(args) == 0 {
		return nil
	}
	return args[0]
}

func exactly(args []any, n int) error {
	if len(args) != n {
		return errArguments
	}
	return nil
}

func strs(args []any) ([]string, bool) {
	texts := make([]string, len(args))
	for i, a := range args {
		var ok bool
		if texts[i], ok = a.(string); !ok {
			return nil, false
		}
	}
	return texts, true
}

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

func applyText(name string, args []any, texts []string, allText bool) (any, error) {
	one := len(args) == 1
	switch name {
	case "string", "int", "bool", "json":
		if !one {
			return nil, errArguments
		}
		return convert(name, args[0])
	case "format":
		return format(args)
	case "split":
		return split(args)
	}
	if !allText || len(args) == 0 {
		return nil, errArguments
	}
	switch {
	case name == "toupper" && one:
		return strings.ToUpper(texts[0]), nil
	case name == "tolower" && one:
		return strings.ToLower(texts[0]), nil
	case name == "uniquestring": // as long and as stable as the real one, with other values
		sum := sha256.Sum256([]byte(strings.Join(texts, "-")))
		return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:13], nil
	case name == "guid":
		return uuid.NewSHA1(uuid.MustParse("11fb06fb-712d-4ddd-98c7-e71bbd588830"), []byte(strings.Join(texts, "-"))).String(), nil
	case name == "replace" && len(args) == 3:
		if n := strings.Count(texts[0], texts[1]); len(texts[0])+n*len(texts[2]) > maxSize {
			return nil, errTooMuch
		}
		return strings.ReplaceAll(texts[0], texts[1], texts[2]), nil
	}
	return nil, errArguments
}

// convert is string(), int(), bool() and json().
func convert(to string, v any) (any, error) {
	text, isText := v.(string)
	switch to {
	case "string":
		if isText {
			return text, nil
		}
		data, err := json.Marshal(v)
		return string(data), err
	case "int":
		if n, ok := v.(int64); ok {
			return n, nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if !isText || err != nil {
			return nil, fmt.Errorf("'%v' is no whole number", shorten(fmt.Sprint(v)))
		}
		return n, nil
	case "bool":
		switch v := v.(type) {
		case bool:
			return v, nil
		case int64:
			return v != 0, nil
		}
		switch strings.ToLower(text) {
		case "true", "1":
			return true, nil
		case "false", "0":
			return false, nil
		}
		return nil, fmt.Errorf("'%v' is neither true nor false", shorten(fmt.Sprint(v)))
	}
	if !isText {
		return nil, errArguments
	}
	parsed, err := decode([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("the argument of 'json' is no JSON: %w", err)
	}
	return parsed, nil
}

// format fills {0}, {1}… ; {{ and }} are braces.
func format(args []any) (any, error) {
	pattern, ok := first(args).(string)
	if !ok {
		return nil, errArguments
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if (c == '{' || c == '}') && i+1 < len(pattern) && pattern[i+1] == c {
			b.WriteByte(c)
			i++
			continue
		}
		if c == '}' {
			return nil, errors.New("the first argument of 'format' has a '}' without a '{'")
		}
		if c != '{' {
			b.WriteByte(c)
			continue
		}
		digits, _, found := strings.Cut(pattern[i+1:], "}")
		n, err := strconv.Atoi(digits)
		if !found || err != nil || n < 0 || n+1 >= len(args) {
			return nil, fmt.Errorf("'{%s}' in the first argument of 'format' names none of the %d values", shorten(digits), len(args)-1)
		}
		text, err := convert("string", args[n+1])
		if err != nil {
			return nil, err
		}
		b.WriteString(text.(string))
		if i += len(digits) + 1; b.Len() > maxSize {
			return nil, errTooMuch
		}
	}
	return b.String(), nil
}

func split(args []any) (any, error) {
	if len(args) != 2 {
		return nil, errArguments
	}
	text, ok := args[0].(string)
	if !ok {
		return nil, errArguments
	}
	marks := []string{}
	switch by := args[1].(type) {
	case string:
		marks = append(marks, by)
	case []any:
		if marks, ok = strs(by); !ok {
			return nil, errArguments
		}
	default:
		return nil, errArguments
	}
	parts := []string{text}
	for _, mark := range marks {
		if mark == "" {
			return nil, errArguments
		}
		var next []string
		for _, part := range parts {
			next = append(next, strings.Split(part, mark)...)
		}
		parts = next
	}
	out := make([]any, len(parts))
	for i := range parts {
		out[i] = parts[i]
	}
	return out, nil
}
