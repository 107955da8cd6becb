package environment

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ociref"

	"lapis/fault"
)

// Labels of the image's configuration.
const (
	labelHash     = "lapis.environment.hash"
	labelReport   = "lapis.environment.report" // JSON of Report
	labelPython   = "lapis.environment.python" // version of the interpreter, which is not in the image
	labelBase     = "lapis.environment.python.base"
	labelPlatform = "lapis.environment.platform"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
	maxDocument  = 8 << 20 // bytes of a manifest or a configuration
)

// imageConfig is the part of an OCI image configuration that is used here.
type imageConfig struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       struct {
		Labels map[string]string `json:"Labels"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// Push puts the environment into the registry as an image of one layer and
// returns the digest of its manifest. An empty tag pushes by digest only. The
// environment on disk counts as the unpacked image from then on. The same
// environment gives the same digest.
func (b *Builder) Push(ctx context.Context, reg ociregistry.Interface, repo, tag string, built Built) (string, error) {
	name, err := b.nameOf(built)
	if err != nil {
		return "", err
	}
	layer, diffID, err := b.pushLayer(ctx, reg, repo, built)
	if err != nil {
		return "", fmt.Errorf("push environment %s to %s: %w", short(built.Hash), repo, err)
	}
	report, err := json.Marshal(built.Report)
	if err != nil {
		return "", err
	}
	cfg := imageConfig{Architecture: runtime.GOARCH, OS: runtime.GOOS}
	cfg.RootFS.Type, cfg.RootFS.DiffIDs = "layers", []string{diffID}
	cfg.Config.Labels = map[string]string{
		labelHash: built.Hash, labelReport: string(report), labelPython: built.Report.Python.Got,
		labelBase: built.Report.Python.Base, labelPlatform: built.Report.Python.Platform,
	}
	data, err := json.Marshal(cfg)
	if err != nil {
		return "", err
	}
	config := describe(configType, data)
	if _, err := reg.PushBlob(ctx, repo, config, bytes.NewReader(data)); err != nil {
		return "", fmt.Errorf("push environment %s to %s: %w", short(built.Hash), repo, err)
	}
	manifest := ociregistry.Manifest{MediaType: manifestType, Config: config, Layers: []ociregistry.Descriptor{layer}}
	manifest.SchemaVersion = 2
	if data, err = json.Marshal(manifest); err != nil {
		return "", err
	}
	if _, err := reg.PushManifest(ctx, repo, tag, data, manifestType); err != nil {
		return "", fmt.Errorf("push environment %s to %s: %w", short(built.Hash), repo, err)
	}
	digest := string(describe(manifestType, data).Digest)
	if err := b.shelf.adopt(strings.TrimPrefix(digest, "sha256:"), name); err != nil {
		return "", storageFault(err)
	}
	b.log.Info("environment pushed", "hash", short(built.Hash), "repository", repo, "tag", tag, "digest", digest, "layerBytes", layer.Size)
	return digest, nil
}

// nameOf gives the place of an environment in our folder.
func (b *Builder) nameOf(built Built) (string, error) {
	name := filepath.Base(filepath.Dir(built.Dir))
	if built.Dir != b.shelf.path("envs", name, envName) || !exists(built.Dir) {
		return "", fmt.Errorf("environment %s is not one of this builder's", short(built.Hash))
	}
	return name, nil
}

func describe(mediaType string, data []byte) ociregistry.Descriptor {
	sum := sha256.Sum256(data)
	return ociregistry.Descriptor{MediaType: mediaType, Digest: ociregistry.Digest("sha256:" + hex.EncodeToString(sum[:])), Size: int64(len(data))}
}

// pushLayer packs into a temporary file, because a registry wants digest and
// size first, and uploads it unless the registry has it.
func (b *Builder) pushLayer(ctx context.Context, reg ociregistry.Interface, repo string, built Built) (ociregistry.Descriptor, string, error) {
	var none ociregistry.Descriptor
	f, err := os.CreateTemp(b.shelf.path("tmp"), "layer-")
	if err != nil {
		return none, "", storageFault(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	p, err := pack(ctx, built.Dir, f)
	if err != nil {
		return none, "", packFault(ctx, err)
	}
	desc := ociregistry.Descriptor{MediaType: layerType + "+gzip", Digest: ociregistry.Digest(p.digest), Size: p.size}
	if have, err := reg.ResolveBlob(ctx, repo, desc.Digest); err == nil && have.Size == desc.Size {
		return desc, p.diffID, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return none, "", storageFault(err)
	}
	_, err = reg.PushBlob(ctx, repo, desc, f)
	return desc, p.diffID, err
}

func packFault(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return storageFault(err)
}

// Pull returns the environment of an image, by tag or digest. The manifest is
// read through reg every time: a caller without the right to pull gets the
// registry's error, whatever lies on disk. The layer is fetched only when its
// content is not there yet.
func (b *Builder) Pull(ctx context.Context, reg ociregistry.Interface, repo, reference string) (Built, error) {
	data, err := fetchManifest(ctx, reg, repo, reference)
	if err != nil {
		return Built{}, fmt.Errorf("pull image %s of %s: %w", reference, repo, err)
	}
	digest := strings.TrimPrefix(string(describe(manifestType, data).Digest), "sha256:")
	unlock, err := b.pulls.lock(ctx, digest)
	if err != nil {
		return Built{}, err
	}
	defer unlock()
	if built, ok := b.shelf.image(digest); ok {
		return built, nil
	}
	built, err := b.download(ctx, reg, repo, digest, data)
	if err != nil {
		return Built{}, fmt.Errorf("pull image %s of %s: %w", reference, repo, err)
	}
	b.log.Info("environment pulled", "hash", short(built.Hash), "repository", repo, "digest", "sha256:"+digest)
	return built, nil
}

func fetchManifest(ctx context.Context, reg ociregistry.Interface, repo, reference string) ([]byte, error) {
	var r ociregistry.BlobReader
	var err error
	byDigest := ociref.IsValidDigest(reference)
	if byDigest {
		r, err = reg.GetManifest(ctx, repo, ociregistry.Digest(reference))
	} else {
		r, err = reg.GetTag(ctx, repo, reference)
	}
	if err != nil {
		return nil, err
	}
	data, err := readAll(r)
	if err != nil {
		return nil, err
	}
	if byDigest && string(describe(manifestType, data).Digest) != reference {
		return nil, badImage("the registry gave another manifest than the one asked for")
	}
	return data, nil
}

func readAll(r ociregistry.BlobReader) ([]byte, error) {
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(data) > maxDocument {
		err = badImage("a document of more than %d bytes", maxDocument)
	}
	return data, err
}

func badImage(format string, args ...any) error {
	return fault.E(fault.Invalid, Code, "the image is not an environment of this platform: "+format, args...).At("environment.image")
}

// download fetches configuration and layer, and puts the environment in place.
func (b *Builder) download(ctx context.Context, reg ociregistry.Interface, repo, digest string, manifest []byte) (Built, error) {
	var m ociregistry.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil || len(m.Layers) != 1 || m.Config.MediaType != configType {
		return Built{}, badImage("its manifest has not one layer and a configuration")
	}
	layer := m.Layers[0]
	if layer.Size < 0 || (layer.MediaType != layerType && layer.MediaType != layerType+"+gzip") {
		return Built{}, badImage("its layer is of type %q", layer.MediaType)
	}
	in, r, err := b.imageReport(ctx, reg, repo, m.Config)
	if err != nil {
		return Built{}, err
	}
	work, err := b.shelf.work(digest)
	if err != nil {
		return Built{}, storageFault(err)
	}
	defer os.RemoveAll(work)
	env := filepath.Join(work, envName)
	if err := os.Mkdir(env, 0o755); err != nil {
		return Built{}, storageFault(err)
	}
	blob, err := reg.GetBlob(ctx, repo, layer.Digest)
	if err != nil {
		return Built{}, err
	}
	defer blob.Close()
	got := newMeter()
	bounded := io.TeeReader(io.LimitReader(blob, layer.Size+1), got)
	err = unpack(ctx, bounded, layer.Size, layer.MediaType != layerType, env, b.cfg.Limits)
	if err == nil {
		_, err = io.Copy(io.Discard, bounded) // what the decompressor left
	}
	if err != nil {
		return Built{}, layerFault(ctx, err)
	}
	if got.digest() != string(layer.Digest) || got.n != layer.Size {
		return Built{}, badImage("the registry gave another layer than the manifest names")
	}
	if err := tie(env, in); err != nil {
		return Built{}, layerFault(ctx, err)
	}
	name := pulled + digest
	built, err := b.shelf.placeAs(name, work, r)
	if err != nil {
		return Built{}, storageFault(err)
	}
	if err := b.shelf.adopt(digest, name); err != nil {
		return Built{}, storageFault(err)
	}
	return built, nil
}

func layerFault(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var bad *badArchive
	if errors.As(err, &bad) {
		return fault.E(fault.Invalid, Code, "%w", bad).At("environment.image")
	}
	return storageFault(err)
}

// imageReport reads the configuration and finds the interpreter that the image
// needs among those of this machine. The image only says which one it wants.
func (b *Builder) imageReport(ctx context.Context, reg ociregistry.Interface, repo string, desc ociregistry.Descriptor) (Interpreter, record, error) {
	blob, err := reg.GetBlob(ctx, repo, desc.Digest)
	if err != nil {
		return Interpreter{}, record{}, err
	}
	data, err := readAll(blob)
	if err != nil {
		return Interpreter{}, record{}, err
	}
	var cfg imageConfig
	if describe(configType, data).Digest != desc.Digest || json.Unmarshal(data, &cfg) != nil {
		return Interpreter{}, record{}, badImage("its configuration is damaged")
	}
	labels := cfg.Config.Labels
	r := record{Format: formatVersion, Hash: labels[labelHash]}
	if !hexDigest.MatchString(r.Hash) || json.Unmarshal([]byte(labels[labelReport]), &r.Report) != nil {
		return Interpreter{}, record{}, badImage("it lacks the labels that Lapis gives")
	}
	all, err := b.Interpreters(ctx)
	if err != nil {
		return Interpreter{}, record{}, err
	}
	in, err := matching(all, labels[labelPython], labels[labelBase], labels[labelPlatform])
	if err != nil {
		return Interpreter{}, record{}, err
	}
	r.Report.Python.Got, r.Report.Python.Base = in.Version.String(), in.Path
	return in, r, nil
}

// matching finds the interpreter for an image: the very one, or one of the same
// minor version, because compiled packages fit one minor version only.
func matching(all []Interpreter, version, base, platform string) (Interpreter, error) {
	best := slices.IndexFunc(all, func(in Interpreter) bool { return in.Path == base && in.Version.String() == version && !in.Venv })
	if best < 0 {
		best = slices.IndexFunc(all, func(in Interpreter) bool { return in.Version.String() == version && !in.Venv })
	}
	if best < 0 {
		minor := version[:max(0, strings.LastIndexByte(version, '.'))]
		best = slices.IndexFunc(all, func(in Interpreter) bool { return in.Version.Minor() == minor && !in.Venv })
	}
	if best < 0 {
		return Interpreter{}, fault.E(fault.Conflict, Code, "the image needs Python %q, and this machine has %s",
			clip(version, 40), strings.Join(versionsOf(all), ", ")).At("environment.image")
	}
	if all[best].Platform != platform {
		return Interpreter{}, fault.E(fault.Conflict, Code, "the image was made for %q, and this machine is %s",
			clip(platform, 40), all[best].Platform).At("environment.image")
	}
	return all[best], nil
}

// tie makes the parts of a virtual environment that belong to the machine. The
// target of the link comes from our own search, never from the image.
func tie(env string, in Interpreter) error {
	root, err := os.OpenRoot(env)
	if err != nil {
		return err
	}
	defer root.Close()
	if info, err := root.Lstat("bin"); err == nil && !info.IsDir() {
		return refuse("bin is not a folder")
	}
	if err := root.MkdirAll("bin", 0o755); err != nil {
		return err
	}
	for name, target := range map[string]string{"python": in.Path, "python3": "python", "python" + in.Version.Minor(): "python"} {
		if err := root.Symlink(target, "bin/"+name); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("home = %s\nimplementation = CPython\nversion_info = %s\ninclude-system-site-packages = false\nrelocatable = true\n",
		filepath.Dir(in.Path), in.Version)
	return root.WriteFile("pyvenv.cfg", []byte(text), 0o644)
}
