package environment

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lapis/fault"
)

func machine(versions ...PyVersion) []Interpreter {
	var all []Interpreter
	for i, v := range versions {
		all = append(all, Interpreter{Path: "/py/" + v.String(), Version: v, Platform: "linux-x86_64", Default: i == 0})
	}
	return all
}

func TestInterpreterPolicy(t *testing.T) {
	all := machine(PyVersion{3, 11, 7}, PyVersion{3, 8, 18}, PyVersion{3, 10, 1}, PyVersion{3, 10, 13}, PyVersion{3, 13, 0})
	for _, c := range []struct {
		want    string
		nearest string // "" for an error
		exact   string
	}{
		{"", "3.11.7", "3.11.7"},              // none asked: the default
		{"=3.10", "3.10.13", "3.10.13"},       // newest of the minor version
		{"=3.10.1", "3.10.1", "3.10.1"},       // the very one
		{"=3.10.4", "3.10.13", "3.10.13"},     // another release of the minor version
		{"=3.12", "3.13.0", ""},               // as near as 3.11: the newer
		{"=3.9", "3.10.13", ""},               // 3.8 and 3.10 are as near: the newer
		{">=3.9,<3.11", "3.10.13", "3.10.13"}, // newest that fits
		{">=3.9", "3.13.0", "3.13.0"},
		{"=3.20", "3.13.0", ""},
		{"=3.6", "3.8.18", ""},
		{"=2.7", "3.13.0", ""},
	} {
		want, err := condaVersions(c.want)
		if err != nil {
			t.Fatal(err)
		}
		for policy, expected := range map[Policy]string{PythonNearest: c.nearest, PythonExact: c.exact} {
			in, err := choose(all, want, policy)
			if expected == "" {
				if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "3.8.18, 3.10.1, 3.10.13, 3.11.7, 3.13.0") {
					t.Errorf("python%s: %v, %v", c.want, in, err)
				}
				continue
			}
			if err != nil || in.Version.String() != expected {
				t.Errorf("python%s, policy %d: %s, %v; want %s", c.want, policy, in.Version, err, expected)
			}
		}
	}
	if _, err := choose(nil, nil, PythonNearest); !fault.Is(err, fault.Conflict) {
		t.Errorf("no interpreter: %v", err)
	}
}

func TestVirtualEnvironmentsAreNoBase(t *testing.T) {
	all := append(machine(PyVersion{3, 11, 7}), Interpreter{Path: "/venv", Version: PyVersion{3, 12, 0}, Venv: true})
	want, _ := condaVersions("=3.12")
	if in, err := choose(all, want, PythonNearest); err != nil || in.Venv {
		t.Errorf("%+v, %v", in, err)
	}
}

func TestImageNamesCarryAPython(t *testing.T) {
	for image, want := range map[string]string{
		"mcr.microsoft.com/azureml/minimal-py312-inference:latest":                     "==3.12.*",
		"mcr.microsoft.com/azureml/curated/minimal-python3.9-cpu":                      "==3.9.*",
		"mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest":                    "",
		"example.azurecr.io/happy3:1":                                                  "",
		"mcr.microsoft.com/azureml/minimal-ubuntu20.04-py38-cpu-inference:20230101.v1": "==3.8.*",
	} {
		p, err := planOf(Spec{Image: image})
		if err != nil || p.wanted != want {
			t.Errorf("%s: %q, %v", image, p.wanted, err)
		}
	}
	p, err := planOf(Spec{Image: "minimal-py312-inference", Conda: []byte("dependencies: [python=3.10]")})
	if err != nil || p.wanted != "==3.10.*" {
		t.Errorf("the conda file does not win: %q, %v", p.wanted, err)
	}
}

func TestHashIsOfTheContent(t *testing.T) {
	in := Interpreter{Path: "/a/python", Version: PyVersion{3, 12, 1}, Platform: "linux-x86_64"}
	base := Spec{Image: "img", Conda: []byte("name: a\ndependencies:\n- numpy=1.2.3\n- scipy\n- pip:\n  - six\n  - joblib==1\n")}
	hash := func(s Spec, in Interpreter, mode Mode) string {
		t.Helper()
		h, err := Hash(s, in, mode)
		if err != nil || !hexDigest.MatchString(h) {
			t.Fatal(h, err)
		}
		return h
	}
	want := hash(base, in, ModeBuild)
	elsewhere := in
	elsewhere.Path = "/b/python"
	same := map[string]string{
		"layout":      hash(Spec{Image: "img", Conda: []byte("dependencies: [scipy, numpy=1.2.3, {pip: [joblib==1, six]}] # note\n")}, in, ModeBuild),
		"spelling":    hash(Spec{Image: "img", Conda: []byte("dependencies: [SciPy, 'numpy 1.2.3', {pip: [joblib == 1, SIX]}]\n")}, in, ModeBuild),
		"another dir": hash(base, elsewhere, ModeBuild),
	}
	for name, got := range same {
		if got != want {
			t.Errorf("%s changes the hash", name)
		}
	}
	newer, other := in, in
	newer.Version[2], other.Platform = 2, "linux-aarch64"
	differ := map[string]string{
		"image":    hash(Spec{Image: "img2", Conda: base.Conda}, in, ModeBuild),
		"version":  hash(Spec{Image: "img", Conda: []byte("dependencies: [scipy, numpy=1.2.4, {pip: [joblib==1, six]}]\n")}, in, ModeBuild),
		"python":   hash(base, newer, ModeBuild),
		"platform": hash(base, other, ModeBuild),
		"mode":     hash(base, in, ModeHost),
		"options":  hash(Spec{Image: "img", Conda: append(base.Conda, "  - --pre\n"...)}, in, ModeBuild),
	}
	for name, got := range differ {
		if got == want {
			t.Errorf("%s does not change the hash", name)
		}
	}
	const fixed = "cb8cb2e4488c8f8ca7f67ef0080a1d7b9dfe9c8a293181758e8f82e67c001b2b"
	if want != fixed {
		t.Errorf("the hash of a fixed spec is %s: every environment on users' disks would be built again; raise formatVersion if that is meant", want)
	}
}

func TestBrokenInterpretersAreIgnored(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("python3", "echo 'pyenv: python3: command not found' >&2; exit 127")
	write("python3.9", "echo nonsense")
	write("python3.10", `echo '{"version": [2, 7, 18], "implementation": "cpython", "executable": "/x", "gil": true}'`)
	write("python3.11", `echo '{"version": [3, 11, 1], "implementation": "pypy", "executable": "/x", "gil": true}'`)
	write("python3.12", `echo '{"version": [3, 12, 1], "implementation": "cpython", "executable": "`+dir+`/python3.12", "base": "`+dir+`/python3.12", "platform": "p", "gil": true}'`)
	write("python3-config", "echo no")
	var got []string
	environ := []string{"PATH=" + dir + ":relative", "HOME=" + dir}
	for _, in := range findInterpreters(t.Context(), candidates(environ), environ) {
		if strings.HasPrefix(in.Path, dir) {
			got = append(got, in.Version.String())
		}
	}
	if len(got) != 1 || got[0] != "3.12.1" {
		t.Errorf("%v", got)
	}
}

func TestAPythonThatIsAddedIsFound(t *testing.T) {
	dir := t.TempDir()
	b := newBuilder(t, func(c *Config) { c.Environ = func() []string { return []string{"PATH=" + dir, "HOME=" + dir} } })
	before, err := b.Interpreters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "python3.47")
	answer := `{"version": [3, 47, 0], "implementation": "cpython", "executable": "` + path + `", "base": "` + path + `", "platform": "p", "gil": true}`
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho '"+answer+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	after, err := b.Interpreters(t.Context())
	if err != nil || len(before) == 0 {
		t.Fatal(before, err)
	}
	if !slices.Contains(versionsOf(after), "3.47.0") || slices.Contains(versionsOf(before), "3.47.0") {
		t.Errorf("%v, then %v", versionsOf(before), versionsOf(after))
	}
}
