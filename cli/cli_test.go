package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"lapis/client"
)

func TestMain(m *testing.M) {
	program := func() {
		os.Exit(Main(os.Args, Hooks{Version: "test", Up: func(_ context.Context, o UpOptions) error {
			return errors.New("up with data " + filepath.Base(o.DataDir))
		}}))
	}
	testscript.Main(m, map[string]func(){"az": program, "lapis": program})
}

// TestManners runs the program as a user does; see testdata/*.txt.
func TestManners(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("LAPIS_DATA", filepath.Join(e.WorkDir, "data"))
			e.Setenv("HOME", e.WorkDir)
			return os.Mkdir(filepath.Join(e.WorkDir, "data"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// platform writes a client file that leads to a port where nothing is.
			"platform": func(ts *testscript.TestScript, _ bool, _ []string) {
				work := ts.Getenv("WORK")
				ts.Check(client.Write(filepath.Join(work, "data"), client.Info{
					Proxy: "http://127.0.0.1:1", TenantID: "t", ClientID: "c", ClientSecret: "it's", SubscriptionID: "sub", ResourceGroup: "rg",
					Workspace: "ws", Location: "local", ConfigDir: filepath.Join(work, "data", "azure"), BinDir: filepath.Join(work, "data", "bin"), PID: os.Getpid(),
				}))
			},
		},
	})
}

func TestEnvironmentIsWrittenForEveryShell(t *testing.T) {
	env := []string{"A=plain", "B=it's $x", "PATH=/bin dir:/usr/bin"}
	getenv := func(name string) string { return map[string]string{"PATH": "/bin dir:/usr/bin"}[name] }
	for _, tt := range []struct {
		shell string
		unset bool
		want  string
	}{
		{"sh", false, "export A=plain\nexport B='it'\\''s $x'\nexport PATH='/bin dir:/usr/bin'"},
		{"sh", true, "unset A\nunset B\nexport PATH=/usr/bin"},
		{"fish", false, "set -gx A 'plain';\nset -gx B 'it\\'s $x';\nset -gx PATH '/bin dir' '/usr/bin';"},
		{"fish", true, "set -e A;\nset -e B;\nset -gx PATH '/usr/bin';"},
		{"powershell", false, "$Env:A = 'plain'\n$Env:B = 'it''s $x'\n$Env:PATH = '/bin dir:/usr/bin'"},
	} {
		if got := strings.Join(envLines(tt.shell, env, tt.unset, getenv), "\n"); got != tt.want {
			t.Errorf("%s unset=%v:\n%s\nwant\n%s", tt.shell, tt.unset, got, tt.want)
		}
	}
}

func TestPageIsOfThisMachine(t *testing.T) {
	for proxy, want := range map[string]string{
		"http://127.0.0.1:34987":               "http://127.0.0.1:34987/page",
		"http://[::]:34987":                    "http://127.0.0.1:34987/page",
		"http://0.0.0.0:80":                    "http://127.0.0.1:80/page",
		"http://[::1]:34987":                   "http://[::1]:34987/page",
		"http://instance:secret@localhost:1/x": "http://localhost:1/page",
		"":                                     "",
		"127.0.0.1:34987":                      "",
	} {
		if got, err := pageAt(proxy); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", proxy, got, err)
		}
	}
}
