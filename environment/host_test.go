package environment

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lapis/fault"
)

// hostVenv makes a virtual environment that "has installed" the packages given,
// by writing their metadata and a module each.
func hostVenv(t *testing.T, packages map[string]string) string {
	t.Helper()
	base := t.TempDir()
	dir := filepath.Join(base, "host")
	python := machinePythons()[0].Path
	if out, err := exec.Command(python, "-m", "venv", "--without-pip", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found, _ := filepath.Glob(filepath.Join(dir, "lib", "python3.*", "site-packages"))
	for name, version := range packages {
		info := filepath.Join(found[0], strings.ReplaceAll(name, "-", "_")+"-"+version+".dist-info")
		if err := os.Mkdir(info, 0o755); err != nil {
			t.Fatal(err)
		}
		metadata := "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n"
		if err := os.WriteFile(filepath.Join(info, "METADATA"), []byte(metadata), 0o644); err != nil {
			t.Fatal(err)
		}
		module := filepath.Join(found[0], strings.ReplaceAll(name, "-", "_")+".py")
		if err := os.WriteFile(module, []byte("version = '"+version+"'\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "bin", "python")
}

func hostBuilder(t *testing.T, python string) *Builder {
	t.Helper()
	b := newBuilder(t, func(c *Config) {
		c.Mode = ModeHost
		c.Environ = func() []string {
			return []string{"PATH=" + filepath.Dir(python) + ":" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "PYTHONPATH=/nowhere"}
		}
	})
	b.interpreters = append(ask(t.Context(), python, b.environ())[:1:1], machinePythons()...)
	return b
}

func TestHostModeTakesWhatThereIsAndSaysWhatDiffers(t *testing.T) {
	python := hostVenv(t, map[string]string{"lapis-probe-one": "1.5", "lapis-probe-two": "2.0"})
	b := hostBuilder(t, python)
	var log safeLog
	built, err := b.Build(t.Context(), conda("- python=3.99", "- lapis-probe-one=1.5", "- libgomp", "- pip:", "  - lapis_probe.two==2.1",
		"  - absent==1 ; sys_platform == 'win32'"), &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if diff := cmp.Diff([]Difference{{Name: "lapis-probe-two", Wanted: "==2.1", Got: "2.0"}}, built.Report.Differs); diff != "" {
		t.Error(diff)
	}
	text := strings.Join(built.Report.Lines(), "\n")
	for _, want := range []string{"instead of the python==3.99.*", "lapis-probe-two 2.0 instead of ==2.1", "left out: libgomp", "Not checked: absent==1"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, text)
		}
	}
	if got := runPython(t, built.Python, "import lapis_probe_one, lapis_probe_two; print(lapis_probe_one.version, lapis_probe_two.version)"); got != "1.5 2.0" {
		t.Errorf("imports %s", got)
	}
	if !strings.Contains(log.String(), "Differs: lapis-probe-two 2.0 instead of ==2.1") {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestHostModeFailsWithTheNamesOfWhatIsMissing(t *testing.T) {
	b := hostBuilder(t, hostVenv(t, map[string]string{"lapis-probe-one": "1.5"}))
	_, err := b.Build(t.Context(), conda("- lapis-probe-one", "- lapis-probe-x=1.2.3", "- lapis-probe-y"), nil)
	if !fault.Is(err, fault.Invalid) || !fault.HasCode(err, Code) || !strings.Contains(err.Error(), "lapis-probe-x==1.2.3, lapis-probe-y") {
		t.Error(err)
	}
	if left := leftovers(t, b); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestHostModeTakesThePythonThatIsNamed(t *testing.T) {
	python := hostVenv(t, map[string]string{"lapis-probe-one": "1.5"})
	b := hostBuilder(t, python)
	b.cfg.HostPython = python
	built, err := b.Build(t.Context(), conda("- lapis-probe-one"), nil)
	if err != nil || built.Report.Python.Base != python {
		t.Errorf("%+v, %v", built.Report.Python, err)
	}
	b.cfg.HostPython = "/no/such/python"
	if _, err := b.Build(t.Context(), conda("- lapis-probe-one"), nil); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}
