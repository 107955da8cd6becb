package environment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"lapis/diskfile"
)

// The folder of a Builder:
//
//	tmp/            work in progress; emptied at start
//	tools/          an installer of our own, when the machine has none
//	envs/NAME/      env, record.json, build.log, durable; NAME is the hash of a build, or
//	                "pulled-" and the digest of the image it was unpacked from
//	images/DIGEST   the NAME that holds the content of the image
const (
	envName    = "env"
	logName    = "build.log"
	recordName = "record.json"
	markName   = "durable" // the tree has reached the disk
	pulled     = "pulled-"
)

// unpushedAge is how long a build that was never pushed survives Prune.
const unpushedAge = 24 * time.Hour

// record is what is kept beside an environment.
type record struct {
	Format    int    `json:"format"`
	Hash      string `json:"hash"`
	Report    Report `json:"report"`
	ElapsedMS int64  `json:"elapsedMs"`
	Boot      string `json:"boot"` // of the machine when this was written
}

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// shelf is the folder.
//
// A tree of thousands of files takes seconds to reach the disk, which nobody
// should wait for. So an environment is in use at once and is marked durable
// later. Without the mark it counts only until the machine starts anew: the
// death of this process loses nothing, and after a power failure it is made
// again rather than trusted.
type shelf struct {
	dir    string
	now    func() time.Time
	bootID string     // "" where the machine does not tell: then trees are synced at once
	mu     sync.Mutex // over the names in envs and images, not over their content
	syncs  sync.WaitGroup
}

func openShelf(dir string, now func() time.Time) (*shelf, error) {
	s := &shelf{dir: dir, now: now, bootID: bootID()}
	if err := os.RemoveAll(s.path("tmp")); err != nil {
		return s, fmt.Errorf("environment: clear unfinished work: %w", err)
	}
	for _, name := range []string{"tmp", "tools", "envs", "images"} {
		if err := os.MkdirAll(s.path(name), 0o700); err != nil {
			return s, fmt.Errorf("environment: %w", err)
		}
	}
	s.syncs.Go(s.settle)
	return s, nil
}

// settle brings what is not marked durable to the disk, and marks it.
func (s *shelf) settle() {
	var waiting []string
	s.mu.Lock()
	entries, _ := os.ReadDir(s.path("envs"))
	for _, e := range entries {
		if _, ok := s.read(e.Name()); ok && !exists(s.path("envs", e.Name(), markName)) {
			waiting = append(waiting, e.Name())
		}
	}
	s.mu.Unlock()
	if len(waiting) == 0 || syncTree(s.path("envs")) != nil {
		return // tried again at the next start
	}
	for _, name := range waiting {
		_ = os.WriteFile(s.path("envs", name, markName), nil, 0o600)
	}
}

func (s *shelf) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// work makes a temporary folder on the same file system as the results.
func (s *shelf) work(hash string) (string, error) {
	return os.MkdirTemp(s.path("tmp"), short(hash)+"-")
}

// built returns the build of the hash, if it is there and still runs.
func (s *shelf) built(hash string) (Built, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.read(hash)
	if ok { // its age counts from the last use
		now := s.now()
		_ = os.Chtimes(s.path("envs", hash), now, now)
	}
	return b, ok
}

// image returns the environment of the image, if it is there and still runs.
func (s *shelf) image(digest string) (Built, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, err := os.ReadFile(s.path("images", digest))
	if err != nil {
		return Built{}, false
	}
	return s.read(string(name))
}

func (s *shelf) read(name string) (Built, bool) {
	if !hexDigest.MatchString(strings.TrimPrefix(name, pulled)) {
		return Built{}, false
	}
	data, err := os.ReadFile(s.path("envs", name, recordName))
	var r record
	if err != nil || json.Unmarshal(data, &r) != nil || r.Format != formatVersion {
		return Built{}, false
	}
	if (r.Boot == "" || r.Boot != s.bootID) && !exists(s.path("envs", name, markName)) {
		return Built{}, false // it may not have reached the disk
	}
	dir := s.path("envs", name, envName)
	b := Built{Hash: r.Hash, Dir: dir, Python: pythonOf(dir), Report: r.Report, Elapsed: time.Duration(r.ElapsedMS) * time.Millisecond}
	if _, err := os.Stat(b.Python); err != nil { // its base interpreter may have gone
		return Built{}, false
	}
	if log := s.path("envs", name, logName); exists(log) {
		b.LogPath = log
	}
	return b, true
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// pythonOf gives the path of the interpreter in a virtual environment.
func pythonOf(env string) string { return filepath.Join(env, "bin", "python") }

// place writes the record into a finished work folder and moves it into place
// under the hash.
func (s *shelf) place(work string, r record) (Built, error) { return s.placeAs(r.Hash, work, r) }

func (s *shelf) placeAs(name, work string, r record) (Built, error) {
	r.Boot = s.bootID
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return Built{}, err
	}
	if err := os.WriteFile(filepath.Join(work, recordName), data, 0o600); err != nil {
		return Built{}, err
	}
	if s.bootID == "" {
		if err := errors.Join(syncTree(work), os.WriteFile(filepath.Join(work, markName), nil, 0o600)); err != nil {
			return Built{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.read(name); ok {
		return b, nil // another was quicker
	}
	if err := s.discard(name); err != nil {
		return Built{}, err
	}
	if err := os.Rename(work, s.path("envs", name)); err != nil {
		return Built{}, err
	}
	s.syncs.Go(s.settle)
	b, ok := s.read(name)
	if !ok {
		return Built{}, errors.New("a finished environment cannot be read back")
	}
	return b, nil
}

// discard takes an environment out of its place at once and deletes it then.
func (s *shelf) discard(name string) error {
	grave, err := os.MkdirTemp(s.path("tmp"), "gone-")
	if err != nil {
		return err
	}
	err = os.Rename(s.path("envs", name), filepath.Join(grave, "env"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(grave)
}

// adopt notes that the environment of the name is the content of the image.
func (s *shelf) adopt(digest, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.CreateTemp(s.path("tmp"), "image-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(name)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), s.path("images", digest)); err != nil {
		return err
	}
	return diskfile.SyncFolder(s.path("images"))
}

// pointers maps image digests to environment names.
func (s *shelf) pointers() (map[string]string, error) {
	entries, err := os.ReadDir(s.path("images"))
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, e := range entries {
		name, err := os.ReadFile(s.path("images", e.Name()))
		if err == nil && hexDigest.MatchString(e.Name()) {
			all[e.Name()] = string(name)
		}
	}
	return all, nil
}

// Prune deletes what is on disk of every image whose digest ("sha256:...") keep
// refuses, and builds that nobody pushed or used for a day. An environment that
// has another image to keep stays. The caller keeps what is in use.
func (b *Builder) Prune(keep func(digest string) bool) error {
	s := b.shelf
	s.mu.Lock()
	defer s.mu.Unlock()
	pointers, err := s.pointers()
	if err != nil {
		return fmt.Errorf("prune environments: %w", err)
	}
	needed, dropped := map[string]bool{}, map[string]bool{}
	for digest, name := range pointers {
		if keep("sha256:" + digest) {
			needed[name] = true
			continue
		}
		dropped[name] = true
		if err := os.Remove(s.path("images", digest)); err != nil {
			return fmt.Errorf("prune environments: %w", err)
		}
	}
	entries, err := os.ReadDir(s.path("envs"))
	if err != nil {
		return fmt.Errorf("prune environments: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || needed[e.Name()] {
			continue
		}
		orphan := strings.HasPrefix(e.Name(), pulled) || s.now().Sub(info.ModTime()) > unpushedAge
		if !orphan && !dropped[e.Name()] {
			continue
		}
		if err := s.discard(e.Name()); err != nil {
			return fmt.Errorf("prune environment %s: %w", e.Name(), err)
		}
		b.log.Info("environment removed", "name", e.Name())
	}
	return nil
}

// Remove deletes the build of the hash and what says that images hold it. A
// build that is not there is no error.
func (b *Builder) Remove(hash string) error {
	if !hexDigest.MatchString(hash) {
		return fmt.Errorf("remove environment: %q is not the hash of one", hash)
	}
	s := b.shelf
	s.mu.Lock()
	defer s.mu.Unlock()
	pointers, err := s.pointers()
	if err != nil {
		return fmt.Errorf("remove environment: %w", err)
	}
	for digest, name := range pointers {
		if name == hash {
			if err := os.Remove(s.path("images", digest)); err != nil {
				return fmt.Errorf("remove environment: %w", err)
			}
		}
	}
	if err := s.discard(hash); err != nil {
		return fmt.Errorf("remove environment: %w", err)
	}
	return nil
}
