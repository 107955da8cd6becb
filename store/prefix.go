package store

// PrefixEnd returns the first key after all keys that begin with prefix, in
// byte order; false if there is none. Backends use it to bound a listing.
func PrefixEnd(prefix string) (string, bool) {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] == 0xff {
			continue
		}
		return prefix[:i] + string([]byte{prefix[i] + 1}), true
	}
	return "", false
}
