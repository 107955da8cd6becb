package environment

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
)

// packed is a finished layer in a file.
type packed struct {
	digest string // of the compressed bytes, sha256:...
	diffID string // of the tar inside
	size   int64
}

// pack writes the environment as a compressed tar. The same tree gives the same
// bytes: names in order, no times, no owners, plain modes. What ties the tree to
// this machine, the links to the base interpreter and the file that names it, is
// left out; unpacking makes them anew.
func pack(ctx context.Context, env string, w io.Writer) (packed, error) {
	compressed, plain := newMeter(), newMeter()
	z := newBlockGzip(ctx, io.MultiWriter(w, compressed))
	tw := tar.NewWriter(io.MultiWriter(z, plain))
	err := filepath.WalkDir(env, func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(env, p)
		if err != nil || rel == "." {
			return err
		}
		return packEntry(tw, p, filepath.ToSlash(rel), d)
	})
	if err == nil {
		err = tw.Close()
	}
	if err := errors.Join(err, z.Close()); err != nil {
		return packed{}, err
	}
	return packed{digest: compressed.digest(), diffID: plain.digest(), size: compressed.n}, nil
}

// tied reports whether the entry belongs to the machine and not to the image.
func tied(name string) bool {
	return name == "pyvenv.cfg" || path.Dir(name) == "bin" && pythonName.MatchString(path.Base(name))
}

func packEntry(tw *tar.Writer, file, name string, d fs.DirEntry) error {
	if tied(name) {
		return nil
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	header := &tar.Header{Name: name, Mode: 0o644, Format: tar.FormatPAX}
	if info.Mode()&0o111 != 0 {
		header.Mode = 0o755
	}
	switch {
	case d.IsDir():
		header.Typeflag, header.Name, header.Mode = tar.TypeDir, name+"/", 0o755
		return tw.WriteHeader(header)
	case d.Type() == fs.ModeSymlink:
		target, err := os.Readlink(file)
		if err != nil {
			return err
		}
		if !staysInside(name, target) {
			return fmt.Errorf("%s is a link that leads out of the environment", name)
		}
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, target, 0o777
		return tw.WriteHeader(header)
	case !d.Type().IsRegular():
		return fmt.Errorf("%s is neither a file, a folder nor a link", name)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	header.Typeflag, header.Size = tar.TypeReg, info.Size()
	if err := tw.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}

// staysInside reports whether a link of the name, read as text, leads to a
// place within the tree.
func staysInside(name, target string) bool {
	if target == "" || path.IsAbs(target) || strings.ContainsAny(target, "\\\x00") {
		return false
	}
	return filepath.IsLocal(path.Join(path.Dir(name), target))
}

// meter counts and hashes.
type meter struct {
	h hash.Hash
	n int64
}

func newMeter() *meter { return &meter{h: sha256.New()} }

func (m *meter) Write(p []byte) (int, error) {
	m.n += int64(len(p))
	return m.h.Write(p)
}

func (m *meter) digest() string { return "sha256:" + hex.EncodeToString(m.h.Sum(nil)) }

// blockGzip compresses blocks on all cores, each a gzip member of its own; the
// members in a row are one gzip file. One core alone would take several times
// as long as reading the tree.
type blockGzip struct {
	block   []byte
	next    chan chan []byte // compressed blocks, in order
	workers *errgroup.Group
	writer  chan error
	failed  context.Context
	fail    context.CancelCauseFunc
}

const gzipBlock = 1 << 20

func newBlockGzip(ctx context.Context, w io.Writer) *blockGzip {
	z := &blockGzip{next: make(chan chan []byte, 2*runtime.GOMAXPROCS(0)), writer: make(chan error, 1), workers: new(errgroup.Group)}
	z.failed, z.fail = context.WithCancelCause(ctx)
	z.workers.SetLimit(runtime.GOMAXPROCS(0))
	go func() {
		var failure error
		for result := range z.next {
			if data := <-result; failure == nil {
				if _, failure = w.Write(data); failure != nil {
					z.fail(failure)
				}
			}
		}
		z.writer <- failure
	}()
	return z
}

func (z *blockGzip) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if err := context.Cause(z.failed); err != nil {
			return 0, err
		}
		n := min(gzipBlock-len(z.block), len(p))
		z.block, p = append(z.block, p[:n]...), p[n:]
		if len(z.block) == gzipBlock {
			z.send()
		}
	}
	return total, nil
}

func (z *blockGzip) send() {
	block, result := z.block, make(chan []byte, 1)
	z.block = make([]byte, 0, gzipBlock)
	z.next <- result
	z.workers.Go(func() error {
		var out bytes.Buffer
		gz, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed) // the level is valid
		_, _ = gz.Write(block)                             // a buffer takes all
		_ = gz.Close()
		result <- out.Bytes()
		return nil
	})
}

// Close ends the file and waits for it to be written.
func (z *blockGzip) Close() error {
	z.send() // at least one member, even an empty one
	_ = z.workers.Wait()
	close(z.next)
	err := <-z.writer
	z.fail(nil)
	return err
}
