package environment

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"lapis/fault"
)

// The installer's own last lines come with every failure, whatever its cause.
func TestFailureCarriesTheLastLines(t *testing.T) {
	for name, c := range map[string]struct {
		lines   []string
		offline bool
		kind    fault.Kind
		says    string
	}{
		"no such package": {[]string{"Using Python", "ERROR: No matching distribution found for nope==1"}, false, fault.Invalid, "cannot be installed"},
		"full disk":       {[]string{"Collecting numpy", "OSError: [Errno 28] No space left on device"}, false, fault.Conflict, "the disk is full"},
		"no network":      {[]string{"Retrying", "error: tcp connect error"}, false, fault.Unavailable, "--environment host"},
		"known offline":   {[]string{"nope was not found in the cache"}, true, fault.Unavailable, "--environment host"},
	} {
		err := toolFailed(t.Context(), c.lines, []string{"https://user:hunter2@index.example/simple"}, c.offline)
		f := fault.From(err)
		if f.Kind != c.kind || f.Code != Code || !strings.Contains(f.Message, c.says) {
			t.Errorf("%s: %+v", name, f)
		}
		if len(f.Details) != 1 || f.Details[0].Code != "ImageBuildLog" || f.Details[0].Message != strings.Join(c.lines, "\n") {
			t.Errorf("%s: details %+v", name, f.Details)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the password of the index shows: %v", name, err)
		}
	}
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	if err := toolFailed(ctx, []string{"killed"}, nil, false); !errors.Is(err, stopped) {
		t.Errorf("a build that was cancelled: %v", err)
	}
}

func TestFullDiskOfOursIsToldToTheUser(t *testing.T) {
	full := storageFault(fmt.Errorf("writing the record: %w", syscall.ENOSPC))
	if !fault.Is(full, fault.Conflict) || !fault.HasCode(full, Code) || !strings.Contains(full.Error(), "the disk is full") {
		t.Errorf("%v", full)
	}
	if other := fault.From(storageFault(syscall.EACCES)); other.Kind != fault.Internal || strings.Contains(other.Message, "denied") {
		t.Errorf("%+v", other)
	}
}
