package environment

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// uvVersion is the uv that is fetched where the machine has none, and
// uvOldest the oldest of the machine's that knows all options used here.
const (
	uvVersion = "0.13.9"
	uvOldest  = "0.5.0"
)

// tool is what installs packages.
type tool struct {
	uv    string // path; "" for venv and pip
	label string // for the report
}

// config points uv at the user's own configuration file, and keeps it from
// taking up that of a project around the data folder.
func (t tool) config(environ []string) []string {
	if variable(environ, "UV_CONFIG_FILE") != "" || variable(environ, "UV_NO_CONFIG") != "" {
		return nil
	}
	base := cmp.Or(variable(environ, "XDG_CONFIG_HOME"), filepath.Join(variable(environ, "HOME"), ".config"))
	if file := filepath.Join(base, "uv", "uv.toml"); filepath.IsAbs(file) && exists(file) {
		return []string{"--config-file", file}
	}
	return []string{"--no-config"}
}

// tool returns the machine's uv, else our own, fetched once from the package
// index, else venv and pip.
func (j *job) tool(ctx context.Context) (tool, error) {
	b := j.b
	if b.pipOnly {
		return tool{label: "pip"}, nil
	}
	unlock, err := b.toolKey.lock(ctx, "uv")
	if err != nil {
		return tool{}, err
	}
	defer unlock()
	if b.uv != nil && exists(b.uv.uv) {
		return *b.uv, nil
	}
	own := b.shelf.path("tools", "uv-"+uvVersion)
	for _, path := range append(onPath(j.environ, "uv"), filepath.Join(own, "bin", "uv")) {
		if t, ok := j.tryUV(ctx, path); ok {
			b.uv = &t
			return t, nil
		}
	}
	if !j.offline || len(j.pip.findLinks()) > 0 {
		if err := j.fetchUV(ctx, own); err != nil {
			j.out.say("uv cannot be fetched (%s): venv and pip are used instead.", err)
		} else if t, ok := j.tryUV(ctx, filepath.Join(own, "bin", "uv")); ok {
			b.uv = &t
			return t, nil
		}
	}
	if err := context.Cause(ctx); err != nil {
		return tool{}, err
	}
	return tool{label: "pip"}, nil
}

// onPath lists the executables of the name on the user's PATH.
func onPath(environ []string, name string) []string {
	var found []string
	for _, dir := range filepath.SplitList(variable(environ, "PATH")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && filepath.IsAbs(path) && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			found = append(found, path)
		}
	}
	return found
}

// tryUV asks a uv for its version.
func (j *job) tryUV(ctx context.Context, path string) (tool, bool) {
	if !exists(path) {
		return tool{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env, cmd.Dir = j.environ, j.work
	inGroup(cmd)
	out, err := cmd.Output()
	words := strings.Fields(string(out))
	if err != nil || len(words) < 2 || words[0] != "uv" {
		return tool{}, false
	}
	oldest, _ := parseVersion(uvOldest)
	v, err := parseVersion(words[1])
	if err != nil || v.compare(oldest) < 0 {
		j.out.say("%s is uv %s; %s or newer is needed.", path, words[1], uvOldest)
		return tool{}, false
	}
	return tool{uv: path, label: "uv " + words[1]}, true
}

// fetchUV installs the pinned uv into our tools folder, by the pip of an
// interpreter of this machine and under the user's pip configuration.
func (j *job) fetchUV(ctx context.Context, dest string) error {
	env := j.pip.pipEnviron(j.environ)
	if j.offline {
		env = with(env, "PIP_NO_INDEX", "1")
	}
	temp := filepath.Join(j.work, "uv")
	j.out.say("Fetching uv %s, once.", uvVersion)
	var last error
	for _, in := range j.pipHosts() {
		if in.Version[1] < oldestMinor || in.Venv {
			continue
		}
		last = j.command(ctx, env, in.Path, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:",
			"--target", temp, "uv=="+uvVersion)
		if last == nil || ctx.Err() != nil || networkTrouble(last) {
			break
		}
	}
	defer os.RemoveAll(temp)
	if last != nil {
		return last
	}
	if _, ok := j.tryUV(ctx, filepath.Join(temp, "bin", "uv")); !ok { // pip calls a copy good that a full disk cut short
		return errors.New("what pip installed does not run")
	}
	if err := os.RemoveAll(dest); err != nil {
		return err
	}
	return os.Rename(temp, dest)
}

// networkTrouble reports whether another interpreter's pip would fail alike.
func networkTrouble(err error) bool {
	var u *Unreachable
	return errors.As(err, &u)
}
