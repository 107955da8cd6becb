package blob

import (
	"errors"
	"strings"
	"time"

	"lapis/fault"
)

// ErrNotModified is in the chain of the Precondition fault that a read gets
// when the client already has what it asks for; HTTP says 304.
var ErrNotModified = errors.New("not modified")

// Conditions are what a request demands of the state it meets. Zero values
// demand nothing. Entity tags may be quoted, or "*".
type Conditions struct {
	IfMatch           string
	IfNoneMatch       string
	IfModifiedSince   time.Time
	IfUnmodifiedSince time.Time
}

// purpose is what a request is about to do with the thing its conditions are about.
type purpose int

const (
	reading  purpose = iota // it must exist, and stays as it is
	changing                // it must exist, and will be changed or deleted
	creating                // it may exist, and will be replaced
)

// state is what conditions are held against. The zero value: nothing there.
type state struct {
	etag     string
	modified time.Time
}

func (s state) exists() bool { return s.etag != "" }

// check is the one rule for conditional requests. Rules:
// "Specifying conditional headers for Blob service operations" in the Storage reference.
func (c Conditions) check(p purpose, s state) error {
	if err := c.checkCombination(p); err != nil {
		return err
	}
	switch {
	case c.IfMatch != "": // decides alone, even where If-Unmodified-Since is given too
		if !s.exists() || !matches(c.IfMatch, s.etag) {
			return notMet()
		}
	case c.IfNoneMatch == "*":
		if s.exists() {
			return fault.E(fault.Conflict, "BlobAlreadyExists", "The specified blob already exists.")
		}
	case c.IfNoneMatch != "": // decides alone, even where If-Modified-Since is given too
		if s.exists() && matches(c.IfNoneMatch, s.etag) {
			return unchanged(p)
		}
	case !c.IfUnmodifiedSince.IsZero():
		if s.exists() && seconds(s.modified).After(c.IfUnmodifiedSince) {
			return notMet()
		}
	case !c.IfModifiedSince.IsZero():
		if s.exists() && !seconds(s.modified).After(c.IfModifiedSince) {
			return unchanged(p)
		}
	}
	return nil
}

// checkCombination refuses what no state could satisfy, and the combinations
// that the service does not take.
func (c Conditions) checkCombination(p purpose) error {
	if c.IfNoneMatch == "*" && p != creating {
		return fault.E(fault.Invalid, "UnsatisfiableCondition",
			"The request includes an unsatisfiable condition for this operation: If-None-Match: * asks that the thing it acts on does not exist.")
	}
	given := 0
	for _, set := range []bool{c.IfMatch != "", c.IfNoneMatch != "", !c.IfModifiedSince.IsZero(), !c.IfUnmodifiedSince.IsZero()} {
		if set {
			given++
		}
	}
	pair := given == 2 && ((c.IfMatch != "" && !c.IfUnmodifiedSince.IsZero()) ||
		(c.IfNoneMatch != "" && !c.IfModifiedSince.IsZero()))
	if given > 1 && !pair {
		return fault.E(fault.Invalid, "MultipleConditionHeadersNotSupported",
			"Multiple condition headers are not supported, except If-Match with If-Unmodified-Since and If-None-Match with If-Modified-Since.")
	}
	return nil
}

// matches reports whether one of a header's entity tags is etag, or is "*".
func matches(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || strings.Trim(tag, `"`) == etag {
			return true
		}
	}
	return false
}

// seconds drops what HTTP dates cannot say.
func seconds(t time.Time) time.Time { return t.Truncate(time.Second) }

func notMet() error {
	return fault.E(fault.Precondition, "ConditionNotMet",
		"The condition specified using HTTP conditional header(s) is not met.")
}

func unchanged(p purpose) error {
	if p != reading {
		return notMet()
	}
	e := fault.E(fault.Precondition, "ConditionNotMet", "The thing has not changed since the client read it.")
	e.Err = ErrNotModified
	return e
}
