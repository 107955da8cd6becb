package worker

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHeaderFillsAnotherInPlaceOfTheSameNames(t *testing.T) {
	h := make(Header, 0, 2)
	h.Add("Set-Cookie", "a=1")
	h.Add("Content-Type", "text/plain")
	h.Add("Set-Cookie", "b=2")
	h.Add("X-Gone", "1")
	h.Set("Content-Type", "application/json")
	h.Del("X-Gone", "X-Unknown")
	out := http.Header{"Set-Cookie": {"old=1"}, "Kept": {"yes"}}
	h.Fill(out)
	want := http.Header{"Set-Cookie": {"a=1", "b=2"}, "Kept": {"yes"}, "Content-Type": {"application/json"}}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if h.Get("content-type") != "application/json" || h.Get("set-cookie") != "a=1" || h.Get("x-gone") != "" || h.Has("X-Gone") {
		t.Errorf("%v", h)
	}
}

func TestFieldsOfOneNameDoNotReachIntoTheNext(t *testing.T) {
	out := Header{{"A", "1"}, {"B", "2"}}.Map()
	out["A"] = append(out["A"], "3")
	if out.Get("B") != "2" {
		t.Error("a value added to one name has overwritten another")
	}
}
