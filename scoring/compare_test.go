package scoring

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestComparingAnswers(t *testing.T) {
	const kind = "application/json"
	whole := func(status int, kind, body string) answered {
		return answered{status: status, kind: kind, body: []byte(body), whole: true}
	}
	for _, c := range []struct {
		name         string
		live, shadow answered
		kind, path   string
	}{
		{"the same bytes", whole(200, kind, `[1]`), whole(200, kind, `[1]`), "", ""},
		{"other spaces and order", whole(200, kind, `{"a":1,"b":[true,null]}`), whole(200, kind+"; charset=utf-8", "{ \"b\": [true, null], \"a\": 1 }\n"), "", ""},
		{"the precision of floats", whole(200, kind, `[11055.977245525679]`), whole(200, kind, `[11055.977]`), "", ""},
		{"an integer and a float", whole(200, kind, `{"n":1}`), whole(200, kind, `{"n":1.0}`), "", ""},
		{"another number", whole(200, kind, `[1,{"x y":[0,2]}]`), whole(200, kind, `[1,{"x y":[0,2.1]}]`), DifferentBody, `$[1]["x y"][1]`},
		{"near zero", whole(200, kind, `0`), whole(200, kind, `1e-9`), DifferentBody, "$"},
		{"one more", whole(200, kind, `[1]`), whole(200, kind, `[1,2]`), DifferentBody, "$[1]"},
		{"one less", whole(200, kind, `{"a":1,"b":2}`), whole(200, kind, `{"a":1}`), DifferentBody, "$.b"},
		{"another type", whole(200, kind, `{"a":[1]}`), whole(200, kind, `{"a":{"0":1}}`), DifferentBody, "$.a"},
		{"text and list", whole(200, kind, `["x"]`), whole(200, kind, `[["x"]]`), DifferentBody, "$[0]"},
		{"out of range", whole(200, kind, `[1e999]`), whole(200, kind, `[1e998]`), DifferentBody, "$[0]"},
		{"NaN is no JSON", whole(200, kind, `[NaN, 1]`), whole(200, kind, `[NaN, 2]`), DifferentBody, "byte 6"},
		{"bytes", whole(200, "image/png", "abc\xff"), whole(200, "image/png", "abd"), DifferentBody, "byte 2"},
		{"cut", whole(200, "text/plain", "abc"), whole(200, "text/plain", "ab"), DifferentBody, "byte 2"},
		{"status before all", whole(200, kind, `1`), whole(500, "text/plain", `2`), DifferentStatus, ""},
		{"type before body", whole(200, kind, `1`), whole(200, "text/plain", `2`), DifferentType, ""},
		{"no answer", whole(200, kind, `1`), answered{reason: codeTimeout}, ShadowFailed, ""},
		{"deep", whole(200, kind, strings.Repeat("[", 9000)+"1"+strings.Repeat("]", 9000)), whole(200, kind, strings.Repeat("[", 9000)+"2"+strings.Repeat("]", 9000)), DifferentBody, "*"},
	} {
		found, ok := compare(c.live, c.shadow)
		switch {
		case !ok:
			t.Errorf("%s: not compared", c.name)
		case (found == nil) != (c.kind == ""):
			t.Errorf("%s: %+v", c.name, found)
		case found != nil && (found.Kind != c.kind || found.Path != c.path && c.path != "*" || len(found.Path) > maxPath):
			t.Errorf("%s: %+v", c.name, found)
		}
	}
	for name, live := range map[string]answered{"no live answer": {reason: "x"}, "too large": {status: 200, kind: kind}} {
		if found, ok := compare(live, whole(200, kind, "1")); ok {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func TestExcerptsAreShortAndValidText(t *testing.T) {
	long := strings.Repeat("é", 10_000)
	for name, bodies := range map[string][2]string{
		"text": {long + "a", long + "b"}, "json": {`"` + long + `a"`, `"` + long + `b"`}, "bytes": {strings.Repeat("\xfe", 9999), strings.Repeat("\xff", 9999)},
		"names": {`{"` + long + `":1}`, `{"` + long + `":2}`},
	} {
		found, _ := compare(answered{status: 200, body: []byte(bodies[0]), whole: true}, answered{status: 200, body: []byte(bodies[1]), whole: true})
		if found == nil || len(found.Live) > maxExcerpt || len(found.Shadow) > maxExcerpt || len(found.Path) > maxPath ||
			!utf8.ValidString(found.Live+found.Path) || found.Live == "" {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func TestQuantilesAreNear(t *testing.T) {
	var h histogram
	if s := h.summary(); s != (Latency{}) {
		t.Errorf("of nothing: %+v", s)
	}
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	h.add(-time.Second)
	s := h.summary()
	if math.Abs(s.P50-500) > 80 || math.Abs(s.P95-950) > 150 || s.Max != 1000 || s.Count != 1001 {
		t.Errorf("got %+v", s)
	}
	var one histogram
	one.add(time.Hour)
	if one.summary().P95 != 3_600_000 {
		t.Errorf("got %+v", one.summary())
	}
}

func FuzzCompare(f *testing.F) {
	f.Add([]byte(`{"a":[1,2]}`), []byte(`{"a":[1,3]}`))
	f.Add([]byte("\xff"), []byte("[NaN]"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		live, shadow := answered{status: 200, body: a, whole: true}, answered{status: 200, body: b, whole: true}
		found, ok := compare(live, shadow)
		if back, _ := compare(shadow, live); !ok || (found == nil) != (back == nil) || found != nil && found.Path != back.Path {
			t.Errorf("%+v one way, %+v the other", found, back)
		}
		if same, _ := compare(live, live); same != nil {
			t.Errorf("a body differs from itself: %+v", same)
		}
	})
}
