package endpoint

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/resource"
)

// A follower gets each line once, whatever happens to the files meanwhile, as
// long as it asks before two of them have come and gone.
func TestFollowerMissesNothingAndSeesNothingTwice(t *testing.T) {
	log := consoleOf(t)
	log.limit = 4 << 10
	text, at, err := lastLines(log.path, 10)
	if err != nil || text != "" {
		t.Fatalf("%q %v", text, err)
	}
	var got strings.Builder
	next := func() {
		t.Helper()
		for {
			text, after, err := linesAfter(log.path, at)
			if err != nil {
				t.Fatal(err)
			}
			// What a client gives back is what it was given.
			if at, err = parsePosition(after.String()); err != nil {
				t.Fatal(err)
			}
			if got.WriteString(text); text == "" {
				return
			}
		}
	}
	const count = 3000
	for n := range count {
		fmt.Fprintf(log, "line %d\n", n)
		if n%97 == 0 {
			next()
		}
		if n == count/2 { // the platform was started again
			log.Close()
			if log, err = new(logs).begin(log.path, false); err != nil {
				t.Fatal(err)
			}
			log.limit = 4 << 10
			defer log.Close()
		}
	}
	next()
	lines := strings.Split(strings.TrimSuffix(got.String(), "\n"), "\n")
	if len(lines) != count {
		t.Errorf("%d lines, not %d", len(lines), count)
	}
	for n, line := range lines {
		if line != fmt.Sprint("line ", n) {
			t.Fatalf("line %d is %q", n, line)
		}
	}
}

func TestFollowerOfALogThatBeganAnewStartsAtItsBeginning(t *testing.T) {
	log := consoleOf(t)
	fmt.Fprint(log, "of the former deployment\n")
	_, at, err := lastLines(log.path, 0)
	if err != nil {
		t.Fatal(err)
	}
	again, err := log.owner.begin(log.path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	fmt.Fprint(again, "of the one that came after it\n")
	text, _, err := linesAfter(log.path, at)
	if err != nil || text != "of the one that came after it\n" {
		t.Errorf("%q %v", text, err)
	}
	if text, after, err := linesAfter(filepath.Join(t.TempDir(), "none"), at); text != "" || err != nil || after != (position{}) {
		t.Errorf("of no log: %q %v %v", text, after, err)
	}
}

func TestLineWithoutItsEndIsNotGivenYet(t *testing.T) {
	log := consoleOf(t)
	fmt.Fprint(log, "whole\nhalf")
	text, at, err := lastLines(log.path, 5)
	if err != nil || text != "whole\n" {
		t.Errorf("%q %v", text, err)
	}
	if text, _, err := linesAfter(log.path, at); err != nil || text != "" {
		t.Errorf("%q %v", text, err)
	}
	fmt.Fprintf(log, " and %s\n", strings.Repeat("x", maxFollow))
	if text, _, err := linesAfter(log.path, at); err != nil || len(text) != len("half and \n")+maxFollow {
		t.Errorf("%d bytes %v", len(text), err)
	}
}

// follow asks as a client does.
func (w *world) follow(id armid.ID, body string) (followed, error) {
	answer, err := w.svc.followLogs(w.t.Context(), resource.Call{Resource: w.get(id), Body: json.RawMessage(body)})
	f, _ := answer.(followed)
	return f, err
}

func TestFollowingWaitsForALineAndEndsWithTheDeployment(t *testing.T) {
	w := newWorld(t)
	id, blue := w.endpoint("followed")
	log, err := w.svc.logs.begin(w.svc.consolePath(w.get(id), w.get(blue)), true)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	fmt.Fprint(log, "one\ntwo\n")
	first, err := w.follow(blue, `{"tail":1}`)
	if err != nil || first.Content != "two\n" || first.Ended {
		t.Fatalf("%+v %v", first, err)
	}
	more := func(position string) <-chan followed {
		answer := make(chan followed, 1)
		go func() {
			f, err := w.follow(blue, `{"position":"`+position+`"}`)
			if err != nil {
				t.Error(err)
			}
			answer <- f
		}()
		return answer
	}
	waits := func() {
		for waits := false; !waits; time.Sleep(time.Millisecond) {
			log.mu.Lock()
			waits = log.grown != nil
			log.mu.Unlock()
		}
	}
	waiting := more(first.Position)
	waits()
	began := time.Now()
	fmt.Fprint(log, "three\n")
	second := <-waiting
	if took := time.Since(began); second.Content != "three\n" || second.Ended || took > 100*time.Millisecond {
		t.Errorf("%+v after %v", second, took)
	}
	waiting = more(second.Position)
	fmt.Fprint(log, "the last\n")
	third := <-waiting
	if third.Content != "the last\n" {
		t.Errorf("%+v", third)
	}
	waiting = more(third.Position)
	waits()
	if err := w.svc.end(t.Context(), w.get(id), w.get(blue), ""); err != nil {
		t.Fatal(err)
	}
	if end := <-waiting; !end.Ended || end.Content != "" {
		t.Errorf("after the deletion: %+v", end)
	}
	waiting = more(third.Position)
	w.svc.Quiesce()
	if f := <-waiting; f.Ended {
		t.Errorf("a stop of the platform is no end of the deployment: %+v", f)
	}
}

func TestFollowingRefusesWhatNoAnswerGave(t *testing.T) {
	w := newWorld(t)
	_, blue := w.endpoint("followed")
	for _, body := range []string{
		`{"position":"x"}`, `{"position":"` + position{offset: -1}.String() + `"}`, `{"position":"` + position{first: 1 << 40, offset: 1 << 41}.String() + `"}`,
		`{"tail":-1}`, `{"tail":50001}`, `{"containerType":"other"}`, `{"position":"` + strings.Repeat("A", 4000) + `"}`,
	} {
		if _, err := w.follow(blue, body); !fault.HasCode(err, "BadArgument") || len(err.Error()) > 400 {
			t.Errorf("%.100s: %v", body, err)
		}
	}
}

func FuzzPosition(f *testing.F) {
	for _, seed := range []string{"", "x", position{}.String(), position{1, 2, 3, 4}.String(), "LS4tLi0uLQ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePosition(text)
		if err == nil && (p.offset < 0 || p.first < 0 || p.first > p.offset || p.String() != text) {
			t.Errorf("%q is taken as %+v", text, p)
		}
	})
}
