package dataplane

import (
	"encoding/xml"
	"io"
	"time"

	"lapis/blob"
	"lapis/blob/sas"
	"lapis/fault"
)

// admitDelegated holds a signature made with a user delegation key against
// what the request is about to do at t. It is worth what both the token and,
// at this moment, the roles of the key's principal allow.
func (h *Handler) admitDelegated(q *request, token sas.Token, account blob.Account, t target, at level, n need) (caller, error) {
	if !token.VerifyDelegated(account.Delegation, account.Name, t.container, t.blob) {
		return caller{}, failedAuthentication("Signature did not match. String to sign used was %s", token.StringToSign(account.Name, t.container, t.blob))
	}
	if err := token.Key.CheckTime(h.c.Now()); err != nil {
		return caller{}, failedAuthentication("%s.", capital(err.Error()))
	}
	c, err := h.grantedTo(q, token, at, n)
	if err != nil {
		return caller{}, err
	}
	c.principal = token.Key.ObjectID
	onlyNew, err := h.authorize(q, c.principal, n, account, t.container)
	c.onlyNew = c.onlyNew || onlyNew
	return c, permissionMismatch(err)
}

// keyInfo is the body of Get User Delegation Key.
type keyInfo struct {
	XMLName          xml.Name `xml:"KeyInfo"`
	Start            string
	Expiry           string
	DelegatedUserTid string
}

// userDelegationKey answers it.
type userDelegationKey struct {
	XMLName       xml.Name `xml:"UserDelegationKey"`
	SignedOid     string
	SignedTid     string
	SignedStart   string
	SignedExpiry  string
	SignedService string
	SignedVersion string
	Value         string
}

// A key's request has two times in it.
const maxKeyInfoBody = 64 << 10

// oldestDelegation is the first version that knows the operation.
const oldestDelegation = "2018-11-09"

// getUserDelegationKey gives the caller a key to sign with in its own name.
func (h *Handler) getUserDelegationKey(w *response, q *request) error {
	if q.caller.kind != bearer {
		return failedAuthentication("Only authentication scheme Bearer is supported.")
	}
	if q.version < oldestDelegation {
		return invalidHeader("x-ms-version", "this operation needs "+oldestDelegation+" or later")
	}
	if q.account.Delegation.IsZero() {
		return notImplemented("user delegation keys")
	}
	start, expiry, err := readKeyInfo(q.http.Body, h.c.Now())
	if err != nil {
		return err
	}
	key := sas.NewKey(q.caller.principal, h.c.Tenant, q.version, start, expiry)
	return writeXML(w, userDelegationKey{
		SignedOid: key.ObjectID, SignedTid: key.TenantID, SignedStart: key.Start, SignedExpiry: key.Expiry,
		SignedService: key.Service, SignedVersion: key.Version, Value: key.Value(q.account.Delegation).Reveal(),
	})
}

// readKeyInfo reads when a key is to begin, now where nothing is said, and to end.
func readKeyInfo(body io.Reader, now time.Time) (start, expiry time.Time, err error) {
	var info keyInfo
	data, err := io.ReadAll(io.LimitReader(body, maxKeyInfoBody))
	if err != nil || xml.Unmarshal(data, &info) != nil {
		return start, expiry, fault.E(fault.Invalid, "InvalidXmlDocument",
			"XML specified is not syntactically valid or not a <KeyInfo> with <Start> and <Expiry>.")
	}
	if info.DelegatedUserTid != "" {
		return start, expiry, notImplemented("keys for the users of another tenant").At("DelegatedUserTid")
	}
	start = now
	if info.Start != "" {
		if start, err = time.Parse(time.RFC3339, info.Start); err != nil {
			return start, expiry, badNode("Start", info.Start, "it is no time such as 2026-01-31T12:00:00Z")
		}
	}
	if expiry, err = time.Parse(time.RFC3339, info.Expiry); err != nil {
		return start, expiry, badNode("Expiry", info.Expiry, "it is no time such as 2026-01-31T12:00:00Z")
	}
	switch {
	case start.Before(now.Add(-sas.MaxKeyLife)), start.After(now.Add(sas.MaxKeyLife)):
		return start, expiry, badNode("Start", info.Start, "a key begins within seven days of now")
	case !expiry.After(now), !expiry.After(start):
		return start, expiry, badNode("Expiry", info.Expiry, "it is past, or before the key's beginning")
	case expiry.After(now.Add(sas.MaxKeyLife)):
		return start, expiry, badNode("Expiry", info.Expiry, "a key lives for seven days at most")
	}
	return start, expiry, nil
}

func badNode(name, value, why string) error {
	return fault.E(fault.Invalid, "InvalidXmlNodeValue",
		"The value for one of the XML nodes is not in the correct format. %s: %s.", name, why).At(name).
		With(&fault.Error{Code: "XmlNodeName", Message: name}, &fault.Error{Code: "XmlNodeValue", Message: value})
}
