package environment

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tarOf writes entries as they are, sound or not.
func tarOf(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range entries {
		content := h.PAXRecords["content"]
		h.PAXRecords = nil
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func file(name string) tar.Header {
	return tar.Header{Name: name, PAXRecords: map[string]string{"content": "evil"}}
}

func link(name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}
}

func squeeze(data []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(data)
	_ = w.Close()
	return buf.Bytes()
}

// tree lists everything under dir with its content.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		text := ""
		if d.Type().IsRegular() {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text = "=" + string(data)
		}
		all = append(all, rel+text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// attack unpacks inside a folder with neighbours, and fails if one changed.
func attack(t testing.TB, layer []byte, gzipped bool, limits Limits) (string, error) {
	t.Helper()
	around := t.TempDir()
	dir := filepath.Join(around, "envs", "new", "env")
	for _, d := range []string{dir, filepath.Join(around, "victim")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(around, "victim", "file"), []byte("good"), 0o644); err != nil {
		t.Fatal(err)
	}
	outside := func() []string {
		return slices.DeleteFunc(tree(t, around), func(p string) bool { return strings.HasPrefix(p, "envs/new/env/") })
	}
	before := outside()
	err := unpack(context.Background(), bytes.NewReader(layer), int64(len(layer)), gzipped, dir, limits.withDefaults())
	if after := outside(); !slices.Equal(before, after) {
		t.Errorf("written outside: %v", after)
	}
	return dir, err
}

func TestArchivesThatReachOutAreRefused(t *testing.T) {
	up := strings.Repeat("../", 12)
	for name, entries := range map[string][]tar.Header{
		"leading slash":           {file("/tmp/lapis-evil")},
		"two leading slashes":     {file("//tmp/lapis-evil")},
		"leading dot-dot":         {file("../evil")},
		"two leading dot-dots":    {file("../../evil")},
		"dot-dot inside":          {file("a/../../evil")},
		"dot-dot at the end":      {file("a/..")},
		"many dot-dots":           {file("a/" + up + "tmp/evil")},
		"file through a link":     {link("l", "../../../victim/file"), file("l")},
		"absolute link":           {link("l", "/etc"), file("l/evil")},
		"folder through a link":   {link("d", "../../../victim"), file("d/evil")},
		"two links":               {link("d", "."), link("d/e", "../.."), file("d/e/evil")},
		"two links, absolute":     {link("d", "/"), link("e", "d/tmp"), file("e/evil")},
		"link to a link":          {{Name: "s/t", Typeflag: tar.TypeDir, Mode: 0o755}, link("m", "s/t"), link("x", "m/../../../victim"), file("x/evil")},
		"link in a linked folder": {link("a", "."), link("a/s", "../y"), file("s/evil")},
		"inner link, then file":   {{Name: "in", Typeflag: tar.TypeDir, Mode: 0o755}, link("d", "in"), file("d/evil")},
		"hard link out":           {{Name: "h", Linkname: "/etc/passwd", Typeflag: tar.TypeLink}},
		"hard link up":            {{Name: "h", Linkname: "../../../victim/file", Typeflag: tar.TypeLink}, file("h")},
		"hard link inside":        {file("a"), {Name: "h", Linkname: "a", Typeflag: tar.TypeLink}},
		"character device":        {{Name: "dev", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
		"block device":            {{Name: "dev", Typeflag: tar.TypeBlock, Devmajor: 8}},
		"pipe":                    {{Name: "p", Typeflag: tar.TypeFifo}},
		"set-user":                {{Name: "su", Mode: 0o4755}},
		"set-group":               {{Name: "sg", Mode: 0o2755}},
		"sticky":                  {{Name: "st/", Typeflag: tar.TypeDir, Mode: 0o1777}},
		"twice":                   {file("a"), file("a")},
		"link over a file":        {file("a"), link("a", "b")},
		"file over a link":        {link("a", "b"), file("a")},
		"folder over a link":      {{Name: "b", Typeflag: tar.TypeDir, Mode: 0o755}, link("a", "b"), {Name: "a/", Typeflag: tar.TypeDir, Mode: 0o755}},
		"folder over a file":      {file("a"), file("a/b")},
		"backslash":               {file(`..\evil`)},
		"new line":                {file("a\nb")},
		"dot":                     {file(".")},
		"dot segment":             {file("a/./b")},
		"empty segment":           {file("a//b")},
		"GNU long name":           {{Name: up + strings.Repeat("x", 200), Format: tar.FormatGNU}},
		"PAX long name":           {{Name: up + strings.Repeat("x", 200), Format: tar.FormatPAX}},
		"very long name":          {{Name: strings.Repeat("x/", 600) + "y", Format: tar.FormatPAX}},
		"very deep":               {{Name: strings.Repeat("x/", 100) + "y", Format: tar.FormatPAX}},
		"empty link":              {{Name: "l", Linkname: "", Typeflag: tar.TypeSymlink}},
		"own interpreter":         {file("bin/python")},
		"own interpreter 3.12":    {link("bin/python3.12", "../evil")},
		"own configuration":       {file("pyvenv.cfg")},
	} {
		layer := tarOf(t, entries...)
		for _, gzipped := range []bool{false, true} {
			data := layer
			if gzipped {
				data = squeeze(layer)
			}
			_, err := attack(t, data, gzipped, Limits{})
			var bad *badArchive
			if !errors.As(err, &bad) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if exists("/tmp/lapis-evil") {
		t.Error("written to /tmp")
	}
}

func TestSoundArchivesUnpack(t *testing.T) {
	layer := tarOf(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "lib/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "lib/a.py", Mode: 0o600, PAXRecords: map[string]string{"content": "a"}},
		tar.Header{Name: "lib/...odd", PAXRecords: map[string]string{"content": "b"}},
		tar.Header{Name: "deep/er/x", Mode: 0o777, PAXRecords: map[string]string{"content": "x"}},
		tar.Header{Name: "lib/" + strings.Repeat("long", 60), Format: tar.FormatPAX}, link("lib64", "lib"), link("deep/up", "../lib/a.py"),
	)
	dir, err := attack(t, layer, false, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{"lib/a.py": 0o644, "deep/er/x": 0o755, "lib64/a.py": 0o644, "deep/up": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestBombsStopAtTheLimit(t *testing.T) {
	zeros := string(make([]byte, 1<<20))
	var many []tar.Header
	for i := range 68 {
		many = append(many, tar.Header{Name: "f" + strings.Repeat("x", i), PAXRecords: map[string]string{"content": zeros}})
	}
	huge := bytes.Clone(tarOf(t, file("big")))
	copy(huge[124:], "77777777777\x00") // a size that is only claimed
	sum := 0
	for i, b := range huge[:512] {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int(b)
	}
	copy(huge[148:], []byte{byte('0' + sum>>15&7), byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7), byte('0' + sum>>3&7), byte('0' + sum&7), 0, ' '})
	for name, c := range map[string]struct {
		layer   []byte
		gzipped bool
		limits  Limits
	}{
		"ratio":        {squeeze(tarOf(t, many...)), true, Limits{}},
		"bytes":        {tarOf(t, many[:3]...), false, Limits{Bytes: 2 << 20}},
		"entries":      {tarOf(t, many[:9]...), false, Limits{Entries: 8}},
		"claimed size": {huge, false, Limits{}},
		"padding":      {squeeze(append(tarOf(t, file("a")), make([]byte, 9<<20)...)), true, Limits{Bytes: 4 << 20}},
		"names": {squeeze(tarOf(t, func() (all []tar.Header) {
			for i := range 9000 {
				all = append(all, tar.Header{Name: "d" + strings.Repeat("x", i%90) + "/" + string(rune('a'+i%26)), Typeflag: tar.TypeDir, Mode: 0o755})
			}
			return all
		}()...)), true, Limits{Entries: 5000}},
	} {
		dir, err := attack(t, c.layer, c.gzipped, c.limits)
		var bad *badArchive
		if !errors.As(err, &bad) {
			t.Errorf("%s: %v", name, err)
		}
		var total int64
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
				total += info.Size()
			}
			return nil
		})
		if total > freeBytes {
			t.Errorf("%s: %d bytes written", name, total)
		}
	}
}

func TestCutOffArchivesAreRefused(t *testing.T) {
	layer := squeeze(tarOf(t, file("a"), file("b")))
	for _, n := range []int{0, 5, 20, len(layer) / 2, len(layer) - 4} {
		if _, err := attack(t, layer[:n], true, Limits{}); err == nil {
			t.Errorf("%d of %d bytes are taken for the whole", n, len(layer))
		}
	}
}

func TestPackingIsRepeatable(t *testing.T) {
	var digests []string
	for range 2 {
		dir := t.TempDir()
		for name, text := range map[string]string{"lib/a": "a", "lib/b": strings.Repeat("b", 3<<20), "bin/python": "x", "pyvenv.cfg": "home", "bin/run": "#!"} {
			p := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("lib", filepath.Join(dir, "lib64")); err != nil {
			t.Fatal(err)
		}
		var layer bytes.Buffer
		p, err := pack(t.Context(), dir, &layer)
		if err != nil || p.size != int64(layer.Len()) {
			t.Fatal(p, err)
		}
		digests = append(digests, p.digest+p.diffID)
		out, err := attack(t, layer.Bytes(), true, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if exists(filepath.Join(out, "bin", "python")) || exists(filepath.Join(out, "pyvenv.cfg")) {
			t.Error("what belongs to the machine is in the image")
		}
		if data, err := os.ReadFile(filepath.Join(out, "lib64", "b")); err != nil || len(data) != 3<<20 {
			t.Error(len(data), err)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("%v", digests)
	}
}

func TestPackingRefusesLinksThatLeadOut(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "x")); err != nil {
		t.Fatal(err)
	}
	if _, err := pack(t.Context(), dir, io.Discard); err == nil {
		t.Error("packed")
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestPackingEndsWhenTheWriterBreaks(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 40<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := pack(t.Context(), dir, brokenWriter{}); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Error(err)
	}
}

// FuzzUnpack wants -fuzzminimizetime 10x: shrinking an archive byte by byte takes
// all the time there is.
func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(f, file("a/b"), link("l", "a")))
	f.Add(tarOf(f, link("d", "."), link("d/e", ".."), file("d/e/evil")))
	f.Add(tarOf(f, tar.Header{Name: strings.Repeat("x", 150), Format: tar.FormatGNU}))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = attack(t, data, false, Limits{Bytes: 1 << 20, Entries: 100, Ratio: math.MaxInt32})
	})
}
