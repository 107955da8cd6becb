package endpoint

import "testing"

func TestGivenKeysMustFitAHeader(t *testing.T) {
	for key, good := range map[string]bool{"": true, "k": true, "aZ09+/=-_.~": true, "a b": false, "a\n": false, "ü": false, string(make([]byte, 300)): false} {
		if err := checkKey(key, "at"); (err == nil) != good {
			t.Errorf("%q: %v", key, err)
		}
	}
}
