package lapis_test

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"lapis"
	"lapis/client"
)

// TestServerEmbedsInATest is the example of the README: a platform for the
// length of a test, and a program that reaches it by its environment.
func TestServerEmbedsInATest(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl")
	}
	server, err := lapis.New(lapis.Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan client.Info, 1), make(chan error, 1)
	go func() { done <- server.Run(ctx, func(i client.Info) { ready <- i }) }()
	t.Cleanup(func() { cancel(); <-done })

	select {
	case info := <-ready:
		cmd := exec.CommandContext(ctx, "curl", "-sSf", "https://management.azure.com/metadata/endpoints?api-version=2022-09-01")
		cmd.Env = append(os.Environ(), info.Env(os.Getenv)...) // proxy, CA bundle, the owner's credentials
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	case err := <-done:
		done <- err
		t.Fatal(err)
	}
}
