package environment

import (
	"slices"
	"strings"
)

// variable looks a name up in an environment; the last setting counts.
func variable(environ []string, name string) string {
	for _, entry := range slices.Backward(environ) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// without returns the environment less the named variables.
func without(environ []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(names, name)
	})
}

// with returns the environment with a variable set.
func with(environ []string, name, value string) []string {
	return append(without(environ, name), name+"="+value)
}
