package sharedkey

import (
	"cmp"
	"strings"
)

// compareNames orders header names as the service does: a linguistic order in
// which letters follow digits, digits follow signs, and hyphens and a few
// other signs count only where nothing else tells two names apart. The order
// of the signs was read off azure-storage-blob 12.31 (shared/authentication),
// whose signatures the service takes.
func compareNames(a, b string) int {
	if c := cmp.Compare(weights(a), weights(b)); c != 0 {
		return c
	}
	return cmp.Compare(minor(a), minor(b))
}

// Signs that count, from light to heavy; digits and letters follow them.
const signs = "!\"#$%*.^_`|~+"

const digitsAndLetters = "0123456789abcdefghijklmnopqrstuvwxyz"

// weights maps a name to a string whose byte order is the order wanted.
func weights(name string) string {
	out := make([]byte, 0, len(name))
	for i := range len(name) {
		c := name[i]
		if at := strings.IndexByte(signs, c); at >= 0 {
			out = append(out, byte(1+at))
		} else if at := strings.IndexByte(digitsAndLetters, c|0x20); at >= 0 {
			out = append(out, byte(64+at))
		}
	}
	return string(out)
}

// minor maps a name to a string that orders names of equal weights: at the
// first difference a hyphen is greatest, then an apostrophe, then the end.
func minor(name string) string {
	out := make([]byte, len(name)+1)
	for i := range len(name) {
		switch name[i] {
		case '-':
			out[i] = 3
		case '\'':
			out[i] = 2
		}
	}
	out[len(name)] = 1
	return string(out)
}
