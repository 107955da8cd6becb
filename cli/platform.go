package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"lapis/cli/az"
	"lapis/cli/cloud"
	"lapis/cli/tour"
	"lapis/client"
	"lapis/heap"
	"lapis/logline"
	"lapis/processors"
)

// platform has the verbs that az does not.
type platform struct {
	*az.App
	hooks Hooks
	data  string // --data
}

func (p *platform) verb(use, short string, run func(ctx context.Context, args []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.DataDir = p.data
		return run(cmd.Context(), args)
	}
	return cmd
}

// withData adds the flag for another data folder.
func (p *platform) withData(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&p.data, "data", "", "Data folder. Default: $LAPIS_DATA, else lapis in the XDG data folder.")
	return cmd
}

func (p *platform) dataDir() (string, error) {
	if p.data != "" {
		return filepath.Abs(p.data)
	}
	return client.DataDir(p.Getenv)
}

// choice is a flag that takes one of some words.
type choice struct {
	value string
	words []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.words, "|") }
func (c *choice) Set(text string) error {
	if !slices.Contains(c.words, text) {
		return fmt.Errorf("%q is not one of %s", text, strings.Join(c.words, ", "))
	}
	c.value = text
	return nil
}

// buildFlags are those of up that the tour passes on.
type buildFlags struct {
	environment, python choice
}

func (b *buildFlags) add(cmd *cobra.Command) {
	b.environment = choice{"build", []string{"build", "host"}}
	b.python = choice{"nearest", []string{"nearest", "exact"}}
	cmd.Flags().Var(&b.environment, "environment", "Build environments from a package index, or take what the host's Python has.")
	cmd.Flags().Var(&b.python, "python", "Where an interpreter is missing: take the nearest, or fail.")
}

func (p *platform) up() *cobra.Command {
	var o UpOptions
	var build buildFlags
	egress := choice{"allow", []string{"allow", "deny"}}
	access := choice{"all", []string{"all", "failures", "none"}}
	routing := choice{"random", []string{"random", "in-turn"}}
	isolation := choice{"shared", []string{"shared", "fresh"}}
	level := slog.LevelInfo
	cmd := p.withData(p.verb("up", "Run the platform until it is interrupted.", func(ctx context.Context, _ []string) error {
		if p.hooks.Up == nil {
			return errors.New("this program was built without the platform")
		}
		var err error
		if o.DataDir, err = p.dataDir(); err != nil {
			return err
		}
		o.EgressDeny, o.AccessLog = egress.value == "deny", access.value
		o.RouteInTurn, o.Isolation = routing.value == "in-turn", isolation.value
		o.HostPackages, o.ExactPython = build.environment.value == "host", build.python.value == "exact"
		log := logline.NewWriter(p.Stderr)
		defer log.Flush()
		o.Log = slog.New(logline.NewTextHandler(log, level))
		o.Ready = func(info client.Info) {
			fmt.Fprintf(p.Stdout, "lapis is ready at %s, data in %s\nin another terminal: eval \"$(lapis env%s)\"\n", info.Proxy, o.DataDir, p.dataFlag())
		}
		heap.Floor(heapFloor)
		processors.LeaveOne()
		return p.hooks.Up(ctx, o)
	}))
	build.add(cmd)
	cmd.Flags().StringVar(&o.Listen, "listen", "", "Address to listen at, as host:port. Default: that of the last run, else a free port of 127.0.0.1.")
	cmd.Flags().StringVar(&o.Location, "location", "", "Name of the one region. Default: local.")
	cmd.Flags().BoolVar(&o.Resettable, "resettable", false, "Let an owner delete everything that the first start did not make. For tests, which do so between one another.")
	cmd.Flags().BoolVar(&o.IMDS, "imds", false, "Give scripts their tokens in the form of the instance metadata service too, for clients that know no other. It has no secret: any program of this machine that finds the port gets them.")
	cmd.Flags().Var(&egress, "egress", "What becomes of names that are not Azure's: passed on, or refused.")
	cmd.Flags().Var(&routing, "routing", "How requests are split over deployments, and mirrored: by chance as in Azure, or in turn, so that every ten requests of 90 and 10 are nine and one.")
	cmd.Flags().Var(&isolation, "isolation", "How instances start: forked from a process of their workspace that has imported the environment's packages, or each from nothing.")
	cmd.Flags().Var(&access, "access-log", "Which requests to endpoints have a line in the log.")
	cmd.Flags().TextVar(&level, "log-level", slog.LevelInfo, "Least severity that is logged: DEBUG, INFO, WARN or ERROR.")
	return cmd
}

// heapFloor is how large the platform's heap may grow, in bytes, before it is
// collected: a sixth of the CPU time of a prediction was collection before.
const heapFloor = 32 << 20

func (p *platform) dataFlag() string {
	if p.data == "" {
		return ""
	}
	return " --data " + quote(p.data)
}

// running returns the client file of a platform whose process lives.
func (p *platform) running() (client.Info, string, error) {
	dir, err := p.dataDir()
	if err != nil {
		return client.Info{}, "", err
	}
	info, err := client.Read(dir)
	if err == nil && !alive(info.PID) {
		err = client.ErrNotRunning
	}
	return info, dir, err
}

func alive(pid int) bool {
	if pid <= 0 {
		return true // an older file, or one of another machine
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// environ is the environment that leads clients to the platform.
func (p *platform) environ() ([]string, error) {
	info, dir, err := p.running()
	if err != nil {
		return nil, err
	}
	env := info.Env(p.Getenv)
	if p.data != "" || p.Getenv("LAPIS_DATA") != "" {
		env = append(env, "LAPIS_DATA="+dir)
	}
	return env, nil
}

func (p *platform) env() *cobra.Command {
	shell := choice{"sh", []string{"sh", "fish", "powershell"}}
	unset := false
	cmd := p.withData(p.verb("env", "Print the variables that lead Azure clients to the platform.", func(context.Context, []string) error {
		env, err := p.environ()
		if err != nil {
			return err
		}
		for _, line := range envLines(shell.value, env, unset, p.Getenv) {
			fmt.Fprintln(p.Stdout, line)
		}
		return nil
	}))
	cmd.Flags().Var(&shell, "shell", "Whose grammar to write.")
	cmd.Flags().BoolVar(&unset, "unset", false, "Print what takes the variables back.")
	cmd.Example = "eval \"$(lapis env)\""
	return cmd
}

func (p *platform) shell() *cobra.Command {
	cmd := p.withData(p.verb("shell", "Start a shell, or a command after --, whose Azure clients reach the platform.", func(_ context.Context, args []string) error {
		env, err := p.environ()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			args = []string{firstOf(p.Getenv("SHELL"), "/bin/sh")}
			fmt.Fprintln(p.Stderr, "az and other Azure clients of this shell reach lapis; exit leaves it")
		}
		program, err := exec.LookPath(args[0])
		if err != nil {
			return err
		}
		return syscall.Exec(program, args, merge(os.Environ(), env))
	}))
	cmd.Example = "lapis shell\nlapis shell -- python train.py"
	return cmd
}

// merge lays variables over an environment.
func merge(base, over []string) []string {
	names := map[string]bool{}
	for _, kv := range over {
		name, _, _ := strings.Cut(kv, "=")
		names[name] = true
	}
	out := slices.Clone(over)
	for _, kv := range base {
		if name, _, _ := strings.Cut(kv, "="); !names[name] {
			out = append(out, kv)
		}
	}
	return out
}

func firstOf(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

func (p *platform) status() *cobra.Command {
	wait := time.Duration(0)
	cmd := p.withData(p.verb("status", "Say whether the platform is ready; exit 0 when it is.", func(ctx context.Context, _ []string) error {
		deadline := time.Now().Add(wait)
		for {
			result, err := p.ready(ctx)
			if err == nil {
				return p.showStatus(result)
			}
			if time.Now().After(deadline) || ctx.Err() != nil {
				return err
			}
			time.Sleep(100 * time.Millisecond)
		}
	}))
	cmd.Flags().DurationVar(&wait, "wait", 0, "How long to wait for it to be ready, such as 10s.")
	return cmd
}

// ready asks for a token and the subscription, as any client would.
func (p *platform) ready(ctx context.Context) (map[string]any, error) {
	info, dir, err := p.running()
	if err != nil {
		return nil, err
	}
	settings, err := cloud.Find(func(name string) string { // this platform, whatever the variables say
		if name == "HOME" || name == "LAPIS_DATA" {
			return p.Getenv(name)
		}
		return ""
	}, dir)
	if err != nil {
		return nil, err
	}
	s, err := cloud.NewSession(settings)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := s.Get(ctx, "/subscriptions/"+info.SubscriptionID, "2022-12-01"); err != nil {
		return nil, err
	}
	result := map[string]any{"state": "ready", "address": info.Proxy, "data": dir, "pid": info.PID, "subscription": info.SubscriptionID,
		"resourceGroup": info.ResourceGroup, "workspace": info.Workspace, "location": info.Location}
	if more, err := s.Get(ctx, "/providers/Lapis.Platform/status", "2026-11-01"); err == nil {
		result["platform"] = more
	}
	if more, err := s.Get(ctx, "/providers/Lapis.Platform/instances", "2026-11-01"); err == nil {
		result["instances"] = more
	}
	return result, nil
}

// metrics prints what Prometheus would get.
func (p *platform) metrics() *cobra.Command {
	return p.withData(p.verb("metrics", "Print the platform's metrics in Prometheus' text format.", func(ctx context.Context, _ []string) error {
		s, err := p.Session()
		if err != nil {
			return err
		}
		text, err := s.Text(ctx, "/metrics")
		_, _ = p.Stdout.Write(text)
		return err
	}))
}

func (p *platform) showStatus(result map[string]any) error {
	if p.Formatted() {
		return p.Print(result)
	}
	for _, name := range []string{"state", "address", "data", "pid", "subscription", "resourceGroup", "workspace", "location"} {
		fmt.Fprintf(p.Stdout, "%-14s %v\n", name, result[name])
	}
	if more, ok := result["platform"].(map[string]any); ok {
		names := make([]string, 0, len(more))
		for name := range more {
			if _, said := result[name]; !said {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			fmt.Fprintf(p.Stdout, "%-14s %v\n", name, inLine(more[name]))
		}
	}
	showRunning(p.Stdout, result["instances"])
	return nil
}

// inLine draws an object of texts as one line.
func inLine(value any) any {
	object, ok := value.(map[string]any)
	if !ok {
		return value
	}
	parts := make([]string, 0, len(object))
	for name, part := range object {
		parts = append(parts, fmt.Sprintf("%s: %v", name, part))
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

func (p *platform) tour() *cobra.Command {
	var o tour.Options
	var build buildFlags
	var cmd *cobra.Command
	cmd = p.verb("tour", "Run the article from start to end against a fresh platform.", func(ctx context.Context, _ []string) error {
		if p.hooks.Examples == nil {
			return errors.New("this program was built without the example that the tour deploys")
		}
		program, err := os.Executable()
		if err != nil {
			return err
		}
		o.Program, o.Examples, o.Out, o.Err, o.Terminal = program, p.hooks.Examples, p.Stdout, p.Stderr, p.Terminal.Out
		o.Up = []string{"--python", build.python.value}
		if cmd.Flags().Changed("environment") {
			o.Up = append(o.Up, "--environment", build.environment.value)
		} else {
			o.MayHost = true
		}
		return tour.Run(ctx, o)
	})
	build.add(cmd)
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "Leave the platform, its endpoints and its data when the tour ends.")
	return cmd
}

func (p *platform) completion() *cobra.Command {
	cmd := p.verb("completion", "Print a completion script for bash, zsh, fish or powershell.", nil)
	cmd.Use = "completion SHELL"
	cmd.ValidArgs = []string{"bash", "zsh", "fish", "powershell"}
	cmd.Example = "source <(lapis completion bash)"
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		root := cmd.Root()
		switch strings.Join(args, " ") {
		case "bash":
			return root.GenBashCompletionV2(p.Stdout, true)
		case "zsh":
			return root.GenZshCompletion(p.Stdout)
		case "fish":
			return root.GenFishCompletion(p.Stdout, true)
		case "powershell":
			return root.GenPowerShellCompletionWithDesc(p.Stdout)
		}
		return errors.New("name one shell: bash, zsh, fish or powershell")
	}
	return cmd
}

func (p *platform) doctor() *cobra.Command {
	return p.withData(p.verb("doctor", "Look for what may keep the platform or its clients from working.", func(ctx context.Context, _ []string) error {
		bad := false
		say := func(ok bool, what, found string) {
			mark := "ok  "
			if !ok {
				mark, bad = "BAD ", true
			}
			fmt.Fprintf(p.Stdout, "%s %-22s %s\n", mark, what, found)
		}
		dir, err := p.dataDir()
		say(err == nil, "data folder", firstOf(errText(err), dir))
		if stat, err := os.Stat(dir); err == nil {
			say(stat.Mode().Perm()&0o077 == 0, "data folder's mode", stat.Mode().Perm().String())
		}
		_, err = p.ready(ctx)
		say(err == nil, "platform", firstOf(errText(err), "answers"))
		for _, tool := range []struct{ name, need string }{{"python3", "needed to run scoring scripts"}, {"uv", "optional: builds environments quicker"}} {
			path, err := exec.LookPath(tool.name)
			say(err == nil || tool.name == "uv", tool.name, firstOf(path, "not found; "+tool.need))
		}
		if info, err := client.Read(dir); err == nil {
			mine := p.Getenv("HTTPS_PROXY")
			say(mine == "" || mine == info.Proxy, "this shell's proxy", firstOf(mine, "none: lapis commands find the platform, other clients need eval \"$(lapis env)\""))
		}
		if bad {
			return errors.New("not all is well")
		}
		return nil
	}))
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
