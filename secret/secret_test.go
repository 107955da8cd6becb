package secret_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"lapis/secret"
)

const canary = "canary-4711-do-not-print"

func TestSecretNeverPrints(t *testing.T) {
	type holder struct {
		Name string
		Key  secret.String
		More []secret.String
	}
	s := secret.New(canary)
	h := holder{"h", s, []secret.String{s}}
	texts := map[string]string{"String": s.String(), "error": fmt.Errorf("wrong: %w, %s", errors.New("x"), s).Error()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v"} {
		texts[verb] = fmt.Sprintf(strings.Replace(verb, "%T ", "", 1), s)
		texts[verb+" in a struct"] = fmt.Sprintf(strings.Replace(verb, "%T ", "", 1), h)
		texts[verb+" of a pointer"] = fmt.Sprintf(strings.Replace(verb, "%T ", "", 1), &h)
	}
	for name, v := range map[string]any{"JSON": s, "JSON of a struct": h, "JSON of a map": map[secret.String]int{s: 1}} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		texts[name] = string(data)
	}
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text log": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"JSON log": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var out bytes.Buffer
		slog.New(handler(&out)).Info("m", "key", s, "holder", h, "pointer", &h)
		texts[name] = out.String()
	}
	for name, text := range texts {
		if strings.Contains(text, canary) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", canary)) {
			t.Errorf("%s shows it: %s", name, text)
		}
	}
	if s.Reveal() != canary {
		t.Error("it cannot be had any more")
	}
}

func TestEmptySecretEqualsNothing(t *testing.T) {
	if (secret.String{}).Equal("") || secret.New("").Equal("x") || !(secret.String{}).IsZero() {
		t.Error("no secret opens something")
	}
	s := secret.New(canary)
	for _, other := range []string{"", canary[1:], canary + "x", strings.ToUpper(canary)} {
		if s.Equal(other) {
			t.Errorf("%q is taken for it", other)
		}
	}
	if !s.Equal(canary) || s.IsZero() {
		t.Error("it does not equal itself")
	}
}

func sealer(t *testing.T, fill byte) *secret.Sealer {
	t.Helper()
	s, err := secret.NewSealer(bytes.Repeat([]byte{fill}, secret.KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealOpensForItsKeyAndLabelAlone(t *testing.T) {
	s := sealer(t, 1)
	sealed, err := s.Seal("keys of a", []byte(canary))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte(canary)) {
		t.Error("the text shows in what is sealed")
	}
	if plain, err := s.Open("keys of a", sealed); err != nil || string(plain) != canary {
		t.Errorf("%q %v", plain, err)
	}
	again, err := s.Seal("keys of a", []byte(canary))
	if err != nil || bytes.Equal(again, sealed) {
		t.Errorf("sealed twice it looks the same: %v", err)
	}
	refused := func(name string, s *secret.Sealer, label string, data []byte) {
		t.Helper()
		if plain, err := s.Open(label, data); !errors.Is(err, secret.ErrSeal) || plain != nil {
			t.Errorf("%s: %q %v", name, plain, err)
		}
	}
	refused("another label", s, "keys of b", sealed)
	refused("no label", s, "", sealed)
	refused("another key", sealer(t, 2), "keys of a", sealed)
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		refused(fmt.Sprint("byte ", i), s, "keys of a", bad)
		refused(fmt.Sprint("cut at ", i), s, "keys of a", sealed[:i])
	}
	refused("more at the end", s, "keys of a", append(bytes.Clone(sealed), 0))
}

func TestSealerNeedsAWholeKeyAndRandomness(t *testing.T) {
	for _, size := range []int{0, 16, secret.KeySize - 1, secret.KeySize + 1} {
		if _, err := secret.NewSealer(make([]byte, size), rand.Reader); err == nil {
			t.Errorf("a key of %d bytes is taken", size)
		}
	}
	s, err := secret.NewSealer(make([]byte, secret.KeySize), bytes.NewReader([]byte("short")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal("l", []byte("x")); err == nil {
		t.Error("sealed with a short nonce")
	}
}

func FuzzOpen(f *testing.F) {
	s, err := secret.NewSealer(make([]byte, secret.KeySize), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("l", []byte{})
	f.Add("l", make([]byte, 12))
	f.Add("", make([]byte, 28))
	f.Fuzz(func(t *testing.T, label string, data []byte) {
		if _, err := s.Open(label, data); !errors.Is(err, secret.ErrSeal) {
			t.Errorf("%q opens %x: %v", label, data, err)
		}
	})
}

func TestDerivedSecretsAreOfTheirKeyAndLabelAlone(t *testing.T) {
	s, again, other := sealer(t, 1), sealer(t, 1), sealer(t, 2)
	one := s.Derive("one")
	if one.IsZero() || !one.Equal(again.Derive("one").Reveal()) {
		t.Error("the same key and label give another secret")
	}
	if one.Equal(s.Derive("two").Reveal()) || one.Equal(s.Derive("").Reveal()) || one.Equal(other.Derive("one").Reveal()) {
		t.Error("another key or label gives the same secret")
	}
}
