package content

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckKey(t *testing.T) {
	for _, key := range []string{
		"a", "0", "a/b/c", "blobs/sha256/00ff", ".hidden", "...", "a..b", "a/.b", "-", "_", strings.Repeat("k", MaxKey),
	} {
		if err := CheckKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range []string{
		"", ".", "..", "/", "/a", "a/", "a//b", "a/./b", "a/../b", "../a", "a/..", "A", "a b", "a\x00", "a\\b", "a:b", "a@", "é", "a\n",
		strings.Repeat("k", MaxKey+1),
	} {
		if CheckKey(key) == nil {
			t.Errorf("%q passes", key)
		}
	}
}

func FuzzCheckKey(f *testing.F) {
	for _, seed := range []string{"a/b", "..", "a/../../b", "/etc/passwd", "a\x00b", "a//b", "con", "a/."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if CheckKey(key) != nil {
			return
		}
		if !filepath.IsLocal(key) || filepath.Clean(key) != key || strings.ToLower(key) != key || len(key) > MaxKey {
			t.Errorf("%q passes", key)
		}
	})
}
