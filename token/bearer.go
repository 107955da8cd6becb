package token

import "strings"

// Bearer returns the token of an Authorization header (RFC 6750 section 2.1).
// The scheme's case does not matter. false means that the header holds another
// scheme, nothing, or more than a token.
func Bearer(authorization string) (string, bool) {
	scheme, rest, ok := strings.Cut(authorization, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	raw := strings.TrimLeft(rest, " ")
	if raw == "" || strings.ContainsFunc(raw, notToken68) {
		return "", false
	}
	return raw, true
}

func notToken68(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("-._~+/=", r)
}
