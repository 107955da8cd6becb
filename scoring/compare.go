package scoring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"lapis/fault"
)

// NumericTolerance is by how much two numbers of JSON answers may differ, in
// relation to the larger one, and still be the same: about the precision of a
// 32-bit float, which models often calculate in.
const NumericTolerance = 1e-6

// Bounds of what a difference keeps of two answers, in bytes.
const (
	maxExcerpt = 200
	maxPath    = 200
)

// The kinds of a Difference.
const (
	DifferentStatus = "status"
	DifferentType   = "contentType"
	DifferentBody   = "body"
	ShadowFailed    = "shadowFailed" // it gave no answer
)

// Difference is one pair of answers that were not the same. Its excerpts are
// what the scripts answered: data of the endpoint's users.
type Difference struct {
	Time            time.Time `json:"time"`
	Kind            string    `json:"kind"`
	RequestID       string    `json:"requestId"`
	ClientRequestID string    `json:"clientRequestId,omitempty"`
	LiveDeployment  string    `json:"liveDeployment"`
	LiveStatus      int       `json:"liveStatus"`       // of the instance, before the front makes 424 of it
	ShadowStatus    int       `json:"shadowStatus"`     // 0: it gave no answer
	Reason          string    `json:"reason,omitempty"` // why it gave none
	Path            string    `json:"path,omitempty"`   // of the first difference: $.a[3], or "byte 17"
	Live            string    `json:"live,omitempty"`   // excerpts, from there
	Shadow          string    `json:"shadow,omitempty"`
}

// answered is what a deployment made of a request, as far as it is kept.
type answered struct {
	status int    // the instance's; 0: it gave no answer
	reason string // why it gave none
	kind   string // Content-Type
	body   []byte
	whole  bool // body is all of the answer
	took   time.Duration
}

// compare tells what is different between two answers, nil if nothing is.
// ok is false where it cannot be told.
func compare(live, shadow answered) (found *Difference, ok bool) {
	d := &Difference{LiveStatus: live.status, ShadowStatus: shadow.status}
	switch {
	case shadow.status == 0:
		d.Kind, d.Reason = ShadowFailed, shadow.reason
		return d, true
	case live.status == 0:
		return nil, false
	case live.status != shadow.status:
		d.Kind = DifferentStatus
		d.Live, d.Shadow = excerpt(live.body, 0), excerpt(shadow.body, 0)
		return d, true
	case mediaType(live.kind) != mediaType(shadow.kind):
		d.Kind, d.Live, d.Shadow = DifferentType, clip(live.kind, maxExcerpt), clip(shadow.kind, maxExcerpt)
		return d, true
	case !live.whole || !shadow.whole:
		return nil, false
	}
	if bytes.Equal(live.body, shadow.body) {
		return nil, true
	}
	d.Kind = DifferentBody
	a, errA := decodeJSON(live.body)
	b, errB := decodeJSON(shadow.body)
	if errA == nil && errB == nil {
		path, differ := differJSON("$", &a, &b)
		if !differ {
			return nil, true
		}
		d.Path, d.Live, d.Shadow = clip(path.at, maxPath), excerptJSON(path.live), excerptJSON(path.shadow)
		return d, true
	}
	at := firstDifference(live.body, shadow.body)
	d.Path, d.Live, d.Shadow = "byte "+strconv.Itoa(at), excerpt(live.body, at), excerpt(shadow.body, at)
	return d, true
}

// mediaType is a Content-Type without its parameters.
func mediaType(kind string) string {
	if media, _, err := mime.ParseMediaType(kind); err == nil {
		return media
	}
	return kind
}

func decodeJSON(body []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one value: %w", err)
	}
	return v, nil
}

// place is where two values differ; a nil value is missing there.
type place struct {
	at           string
	live, shadow *any
}

// differJSON finds the first difference of two values: by index in lists, by
// name in objects.
func differJSON(at string, live, shadow *any) (place, bool) {
	here := place{at, live, shadow}
	switch a := (*live).(type) {
	case json.Number:
		b, ok := (*shadow).(json.Number)
		return here, !ok || !sameNumber(a, b)
	case []any:
		b, ok := (*shadow).([]any)
		if !ok {
			return here, true
		}
		return differLists(at, a, b)
	case map[string]any:
		b, ok := (*shadow).(map[string]any)
		if !ok {
			return here, true
		}
		return differObjects(at, a, b)
	}
	switch (*shadow).(type) {
	case []any, map[string]any: // not comparable
		return here, true
	}
	return here, *live != *shadow
}

func differLists(at string, a, b []any) (place, bool) {
	for i := range max(len(a), len(b)) {
		here := place{at: at + "[" + strconv.Itoa(i) + "]"}
		if i < len(a) {
			here.live = &a[i]
		}
		if i < len(b) {
			here.shadow = &b[i]
		}
		if here.live == nil || here.shadow == nil {
			return here, true
		}
		if found, differ := differJSON(here.at, here.live, here.shadow); differ {
			return found, true
		}
	}
	return place{}, false
}

func differObjects(at string, a, b map[string]any) (place, bool) {
	names := slices.Collect(maps.Keys(a))
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		here := place{at: at + pathOf(name)}
		if v, ok := a[name]; ok {
			here.live = &v
		}
		if v, ok := b[name]; ok {
			here.shadow = &v
		}
		if here.live == nil || here.shadow == nil {
			return here, true
		}
		if found, differ := differJSON(here.at, here.live, here.shadow); differ {
			return found, true
		}
	}
	return place{}, false
}

// pathOf is a name in a path: .name, or ["the name"].
func pathOf(name string) string {
	plain := name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
	if plain {
		return "." + name
	}
	return "[" + strconv.Quote(clip(name, maxPath)) + "]"
}

func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, errX := a.Float64()
	y, errY := b.Float64()
	if errX != nil || errY != nil { // out of range
		return false
	}
	return math.Abs(x-y) <= NumericTolerance*max(math.Abs(x), math.Abs(y))
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// excerpt is a little of a body, from some bytes before at.
func excerpt(body []byte, at int) string {
	from := max(0, min(at, len(body))-maxExcerpt/4)
	return clip(string(body[from:min(len(body), from+maxExcerpt)]), maxExcerpt)
}

func excerptJSON(v *any) string {
	if v == nil {
		return "(nothing)"
	}
	text, err := json.Marshal(*v)
	if err != nil { // it was JSON
		return ""
	}
	return clip(string(text), maxExcerpt)
}

// clip cuts a text to at most n bytes of valid UTF-8.
func clip(text string, n int) string {
	text = strings.ToValidUTF8(text[:min(len(text), n)], "\ufffd")
	for len(text) > n {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}

// answerOf is what is known of an answer, or of why there is none.
func answerOf(result *Result, err error) answered {
	switch {
	case errors.Is(err, errSealed):
		return answered{reason: codeNotReady}
	case err != nil:
		return answered{reason: fault.From(err).Code}
	}
	return answered{status: result.Status, kind: result.Header.Get("Content-Type"), body: result.Body, whole: result.Stream == nil, took: result.Model}
}
