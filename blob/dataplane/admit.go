package dataplane

import (
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"lapis/armid"
	"lapis/blob"
	"lapis/blob/sas"
	"lapis/blob/sharedkey"
	"lapis/fault"
)

// caller is who sent a request, as far as its handler needs to know.
type caller struct {
	kind      callerKind
	principal string       // of a bearer token, or of a user delegation key
	onlyNew   bool         // may make things, but not replace them
	override  sas.Override // headers that a service SAS puts on the answer
}

type callerKind int

const (
	keyHolder callerKind = iota + 1
	sasHolder
	bearer
)

// String is the word for a log.
func (k callerKind) String() string {
	return [...]string{"nobody", "key", "sas", "token"}[k]
}

// admit is the one place that decides whether a request may go on.
func (h *Handler) admit(q *request, n need) (caller, error) {
	values := q.http.Header.Values("Authorization")
	switch {
	case len(values) > 1:
		return caller{}, badCredential("there is more than one Authorization header")
	case len(values) == 0 && sas.Present(q.query):
		return h.admitSAS(q, q.query, q.account, target{container: q.container, blob: q.blob}, q.level(), n)
	case len(values) == 0:
		return caller{}, fault.E(fault.Unauthenticated, "NoAuthenticationInformation",
			"Server failed to authenticate the request. Please refer to the information in the www-authenticate header.")
	}
	if scheme, token, _ := strings.Cut(values[0], " "); strings.EqualFold(scheme, "Bearer") {
		return h.admitBearer(q, strings.TrimSpace(token), n)
	}
	credential, ok, err := sharedkey.Parse(values[0])
	if err != nil {
		return caller{}, badCredential(err.Error())
	}
	if !ok {
		return caller{}, badCredential("the scheme is none of Bearer, SharedKey and SharedKeyLite")
	}
	return h.admitKey(q, credential)
}

// Requests may differ from our clock by this much.
const maxSkew = 15 * time.Minute

func (h *Handler) admitKey(q *request, c sharedkey.Credential) (caller, error) {
	if !q.account.AllowSharedKey {
		return caller{}, keysOff()
	}
	if err := h.checkDate(q); err != nil {
		return caller{}, err
	}
	if c.Account != q.account.Name {
		return caller{}, failedAuthentication("The account name %q of the Authorization header is not that of the URL.", c.Account)
	}
	texts := sharedkey.StringsToSign(sharedkey.Request{
		Method: q.http.Method, Path: q.http.URL.EscapedPath(), Query: q.query,
		Header: q.http.Header, ContentLength: q.http.ContentLength,
	}, q.account.Name, c.Lite)
	if !sharedkey.Verify(q.account.Keys[:], texts, c.Signature) {
		return caller{}, failedAuthentication(
			"The MAC signature found in the HTTP request is not the same as any computed signature. Server used following string to sign: '%s'.", hide(texts[0]))
	}
	return caller{kind: keyHolder}, nil
}

func (h *Handler) checkDate(q *request) error {
	text := q.header("x-ms-date")
	if text == "" {
		text = q.header("Date")
	}
	if text == "" {
		return failedAuthentication("Neither x-ms-date nor Date is given; a signed request needs one of them.")
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return failedAuthentication("The date %q is not in the form of RFC 1123, such as 'Fri, 26 Jun 2026 23:39:12 GMT'.", text)
	}
	if skew := h.c.Now().Sub(at); skew > maxSkew || skew < -maxSkew {
		return failedAuthentication("Request date header too old or too far ahead: '%s'. It may differ from the time of the server by 15 minutes.", text)
	}
	return nil
}

// admitSAS holds a signature against what the request is about to do at t.
func (h *Handler) admitSAS(q *request, query map[string][]string, account blob.Account, t target, at level, n need) (caller, error) {
	token, err := sas.Parse(query)
	switch {
	case err != nil:
		return caller{}, failedAuthentication("%s.", capital(err.Error()))
	case token.Identifier != "":
		return caller{}, failedAuthentication("Access policy not found: the container has no stored access policy %q.", token.Identifier)
	case token.Snapshot != "" && !token.IsAccount() && token.Resource != "b":
		return caller{}, failedAuthentication("Snapshots do not go with this SAS.")
	case token.Delegated:
		return h.admitDelegated(q, token, account, t, at, n)
	case !account.AllowSharedKey:
		return caller{}, keysOff()
	}
	if !token.Verify(account.Keys[:], account.Name, t.container, t.blob) {
		return caller{}, failedAuthentication("Signature did not match. String to sign used was %s", token.StringToSign(account.Name, t.container, t.blob))
	}
	return h.grantedTo(q, token, at, n)
}

// grantedTo says what a token that is genuine may do for this request.
func (h *Handler) grantedTo(q *request, token sas.Token, at level, n need) (caller, error) {
	if err := token.CheckTime(h.c.Now()); err != nil {
		return caller{}, failedAuthentication("%s.", capital(err.Error()))
	}
	if !token.AllowsProtocol(h.c.Secure(q.http)) {
		return caller{}, denied("AuthorizationProtocolMismatch", "This request is not authorized to perform this operation using this protocol.")
	}
	if addr := remote(q.http); !token.AllowsAddress(addr) {
		return caller{}, denied("AuthorizationSourceIPMismatch",
			fmt.Sprintf("This request is not authorized to perform this operation using this source IP %s.", addr))
	}
	if err := grantedBy(token, at, n); err != nil {
		return caller{}, err
	}
	c := caller{kind: sasHolder, override: token.Override}
	if token.Grants(n.sas) {
		return c, nil
	}
	if n.sasNew != "" && token.Grants(n.sasNew) {
		c.onlyNew = true
		return c, nil
	}
	return caller{}, denied("AuthorizationPermissionMismatch",
		fmt.Sprintf("This request is not authorized to perform this operation using this permission. The signature grants sp=%s; one of %q is needed.", token.Permissions, n.sas+n.sasNew))
}

// grantedBy says whether a token of this kind can grant the need at all.
func grantedBy(token sas.Token, at level, n need) error {
	if !token.IsAccount() {
		if !n.serviceSAS || (token.Resource == "b" && at != atBlob) || at == atService {
			return denied("AuthorizationPermissionMismatch", "This request is not authorized to perform this operation using this permission: no service SAS of this kind can grant it.")
		}
		return nil
	}
	if !token.ForService("b") {
		return denied("AuthorizationServiceMismatch", "This request is not authorized to perform this operation using this service.")
	}
	letter := [...]string{atService: "s", atContainer: "c", atBlob: "o"}[at]
	if !token.ForResourceType(letter) {
		return denied("AuthorizationResourceTypeMismatch",
			fmt.Sprintf("This request is not authorized to perform this operation using this resource type: srt has no %q.", letter))
	}
	return nil
}

// oldestBearer is the first version that takes tokens. Azure refuses them
// under older versions, and where none is named.
const oldestBearer = "2017-11-09"

func (h *Handler) admitBearer(q *request, raw string, n need) (caller, error) {
	if q.version < oldestBearer {
		return caller{}, failedAuthentication("Authentication scheme Bearer is not supported in this version. Send the header x-ms-version: %s or later.", oldestBearer)
	}
	principal, err := h.c.Verify(q.http.Context(), raw)
	if err != nil {
		return caller{}, badToken(err)
	}
	if principal == "" {
		return caller{}, badToken(nil)
	}
	onlyNew, err := h.authorize(q, principal, n, q.account, q.container)
	return caller{kind: bearer, principal: principal, onlyNew: onlyNew}, permissionMismatch(err)
}

// authorize asks for a principal's roles. onlyNew says that they suffice to
// make what is not there yet, and no more.
func (h *Handler) authorize(q *request, principal string, n need, account blob.Account, container string) (onlyNew bool, err error) {
	scope := h.scope(account, container)
	err = h.c.Authorize(q.http.Context(), principal, n.action, n.data, scope)
	if err != nil && n.create != "" && fault.Is(err, fault.Denied) &&
		h.c.Authorize(q.http.Context(), principal, n.create, n.data, scope) == nil {
		return true, nil
	}
	return false, err
}

// scope is where an action is asked for. Roles end at the container.
func (h *Handler) scope(account blob.Account, container string) armid.ID {
	if container == "" {
		return account.ID
	}
	return account.ContainerScope(container)
}

// permissionMismatch gives a role decision's denial the service's own code.
func permissionMismatch(err error) error {
	if err == nil || !fault.Is(err, fault.Denied) {
		return err
	}
	e := fault.E(fault.Denied, "AuthorizationPermissionMismatch",
		"This request is not authorized to perform this operation using this permission.")
	e.Denial, e.Err = fault.From(err).Denial, err
	return e
}

// badToken is the answer to a token that does not verify. Failures of ours stay what they are.
func badToken(err error) error {
	e := fault.E(fault.Unauthenticated, "InvalidAuthenticationInfo",
		"Server failed to authenticate the request. Please refer to the information in the www-authenticate header.")
	if err == nil || !isFault(err) {
		e.Err = err
		return e.With(detail("The access token is not valid."))
	}
	f := fault.From(err)
	switch f.Kind {
	case fault.Internal, fault.Unavailable, fault.Timeout, fault.Throttled:
		return err
	}
	e.Err = err
	return e.With(detail(f.Message))
}

func badCredential(why string) error {
	return fault.E(fault.Invalid, "InvalidAuthenticationInfo",
		"Authentication information is not given in the correct format. Check the value of Authorization header: %s.", why)
}

func failedAuthentication(format string, args ...any) error {
	return fault.E(fault.Denied, "AuthenticationFailed",
		"Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.").
		With(detail(fmt.Sprintf(format, args...)))
}

func keysOff() error {
	return denied("KeyBasedAuthenticationNotPermitted", "Key based authentication is not permitted on this storage account.")
}

func denied(code, message string) error { return fault.E(fault.Denied, code, "%s", message) }

// detail becomes an XML element of its own in the answer.
func detail(text string) *fault.Error {
	return &fault.Error{Kind: fault.Denied, Code: "AuthenticationErrorDetail", Message: text}
}

// hide takes what is secret in its own right out of a string to sign.
func hide(text string) string {
	return secretParts().ReplaceAllString(text, "${1}[hidden]")
}

func secretParts() *regexp.Regexp {
	return regexp.MustCompile(`(?im)((?:\bsig=|^sig:|%26sig%3D|^x-ms-encryption-key:|^x-ms-copy-source-authorization:))[^&\n]*`)
}

func remote(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr()
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
