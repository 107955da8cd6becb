package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lapis/secret"
	"lapis/token"
)

// tour is what one `lapis tour` took.
type tour struct {
	total, building time.Duration
	hosted          bool // no package index: the environment is made of the host's Python
	dir             string
}

// settled is how much of the time budget may be gone for a second tour.
const settled = 130 * time.Second

// article measures the tour, and on the platform of its last run the second
// deployment and the memory of a platform that has nothing to do.
func (b *bench) article(ctx context.Context) error {
	begin := time.Now()
	t, err := b.tour(ctx, "--keep")
	if err != nil {
		return err
	}
	p := &platform{program: b.program, dir: filepath.Join(t.dir, "data")}
	if err := p.attach(); err != nil {
		return err
	}
	defer func() {
		_ = syscall.Kill(p.pid, syscall.SIGTERM)
		for until := time.Now().Add(30 * time.Second); syscall.Kill(p.pid, 0) == nil && time.Now().Before(until); {
			time.Sleep(5 * time.Millisecond)
		}
	}()
	names, err := p.tourNames(ctx)
	if err != nil {
		return err
	}
	if err := b.deployments(ctx, p, t, names); err != nil {
		return err
	}
	cleared, err := once(func() error { return p.clear(ctx, names) })
	if err != nil {
		return err
	}
	took := samples{(t.total - t.building + cleared).Seconds()}
	if err := b.memory(ctx, p); err != nil {
		return err
	}
	build := samples{t.building.Seconds()}
	if time.Since(begin) < settled-t.total {
		again, err := b.tour(ctx)
		if err != nil {
			return err
		}
		took, build = append(took, (again.total-again.building).Seconds()), append(build, again.building.Seconds())
	}
	b.report(figure{name: "tour without building the environment", unit: sec, target: 20, value: took, note: t.kind()})
	b.report(figure{name: "building the environment, in those tours", unit: sec, value: build, note: t.kind()})
	return nil
}

func (t tour) kind() string {
	if t.hosted {
		return "no package index: environment of the host's Python"
	}
	return "environment from a package index"
}

// tour runs `lapis tour` in a folder of its own, and tells the time of building
// the environment from the rest by the progress it shows.
func (b *bench) tour(ctx context.Context, flags ...string) (tour, error) {
	parent, err := os.MkdirTemp(b.dir, "tour")
	if err != nil {
		return tour{}, err
	}
	cmd := exec.CommandContext(ctx, b.program, append([]string{"tour"}, flags...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Env = append(os.Environ(), "TMPDIR="+parent)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return tour{}, err
	}
	cmd.Stderr = cmd.Stdout
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return tour{}, err
	}
	t, last := watchTour(out, time.Now)
	if err := cmd.Wait(); err != nil {
		return tour{}, fmt.Errorf("lapis tour: %w\n%s", err, last)
	}
	t.total = time.Since(begin)
	if left, _ := filepath.Glob(filepath.Join(parent, "lapis-tour-*")); len(left) == 1 {
		t.dir = left[0]
	}
	if slices.Contains(flags, "--keep") && t.dir == "" {
		return t, errors.New("lapis tour --keep kept nothing")
	}
	return t, nil
}

// watchTour reads a tour's output to its end; last are its last lines.
func watchTour(out io.Reader, now func() time.Time) (t tour, last string) {
	var building time.Time
	var lines []string
	for scan := bufio.NewScanner(out); scan.Scan(); {
		line := scan.Text()
		lines = append(lines[max(0, len(lines)-11):], line)
		switch {
		case strings.Contains(line, "building the environment"):
			if building.IsZero() {
				building = now()
			}
		case strings.Contains(line, "starting the instances") && !building.IsZero():
			t.building += now().Sub(building)
			building = time.Time{}
		case strings.Contains(line, "going on with what this machine's Python has"):
			t.hosted = true
		}
	}
	return t, strings.Join(lines, "\n")
}

// tourNames are what a tour has named anew.
type tourNames struct{ sai, uai, saiAccount, uaiAccount, identity string }

func (p *platform) tourNames(ctx context.Context) (tourNames, error) {
	out, _, err := p.az(ctx, "", "ml", "online-endpoint", "list", "--query", "[].name", "-o", "tsv")
	if err != nil {
		return tourNames{}, err
	}
	m := regexp.MustCompile(`tour-sai-(\d+)`).FindStringSubmatch(out)
	if m == nil {
		return tourNames{}, fmt.Errorf("no endpoint of a tour in %q", out)
	}
	return tourNames{"tour-sai-" + m[1], "tour-uai-" + m[1], "toursai" + m[1], "touruai" + m[1], "tour-identity-" + m[1]}, nil
}

// clear deletes as the tour does.
func (p *platform) clear(ctx context.Context, n tourNames) error {
	for _, line := range []string{
		"ml online-endpoint delete --yes --name " + n.sai, "ml online-endpoint delete --yes --name " + n.uai,
		"storage account delete --yes --name " + n.saiAccount, "storage account delete --yes --name " + n.uaiAccount,
		"identity delete --name " + n.identity,
	} {
		if _, _, err := p.az(ctx, "", strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}

// deployments measures `az ml online-deployment create` of the tour's example
// where its environment is there, against the bare script: Python started, its
// modules imported, init() run, with the same blob behind the same gateway.
func (b *bench) deployments(ctx context.Context, p *platform, t tour, n tourNames) error {
	variables := []string{"STORAGE_ACCOUNT_NAME=" + n.saiAccount, "STORAGE_CONTAINER_NAME=hellocontainer", "FILE_NAME=hello.txt"}
	dir := filepath.Join(t.dir, "files")
	bare, stop, err := b.bareScript(ctx, p, n.saiAccount, dir, variables)
	if err != nil {
		return err
	}
	defer stop()
	args := []string{"ml", "online-deployment", "create", "--endpoint-name", n.sai, "--file", "deployment-sai.yml", "--set"}
	for _, v := range variables {
		args = append(args, "environment_variables."+v)
	}
	create := func() (float64, error) {
		d, err := once(func() error {
			_, _, err := p.az(ctx, dir, append(args, "--name", "again")...)
			return err
		})
		if err != nil {
			return 0, err
		}
		_, _, err = p.az(ctx, "", "ml", "online-deployment", "delete", "--yes", "--endpoint-name", n.sai, "--name", "again")
		return d.Seconds(), err
	}
	got, err := interleave(5, create, bare)
	if err != nil {
		return err
	}
	b.report(figure{name: "second deployment, environment there", unit: sec, target: 4, value: got[0], floor: got[1], what: "the bare script to the end of init()", note: t.kind()})
	return nil
}

// bareScript runs the example's script with no platform around it but the one
// that it talks to, and takes the time to the end of init().
func (b *bench) bareScript(ctx context.Context, p *platform, account, files string, variables []string) (measure, func(), error) {
	if err := p.allow(ctx, account, "Storage Blob Data Reader"); err != nil {
		return nil, nil, err
	}
	pythons, _ := filepath.Glob(filepath.Join(p.dir, "environments", "envs", "*", "env", "bin", "python"))
	if len(pythons) == 0 {
		return nil, nil, errors.New("the tour has left no environment")
	}
	server, env, err := instanceTokens(ctx, func(_ context.Context, _, audience, _ string) (token.Token, error) {
		raw, err := p.token(strings.TrimSuffix(audience, "/"))
		return token.Token{Raw: secret.New(raw), Audience: audience, IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}, err
	})
	if err != nil {
		return nil, nil, err
	}
	variables = append(slices.Clone(variables), "PATH="+os.Getenv("PATH"), "AZUREML_MODEL_DIR="+files)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		variables = append(variables, name+"="+env[name])
	}
	for _, kv := range p.info.Env(os.Getenv) {
		if !strings.HasPrefix(kv, "AZURE_") && !strings.HasPrefix(kv, "PATH=") { // no credential, as in an instance
			variables = append(variables, kv)
		}
	}
	return func() (float64, error) {
		cmd := exec.CommandContext(ctx, pythons[0], "-c", "import score; score.init(); print('ready', flush=True)")
		var errs bytes.Buffer
		cmd.Dir, cmd.Env, cmd.Stderr = filepath.Join(files, "onlinescoring"), variables, &errs
		out, err := cmd.StdoutPipe()
		if err != nil {
			return 0, err
		}
		begin := time.Now()
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		_, _ = bufio.NewReader(out).ReadString('\n')
		took := time.Since(begin) // what Python does to end is no part of a deployment
		if err := cmd.Wait(); err != nil {
			return 0, fmt.Errorf("the bare script: %w\n%s", err, errs.Bytes())
		}
		return took.Seconds(), nil
	}, func() { _ = server.Close() }, nil
}

// memory measures the platform's process once nothing is deployed any more.
func (b *bench) memory(ctx context.Context, p *platform) error {
	var rss, pss samples
	for range 5 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
		now, err := rollup(p.pid)
		if err != nil {
			return err
		}
		rss, pss = append(rss, now["Rss"]/1e3), append(pss, now["Pss"]/1e3)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return err
	}
	peak := kilobytes(string(status))["VmHWM"] / 1e3
	b.report(figure{name: "memory after a tour, nothing deployed, RSS", unit: mb, target: 80, value: rss, note: "at its peak " + number(peak) + " MB"})
	b.report(figure{name: "memory after a tour, nothing deployed, PSS", unit: mb, target: 80, value: pss})
	return nil
}

func rollup(pid int) (map[string]float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	return kilobytes(string(data)), err
}

var kbLine = regexp.MustCompile(`(?m)^(\w+):\s+(\d+) kB$`)

// kilobytes reads the lines "Name: n kB" of a file in /proc, as thousands of bytes.
func kilobytes(text string) map[string]float64 {
	found := map[string]float64{}
	for _, m := range kbLine.FindAllStringSubmatch(text, -1) {
		if v, err := strconv.ParseFloat(m[2], 64); err == nil {
			found[m[1]] = v * 1024 / 1000
		}
	}
	return found
}
