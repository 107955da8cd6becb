package diskfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// only checks that a folder has one file, with this content and mode.
func only(t *testing.T, dir, name, content string, mode fs.FileMode) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 || list[0].Name() != name {
		t.Fatalf("%v %v, want only %s", list, err, name)
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || string(data) != content {
		t.Errorf("%q %v, want %q", data, err, content)
	}
	if info, err := list[0].Info(); err != nil || info.Mode() != mode {
		t.Errorf("mode %v %v, want %v", info.Mode(), err, mode)
	}
}

func TestFileIsReplacedWithItsMode(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "key")
	if err := Write(name, []byte("old, and longer"), 0o644); err != nil {
		t.Fatal(err)
	}
	only(t, dir, "key", "old, and longer", 0o644)
	if err := Write(name, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	only(t, dir, "key", "new", 0o600)
}

func TestNothingIsLeftOfAWriteThatFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "taken"), []byte("x"), 0o600); err == nil {
		t.Error("a folder was replaced by a file")
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("%v %v, want the folder alone", list, err)
	}
	if err := Write(filepath.Join(dir, "none", "x"), nil, 0o600); err == nil {
		t.Error("a file was written into a folder that is not there")
	}
}
