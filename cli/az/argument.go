package az

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// arg is an argument of a command, in az's manner.
type arg struct {
	names    string // "--name -n": long ones first, the first long one is its key
	help     string
	kind     argKind
	required bool
	choices  []string // compared without regard to case
	from     string   // name of the configured default, such as group
	value    string   // default, for the help and for str
	hidden   bool
	place    bool // may also stand without its name, as the command's words
}

type argKind int

const (
	one   argKind = iota // takes one value
	flag                 // takes none
	truth                // takes true or false, or nothing for true
	many                 // takes all words up to the next argument, and may be repeated
	bunch                // as many, but every occurrence stays a group of its own
)

func (a arg) long() []string  { return a.withPrefix("--") }
func (a arg) short() []string { return a.withPrefix("-") }
func (a arg) key() string     { return a.long()[0] }

func (a arg) withPrefix(prefix string) []string {
	var out []string
	for _, name := range strings.Fields(a.names) {
		rest, ok := strings.CutPrefix(name, prefix)
		if ok && !strings.HasPrefix(rest, "-") {
			out = append(out, rest)
		}
	}
	return out
}

// title writes the argument as messages name it: --name/-n.
func (a arg) title() string { return strings.Join(strings.Fields(a.names), "/") }

// input is what was given for an argument; it is the pflag.Value of all its
// names.
type input struct {
	arg   arg
	texts []string
	given bool
}

func (in *input) String() string { return strings.Join(in.texts, " ") }

func (in *input) Type() string {
	if in.arg.kind == flag || in.arg.kind == truth {
		return "bool"
	}
	return "string"
}

func (in *input) Set(text string) error {
	if in.arg.kind == truth || in.arg.kind == flag {
		word, ok := truthOf(text)
		if !ok {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		text = word
	}
	if len(in.arg.choices) > 0 {
		i := slices.IndexFunc(in.arg.choices, func(c string) bool { return strings.EqualFold(c, text) })
		if i < 0 {
			return fmt.Errorf("%q is not one of %s", text, strings.Join(in.arg.choices, ", "))
		}
		text = in.arg.choices[i]
	}
	if in.arg.kind == many || in.arg.kind == bunch {
		in.texts = append(in.texts, text)
	} else {
		in.texts = []string{text}
	}
	in.given = true
	return nil
}

func truthOf(text string) (string, bool) {
	switch strings.ToLower(text) {
	case "true", "t", "yes", "y", "1":
		return "true", true
	case "false", "f", "no", "n", "0":
		return "false", true
	}
	return "", false
}

// register adds the argument to a flag set under all its names.
func register(fs *pflag.FlagSet, a arg) *input {
	in := &input{arg: a}
	shorts := append(a.short(), make([]string, len(a.long()))...)
	for i, name := range a.long() {
		f := fs.VarPF(in, name, shorts[i], a.help)
		f.Hidden = a.hidden || i > 0
		if a.kind == flag || a.kind == truth {
			f.NoOptDefVal = "true"
		}
	}
	return in
}

// expand rewrites az's grammar into the one that pflag reads: arguments of
// several words, booleans with a word behind them, and long names cut short.
// The command is found first, since only it knows its arguments.
func expand(root *cobra.Command, args []string) ([]string, error) {
	cmd, rest, err := root.Find(args)
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		return args, nil // a shell asks how words may go on: they are not whole yet
	}
	if err != nil {
		return args, nil // the run itself says which command is unknown
	}
	var out []string
	for c := cmd; c.HasParent(); c = c.Parent() {
		out = append([]string{c.Name()}, out...)
	}
	for i := 0; i < len(rest); i++ {
		word := rest[i]
		if word == "--" {
			return append(out, rest[i:]...), nil
		}
		name, value, hasValue, in := lookup(cmd, word)
		switch {
		case in == nil: // a word, a flag of cobra's own, or one that nobody knows
			out = append(out, word)
			continue
		case hasValue:
			out = append(out, "--"+name+"="+value)
			continue
		}
		words := take(in.arg.kind, rest[i+1:])
		i += len(words)
		written, err := in.arg.write(name, words)
		var bad *usageError
		if errors.As(err, &bad) {
			bad.command = cmd
		}
		if err != nil {
			return nil, err
		}
		out = append(out, written...)
	}
	return out, nil
}

// write gives the words that followed an argument in pflag's grammar.
func (a arg) write(name string, words []string) ([]string, error) {
	switch {
	case a.kind == bunch:
		text, err := json.Marshal(words)
		return []string{"--" + name + "=" + string(text)}, err
	case len(words) == 0 && (a.kind == flag || a.kind == truth):
		return []string{"--" + name}, nil
	case len(words) == 0 && a.kind == many:
		return []string{"--" + name + "="}, nil
	case len(words) == 0:
		return nil, usage("argument %s: expected one argument", a.title())
	}
	var out []string
	for _, word := range words {
		out = append(out, "--"+name+"="+word)
	}
	return out, nil
}

// take returns the words behind an argument that belong to it.
func take(kind argKind, words []string) []string {
	n := 0
	for n < len(words) && !looksLikeFlag(words[n]) {
		n++
	}
	switch kind {
	case flag:
		n = 0
	case truth:
		if n > 0 {
			if _, ok := truthOf(words[0]); !ok {
				n = 0
			}
		}
		n = min(n, 1)
	case one:
		n = min(n, 1)
	}
	return words[:n]
}

func looksLikeFlag(word string) bool {
	if len(word) < 2 || word[0] != '-' || strings.ContainsAny(word, " \t\n") {
		return false
	}
	return word[1] < '0' || word[1] > '9' // a negative number is a value
}

// lookup finds the argument that a word names: in full, as --name=value, -nvalue,
// or by the beginning of one long name only.
func lookup(cmd *cobra.Command, word string) (name, value string, hasValue bool, in *input) {
	var f *pflag.Flag
	if long, ok := strings.CutPrefix(word, "--"); ok {
		long, value, hasValue = strings.Cut(long, "=")
		if f = find(cmd, long); f == nil {
			f = abbreviated(cmd, long)
		}
	} else if looksLikeFlag(word) {
		f = cmd.Flags().ShorthandLookup(word[1:2])
		if f == nil {
			f = cmd.InheritedFlags().ShorthandLookup(word[1:2])
		}
		value, hasValue = word[2:], len(word) > 2
		value = strings.TrimPrefix(value, "=")
	}
	if f == nil {
		return "", "", false, nil
	}
	in, _ = f.Value.(*input)
	return f.Name, value, hasValue, in
}

func find(cmd *cobra.Command, name string) *pflag.Flag {
	if f := cmd.Flags().Lookup(name); f != nil {
		return f
	}
	return cmd.InheritedFlags().Lookup(name)
}

func abbreviated(cmd *cobra.Command, prefix string) *pflag.Flag {
	var found *pflag.Flag
	count := 0
	visit := func(f *pflag.Flag) {
		if prefix != "" && strings.HasPrefix(f.Name, prefix) {
			if _, ok := f.Value.(*input); ok && (found == nil || found.Value != f.Value) {
				found = f
				count++
			}
		}
	}
	cmd.LocalFlags().VisitAll(visit)
	cmd.InheritedFlags().VisitAll(visit)
	if count != 1 {
		return nil
	}
	return found
}
