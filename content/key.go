package content

import (
	"fmt"
	"strings"
)

// MaxKey is the length of the longest key.
const MaxKey = 200

// CheckKey returns an error that says what is wrong with a key, or nil.
// Every backend refuses the same keys.
func CheckKey(key string) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("content key has %d characters, not 1 to %d", len(key), MaxKey)
	}
	for i := range len(key) {
		if !keyByte(key[i]) {
			return fmt.Errorf("content key %q has %q at %d; allowed are a-z 0-9 - _ . and /", key, key[i], i)
		}
	}
	for element := range strings.SplitSeq(key, "/") {
		if element == "" || element == "." || element == ".." {
			return fmt.Errorf("content key %q has the element %q", key, element)
		}
	}
	return nil
}

func keyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '/'
}
