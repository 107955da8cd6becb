package process

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"lapis/worker"
)

func FuzzFrame(f *testing.F) {
	f.Add(appendHead(nil, kindPong, 7, 0))
	f.Add(append(appendHead(nil, kindReady, 0, 2), "{}"...))
	f.Add(append(appendHead(nil, kindResponse, 1, 23), 0, 200, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0))
	f.Add([]byte{255, 255, 255, 255, 2, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		got, err := readFrame(r, 1<<20)
		if err != nil {
			return
		}
		again := append(appendHead(nil, got.kind, got.id, len(got.payload)), got.payload...)
		if !bytes.Equal(again, data[:len(data)-r.Len()]) {
			t.Errorf("%x became %x", data, again)
		}
		if a, err := parseAnswer(got.payload); err == nil && (a.status < 200 || a.runTime < 0) {
			t.Errorf("accepted %+v", a)
		}
	})
}

func TestMalformedFramesAreRefused(t *testing.T) {
	if _, err := readFrame(bytes.NewReader(appendHead(nil, 1, 1, 11)), 10); !errors.Is(err, errFrame) {
		t.Errorf("too long: %v", err)
	}
	if _, err := readFrame(bytes.NewReader(appendHead(nil, 1, 1, 5)), 10); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: %v", err)
	}
	if _, err := readFrame(bytes.NewReader(nil), 10); err != io.EOF {
		t.Errorf("nothing: %v", err)
	}
	for name, payload := range map[string][]byte{
		"short":       {0, 200},
		"status":      {0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"headers end": {0, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255},
		"headers":     {0, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, '{'},
	} {
		if _, err := parseAnswer(payload); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLongPayloadIsReadInSteps(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 3<<16)
	data := append(appendHead(nil, kindRequest, 3, len(want)), want...)
	got, err := readFrame(bytes.NewReader(data), len(want))
	if err != nil || !bytes.Equal(got.payload, want) {
		t.Errorf("read %d of %d bytes: %v", len(got.payload), len(want), err)
	}
}

// FuzzHear lets a worker say anything about two requests, one of which waits
// for a stream perhaps. Each must be told of its end once at most.
func FuzzHear(f *testing.F) {
	say := func(kind byte, id uint64, payload ...byte) []byte {
		return append(appendHead(nil, kind, id, len(payload)), payload...)
	}
	head := make([]byte, answerHeader)
	more := append([]byte{0, 200, flagMore}, head[3:]...)
	f.Add(append(say(kindResponse, 1, append([]byte{0, 200}, head[2:]...)...), say(kindReturned, 2)...))
	f.Add(slices.Concat(say(kindResponse, 1, more...), say(kindPiece, 1, 'x'), say(kindEnd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9), say(kindReturned, 2)))
	f.Add(slices.Concat(say(kindResponse, 1, more...), say(kindReturned, 1)))
	f.Add(slices.Concat(say(kindResponse, 1, more...), say(kindResponse, 1, more...)))
	f.Add(say(kindPiece, 1, 'x'))
	f.Add(say(kindEnd, 1, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		told := [2]int{}
		r := requests{gone: make(chan struct{})}
		close(r.gone) // nobody reads a stream here, so nothing may wait for that
		var calls []*call
		for n := range told {
			c := r.newCall(&worker.Request{Done: func(time.Duration) { told[n]++ }}, 1)
			r.join(c)
			r.written(c, nil)
			calls = append(calls, c)
		}
		for in := bytes.NewReader(data); ; {
			got, err := readFrame(in, 1<<20)
			if err == nil {
				err = r.hear(got)
			}
			if err != nil {
				break
			}
		}
		r.end(false)
		for n, c := range calls {
			if told[n] != 1 {
				t.Errorf("request %d was told of its end %d times", n, told[n])
			}
			if o := <-c.result; o.stream != nil && o.stream.err == nil {
				t.Errorf("the stream of request %d has no end", n)
			}
		}
	})
}
