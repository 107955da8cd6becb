package process

import (
	"errors"
	"testing"
	"time"

	"lapis/worker"
)

func inLine(r *requests, sizes ...int) []*call {
	var calls []*call
	for _, size := range sizes {
		c := r.newCall(&worker.Request{}, size)
		if r.join(c) {
			r.written(c, nil)
		}
		calls = append(calls, c)
	}
	return calls
}

func (c *call) err() error {
	select {
	case o := <-c.result:
		return o.err
	default:
		return errors.New("no result")
	}
}

func TestOnlyTheFirstOfTheLineCanHaveBeenBegun(t *testing.T) {
	taken, not := worker.ErrExited, worker.ErrNotTaken
	for _, c := range []struct {
		name   string
		sizes  []int
		unread bool
		want   []error
	}{
		{"one that was read", []int{1}, false, []error{taken}},
		{"one that was not read", []int{1}, true, []error{not}},
		{"a large one may have been read in part", []int{atOnce + 1}, true, []error{taken}},
		{"who lay ready", []int{1, 1, atOnce + 1}, false, []error{taken, not, not}},
		{"something was not read, but not the first perhaps", []int{1, 1}, true, []error{taken, not}},
	} {
		var r requests
		calls := inLine(&r, c.sizes...)
		r.end(c.unread)
		for n, want := range c.want {
			if got := calls[n].err(); !errors.Is(got, want) {
				t.Errorf("%s: call %d got %v, not %v", c.name, n, got, want)
			}
		}
		if r.join(r.newCall(&worker.Request{}, 1)) {
			t.Errorf("%s: one that came late got into the line", c.name)
		}
	}
}

func TestFrameThatCouldNotBeWrittenWasNotTaken(t *testing.T) {
	for _, endFirst := range []bool{false, true} {
		var r requests
		c := r.newCall(&worker.Request{}, 1)
		r.join(c)
		if endFirst {
			r.end(false)
		}
		r.written(c, errors.New("broken pipe"))
		if !endFirst {
			r.end(false)
		}
		if got := c.err(); !errors.Is(got, worker.ErrNotTaken) {
			t.Errorf("got %v", got)
		}
	}
}

func TestAnswersOutOfTurnAreRefused(t *testing.T) {
	payload := append(make([]byte, 18), 9, 0, 0, 0, 0)
	var r requests
	var busy time.Duration
	first := r.newCall(&worker.Request{Done: func(d time.Duration) { busy = d }}, 1)
	r.join(first)
	r.written(first, nil)
	inLine(&r, 1)
	for name, f := range map[string]frame{
		"the second's": {kind: kindResponse, id: 2, payload: payload},
		"nobody's":     {kind: kindResponse, id: 7, payload: payload},
		"short":        {kind: kindResponse, id: 1, payload: payload[:22]},
		"other kind":   {kind: kindPong, id: 1, payload: payload},
	} {
		if err := r.hear(f); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.hear(frame{kind: kindResponse, id: 1, payload: payload}); err != nil || first.err() != nil || busy != 9 {
		t.Errorf("its own: %v, busy %v", err, busy)
	}
}

func TestGivenBackIsToldOnce(t *testing.T) {
	var r requests
	calls := inLine(&r, 1, 1, 1)
	r.giveBack(1, 2)
	for id := uint64(1); id <= 3; id++ {
		if err := r.hear(frame{kind: kindReturned, id: id}); err != nil {
			t.Error(err)
		}
	}
	for n, c := range calls {
		if got := c.err(); !errors.Is(got, worker.ErrGivenBack) {
			t.Errorf("call %d got %v", n, got)
		}
	}
}
