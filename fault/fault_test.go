package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"lapis/fault"
)

// The header is one line of ASCII from which every denial comes back.
func TestHeaderIsOneLineThatReadsBack(t *testing.T) {
	for _, d := range []fault.Denial{
		{},
		{Principal: "p", Action: "a/read", Scope: "/subscriptions/s", Role: "Reader", RoleScope: "/subscriptions/s", Remedy: `az role assignment create --role "Reader"`},
		{Scope: "/groups/Größe/日本", Role: "a\nSet-Cookie: b\r\n", Remedy: "𝒜 \x7f\x00 \u2028 \\u0041 </script>"},
		{Role: strings.Repeat("ü", 5000)},
	} {
		text := d.Header()
		for _, b := range []byte(text) {
			if b < ' ' || b > '~' {
				t.Fatalf("%q has the byte %x", text, b)
			}
		}
		var back fault.Denial
		if err := json.Unmarshal([]byte(text), &back); err != nil || back != d {
			t.Errorf("%q reads back as %+v: %v", text, back, err)
		}
		h := http.Header{}
		h.Set("x-lapis-denied", text)
		var out strings.Builder
		if err := h.Write(&out); err != nil || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("as a header: %q %v", out.String(), err)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add("role", "scope")
	f.Add("\r\n", "𝒜")
	f.Add("\x7f\xff", "\\u0000")
	f.Fuzz(func(t *testing.T, role, scope string) {
		text := (&fault.Denial{Role: role, Scope: scope}).Header()
		if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q", text)
		}
		var back fault.Denial
		if err := json.Unmarshal([]byte(text), &back); err != nil || back.Role != strings.ToValidUTF8(role, "\ufffd") && !strings.ContainsRune(back.Role, '\ufffd') {
			t.Errorf("%q reads back as %q: %v", role, back.Role, err)
		}
	})
}

func TestOtherErrorsAreHiddenFromClients(t *testing.T) {
	cause := errors.New("password is hunter2")
	f := fault.From(cause)
	if f.Kind != fault.Internal || strings.Contains(f.Message, "hunter2") || !errors.Is(f, cause) || !strings.Contains(f.Error(), "hunter2") {
		t.Errorf("%+v", f)
	}
	if fault.From(nil) != nil || fault.Is(nil, fault.Internal) || fault.HasCode(cause, "InternalServerError") {
		t.Error("nothing, or another error, is taken for a fault")
	}
}

func TestFaultsAreFoundThroughTheirWrapping(t *testing.T) {
	inner := fault.E(fault.NotFound, "Gone", "the file %q: %w", "x", io.EOF).At("path").With(fault.E(fault.Invalid, "Why", "because"))
	err := fmt.Errorf("doing this: %w", inner)
	if got := fault.From(err); got != inner || !fault.Is(err, fault.NotFound) || fault.Is(err, fault.Invalid) || !fault.HasCode(err, "Gone") || fault.HasCode(err, "Why") {
		t.Errorf("%+v", got)
	}
	if !errors.Is(err, io.EOF) || inner.Target != "path" || len(inner.Details) != 1 || inner.Error() != `Gone: the file "x": EOF` {
		t.Errorf("%+v: %v", inner, inner)
	}
}
