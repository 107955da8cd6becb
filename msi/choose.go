package msi

import (
	"strings"

	"lapis/fault"
	"lapis/identity"
)

// choose returns the identity that the query names, or the default one. Every
// form takes the parameter names of all forms: SDKs and scripts mix them.
func choose(in Instance, query params) (identity.Principal, error) {
	chosen := in.Default
	named := false
	for _, selector := range []struct {
		name string
		of   func(identity.Principal) string
	}{
		{"clientid", func(p identity.Principal) string { return p.ClientID }},
		{"client_id", func(p identity.Principal) string { return p.ClientID }},
		{"object_id", func(p identity.Principal) string { return p.ObjectID }},
		{"principal_id", func(p identity.Principal) string { return p.ObjectID }},
		{"mi_res_id", func(p identity.Principal) string { return p.ResourceID }},
		{"msi_res_id", func(p identity.Principal) string { return p.ResourceID }},
		{"resource_id", func(p identity.Principal) string { return p.ResourceID }},
	} {
		value := strings.TrimSuffix(query[selector.name], "/")
		if value == "" { // a script that fills in an unset variable means the default
			continue
		}
		index := find(in.Identities, func(p identity.Principal) bool { return strings.EqualFold(selector.of(p), value) })
		if index < 0 {
			return identity.Principal{}, unknownIdentity(selector.name)
		}
		if named && index != chosen {
			return identity.Principal{}, fault.E(fault.Invalid, "invalid_request", "The request names two different identities.").At(selector.name)
		}
		chosen, named = index, true
	}
	if chosen == NoDefault {
		return identity.Principal{}, fault.E(fault.Invalid, "invalid_request",
			"Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request")
	}
	return in.Identities[chosen], nil
}

func find(list []identity.Principal, is func(identity.Principal) bool) int {
	for i, p := range list {
		if is(p) {
			return i
		}
	}
	return -1
}

func unknownIdentity(parameter string) *fault.Error {
	return fault.E(fault.Invalid, "invalid_request", "Identity not found").At(parameter)
}
