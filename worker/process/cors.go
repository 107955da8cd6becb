package process

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"lapis/worker"
)

// cors answers browsers as flask-cors does under Azure's inference server,
// which allows GET and POST from the origins of AML_CORS_ORIGINS.
type cors struct {
	plain    []string // in the order of the variable
	patterns []*regexp.Regexp
	any      bool // "*" is among them
}

const corsMethods = "GET, POST"

// newCORS reads origins; one with the letters of a pattern is a regular
// expression of Python's. It returns those that cannot be one here.
func newCORS(origins []string) (c *cors, bad []string) {
	if len(origins) == 0 {
		return nil, nil
	}
	c = &cors{}
	for _, origin := range origins {
		if !strings.ContainsAny(origin, `*\]?$^[()`) {
			c.plain = append(c.plain, origin)
			continue
		}
		if origin == "*" {
			origin = ".*"
		}
		c.any = c.any || origin == ".*"
		pattern, err := regexp.Compile("^(?i:" + origin + ")")
		if err != nil {
			bad = append(bad, origin)
			continue
		}
		c.patterns = append(c.patterns, pattern)
	}
	return c, bad
}

// allowed are the origins of which an answer names the first.
func (c *cors) allowed(origin string) []string {
	switch {
	case origin == "" && c.any:
		return []string{"*"}
	case origin == "": // not asked for, and said all the same
		return slices.Sorted(slices.Values(c.plain))
	case slices.ContainsFunc(c.plain, func(known string) bool { return strings.EqualFold(known, origin) }),
		slices.ContainsFunc(c.patterns, func(known *regexp.Regexp) bool { return known.MatchString(origin) }):
		return []string{origin}
	}
	return nil
}

// answer adds the headers that a browser looks for.
func (c *cors) answer(header *worker.Header, method string, request http.Header) {
	origins := c.allowed(request.Get("Origin"))
	if len(origins) == 0 {
		return
	}
	header.Add("Access-Control-Allow-Origin", origins[0])
	if request.Get("Access-Control-Request-Private-Network") == "true" {
		header.Set("Access-Control-Allow-Private-Network", "false")
	}
	asked := strings.ToUpper(request.Get("Access-Control-Request-Method"))
	if method == http.MethodOptions && asked != "" && strings.Contains(corsMethods, asked) {
		header.Set("Access-Control-Allow-Methods", corsMethods)
		if names := request.Get("Access-Control-Request-Headers"); names != "" {
			header.Set("Access-Control-Allow-Headers", sortedList(names))
		}
	}
	if origins[0] != "*" && (len(c.plain)+len(c.patterns) > 1 || len(c.patterns) > 0) {
		header.Add("Vary", "Origin")
	}
}

// sortedList sorts the parts of a header's value.
func sortedList(value string) string {
	parts := strings.Split(value, ",")
	for n, part := range parts {
		parts[n] = strings.TrimSpace(part)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
