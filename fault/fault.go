// Package fault is the error that every layer returns and every face draws.
//
// A fault says what kind of thing went wrong, the code that the real service
// gives it, and a message for the person who caused it. It knows nothing of
// HTTP: each face has one drawer that maps kinds to statuses. An error that is
// no fault is Internal, and its text never reaches a client.
package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Kind is the class of a fault; faces map it to a status.
type Kind int

// The kinds, with the status that an HTTP face usually gives each.
const (
	Internal        Kind = iota // 500: our own failure; the cause is logged, not shown
	Invalid                     // 400: the input is wrong
	Unauthenticated             // 401: no credential, or one that does not verify
	Denied                      // 403: known, but not allowed
	NotFound                    // 404
	NotAllowed                  // 405: the thing exists, the method does not
	Conflict                    // 409: the state forbids it
	Gone                        // 410
	Precondition                // 412: a condition of the request does not hold
	TooLarge                    // 413
	Unsupported                 // 415: a media type we do not take
	BadRange                    // 416
	Throttled                   // 429
	NotImplemented              // 501: the real service has it, we do not yet
	Unavailable                 // 503: try again later
	Timeout                     // 408 or 504
	ModelFailed                 // 424: the user's model answered with a failure
)

// Error is a fault. Build it with [E].
type Error struct {
	Kind    Kind
	Code    string   // the real service's code, such as AuthorizationFailed
	Message string   // one sentence or more for the caller
	Target  string   // the input at fault: a property path, a parameter, an id
	Details []*Error // inner faults, outermost first
	Denial  *Denial  // set when Kind is Denied by a role decision
	Err     error    // the cause, for the log only
}

// Denial says what an authorization decision lacked, and what would mend it.
type Denial struct {
	Principal string `json:"principal"` // object id
	Action    string `json:"action"`    // action or data action that was asked for
	Scope     string `json:"scope"`     // where it was asked for
	Role      string `json:"role"`      // the least built-in role that would allow it
	RoleScope string `json:"roleScope"` // the narrowest scope at which to assign it
	Remedy    string `json:"remedy"`    // the az command that assigns it
}

// Header returns the denial as one line of JSON in ASCII, as the header
// x-lapis-denied has it that every face sends with a refusal.
func (d *Denial) Header() string {
	data, err := json.Marshal(d)
	if err != nil {
		return "" // strings always encode
	}
	var out strings.Builder
	for _, unit := range utf16.Encode([]rune(string(data))) {
		if unit < 0x7f {
			out.WriteByte(byte(unit))
			continue
		}
		fmt.Fprintf(&out, `\u%04x`, unit)
	}
	return out.String()
}

// E makes a fault. The format takes the verbs of fmt; %w keeps a cause for
// errors.Is and the log, and its text is part of the message.
func E(kind Kind, code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Wrap makes an Internal fault of a cause whose text a client must not see.
func Wrap(cause error, doing string) *Error {
	return &Error{
		Kind: Internal, Code: "InternalServerError",
		Message: "The platform failed while " + doing + ". Its log says why.",
		Err:     fmt.Errorf("%s: %w", doing, cause),
	}
}

// Error returns code and message.
func (e *Error) Error() string {
	text := e.Code + ": " + e.Message
	if e.Kind == Internal && e.Err != nil {
		text += " (" + e.Err.Error() + ")"
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// At sets the target and returns e.
func (e *Error) At(target string) *Error {
	e.Target = target
	return e
}

// With adds inner faults and returns e.
func (e *Error) With(details ...*Error) *Error {
	e.Details = append(e.Details, details...)
	return e
}

// From returns the fault in err's chain, or an Internal one that hides err's
// text from clients. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return Wrap(err, "answering the request")
}

// Is reports whether err is a fault of the kind.
func Is(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}

// HasCode reports whether err is a fault with the code.
func HasCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
