package lapis_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lapis"
)

func TestPortInUseIsSaidPlainly(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, err = lapis.New(lapis.Config{DataDir: t.TempDir(), Listen: taken.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("error: %v", err)
	}
}

func TestTwoPlatformsDoNotShareADataFolder(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	_, err := lapis.New(lapis.Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "--data") {
		t.Errorf("error: %v", err)
	}
}

func TestLostMasterKeyIsNotMadeAnew(t *testing.T) {
	dir := t.TempDir()
	start(t, dir).stop()
	if err := os.Remove(filepath.Join(dir, "master.key")); err != nil {
		t.Fatal(err)
	}
	_, err := lapis.New(lapis.Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "master.key") {
		t.Errorf("error: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "master.key")); err == nil {
		t.Error("a new master key was made beside a store that the old one sealed")
	}
}

// A disk that fills while an environment is built fails the deployment with the
// cause, leaves nothing half made, and takes the same name again.
func TestFullDiskWhileBuildingFailsTheDeployment(t *testing.T) {
	dir := t.TempDir()
	environments := filepath.Join(dir, "environments")
	if err := os.MkdirAll(environments, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", environments, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(environments, syscall.MNT_DETACH) })
	p := start(t, dir)
	p.createEndpoint("full", nil)
	code := p.upload("codes", "score", "onlinescoring", map[string]string{"score.py": "def init(): pass\ndef run(raw): return raw\n"})
	big := p.workspace() + "/environments/big/versions/1"
	p.must(p.arm("PUT", big, mlVersion, object{"properties": object{"image": "x", "condaFile": "dependencies: [python, pip, {pip: [numpy]}]"}}), 201)
	op := p.deploy("full", "blue", p.deploymentBody(code, big, map[string]string{}))
	if strings.Contains(op.text, "No package index answers") {
		t.Skip("no package index can be reached")
	}
	failed(t, op, "ImageBuildFailure", "o space left on device")
	if logs := p.getLogs("full", "blue"); !strings.Contains(logs, "o space left on device") {
		t.Errorf("the log does not say why:\n%s", logs)
	}
	if op := p.deploy("full", "blue", p.deploymentBody(code, p.environment(), map[string]string{})); op.str("status") != "Succeeded" {
		t.Errorf("the name is not usable after the failure: %s", op.text)
	}
}

func TestStoppingAtOnceIsNoError(t *testing.T) {
	dir := t.TempDir()
	for range 10 {
		start(t, dir).stop() // it reports an error of the stop
	}
}
