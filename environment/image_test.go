package environment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ocimem"

	"lapis/fault"
)

// countingRegistry counts what is fetched, and denies when told to.
type countingRegistry struct {
	ociregistry.Interface
	manifests, blobs atomic.Int32
	deny             atomic.Bool
}

func (r *countingRegistry) GetTag(ctx context.Context, repo, tag string) (ociregistry.BlobReader, error) {
	r.manifests.Add(1)
	if r.deny.Load() {
		return nil, ociregistry.ErrDenied
	}
	return r.Interface.GetTag(ctx, repo, tag)
}

func (r *countingRegistry) GetManifest(ctx context.Context, repo string, d ociregistry.Digest) (ociregistry.BlobReader, error) {
	r.manifests.Add(1)
	if r.deny.Load() {
		return nil, ociregistry.ErrDenied
	}
	return r.Interface.GetManifest(ctx, repo, d)
}

func (r *countingRegistry) GetBlob(ctx context.Context, repo string, d ociregistry.Digest) (ociregistry.BlobReader, error) {
	r.blobs.Add(1)
	return r.Interface.GetBlob(ctx, repo, d)
}

// smallBuilt puts an environment on the shelf that was made without any index.
func smallBuilt(t *testing.T, b *Builder) Built {
	t.Helper()
	built, err := b.Build(t.Context(), Spec{Image: "img"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// offlineBuilder has an empty environment built by a uv of ours.
func offlineBuilder(t *testing.T) *Builder {
	environ, _ := fakeUV(t, "true")
	return newBuilder(t, func(c *Config) { c.Environ = environ })
}

func addModule(t *testing.T, built Built) {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join(built.Dir, "lib", "python3.*", "site-packages"))
	for name, text := range map[string]string{"answer.py": "value = 42\n", "long_" + strings.Repeat("x", 150) + ".py": "pass\n"} {
		if err := os.WriteFile(filepath.Join(found[0], name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(built.Dir, "bin", "tool"), []byte("#!/bin/sh\necho tool\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestImageGoesRoundTrip(t *testing.T) {
	reg := &countingRegistry{Interface: ocimem.New()}
	b := offlineBuilder(t)
	built := smallBuilt(t, b)
	addModule(t, built)
	digest, err := b.Push(t.Context(), reg, "azureml/env", "1", built)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.Push(t.Context(), reg, "azureml/env", "1", built); err != nil || again != digest {
		t.Errorf("pushed again as %s, %v; first %s", again, err, digest)
	}
	// The builder that pushed has the content already.
	here, err := b.Pull(t.Context(), reg, "azureml/env", "1")
	if err != nil || here.Dir != built.Dir || reg.blobs.Load() != 0 || reg.manifests.Load() != 1 {
		t.Errorf("%+v, %v; %d blobs, %d manifests", here, err, reg.blobs.Load(), reg.manifests.Load())
	}
	// Another one has to fetch it, once.
	other := offlineBuilder(t)
	for i, reference := range []string{"1", digest, "1"} {
		got, err := other.Pull(t.Context(), reg, "azureml/env", reference)
		if err != nil {
			t.Fatal(err)
		}
		if got.Hash != built.Hash || got.Report.Python.Got != built.Report.Python.Got || !strings.HasPrefix(got.Dir, other.cfg.Dir) {
			t.Errorf("%+v", got)
		}
		if out := runPython(t, got.Python, "import answer, sys; print(answer.value, sys.prefix)"); out != "42 "+got.Dir {
			t.Errorf("runs as %s", out)
		}
		if info, err := os.Stat(filepath.Join(got.Dir, "bin", "tool")); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%v, %v", info, err)
		}
		if reg.blobs.Load() != 2 || reg.manifests.Load() != int32(i)+2 {
			t.Errorf("%d blobs and %d manifests after pull %d", reg.blobs.Load(), reg.manifests.Load(), i+1)
		}
	}
	if left, _ := os.ReadDir(other.shelf.path("tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPullIsDeniedThoughTheContentIsThere(t *testing.T) {
	reg := &countingRegistry{Interface: ocimem.New()}
	b := offlineBuilder(t)
	digest, err := b.Push(t.Context(), reg, "env", "1", smallBuilt(t, b))
	if err != nil {
		t.Fatal(err)
	}
	reg.deny.Store(true)
	for _, reference := range []string{"1", digest} {
		if _, err := b.Pull(t.Context(), reg, "env", reference); !errors.Is(err, ociregistry.ErrDenied) {
			t.Errorf("%s: %v", reference, err)
		}
	}
}

func TestAPulledImageIsNeverTakenForABuild(t *testing.T) {
	reg := ocimem.New()
	maker := offlineBuilder(t)
	built := smallBuilt(t, maker)
	if _, err := maker.Push(t.Context(), reg, "env", "1", built); err != nil {
		t.Fatal(err)
	}
	b := offlineBuilder(t)
	if _, err := b.Pull(t.Context(), reg, "env", "1"); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.shelf.built(built.Hash); ok {
		t.Error("whoever can push an image decides what a build gives")
	}
}

func TestDamagedImagesAreRefused(t *testing.T) {
	b := offlineBuilder(t)
	good := ocimem.New()
	if _, err := b.Push(t.Context(), good, "env", "1", smallBuilt(t, b)); err != nil {
		t.Fatal(err)
	}
	manifestOf := func() ociregistry.Manifest {
		data, err := fetchManifest(t.Context(), good, "env", "1")
		if err != nil {
			t.Fatal(err)
		}
		var m ociregistry.Manifest
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	for name, change := range map[string]func(*ociregistry.Manifest, *imageConfig){
		"two layers":     func(m *ociregistry.Manifest, _ *imageConfig) { m.Layers = append(m.Layers, m.Layers[0]) },
		"zip layer":      func(m *ociregistry.Manifest, _ *imageConfig) { m.Layers[0].MediaType = "application/zip" },
		"not gzip":       func(m *ociregistry.Manifest, _ *imageConfig) { m.Layers[0].MediaType = layerType },
		"layer size":     func(m *ociregistry.Manifest, _ *imageConfig) { m.Layers[0].Size-- },
		"no labels":      func(_ *ociregistry.Manifest, c *imageConfig) { c.Config.Labels = nil },
		"bad hash":       func(_ *ociregistry.Manifest, c *imageConfig) { c.Config.Labels[labelHash] = "../../x" },
		"bad report":     func(_ *ociregistry.Manifest, c *imageConfig) { c.Config.Labels[labelReport] = "{" },
		"unknown python": func(_ *ociregistry.Manifest, c *imageConfig) { c.Config.Labels[labelPython] = "3.99.1" },
		"no python":      func(_ *ociregistry.Manifest, c *imageConfig) { c.Config.Labels[labelPython] = "" },
		"other platform": func(_ *ociregistry.Manifest, c *imageConfig) { c.Config.Labels[labelPlatform] = "beos-ppc" },
		"other interpret": func(_ *ociregistry.Manifest, c *imageConfig) {
			c.Config.Labels[labelPython], c.Config.Labels[labelBase] = "x", "/bin/sh"
		},
	} {
		m := manifestOf()
		blob, err := good.GetBlob(t.Context(), "env", m.Config.Digest)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(blob)
		var cfg imageConfig
		if err := json.Unmarshal(data, &cfg); err != nil {
			t.Fatal(err)
		}
		change(&m, &cfg)
		data, _ = json.Marshal(cfg)
		m.Config = describe(configType, data)
		if _, err := good.PushBlob(t.Context(), "env", m.Config, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		data, _ = json.Marshal(m)
		other := offlineBuilder(t)
		_, err = other.Pull(t.Context(), fixedManifest{good, data}, "env", "bad")
		if !fault.HasCode(err, Code) || fault.Is(err, fault.Internal) {
			t.Errorf("%s: %v", name, err)
		}
		if left := leftovers(t, other); len(left) > 0 {
			t.Errorf("%s leaves %v", name, left)
		}
	}
}

// fixedManifest gives one manifest for every tag: registries check some of what
// a hostile one would send.
type fixedManifest struct {
	ociregistry.Interface
	data []byte
}

func (r fixedManifest) GetTag(context.Context, string, string) (ociregistry.BlobReader, error) {
	return ocimem.NewBytesReader(r.data, describe(manifestType, r.data)), nil
}

func (r fixedManifest) GetManifest(context.Context, string, ociregistry.Digest) (ociregistry.BlobReader, error) {
	return ocimem.NewBytesReader(r.data, describe(manifestType, r.data)), nil
}

func TestManifestMustBeTheOneAskedFor(t *testing.T) {
	b := offlineBuilder(t)
	_, err := b.Pull(t.Context(), fixedManifest{ocimem.New(), []byte("{}")}, "env", "sha256:"+strings.Repeat("a", 64))
	if !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	reg := ocimem.New()
	now := time.Now()
	environ, _ := fakeUV(t, "true")
	b := newBuilder(t, func(c *Config) { c.Environ, c.Now = environ, func() time.Time { return now } })
	build := func(image string) Built {
		built, err := b.Build(t.Context(), Spec{Image: image}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return built
	}
	push := func(built Built) string {
		digest, err := b.Push(t.Context(), reg, "env", "", built)
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	kept, dropped, fresh := build("kept"), build("dropped"), build("fresh")
	keep := push(kept)
	drop := push(dropped)
	there := func(built Built) bool { return exists(built.Dir) }
	if err := b.Prune(func(d string) bool { return d == keep }); err != nil {
		t.Fatal(err)
	}
	if !there(kept) || there(dropped) || !there(fresh) {
		t.Errorf("kept %v, dropped %v, fresh %v", there(kept), there(dropped), there(fresh))
	}
	now = now.Add(25 * time.Hour)
	if err := b.Prune(func(d string) bool { return d == keep }); err != nil || there(fresh) || !there(kept) {
		t.Errorf("%v: kept %v, old %v", err, there(kept), there(fresh))
	}
	if got, err := b.Pull(t.Context(), reg, "env", drop); err != nil || !there(got) {
		t.Errorf("what was dropped cannot be pulled: %v", err)
	}
	if err := b.Remove(kept.Hash); err != nil || there(kept) {
		t.Errorf("%v, there %v", err, there(kept))
	}
	if err := b.Remove("../envs"); err == nil {
		t.Error("removes by path")
	}
}

func TestForeignEnvironmentsAreNotPushed(t *testing.T) {
	b := offlineBuilder(t)
	if _, err := b.Push(t.Context(), ocimem.New(), "env", "1", Built{Hash: strings.Repeat("a", 64), Dir: "/etc"}); err == nil {
		t.Error("pushes /etc")
	}
}

func TestEnvironmentsSurviveAPowerFailureOnlyWhenMarkedDurable(t *testing.T) {
	b := offlineBuilder(t)
	built := smallBuilt(t, b)
	b.Close()
	mark := b.shelf.path("envs", built.Hash, markName)
	if !exists(mark) && b.shelf.bootID != "" {
		t.Error("not marked durable")
	}
	b.shelf.bootID = "another start of the machine"
	if _, ok := b.shelf.built(built.Hash); !ok {
		t.Error("a durable environment is lost")
	}
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.shelf.built(built.Hash); ok {
		t.Error("an environment that may be torn is trusted")
	}
}
