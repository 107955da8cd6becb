package blob

import (
	"lapis/blob/sas"
	"lapis/fault"
)

// SignAccountSAS makes a token for all of an account with its first key. The
// result is a query without '?'.
func SignAccountSAS(a Account, s sas.Account) (string, error) { return s.Sign(a.Name, a.Keys[0]) }

// SignContainerSAS makes a token for a container, or a blob in it, with the
// account's first key. The result is a query without '?'.
func SignContainerSAS(a Account, container string, s sas.Service) (string, error) {
	return s.Sign(a.Name, container, a.Keys[0])
}

// SignDelegatedSAS makes a token for a container with a user delegation key of
// the account, which is worth what the key's principal may do. The result is a
// query without '?'.
func SignDelegatedSAS(a Account, container string, key sas.Key, s sas.Service) (string, error) {
	if a.Delegation.IsZero() {
		return "", fault.E(fault.NotImplemented, "NotImplemented", "The account %s has no user delegation keys.", a.Name)
	}
	return s.SignDelegated(a.Name, container, key, a.Delegation)
}
