package environment

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Limits bound what an image may unpack to.
type Limits struct {
	Bytes   int64 // of all files together; default 32 GiB
	Entries int   // files, folders and links; default 1,000,000
	Ratio   int64 // bytes unpacked per byte of the layer, beyond a free 64 MiB; default 60
}

// withDefaults fills in what is zero.
func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = 32 << 30
	}
	if l.Entries == 0 {
		l.Entries = 1_000_000
	}
	if l.Ratio == 0 {
		l.Ratio = 60
	}
	return l
}

const (
	freeBytes = 64 << 20 // below this the ratio is not looked at
	maxPath   = 1024
	maxDepth  = 64
)

// badArchive says that a layer is refused, and why.
type badArchive struct{ why string }

func (e *badArchive) Error() string { return "the image layer is refused: " + e.why }

func refuse(format string, args ...any) error { return &badArchive{why: fmt.Sprintf(format, args...)} }

// unpacker writes one tar into a folder that starts empty.
type unpacker struct {
	root    *os.Root
	limits  Limits
	bytes   int64 // written
	budget  int64 // may be written
	entries int
	links   map[string]bool // symbolic links of this archive
}

// unpack extracts a layer into dir. Only plain files, folders and links that
// stay inside are taken; anything else refuses the layer as a whole, and the
// caller deletes what was written. Nothing is ever written outside dir: names
// are checked as text, and os.Root holds where the text would not.
func unpack(ctx context.Context, layer io.Reader, size int64, gzipped bool, dir string, limits Limits) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpacker{root: root, limits: limits, links: map[string]bool{}}
	u.budget = min(limits.Bytes, max(freeBytes, saturate(size, limits.Ratio)))
	if gzipped {
		z, err := gzip.NewReader(layer)
		if err != nil {
			return refuse("it is no gzip file")
		}
		defer z.Close()
		layer = z
	}
	// Headers count too: a bomb may be made of names alone.
	counted := &io.LimitedReader{R: layer, N: saturate(u.budget, 2) + 1}
	tr := tar.NewReader(counted)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		h, err := tr.Next()
		if counted.N <= 0 {
			return refuse("it unpacks to more than is allowed (%d bytes)", u.budget)
		}
		if errors.Is(err, io.EOF) {
			return drain(counted)
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return refuse("it is no readable tar file")
		}
		if err := u.entry(h, tr); err != nil {
			return err
		}
	}
}

// drain reads the padding after the archive, so that the whole layer is hashed.
func drain(r *io.LimitedReader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return refuse("it ends in the middle")
	}
	if r.N <= 0 {
		return refuse("it goes on after its end")
	}
	return nil
}

func saturate(n, factor int64) int64 {
	if n > (1<<62)/factor {
		return 1 << 62
	}
	return n * factor
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if u.entries++; u.entries > u.limits.Entries {
		return refuse("it has more than %d entries", u.limits.Entries)
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := u.check(h)
	if err != nil || name == "." {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.folder(name)
	case tar.TypeReg:
		return u.file(name, h, content)
	case tar.TypeSymlink:
		if !staysInside(name, h.Linkname) {
			return refuse("the link %q leads outside, to %q", name, h.Linkname)
		}
		if err := u.parent(name); err != nil {
			return err
		}
		u.links[name] = true
		return u.written(name, u.root.Symlink(h.Linkname, name))
	}
	return refuse("%q is of kind %q: only files, folders and symbolic links are taken", name, string(h.Typeflag))
}

// check gives the clean name of an entry, or refuses it.
func (u *unpacker) check(h *tar.Header) (string, error) {
	raw := h.Name
	name := strings.TrimSuffix(raw, "/")
	switch {
	case name == "." && h.Typeflag == tar.TypeDir:
		return ".", nil
	case raw == "" || len(raw) > maxPath || strings.ContainsAny(raw, "\\\x00\n\r"):
		return "", refuse("an entry has the name %q", clip(raw, 200))
	}
	name = strings.TrimPrefix(name, "./")
	if path.Clean(name) != name || !filepath.IsLocal(name) || path.IsAbs(name) || name == "." {
		return "", refuse("the name %q leads outside or is not plain", clip(raw, 200))
	}
	if strings.Count(name, "/") > maxDepth {
		return "", refuse("the name %q is nested too deep", clip(raw, 200))
	}
	if h.Mode&0o7000 != 0 {
		return "", refuse("%q has set-user, set-group or sticky rights", name)
	}
	if tied(name) {
		return "", refuse("%q belongs to the machine, not to an image", name)
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if u.links[dir] {
			return "", refuse("%q would be written through the link %q", name, dir)
		}
	}
	return name, nil
}

func (u *unpacker) parent(name string) error {
	if dir := path.Dir(name); dir != "." {
		return u.folder(dir)
	}
	return nil
}

func (u *unpacker) folder(name string) error {
	if u.links[name] {
		return refuse("%q comes twice", name)
	}
	return u.written(name, u.root.MkdirAll(name, 0o755))
}

func (u *unpacker) file(name string, h *tar.Header, content io.Reader) error {
	if h.Size < 0 || h.Size > u.budget-u.bytes {
		return refuse("it unpacks to more than is allowed (%d bytes)", u.budget)
	}
	if err := u.parent(name); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return u.written(name, err)
	}
	n, err := io.CopyN(f, content, h.Size)
	u.bytes += n
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	var pathErr *fs.PathError
	if err != nil && !errors.As(err, &pathErr) {
		return refuse("%q ends in the middle", name)
	}
	return err
}

// written tells what the archive is to blame for from what the disk is.
func (u *unpacker) written(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return refuse("%q comes twice", name)
	case diskLine.MatchString(err.Error()), errors.Is(err, fs.ErrPermission):
		return err
	}
	return refuse("%q cannot be written: %v", name, err)
}
