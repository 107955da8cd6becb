package rbac

import "lapis/armid"

// maxTrail is how many segments of a scope a trail covers. The deepest scope
// that Azure assigns at has 12 (a container); longer ones are compared in full.
const maxTrail = 16

// trail holds a hash of each scope that contains a scope, so that a decision
// can pass over an assignment elsewhere by one comparison. The hash ignores
// ASCII case; equal hashes are confirmed by [armid.ID.Contains].
type trail struct {
	marks [maxTrail + 1]uint64 // by number of segments
	n     int
	whole bool // every containing scope has its mark
}

// set fills the trail for a scope.
func (t *trail) set(scope armid.ID) {
	n := scope.Len()
	t.marks[0], t.n = 0, min(n, maxTrail)
	t.whole = n <= maxTrail
	h := uint64(0)
	for i := range t.n {
		var ascii bool
		if h, ascii = mix(h, scope.Segment(i)); !ascii {
			t.n, t.whole = i, false // Unicode's case rules are Contains' business
			return
		}
		t.marks[i+1] = h
	}
}

// mark is the last hash of a scope's trail.
type mark struct {
	hash uint64
	n    int32 // segments, or -1: compare in full
}

func markOf(scope armid.ID) mark {
	var t trail
	t.set(scope)
	if !t.whole {
		return mark{n: -1}
	}
	return mark{hash: t.marks[t.n], n: int32(t.n)}
}

// mayHold reports whether the scope of the mark may contain the scope of the
// trail. false is certain.
func (t *trail) mayHold(m mark) bool {
	switch {
	case m.n < 0:
		return true
	case int(m.n) > t.n:
		return !t.whole
	}
	return t.marks[m.n] == m.hash
}

// mix adds a segment to a hash, eight bytes at a time. Setting bit 5 makes the
// cases of a letter one; that it makes some other bytes one too only costs a
// comparison in full.
func mix(h uint64, s string) (_ uint64, ascii bool) {
	const prime, fold, high = 0x9E3779B97F4A7C15, 0x2020202020202020, 0x8080808080808080
	all := uint64(0)
	h ^= uint64(len(s)) + 1
	for len(s) >= 8 {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		all |= w
		h = (h ^ (w | fold)) * prime
		h ^= h >> 32
		s = s[8:]
	}
	w := uint64(0)
	for i := range len(s) {
		w |= uint64(s[i]) << (8 * i)
	}
	all |= w
	h = (h ^ (w | fold)) * prime
	return h ^ h>>32, all&high == 0
}
