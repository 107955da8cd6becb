package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lapis/worker"
)

// streamScript needs no Flask: what run() returns has a response's shape.
const streamScript = `
import os

class Stream:
    status_code, headers, is_streamed = 200, {"Content-Type": "text/event-stream"}, True
    def __init__(self, parts): self.parts = parts
    def get_data(self): return b"".join(self.parts)
    def iter_encoded(self): return self.parts
    def close(self): self.parts.close()

def valve():
    os.read(os.open("valve", os.O_RDONLY), 1)

def waits():
    try:
        for n in range(3):
            yield b"piece %d\n" % n
            valve()
    finally:
        print("closed after", n)

def fails():
    yield b"first"
    raise ValueError("amid the answer")

def endless():
    global made
    made = 0
    try:
        while True:
            made += 1 << 20
            yield b"x" * (1 << 20)
    finally:
        print("ended")

def init(): pass

def run(data):
    if data == "waits": return Stream(waits())
    if data == "fails": return Stream(fails())
    if data == "at once": return Stream(1 // 0 for _ in [0])
    if data == "empty": return Stream(b"" for _ in range(3))
    if data == "endless": return Stream(endless())
    if data == "dies": return Stream((os._exit(7) if n else b"first") for n in range(2))
    if data == "made": return made
    return data
`

// streaming starts the streamScript; open lets one of its waits go on.
func streaming(t *testing.T) (i worker.Instance, console *log, open func()) {
	return withValve(t, streamScript)
}

// next takes a piece of a stream, which must come.
func next(t *testing.T, s worker.Stream, want string) {
	t.Helper()
	if piece, err := s.Next(t.Context()); err != nil || string(piece) != want {
		t.Fatalf("the piece is %q, %v, not %q", piece, err, want)
	}
}

func TestPiecesComeAsTheScriptMakesThem(t *testing.T) {
	i, console, open := streaming(t)
	resp := score(t, i, post("waits"))
	if resp.Stream == nil || resp.Status != 200 || string(resp.Body) != "piece 0\n" || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got %+v", resp)
	}
	behind := sent(t, i, "behind", 2)
	for n := 1; n < 3; n++ {
		open()
		next(t, resp.Stream, fmt.Sprintf("piece %d\n", n))
	}
	open()
	if _, err := resp.Stream.Next(t.Context()); err != io.EOF {
		t.Errorf("the end is %v", err)
	}
	resp.Stream.Close()
	if err := <-behind; err != nil {
		t.Error(err)
	}
	says(t, console, "closed after 2", "POST /score 200 ", "ms N/A\n")
}

func TestClosingAStreamEndsTheGenerator(t *testing.T) {
	i, console, open := streaming(t)
	resp := score(t, i, post("waits"))
	behind := sent(t, i, "behind", 2)
	resp.Stream.Close()
	resp.Stream.Close()
	if err := i.Probe(t.Context()); err != nil { // what was said before it has been heard
		t.Fatal(err)
	}
	open() // it is asked for one more piece, as a server does that writes to nobody
	if err := <-behind; err != nil {
		t.Error(err)
	}
	says(t, console, "closed after 1")
}

func TestScriptWaitsForWhoReadsItsStream(t *testing.T) {
	i, console, _ := streaming(t)
	resp := score(t, i, post("endless"))
	for range 8 { // of 256 KiB
		if _, err := resp.Stream.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	behind := sent(t, i, "behind", 2)
	resp.Stream.Close()
	if err := <-behind; err != nil {
		t.Error(err)
	}
	says(t, console, "ended")
	var made int
	if _, err := fmt.Sscan(string(score(t, i, post("made")).Body), &made); err != nil || made > 8<<20 {
		t.Errorf("of a stream of which 3 MiB were taken, %d bytes were made (%v)", made, err)
	}
}

func TestStreamThatFailsIsNotTakenForComplete(t *testing.T) {
	i, console, _ := streaming(t)
	resp := score(t, i, post("fails"))
	if string(resp.Body) != "first" || resp.Stream == nil {
		t.Fatalf("got %+v", resp)
	}
	if _, err := resp.Stream.Next(t.Context()); !errors.Is(err, worker.ErrBroken) {
		t.Errorf("the end is %v", err)
	}
	resp.Stream.Close()
	says(t, console, "ValueError: amid the answer", `in fails`)
	if strings.Contains(console.String(), "lapis_worker") {
		t.Errorf("the log:\n%s", console)
	}
	if resp := score(t, i, post("next")); string(resp.Body) != `"next"` {
		t.Errorf("the next request got %s", resp.Body)
	}
}

func TestStreamThatFailsAtOnceIsAnError(t *testing.T) {
	i, console, _ := streaming(t)
	resp := score(t, i, post("at once"))
	if resp.Status != 500 || resp.Stream != nil || resp.Header.Get("x-ms-run-function-failed") != "True" || !strings.Contains(string(resp.Body), "An unexpected error occurred in scoring script") {
		t.Errorf("got %d %s %v", resp.Status, resp.Body, resp.Header)
	}
	says(t, console, "ZeroDivisionError")
	if resp := score(t, i, post("empty")); resp.Status != 200 || resp.Stream != nil || len(resp.Body) != 0 {
		t.Errorf("an empty one got %+v", resp)
	}
}

func TestStreamOfAnInstanceThatEndsIsBrokenOff(t *testing.T) {
	i, _, _ := streaming(t)
	resp := score(t, i, post("dies"))
	behind := make(chan error, 1)
	go func() { _, err := i.Score(t.Context(), post("behind")); behind <- err }()
	if _, err := resp.Stream.Next(t.Context()); !errors.Is(err, worker.ErrExited) {
		t.Errorf("the end is %v", err)
	}
	resp.Stream.Close()
	if err := <-behind; !errors.Is(err, worker.ErrNotTaken) {
		t.Errorf("one behind it got %v", err)
	}
	<-i.Done()
}

func TestUnreadStreamHoldsUpNoStop(t *testing.T) {
	i, _, _ := streaming(t)
	resp := score(t, i, post("endless"))
	defer resp.Stream.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := i.Stop(ctx); err != nil {
		t.Error(err)
	}
	for {
		if _, err := resp.Stream.Next(t.Context()); err != nil {
			if !errors.Is(err, worker.ErrExited) {
				t.Error(err)
			}
			return
		}
	}
}

func TestRequestOfAClientThatHasLeftIsNotBegun(t *testing.T) {
	i, console, open := valved(t)
	first := sent(t, i, "wait", 1)
	says(t, console, "waits")
	ctx, leave := context.WithCancel(t.Context())
	left, done := make(chan error, 1), make(chan struct{})
	go func() {
		req := post("left")
		req.Done = func(time.Duration) { close(done) }
		_, err := i.Score(ctx, req)
		left <- err
	}()
	inLine(t, i, 2)
	behind := sent(t, i, "behind", 3)
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := i.Probe(t.Context()); err != nil { // what was said before it has been heard
		t.Fatal(err)
	}
	open()
	for _, answer := range []<-chan error{first, behind} {
		if err := <-answer; err != nil {
			t.Error(err)
		}
	}
	<-done
	if resp := score(t, i, post("seen")); string(resp.Body) != `["wait", "behind", "seen"]` {
		t.Errorf("the script saw %s", resp.Body)
	}
}

func TestEveryInterpreterStreamsAndKeepsItsSettings(t *testing.T) {
	found, _ := filepath.Glob(filepath.Join(os.Getenv("HOME"), ".pyenv", "versions", "3.*", "bin", "python"))
	if len(found) == 0 {
		t.Skip("needs interpreters in ~/.pyenv/versions")
	}
	for _, python := range found {
		version := filepath.Base(filepath.Dir(filepath.Dir(python)))
		if strings.HasPrefix(version, "3.6.") || strings.HasPrefix(version, "3.7.") {
			continue // too old, which it says
		}
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			spec, console := specOf(t, streamScript)
			spec.Python = python
			spec.Env = append(spec.Env, "SCORING_TIMEOUT_MS=60000", "AML_CORS_ORIGINS=*", "WORKER_COUNT=4")
			write(t, filepath.Join(spec.Dir, "config.json"), `{"SERVICE_NAME": "mine"}`)
			i := start(t, spec)
			resp := score(t, i, post("fails"))
			if resp.Stream == nil || string(resp.Body) != "first" || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Fatalf("got %+v", resp)
			}
			if _, err := resp.Stream.Next(t.Context()); !errors.Is(err, worker.ErrBroken) {
				t.Errorf("the end is %v", err)
			}
			resp.Stream.Close()
			if resp := score(t, i, &worker.Request{Method: "GET", Path: "/swagger.json"}); !strings.Contains(string(resp.Body), `"title":"mine"`) {
				t.Errorf("the swagger is %s", resp.Body)
			}
			if resp := score(t, i, post("x")); string(resp.Body) != `"x"` {
				t.Errorf("got %s", resp.Body)
			}
			says(t, console, "amid the answer", "WORKER_COUNT is 4 and has no effect")
		})
	}
}
