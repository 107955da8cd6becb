// Package az owns the grammar of the az command line: its commands, their
// arguments, what they print, and the exit codes. Every command speaks the
// public wire, as any client does.
//
// The words for what goes wrong follow one manner: what is wrong, the input it
// is about, and what to do next; results to stdout, all else to stderr.
package az

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lapis/cli/cloud"
	"lapis/cli/output"
)

// App is one run of the program.
type App struct {
	Program  string // az, or lapis: what messages call the program
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Getenv   func(string) string
	DataDir  string // "" means the default
	Version  string
	Terminal Terminal

	session *cloud.Session
	globals map[string]*input
}

// Terminal says which streams a person watches.
type Terminal struct{ In, Out, Err bool }

// branch is a group of commands.
type branch struct {
	name, help string
	branches   []branch
	commands   []command
}

// command is a leaf of the grammar. Its run returns what is printed.
type command struct {
	name, help string
	args       []arg
	example    string
	run        func(context.Context, *Call) (any, error)
}

// Call is one use of a command.
type Call struct {
	*App
	inputs map[string]*input
	words  []string // those without an argument's name
}

func globalArgs() []arg {
	return []arg{
		{names: "--output -o", help: "Output format.", choices: output.Formats(), value: "json"},
		{names: "--query", help: "JMESPath query string. See http://jmespath.org/."},
		{names: "--subscription", help: "Name or id of the subscription."},
		{names: "--debug", help: "Show every request on stderr.", kind: flag},
		{names: "--verbose", help: "Say more of what is done.", kind: flag},
		{names: "--only-show-errors", help: "Show errors only, no notes or progress.", kind: flag},
	}
}

// Root returns the command tree. Other verbs may be added to it.
func (a *App) Root() *cobra.Command {
	root := &cobra.Command{
		Use:           a.Program,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetIn(a.Stdin)
	a.globals = map[string]*input{}
	for _, g := range globalArgs() {
		a.globals[g.key()] = register(root.PersistentFlags(), g)
	}
	root.PersistentFlags().BoolP("help", "h", false, "Show this help.")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return flagError(cmd, err) })
	root.SetHelpFunc(a.help)
	a.grow(root, tree())
	root.RunE = func(cmd *cobra.Command, args []string) error { return a.needsCommand(cmd, args) }
	root.SetHelpCommand(&cobra.Command{Use: "help", Hidden: true, RunE: func(cmd *cobra.Command, args []string) error {
		target, _, err := root.Find(args)
		if err != nil {
			return err
		}
		return target.Help()
	}})
	return root
}

func (a *App) grow(parent *cobra.Command, b branch) {
	for _, sub := range b.branches {
		cmd := &cobra.Command{Use: sub.name, Short: sub.help, Args: cobra.ArbitraryArgs, RunE: a.needsCommand}
		parent.AddCommand(cmd)
		a.grow(cmd, sub)
	}
	for _, c := range b.commands {
		parent.AddCommand(a.leaf(c))
	}
}

func (a *App) leaf(c command) *cobra.Command {
	cmd := &cobra.Command{Use: c.name, Short: c.help, Example: c.example, Args: cobra.ArbitraryArgs}
	inputs := map[string]*input{}
	for _, g := range c.args {
		inputs[g.key()] = register(cmd.Flags(), g)
	}
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		call := &Call{App: a, inputs: inputs, words: words}
		return a.run(cmd, c, call)
	}
	return cmd
}

func (a *App) run(cmd *cobra.Command, c command, call *Call) error {
	if err := call.placeWords(cmd); err != nil {
		return err
	}
	options, err := a.options()
	if err != nil {
		return err
	}
	if err := call.checkRequired(cmd, c); err != nil {
		return err
	}
	result, err := c.run(cmd.Context(), call)
	if err != nil {
		return err
	}
	return output.Write(a.Stdout, result, options)
}

// placeWords gives the words without a name to the argument that takes them.
func (c *Call) placeWords(cmd *cobra.Command) error {
	for _, in := range c.inputs {
		if in.arg.place {
			for _, word := range c.words {
				if err := in.Set(word); err != nil {
					return err
				}
			}
			c.words = nil
		}
	}
	if len(c.words) > 0 {
		return unrecognized(cmd, c.words)
	}
	return nil
}

func (c *Call) checkRequired(cmd *cobra.Command, spec command) error {
	var missing []string
	hint := ""
	for _, g := range spec.args {
		if !g.required || c.inputs[g.key()].given {
			continue
		}
		if g.from != "" {
			s, err := c.settings()
			if err != nil {
				return err
			}
			if s.Default(g.from) != "" {
				continue
			}
			hint = fmt.Sprintf("or keep it once and for all: %s configure --defaults %s=...", c.Program, g.from)
		}
		missing = append(missing, g.title())
	}
	if len(missing) == 0 {
		return nil
	}
	e := usage("the following arguments are required: %s", strings.Join(missing, ", "))
	e.hint = hint
	if spec.example != "" {
		e.hint = strings.TrimPrefix(e.hint+"\nfor example: "+spec.example, "\n")
	}
	e.command = cmd
	return e
}

// format is -o, else the configured one, else json.
func (a *App) format() string {
	if in := a.globals["output"]; in.given {
		return in.texts[0]
	}
	if s, err := a.settings(); err == nil {
		if format := s.Config.Option(a.Getenv, "core", "output"); format != "" {
			return format
		}
	}
	return "json"
}

func (a *App) global(key string) string {
	if in := a.globals[key]; in.given {
		return in.texts[0]
	}
	return ""
}

// Execute runs the program and returns its exit code.
func (a *App) Execute(ctx context.Context, root *cobra.Command, args []string) int {
	expanded, err := expand(root, args)
	if err == nil {
		root.SetArgs(expanded)
		err = root.ExecuteContext(ctx)
	}
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.Stderr, "interrupted; what the service has begun goes on there")
		return 130
	}
	return a.complain(root, err)
}

// settings finds the platform, once.
func (a *App) settings() (*cloud.Settings, error) {
	if a.session != nil {
		return a.session.Settings, nil
	}
	s, err := cloud.Find(a.Getenv, a.DataDir)
	if err != nil {
		return nil, err
	}
	a.session, err = cloud.NewSession(s)
	if err != nil {
		return nil, err
	}
	if a.global("debug") != "" {
		a.session.Debug = func(format string, args ...any) { fmt.Fprintf(a.Stderr, "DEBUG: "+format+"\n", args...) }
	}
	return s, nil
}

// Session returns the talk with the platform.
func (a *App) Session() (*cloud.Session, error) {
	_, err := a.settings()
	return a.session, err
}

// note tells the user something that is no result.
func (a *App) note(format string, args ...any) {
	if a.global("only-show-errors") == "" {
		fmt.Fprintf(a.Stderr, "WARNING: "+format+"\n", args...)
	}
}

// str returns an argument's value: given, configured, or its default.
func (c *Call) str(key string) string {
	in := c.inputs[key]
	if in == nil {
		return ""
	}
	if in.given {
		return in.texts[len(in.texts)-1]
	}
	if in.arg.from != "" {
		if s, err := c.settings(); err == nil {
			return s.Default(in.arg.from)
		}
	}
	return in.arg.value
}

// list returns the words of an argument that takes many.
func (c *Call) list(key string) []string {
	if in := c.inputs[key]; in != nil {
		return in.texts
	}
	return nil
}

func (c *Call) given(key string) bool { return c.inputs[key] != nil && c.inputs[key].given }
func (c *Call) on(key string) bool    { return c.str(key) == "true" }

// subscription returns --subscription, else the one in use. A name is looked
// up.
func (c *Call) subscription(ctx context.Context) (string, error) {
	s, err := c.Session()
	if err != nil {
		return "", err
	}
	wanted := c.global("subscription")
	if wanted == "" {
		if s.Subscription == "" {
			return "", errors.New("no subscription is chosen; run az account set --subscription ID")
		}
		return s.Subscription, nil
	}
	if isGUID(wanted) {
		return wanted, nil
	}
	found, err := findSubscription(ctx, s, wanted)
	return text(found, "subscriptionId"), err
}

// confirm asks before something is lost, unless --yes was given.
func (c *Call) confirm(question string) error {
	if c.on("yes") {
		return nil
	}
	if !c.Terminal.In {
		return hinted(fmt.Errorf("%s: unable to ask, since stdin is not a terminal", strings.ToLower(question[:1])+question[1:]), "add --yes to go on without a question")
	}
	fmt.Fprintf(c.Stderr, "%s (y/n): ", question)
	var answer string
	fmt.Fscanln(c.Stdin, &answer)
	if word, ok := truthOf(answer); ok && word == "true" {
		return nil
	}
	return errors.New("operation cancelled; nothing was changed")
}

// IsTerminal reports whether a file is a terminal.
func IsTerminal(f *os.File) bool {
	stat, err := f.Stat()
	return err == nil && stat.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

var _ pflag.Value = (*input)(nil)

// Print shows a result as -o and --query ask.
func (a *App) Print(result any) error {
	options, err := a.options()
	if err != nil {
		return err
	}
	return output.Write(a.Stdout, result, options)
}

func (a *App) options() (output.Options, error) {
	o := output.Options{Format: a.format(), Query: a.global("query"), Color: a.Terminal.Out && a.Getenv("NO_COLOR") == ""}
	if err := o.Check(); err != nil {
		return o, usage("%v", err)
	}
	return o, nil
}

// Formatted reports whether -o or --query was given.
func (a *App) Formatted() bool { return a.global("output") != "" || a.global("query") != "" }
