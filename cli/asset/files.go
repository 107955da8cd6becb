// Package asset owns how code, models and environments become assets of a
// workspace: which files belong, what their content hashes to, where they are
// uploaded, and the calls that register them. Calls, order and hashes are those
// of azure-ai-ml, so that both find what the other uploaded.
package asset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// file is a file to upload: where it lies, and its name below the folder.
type file struct {
	path string
	name string // with slashes
}

// maxDepth bounds the folders that are entered, so that a link to a folder
// above ends.
const maxDepth = 64

// list returns the files of a folder that its ignore file does not take out,
// or the file itself. Links are followed.
func list(root string) ([]file, error) {
	stat, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	if !stat.IsDir() {
		return []file{{root, filepath.Base(root)}}, nil
	}
	ignored, err := readIgnore(root)
	if err != nil {
		return nil, err
	}
	var files []file
	if err := walk(root, "", 0, ignored, &files); err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("the folder %s is empty, or all in it is ignored", root)
	}
	return files, nil
}

func walk(root, below string, depth int, ignored ignore, files *[]file) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: folders are nested deeper than %d; a link may lead back to a folder above", filepath.Join(root, below), maxDepth)
	}
	entries, err := os.ReadDir(filepath.Join(root, below))
	if err != nil {
		return err
	}
	var folders []string
	for _, entry := range entries {
		name := entry.Name()
		if below != "" {
			name = below + "/" + name
		}
		path := filepath.Join(root, filepath.FromSlash(name))
		stat, err := os.Stat(path)
		if err != nil {
			return err
		}
		switch {
		case stat.IsDir():
			folders = append(folders, name)
		case stat.Mode().IsRegular() && !ignored.excludes(name):
			*files = append(*files, file{path, name})
		}
	}
	for _, folder := range folders {
		if err := walk(root, folder, depth+1, ignored, files); err != nil {
			return err
		}
	}
	return nil
}

// HashVersion is the version of ContentHash's algorithm.
const HashVersion = "202208"

// ContentHash is the hash by which a workspace knows code: SHA-256 over the
// number of files, then #name# and size of each, then the contents, sorted by
// name without regard to case.
func ContentHash(root string) (string, error) {
	files, err := list(root)
	if err != nil {
		return "", err
	}
	sort.SliceStable(files, func(i, j int) bool { return strings.ToLower(files[i].name) < strings.ToLower(files[j].name) })
	h := sha256.New()
	io.WriteString(h, strconv.Itoa(len(files)))
	for _, f := range files {
		stat, err := os.Stat(f.path)
		if err != nil {
			return "", err
		}
		io.WriteString(h, "#"+f.name+"#"+strconv.FormatInt(stat.Size(), 10))
	}
	for _, f := range files {
		if err := hashFile(h, f.path); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashFile(h hash.Hash, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(h, f)
	return err
}

// UploadHash is the hash in the path of an uploaded model or build context:
// names and contents of every folder's entries in turn.
func UploadHash(root string) (string, error) {
	stat, err := os.Stat(root)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	io.WriteString(h, "Initialize for october 2021 AML CLI version")
	if !stat.IsDir() {
		err = hashFile(h, root)
		return hex.EncodeToString(h.Sum(nil)), err
	}
	ignored, err := readIgnore(root)
	if err == nil {
		err = hashFolder(h, root, "", 0, ignored)
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

func hashFolder(h hash.Hash, root, below string, depth int, ignored ignore) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: folders are nested deeper than %d", root, maxDepth)
	}
	entries, err := os.ReadDir(filepath.Join(root, below))
	if err != nil {
		return err
	}
	sort.SliceStable(entries, func(i, j int) bool {
		return strings.ToLower(entries[i].Name()) < strings.ToLower(entries[j].Name())
	})
	for _, entry := range entries {
		name := strings.TrimPrefix(below+"/"+entry.Name(), "/")
		if ignored.excludes(name) {
			continue
		}
		io.WriteString(h, entry.Name())
		path := filepath.Join(root, filepath.FromSlash(name))
		stat, err := os.Stat(path)
		if err != nil {
			return err
		}
		if stat.IsDir() {
			err = hashFolder(h, root, name, depth+1, ignored)
		} else {
			err = hashFile(h, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readIgnore reads .amlignore, else .gitignore, of a folder.
func readIgnore(root string) (ignore, error) {
	for _, name := range []string{".amlignore", ".gitignore"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return parseIgnore(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))), nil
	}
	return nil, nil
}
