package armid

import "testing"

func TestSegmentsWalkTheWholeID(t *testing.T) {
	id := MustParse("/subscriptions/S//resourceGroups/rg")
	got := ""
	for i := range id.Len() {
		got += "/" + id.Segment(i)
	}
	if got != id.String() || Root.Len() != 0 {
		t.Errorf("got %q and %d segments of the root", got, Root.Len())
	}
}
