package blob

import (
	"errors"
	"testing"
	"time"

	"lapis/fault"
)

func TestConditions(t *testing.T) {
	changed := time.Date(2026, 6, 1, 12, 0, 0, 500, time.UTC)
	at, before, after := changed.Truncate(time.Second), changed.Add(-time.Second), changed.Add(time.Second)
	there, absent := state{"0x1", changed}, state{}
	for _, c := range []struct {
		name string
		cond Conditions
		p    purpose
		s    state
		want string // code, "304" for a read that need not be answered, "" for yes
	}{
		{"nothing asked", Conditions{}, creating, absent, ""},
		{"tag matches", Conditions{IfMatch: `"0x1"`}, changing, there, ""},
		{"tag without quotes", Conditions{IfMatch: `0x1`}, changing, there, ""},
		{"one of several tags", Conditions{IfMatch: `"0x9", "0x1"`}, changing, there, ""},
		{"tag differs", Conditions{IfMatch: `"0x2"`}, reading, there, "ConditionNotMet"},
		{"any", Conditions{IfMatch: "*"}, creating, there, ""},
		{"any of nothing", Conditions{IfMatch: "*"}, creating, absent, "ConditionNotMet"},
		{"tag of nothing", Conditions{IfMatch: "0x1"}, creating, absent, "ConditionNotMet"},
		{"none match, read", Conditions{IfNoneMatch: "0x1"}, reading, there, "304"},
		{"none match, write", Conditions{IfNoneMatch: "0x1"}, changing, there, "ConditionNotMet"},
		{"none match, other", Conditions{IfNoneMatch: "0x2"}, reading, there, ""},
		{"none, new", Conditions{IfNoneMatch: "*"}, creating, absent, ""},
		{"none, there", Conditions{IfNoneMatch: "*"}, creating, there, "BlobAlreadyExists"},
		{"none, read", Conditions{IfNoneMatch: "*"}, reading, there, "UnsatisfiableCondition"},
		{"none, delete", Conditions{IfNoneMatch: "*"}, changing, there, "UnsatisfiableCondition"},
		{"modified since before", Conditions{IfModifiedSince: before}, reading, there, ""},
		{"modified since then", Conditions{IfModifiedSince: at}, reading, there, "304"},
		{"modified since then, write", Conditions{IfModifiedSince: at}, creating, there, "ConditionNotMet"},
		{"modified since later", Conditions{IfModifiedSince: after}, reading, there, "304"},
		{"modified, new", Conditions{IfModifiedSince: after}, creating, absent, ""},
		{"unmodified since before", Conditions{IfUnmodifiedSince: before}, reading, there, "ConditionNotMet"},
		{"unmodified since then", Conditions{IfUnmodifiedSince: at}, reading, there, ""},
		{"unmodified, new", Conditions{IfUnmodifiedSince: before}, creating, absent, ""},
		{"tag decides over time", Conditions{IfMatch: "0x1", IfUnmodifiedSince: before}, reading, there, ""},
		{"no tag decides over time", Conditions{IfNoneMatch: "0x2", IfModifiedSince: after}, reading, there, ""},
		{"both tags", Conditions{IfMatch: "0x1", IfNoneMatch: "0x2"}, reading, there, "MultipleConditionHeadersNotSupported"},
		{"both times", Conditions{IfModifiedSince: before, IfUnmodifiedSince: after}, reading, there, "MultipleConditionHeadersNotSupported"},
		{"three", Conditions{IfMatch: "0x1", IfModifiedSince: before, IfUnmodifiedSince: after}, reading, there, "MultipleConditionHeadersNotSupported"},
	} {
		got := ""
		if err := c.cond.check(c.p, c.s); errors.Is(err, ErrNotModified) {
			got = "304"
		} else if err != nil {
			got = fault.From(err).Code
		}
		if got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}

func TestContainerNames(t *testing.T) {
	for name, good := range map[string]bool{
		"abc": true, "a-b": true, "$root": true, "$logs": true, "0a9": true, "azureml-blobstore-1a2b": true,
		"ab": false, "": false, "Abc": false, "-ab": false, "ab-": false, "a--b": false, "a_b": false, "a.b": false, "..": false, "$any": false,
		"a/b": false, "ä12": false, "a234567890123456789012345678901234567890123456789012345678901234": false,
	} {
		if err := CheckContainerName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
