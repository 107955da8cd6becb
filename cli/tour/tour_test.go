package tour

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func stage(t *testing.T) *tour {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"hello.txt": "Hello!\n", "sample-request.json": `{"data":[[1],[2]]}`} {
		if err := os.WriteFile(filepath.Join(dir, "files", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &tour{Options: Options{Out: &bytes.Buffer{}}, dir: dir, vars: map[string]string{}}
}

func TestTheBlobMustBeReadTwice(t *testing.T) {
	s := stage(t)
	line := "12:00 I root - Blob contains: Hello!\n"
	for log, ok := range map[string]bool{line + "x\n" + line: true, line: false, "": false, "Blob contains: Other\nBlob contains: Other\n": false} {
		if err := blobWasRead(s, log); (err == nil) != ok {
			t.Errorf("%q: %v", log, err)
		}
	}
}

func TestEveryRowNeedsAPrediction(t *testing.T) {
	s := stage(t)
	for out, ok := range map[string]bool{"[1.5, 2]\n": true, "[1]": false, "{}": false, `["a","b"]`: false, "": false} {
		if err := predicted(s, out); (err == nil) != ok {
			t.Errorf("%q: %v", out, err)
		}
	}
}

func TestAStateThatIsNotSucceededEndsTheTour(t *testing.T) {
	for out, ok := range map[string]bool{`{"provisioning_state":"Succeeded"}`: true, `{"provisioning_state":"Failed"}`: false, `{}`: false, `x`: false} {
		if err := succeeded(nil, out); (err == nil) != ok {
			t.Errorf("%q: %v", out, err)
		}
	}
}

func TestALineThatFailsEndsTheTourWithItsWords(t *testing.T) {
	s := stage(t)
	err := s.run(t.Context(), 0, step{line: "echo working >&2; echo 'ERROR: no' >&2; exit 3"})
	if err == nil || !strings.Contains(err.Error(), "exit code 3") || !strings.Contains(err.Error(), "ERROR: no") {
		t.Error(err)
	}
	if err := s.run(t.Context(), 0, step{line: "printf ''", keep: "empty"}); err == nil {
		t.Error("an empty variable was taken")
	}
	if err := s.run(t.Context(), 0, step{line: "echo value", keep: "x", title: "a"}); err != nil || s.vars["x"] != "value" {
		t.Errorf("%v %q", err, s.vars["x"])
	}
	if err := s.run(t.Context(), 1, step{line: `test "$x" = value`, title: "a"}); err != nil || len(s.times) != 1 {
		t.Errorf("%v %v", err, s.times)
	}
}

func TestKeepLeavesWhatWasMade(t *testing.T) {
	for _, way := range []string{"sai", "uai"} {
		for _, s := range steps(way, true) {
			if strings.Contains(s.line, " delete ") {
				t.Errorf("%s: %s", way, s.line)
			}
		}
		last := steps(way, false)
		if !strings.Contains(last[len(last)-1].line, " delete ") {
			t.Errorf("%s ends with %s", way, last[len(last)-1].line)
		}
	}
}
