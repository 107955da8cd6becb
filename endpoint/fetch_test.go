package endpoint

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lapis/fault"
	"lapis/identity"
)

// shelf is a storage account that lists and gives what it holds, a page of two
// at a time, to the bearer of the right token.
type shelf struct {
	blobs map[string]string
	asked []string // hosts
}

// RoundTrip lets a client reach the shelf under every name.
func (s *shelf) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked = append(s.asked, r.URL.Hostname())
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result(), nil
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer good" || r.Header.Get("x-ms-version") == "" {
		w.Header().Set("x-ms-error-code", "AuthorizationPermissionMismatch")
		w.WriteHeader(http.StatusForbidden)
		return
	}
	query := r.URL.Query()
	if query.Get("comp") == "list" {
		s.list(w, query.Get("prefix"), query.Get("marker"))
		return
	}
	text, ok := s.blobs[strings.TrimPrefix(r.URL.Path, "/box/")]
	if !ok {
		w.Header().Set("x-ms-error-code", "BlobNotFound")
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = io.WriteString(w, text)
}

func (s *shelf) list(w http.ResponseWriter, prefix, marker string) {
	var names []string
	for name := range s.blobs {
		if strings.HasPrefix(name, prefix) && name > marker {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	next := ""
	if len(names) > 2 {
		names, next = names[:2], names[1]
	}
	_, _ = io.WriteString(w, "<EnumerationResults><Blobs>")
	for _, name := range names {
		_, _ = io.WriteString(w, "<Blob><Name>")
		_ = xml.EscapeText(w, []byte(name))
		_, _ = fmt.Fprintf(w, "</Name><Properties><Content-Length>%d</Content-Length></Properties></Blob>", len(s.blobs[name]))
	}
	_, _ = io.WriteString(w, "</Blobs><NextMarker>")
	_ = xml.EscapeText(w, []byte(next))
	_, _ = io.WriteString(w, "</NextMarker></EnumerationResults>")
}

// fetched runs a fetch into a folder and returns what lies there, by path.
func fetched(t *testing.T, s *shelf, token, path string) (map[string]string, error) {
	t.Helper()
	parent := t.TempDir()
	into := filepath.Join(parent, "deep", "into")
	f := &fetcher{http: &http.Client{Transport: s}, who: identity.Principal{ObjectID: "the-object-id", DisplayName: "my-endpoint"},
		token: func(context.Context) (string, error) { return token, nil }}
	files, size, err := f.fetch(t.Context(), Asset{Account: "store", Container: "box", Path: path}, into)
	found, bytes := map[string]string{}, int64(0)
	walked := filepath.WalkDir(parent, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, relErr := filepath.Rel(into, path)
		found[filepath.ToSlash(name)], bytes = string(data), bytes+int64(len(data))
		return errors.Join(err, relErr)
	})
	if walked != nil {
		t.Fatal(walked)
	}
	markers := 0
	for name := range s.blobs {
		if strings.HasSuffix(name, "/") {
			markers++
		}
	}
	if err == nil && (files != len(found)+markers || size != bytes) {
		t.Errorf("%q: told of %d files and %d bytes, there are %d and %d", path, files, size, len(found), bytes)
	}
	for _, host := range s.asked {
		if host != "store.blob.core.windows.net" {
			t.Errorf("asked %s", host)
		}
	}
	return found, err
}

func TestFetchTakesTheFolderAndNothingThatBeginsAlike(t *testing.T) {
	s := &shelf{blobs: map[string]string{
		"up/code/score.py": "a", "up/code/lib/x & y.py": "bb", "up/code/lib/100%.txt": "ccc", "up/code/ü#1?.txt": "dddd",
		"up/code2/score.py": "no", "up/code.py": "no", "up/codes": "no", "other/code/score.py": "no",
	}}
	for path, want := range map[string][]string{
		"up/code":              {"code/lib/100%.txt", "code/lib/x & y.py", "code/score.py", "code/ü#1?.txt"},
		"up/code/score.py":     {"score.py"},
		"up/code2":             {"code2/score.py"},
		"up/codes":             {"codes"},
		"other":                {"other/code/score.py"},
		"up/code/lib/x & y.py": {"x & y.py"},
	} {
		found, err := fetched(t, s, "good", path)
		var names []string
		for name := range found {
			names = append(names, name)
		}
		slices.Sort(names)
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("%s: %q %v, want %q", path, names, err, want)
		}
	}
	if found, err := fetched(t, s, "good", ""); err != nil || len(found) != len(s.blobs) {
		t.Errorf("the whole container: %d files, %v", len(found), err)
	}
}

// Blobs may have any name, files may not: what cannot be a file inside the
// folder is the user's to mend, and nothing is written outside.
func TestFetchWritesNothingOutsideItsFolder(t *testing.T) {
	for _, bad := range []string{
		"up/code/../../../evil", "up/code/../evil", "up/code//evil", "up/code/./evil", "up/code/..", "up/code/a\x00b",
	} {
		s := &shelf{blobs: map[string]string{bad: "evil"}}
		found, err := fetched(t, s, "good", "up/code")
		if len(found) > 0 || !strings.Contains(bad, "\x00") && !fault.Is(err, fault.Invalid) { // XML has no zero byte
			t.Errorf("%q: %v %v, want a refusal of the name", bad, found, err)
		}
	}
	s := &shelf{blobs: map[string]string{"up/code/a": "file", "up/code/a/b": "below a file"}}
	if _, err := fetched(t, s, "good", "up/code"); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "a/b") {
		t.Errorf("a file that is a folder as well: %v", err)
	}
}

// Some tools mark folders by empty blobs whose names end in a slash.
func TestFetchTakesMarkersOfFolders(t *testing.T) {
	s := &shelf{blobs: map[string]string{"up/code/": "", "up/code/lib/": "", "up/code/lib/a.py": "a"}}
	found, err := fetched(t, s, "good", "up/code")
	if err != nil || len(found) != 1 || found["code/lib/a.py"] != "a" {
		t.Errorf("%v %v", found, err)
	}
}

func TestFetchTellsWhoWasRefusedWhat(t *testing.T) {
	s := &shelf{blobs: map[string]string{"up/code/score.py": "a"}}
	_, err := fetched(t, s, "secret-token", "up/code")
	if !fault.Is(err, fault.Denied) || !fault.HasCode(err, "AuthorizationPermissionMismatch") {
		t.Errorf("refused: %v", err)
	}
	for _, word := range []string{"the-object-id", "my-endpoint", "store.blob.core.windows.net/box"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
	if strings.Contains(err.Error(), "secret-token") {
		t.Errorf("it shows the token: %v", err)
	}
	if _, err := fetched(t, s, "good", "up/nothing"); !fault.HasCode(err, "BadArgument") || !strings.Contains(err.Error(), "up/nothing") {
		t.Errorf("nothing there: %v", err)
	}
}
