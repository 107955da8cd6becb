// Package cli owns the program: called as az it is the az command line and no
// more; called as lapis it has the platform's own verbs beside it.
package cli

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"lapis/cli/az"
	"lapis/client"
)

// Hooks are what the program has beyond the command line.
type Hooks struct {
	// Up runs the platform until ctx ends.
	Up func(ctx context.Context, o UpOptions) error
	// Examples holds what the tour uses: endpoint-sai.yml, endpoint-uai.yml,
	// deployment-sai.yml, deployment-uai.yml, hello.txt, sample-request.json and
	// the files that these name.
	Examples fs.FS
	Version  string
}

// UpOptions are the flags of lapis up.
type UpOptions struct {
	DataDir      string
	Listen       string // host:port, or "" for the last one, or a free one
	Location     string
	EgressDeny   bool
	HostPackages bool // --environment host
	ExactPython  bool // --python exact
	Resettable   bool
	IMDS         bool
	AccessLog    string // all, failures or none
	RouteInTurn  bool   // --routing in-turn
	Isolation    string // --isolation: shared or fresh
	Log          *slog.Logger
	Ready        func(client.Info) // called once, when the platform answers
}

// Main runs the program and returns its exit code.
func Main(args []string, hooks Hooks) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := &az.App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Version: hooks.Version,
		Terminal: az.Terminal{In: az.IsTerminal(os.Stdin), Out: az.IsTerminal(os.Stdout), Err: az.IsTerminal(os.Stderr)},
	}
	return run(ctx, app, args, hooks)
}

func run(ctx context.Context, app *az.App, args []string, hooks Hooks) int {
	name := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	app.Program = "lapis"
	if name == "az" {
		app.Program = name
		return app.Execute(ctx, app.Root(), args[1:])
	}
	root := app.Root()
	root.Short = "the managed identity path of Azure Machine Learning, on your own machine"
	p := &platform{App: app, hooks: hooks}
	for _, verb := range []*cobra.Command{p.up(), p.env(), p.shell(), p.status(), p.explain(), p.metrics(), p.page(), p.mirrorReport(), p.tour(), p.doctor(), p.completion()} {
		root.AddCommand(verb)
	}
	return app.Execute(ctx, root, args[1:])
}
