package disk

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lapis/content"
	"lapis/content/contenttest"
)

// childDir names the folder that a re-executed test binary writes to until it is killed.
const childDir = "LAPIS_TEST_DISK_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		writeUntilKilled(dir)
		return
	}
	os.Exit(m.Run())
}

func openIn(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	contenttest.Run(t, func(t *testing.T) content.Store { return openIn(t, filepath.Join(t.TempDir(), "new", "content")) })
}

func write(s *Store, key string, data []byte) error {
	w, err := s.Create(context.Background())
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Commit(key)
}

// files returns the paths of all files below dir.
func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			list = append(list, strings.TrimPrefix(name, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestOpenRemovesWhatWasNeverCommitted(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	if err := write(s, "a/b", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	if err := write(s, "gone/for/good", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "gone/for/good"); err != nil {
		t.Fatal(err)
	}
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("begun")); err != nil {
		t.Fatal(err)
	}
	if n := len(files(t, dir)); n != 2 {
		t.Fatalf("%d files before the restart", n)
	}
	if err := s.Close(); err != nil { // the writer is left as a crash would
		t.Fatal(err)
	}
	s = openIn(t, dir)
	if got := files(t, dir); len(got) != 1 || got[0] != "data/a/b@" {
		t.Errorf("files after the restart: %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty folder: %v", err)
	}
	if keys, err := s.List(t.Context(), ""); err != nil || len(keys) != 1 {
		t.Errorf("keys: %q, %v", keys, err)
	}
}

func TestNoFailureLeavesATemporaryFile(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	if err := write(s, "Bad Key", []byte("x")); err == nil {
		t.Error("bad key taken")
	}
	// A folder in the place of the file makes the rename fail.
	if err := os.MkdirAll(filepath.Join(dir, "data", "k@", "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := write(s, "k", []byte("x")); err == nil {
		t.Error("rename over a folder worked")
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left over: %q", got)
	}
	if _, err := s.Open(t.Context(), "k"); err == nil {
		t.Error("a folder opened as content")
	}
}

func TestModesAreForTheOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := openIn(t, dir)
	if err := write(s, "a/b/c", nil); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestLinksDoNotLeadOut(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret@"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := openIn(t, dir)
	if err := os.Symlink(outside, filepath.Join(dir, "data", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret@"), filepath.Join(dir, "data", "file@")); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"link/secret", "file"} {
		if _, err := s.Open(t.Context(), key); err == nil {
			t.Errorf("%s opened", key)
		}
	}
	if err := write(s, "link/new", nil); err == nil {
		t.Error("wrote through a link")
	}
	if keys, err := s.List(t.Context(), ""); err != nil || len(keys) != 0 {
		t.Errorf("keys: %q, %v", keys, err)
	}
}

// content that the key determines, so that the parent can check it whole.
func dataFor(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return bytes.Repeat(sum[:], 1+int(sum[0])*8)
}

func writeUntilKilled(dir string) {
	s, err := Open(dir)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var out sync.Mutex
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d/%d/%d", os.Getpid(), i%7, w*1_000_000+i)
				if err := write(s, key, dataFor(key)); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Println("ack", key)
				out.Unlock()
			}
		}()
	}
	select {}
}

// runUntilKilled starts this binary as a child, kills it after some
// acknowledgements, and returns all keys that it acknowledged.
func runUntilKilled(t *testing.T, dir string, acks int) (keys []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(pipe)
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			break // a line cut short is no acknowledgement
		}
		key, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "ack ")
		if err != nil || !ok {
			t.Errorf("child said %q, %v", line, err)
			break
		}
		if keys = append(keys, key); len(keys) == acks {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return keys
}

func TestAcknowledgedContentSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	begun := time.Now()
	acknowledged := map[string]bool{}
	rounds := 0
	for ; rounds < 12 && time.Since(begun) < 3*time.Second; rounds++ {
		for _, key := range runUntilKilled(t, dir, 1+rand.IntN(60)) {
			acknowledged[key] = true
		}
		s := openIn(t, dir)
		keys, err := s.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys { // acknowledged or not: whole
			r, err := s.Open(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(data, dataFor(key)) {
				t.Fatalf("%s is torn: %d bytes, %v", key, len(data), err)
			}
		}
		for key := range acknowledged {
			if _, err := os.Stat(filepath.Join(dir, fileOf(key))); err != nil {
				t.Errorf("lost %s: %v", key, err)
			}
		}
		if left := files(t, filepath.Join(dir, tmpDir)); len(left) != 0 {
			t.Errorf("temporary files: %q", left)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills, %d acknowledged pieces, none lost", rounds, len(acknowledged))
}
