package blob

import (
	"lapis/blob/sas"
)

// SignAccountSAS makes a token for all of an account with its first key. The
// result is a query without '?'.
func SignAccountSAS(a Account, s sas.Account) (string, error) { return s.Sign(a.Name, a.Keys[0]) }

// SignContainerSAS makes a token for a container, or a blob in it, with the
// account's first key. The result is a query without '?'.
func SignContainerSAS(a Account, container string, s sas.Service) (string, error) {
	return s.Sign(a.Name, container, a.Keys[0])
}
