package environment

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lapis/fault"
)

// samplesDir finds the public sample files, which are not part of the repository.
func samplesDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("LAPIS_SAMPLES")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "samples")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no sample files here: set LAPIS_SAMPLES to their folder")
	}
	return dir
}

func sampleConda(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(samplesDir(t), "endpoints/online/model-1/environment/conda-managedidentity.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSampleCondaFileBecomesRequirements(t *testing.T) {
	p, err := planOf(Spec{Conda: sampleConda(t)})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"numpy==2.3.1", "scikit-learn==1.7.0", "scipy==1.16.0", "azureml-inference-server-http",
		"joblib==1.5.1", "azure-storage-blob==12.25.1", "azure-identity==1.23.0",
	}
	if diff := cmp.Diff(want, p.lines()); diff != "" {
		t.Error(diff)
	}
	if p.wanted != "==3.12.*" {
		t.Errorf("python %q", p.wanted)
	}
	if len(p.skipped) != 1 || p.skipped[0].Name != "pip" {
		t.Errorf("skipped %v", p.skipped)
	}
}

func TestMatchSpecsBecomePEP440(t *testing.T) {
	for in, want := range map[string]string{
		"numpy":                         "numpy",
		"numpy=1.2.3":                   "numpy==1.2.3",
		"numpy=1.2":                     "numpy==1.2.*",
		"numpy=1":                       "numpy==1.*",
		"numpy==1.2":                    "numpy==1.2",
		"numpy = 1.2.3":                 "numpy==1.2.3",
		"numpy>=1,<2":                   "numpy>=1,<2",
		"numpy >=1, <2":                 "numpy>=1,<2",
		"numpy>=1.2.*":                  "numpy>=1.2",
		"numpy=1.2.*":                   "numpy==1.2.*",
		"numpy 1.2.3":                   "numpy==1.2.3",
		"numpy 1.2*":                    "numpy==1.2.*",
		"numpy!=1.3":                    "numpy!=1.3",
		"numpy~=1.3.1":                  "numpy~=1.3.1",
		"numpy=*":                       "numpy",
		"numpy *":                       "numpy",
		"NumPy":                         "numpy",
		"numpy=1.2.3=py38_0":            "numpy==1.2.3=py38_0",
		"numpy 1.2.3 py38_0":            "numpy==1.2.3=py38_0",
		"numpy=1.2.3=*cuda*":            "numpy==1.2.3=*cuda*",
		"conda-forge::numpy=1.2":        "conda-forge::numpy==1.2.*",
		"conda-forge/linux-64::numpy":   "conda-forge/linux-64::numpy",
		"numpy[version='>=1.0,<2']":     "numpy>=1.0,<2",
		"_libgcc_mutex":                 "_libgcc_mutex",
		"ruamel.yaml=0.17.21":           "ruamel.yaml==0.17.21",
		"pytz=2024.1rc1":                "pytz==2024.1rc1",
		"prometheus_client>=0.1,!=0.2*": "",
		"numpy=1.2|1.3":                 "",
		"=1.2":                          "",
		"numpy=abc":                     "",
		"numpy>=":                       "",
		"numpy[build=py3]":              "",
		"bad channel::numpy":            "",
	} {
		p, err := parseMatchSpec(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q is taken as %q", in, p)
			}
			continue
		}
		if err != nil || p.String() != want {
			t.Errorf("%q: %q, %v; want %q", in, p, err, want)
		}
	}
}

func TestPipLines(t *testing.T) {
	for in, want := range map[string]string{
		"six":                              "six",
		"Six_Seven==1.0":                   "six-seven==1.0",
		"a [x, y] >= 1 , < 2":              "a[x,y]>=1,<2",
		"a (>=1)":                          "a>=1",
		"a==1 ; python_version < '3.9'":    "a==1 ; python_version < '3.9'",
		"a @ https://h.example/a.whl":      "a @ https://h.example/a.whl",
		"a @ https://h/a.whl ; x == 'y'":   "a @ https://h/a.whl ; x == 'y'",
		"git+https://h.example/a.git@v1":   "git+https://h.example/a.git@v1",
		"six  # a comment":                 "six",
		"a===1.0.weird":                    "a===1.0.weird",
		"--pre":                            "--pre",
		"-i https://h.example/simple":      "--index-url https://h.example/simple",
		"--extra-index-url=https://h/s":    "--extra-index-url https://h/s",
		"--trusted-host h --pre":           "--trusted-host h|--pre",
		"-f https://h/links":               "--find-links https://h/links",
		"":                                 "",
		"# only a comment":                 "",
		"-r requirements.txt":              "!the conda file only",
		"--requirement=x":                  "!the conda file only",
		"-c constraints.txt":               "!the conda file only",
		"-e .":                             "!editable",
		"./local":                          "!local path",
		"/abs/x.whl":                       "!local path",
		"a @ file:///etc/passwd":           "!local path",
		"--find-links /etc":                "!http or https URL",
		"--index-url":                      "!needs a value",
		"--no-index=1":                     "!takes no value",
		"--target /etc":                    "!not taken",
		"--config-settings x":              "!not taken",
		"a=1.2":                            "!write a==1.2",
		"a==":                              "!not a version",
		"a b":                              "!comparison",
		"--extra-index-url https://u:pw@h": "--extra-index-url https://u:pw@h",
		"--target https://u:canary@h/x":    "!not taken",
		"a ! https://u:canary@h/x":         "!***@h",
	} {
		r, options, err := parsePipLine(in)
		if why, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%q: %v; want an error with %q", in, err, why)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("%q: the error tells the password: %v", in, err)
			}
			continue
		}
		var got []string
		for _, o := range options {
			got = append(got, o.String())
		}
		if r != nil {
			got = append(got, r.String())
		}
		if text := strings.Join(got, "|"); err != nil || text != want {
			t.Errorf("%q: %q, %v; want %q", in, text, err, want)
		}
	}
}

func TestCondaErrorsNameThePlace(t *testing.T) {
	for in, want := range map[string]string{
		"dependencies:\n  - numpy=1.2\n  - numpy=x|y\n":  "line 3, column 5: dependencies[1]:",
		"dependencies:\n- pip:\n  - six\n  - -r x.txt\n": "line 4, column 5: dependencies[0].pip[1]:",
		"dependencies:\n- numpy: 1.2\n":                  "line 2, column 3: dependencies[0]:",
		"dependencies: numpy\n":                          "line 1, column 15: dependencies: must be a list",
		"channels: {a: b}\ndependencies: []\n":           "channels: must be a list",
		"dependencies:\n- [numpy]\n":                     "dependencies[0]: must be a package",
		"- a\n- b\n":                                     "must be a mapping",
		"":                                               "is empty",
		"# nothing\n":                                    "is empty",
		"a: [1, 2\nb: c\n":                               "conda file, line ",
		"a: b\n---\nc: d\n":                              "more than one document",
		"dependencies:\n- pip:\n  - 'x @ https://u:canary@h/ x'\n":           "dependencies[0].pip[0]",
		"x: &a [b]\ndependencies: *a\n":                                      "dependencies: must be a list",
		"dependencies: " + strings.Repeat("[", 50) + strings.Repeat("]", 50): "nests deeper",
	} {
		_, err := ParseConda([]byte(in))
		if !fault.Is(err, fault.Invalid) || !fault.HasCode(err, Code) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", in, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: the error tells the password: %v", in, err)
		}
		var f *fault.Error
		if errors.As(err, &f) && f.Target != "environment.conda_file" {
			t.Errorf("%q: target %q", in, f.Target)
		}
	}
}

func TestJSONIsACondaFileToo(t *testing.T) {
	yaml := "name: m\nchannels: [conda-forge]\ndependencies:\n- python=3.10\n- numpy=1.2\n- pip:\n  - six==1.0\n"
	json := "{\n\t\"name\": \"m\",\n\t\"channels\": [\"conda-forge\"],\n\t\"dependencies\": [\"python=3.10\", \"numpy=1.2\", {\"pip\": [\"six==1.0\"]}]\n}"
	a, err := ParseConda([]byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseConda([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	in := Interpreter{Version: PyVersion{3, 10, 1}}
	x, _ := Hash(Spec{Conda: []byte(yaml)}, in, ModeBuild)
	y, _ := Hash(Spec{Conda: []byte(json)}, in, ModeBuild)
	if x != y || a.Name != b.Name {
		t.Errorf("%+v and %+v differ", a, b)
	}
}

func TestFloatVersionsStayAsWritten(t *testing.T) {
	c, err := ParseConda([]byte("dependencies:\n- python=3.10\n- \"python=3.10\"\n"))
	if err != nil || c.Packages[0].Versions != "==3.10.*" || c.Packages[1].Versions != "==3.10.*" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestDeepNestingEndsSoon(t *testing.T) {
	for _, in := range []string{
		strings.Repeat("- ", 60_000), strings.Repeat("[", 100_000), strings.Repeat("{a: ", 30_000),
		strings.Repeat("? ", 60_000), strings.Repeat("a: ", 40_000), strings.Repeat("!x ", 40_000),
		deepBlocks(400),
	} {
		start := time.Now()
		_, _ = ParseConda([]byte(in))
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%.20q took %v", in, took)
		}
	}
	if _, err := ParseConda(make([]byte, maxCondaBytes+1)); !fault.Is(err, fault.Invalid) {
		t.Error("a file beyond the limit is read")
	}
}

func deepBlocks(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestNamesAreMapped(t *testing.T) {
	for conda, want := range map[string]string{
		"scikit-learn": "scikit-learn", "pytorch": "torch", "opencv": "opencv-python-headless", "py-xgboost": "xgboost",
		"matplotlib-base": "matplotlib", "prometheus_client": "prometheus-client", "librosa": "librosa", "cmake": "cmake",
		"python": "", "pip": "", "openssl": "", "libgcc-ng": "", "_libgcc_mutex": "", "libblas": "", "cudatoolkit": "", "r-dplyr": "",
	} {
		name, why, ok := pypiName(conda)
		if name != want || ok != (want != "") || ok == (why != "") {
			t.Errorf("%s: %q, %q, %v", conda, name, why, ok)
		}
	}
}

func TestVersionsCompareAsPEP440(t *testing.T) {
	ordered := []string{"1.0.dev1", "1.0a1.dev1", "1.0a1", "1.0a2", "1.0b1", "1.0rc1", "1.0", "1.0.post1.dev1", "1.0.post1", "1.0.1", "1.1", "1.10", "1!0.1"}
	for i := 1; i < len(ordered); i++ {
		a, errA := parseVersion(ordered[i-1])
		b, errB := parseVersion(ordered[i])
		if errA != nil || errB != nil || a.compare(b) >= 0 || b.compare(a) <= 0 {
			t.Errorf("%s is not before %s (%v, %v)", ordered[i-1], ordered[i], errA, errB)
		}
	}
	for _, c := range []struct {
		spec, version string
		want          bool
	}{
		{"==1.2", "1.2.0", true}, {"==1.2.*", "1.2", true}, {"==1.2.*", "1.20", false}, {"!=1.2.*", "1.2.9", false},
		{">=1,<2", "2.0", false}, {">=1,<2", "1.9.9", true}, {"<2", "2.0rc1", false}, {">1.0", "1.0.post1", false},
		{"~=1.4.2", "1.4.9", true}, {"~=1.4.2", "1.5", false}, {"===1.0", "1.0", true}, {"==1.0", "1.0+local", true}, {"", "nonsense", true}, {">=1", "nonsense", false},
	} {
		s, err := parseSpecifier(c.spec)
		if err != nil || s.allows(c.version) != c.want {
			t.Errorf("%s allows %s: %v, %v", c.spec, c.version, !c.want, err)
		}
	}
}

func FuzzParseConda(f *testing.F) {
	f.Add([]byte("name: a\nchannels:\n- c\ndependencies:\n- python=3.12\n- numpy>=1,<2\n- pip:\n  - six==1.0\n  - --pre\n"))
	f.Add([]byte(`{"dependencies": ["python=3.8", {"pip": ["a[b]>=1 ; python_version < '3'"]}]}`))
	f.Add([]byte("dependencies: [a=1=b, c::d, \"e[version='>1']\"]\n"))
	f.Add([]byte("dependencies: &a\n- *a\n"))
	f.Add([]byte("? a\n: |\n  b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConda(data)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("not an input error: %v", err)
			}
			return
		}
		p, err := planOf(Spec{Conda: data})
		if err != nil && len(data) > 0 {
			t.Errorf("parsed, but no plan: %v (%+v)", err, c)
		}
		for _, l := range p.lines() {
			if strings.ContainsAny(l, "\n\r\x00") {
				t.Errorf("a requirement of two lines: %q", l)
			}
		}
	})
}
