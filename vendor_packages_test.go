package lapis_test

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// unavailable skips a test that lacks something from outside. Where tests are
// run for others to rely on, it fails instead.
func unavailable(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// testCache is the folder of what tests take from outside, once per machine.
func testCache(t *testing.T) string {
	t.Helper()
	base := os.Getenv("LAPIS_TEST_CACHE")
	if base == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			unavailable(t, "no cache folder: %v", err)
		}
		base = filepath.Join(cache, "lapis-test")
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		unavailable(t, "no cache folder: %v", err)
	}
	return base
}

// vendorPackage returns the place of a package: the wheel of NAME==VERSION, the
// unpacked folder of @SCOPE/NAME@VERSION. It is downloaded where the cache has
// not got it, without what it depends on, and nothing of it is run.
func vendorPackage(t *testing.T, name string) string {
	t.Helper()
	npm := strings.HasPrefix(name, "@")
	dir, find := filepath.Join(testCache(t), "wheel-"+strings.ReplaceAll(name, "==", "-")), "*.whl"
	if npm {
		dir, find = filepath.Join(testCache(t), "npm-"+strings.NewReplacer("@", "", "/", "-").Replace(name)), "package"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil { // of two test processes one downloads
		t.Fatal(err)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, find)); len(found) > 0 {
		return found[0]
	}
	get := exec.Command("python3", "-m", "pip", "download", "-q", "--disable-pip-version-check",
		"--retries", "1", "--timeout", "20", "--no-deps", "--only-binary", ":all:", "-d", dir, name)
	if npm {
		get = exec.Command("npm", "pack", "--silent", "--ignore-scripts", "--fetch-retries", "1", "--pack-destination", dir, name)
	}
	if out, err := get.CombinedOutput(); err != nil {
		unavailable(t, "cannot download %s; is a package index within reach? %v %s", name, err, out)
	}
	if npm {
		unpack(t, dir)
	}
	found, _ := filepath.Glob(filepath.Join(dir, find))
	if len(found) == 0 {
		t.Fatalf("%s: no %s in %s", name, find, dir)
	}
	return found[0]
}

// unpack opens the one archive of a folder; what is half unpacked has another name.
func unpack(t *testing.T, dir string) {
	t.Helper()
	archives, _ := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if len(archives) != 1 {
		t.Fatalf("%d archives in %s", len(archives), dir)
	}
	half := filepath.Join(dir, "half")
	if err := os.RemoveAll(half); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(half, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-xzf", archives[0], "-C", half).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if err := os.Rename(filepath.Join(half, "package"), filepath.Join(dir, "package")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(archives[0]); err != nil {
		t.Fatal(err)
	}
}

// readVendorModels reads the models in a folder of a package. What a reader
// said is kept, for as long as the reader stays the same.
func readVendorModels(t *testing.T, name, folder string) *vendorModels {
	t.Helper()
	at := vendorPackage(t, name)
	interpreter, script := "python3", "testdata/vendor/wheel_models.py"
	if strings.HasPrefix(name, "@") {
		interpreter, script = "node", "testdata/vendor/npm_models.mjs"
	}
	source, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(testCache(t), fmt.Sprintf("models-%x.json", sha256.Sum256([]byte(name+"\n"+folder+"\n"+string(source))))[:39])
	text, err := os.ReadFile(kept)
	if err != nil {
		if _, missing := exec.LookPath(interpreter); missing != nil {
			unavailable(t, "no %s to read the models of %s with", interpreter, name)
		}
		if text, err = exec.Command(interpreter, script, at, folder).Output(); err != nil {
			if exit, ok := err.(*exec.ExitError); ok {
				t.Fatalf("%s %s: %v\n%s", name, folder, err, exit.Stderr)
			}
			t.Fatal(err)
		}
		keep(t, kept, text)
	}
	var models vendorModels
	if err := json.Unmarshal(text, &models); err != nil {
		t.Fatalf("%s %s: %v", name, folder, err)
	}
	return &models
}

// keep writes a file in one step, for other processes may read it.
func keep(t *testing.T, path string, text []byte) {
	t.Helper()
	f, err := os.CreateTemp(filepath.Dir(path), "keep-*")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// vendorFolders are the folders of models in a wheel that begin as prefix does,
// each of one api-version.
func vendorFolders(t *testing.T, name, prefix string) (folders []string) {
	t.Helper()
	wheel, err := zip.OpenReader(vendorPackage(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = wheel.Close() }()
	for _, f := range wheel.File {
		folder := path.Dir(f.Name)
		if path.Base(f.Name) == "_models_py3.py" && strings.HasPrefix(folder, prefix) && !strings.Contains(folder, "dataplane") {
			folders = append(folders, folder)
		}
	}
	slices.Sort(folders)
	return slices.Compact(folders)
}
