package template

import (
	"errors"
	"fmt"
	"strings"

	"lapis/armid"
	"lapis/fault"
)

// Reference gives what reference() shows of a resource: its properties, or all
// of it ('Full').
type Reference func(id armid.ID, full bool) (any, error)

// scope is what expressions of one template see.
type scope struct {
	place     Place          // of the functions that tell where
	into      string         // group that resources without a scope of their own go to
	values    map[string]any // of parameters, by name
	variables map[string]any // as they are written
	known     map[string]any // of variables that were evaluated, by lower-case name
	open      map[string]bool
	newGUID   func() (string, error)     // nil: not allowed here
	reference Reference                  // nil: not allowed here
	resolve   func(name string) armid.ID // of a resource that the template names without an id
	work      *int                       // shared by all scopes of one template
}

var errTooMuch = errors.New("the template is too much work, or makes too large values")

// value evaluates a JSON value: expressions in strings and in names of members.
func (s *scope) value(v any, at string) (any, error) {
	if err := s.spend(1); err != nil {
		return nil, invalid(at, "%s", err.Error())
	}
	switch v := v.(type) {
	case string:
		return s.text(v, at)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = s.value(v[i], fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		if _, ok := member(v, "copy"); ok {
			return nil, noCopy(at)
		}
		out := make(map[string]any, len(v))
		for key, inner := range v {
			name, err := s.text(key, at)
			if err != nil {
				return nil, err
			}
			text, ok := name.(string)
			if !ok {
				return nil, invalid(at, "The name '%s' of a member gives no string but %s", shorten(key), kindOf(name))
			}
			if out[text], err = s.value(inner, at+"."+key); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

func (s *scope) text(text, at string) (any, error) {
	inner, is := expression(text)
	if !is {
		if strings.HasPrefix(text, "[[") {
			return text[1:], nil
		}
		return text, nil
	}
	n, err := parseExpression(inner)
	if err != nil {
		return nil, invalid(at, "%s", err.Error())
	}
	result, err := s.eval(n)
	if err == nil {
		err = s.checkSize(result)
	}
	if err == nil {
		return result, nil
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return nil, err
	}
	return nil, invalid(at, "%s", err.Error())
}

// str evaluates what must be a string.
func (s *scope) str(v any, at string) (string, error) {
	v, err := s.value(v, at)
	if err != nil {
		return "", err
	}
	text, ok := v.(string)
	if !ok {
		return "", invalid(at, "A string is needed, not %s", kindOf(v))
	}
	return text, nil
}

func (s *scope) spend(n int) error {
	if *s.work += n; *s.work > maxWork {
		return errTooMuch
	}
	return nil
}

// checkSize refuses values that would not fit a request. Parts are shared in
// memory, so a small one can be huge when it is written out.
func (s *scope) checkSize(v any) error {
	left := maxSize
	var walk func(v any) bool
	walk = func(v any) bool {
		left--
		switch v := v.(type) {
		case string:
			left -= len(v)
		case []any:
			for _, inner := range v {
				if !walk(inner) {
					return false
				}
			}
		case map[string]any:
			for key, inner := range v {
				if left -= len(key); !walk(inner) {
					return false
				}
			}
		}
		return left > 0
	}
	if !walk(v) {
		return errTooMuch
	}
	return s.spend((maxSize - left) / 16)
}

func (s *scope) eval(n node) (any, error) {
	if err := s.spend(1); err != nil {
		return nil, err
	}
	switch n := n.(type) {
	case literal:
		return n.value, nil
	case access:
		of, err := s.eval(n.of)
		if err != nil {
			return nil, err
		}
		return memberOf(of, n.name)
	case index:
		return s.element(n)
	case call:
		return s.call(n)
	}
	return nil, fmt.Errorf("%T is no part of an expression", n)
}

func (s *scope) element(n index) (any, error) {
	of, err := s.eval(n.of)
	if err != nil {
		return nil, err
	}
	by, err := s.eval(n.by)
	if err != nil {
		return nil, err
	}
	switch by := by.(type) {
	case string:
		return memberOf(of, by)
	case int64:
		list, ok := of.([]any)
		if !ok {
			return nil, fmt.Errorf("an element of %s is asked for, and only an array has any", kindOf(of))
		}
		if by < 0 || by >= int64(len(list)) {
			return nil, fmt.Errorf("the index %d is outside of an array of %d", by, len(list))
		}
		return list[by], nil
	}
	return nil, fmt.Errorf("an index is an int or a string, not %s", kindOf(by))
}

func memberOf(of any, name string) (any, error) {
	object, ok := of.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the member '%s' of %s is asked for, and only an object has any", name, kindOf(of))
	}
	v, ok := member(object, name)
	if !ok {
		return nil, fmt.Errorf("the object has no member '%s'", name)
	}
	return v, nil
}

// variable evaluates a variable once.
func (s *scope) variable(name string) (any, error) {
	key := strings.ToLower(name)
	if v, ok := s.known[key]; ok {
		return v, nil
	}
	raw, ok := member(s.variables, name)
	if !ok {
		return nil, fmt.Errorf("the template has no variable '%s'", name)
	}
	if s.open[key] {
		return nil, fmt.Errorf("the variable '%s' needs itself", name)
	}
	s.open[key] = true
	v, err := s.value(raw, "template.variables."+name)
	delete(s.open, key)
	if err == nil {
		err = s.checkSize(v)
	}
	if err == nil && s.reference == nil { // what a reference gives can change
		s.known[key] = v
	}
	return v, err
}
