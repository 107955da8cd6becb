package az

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// help writes a command's help in az's layout.
func (a *App) help(cmd *cobra.Command, _ []string) {
	w := a.Stdout
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nGroup\n    %s%s\n", cmd.CommandPath(), colon(cmd.Short))
		listCommands(w, "Subgroups", cmd, true)
		listCommands(w, "Commands", cmd, false)
		fmt.Fprintln(w)
		return
	}
	fmt.Fprintf(w, "\nCommand\n    %s%s\n", cmd.CommandPath(), colon(cmd.Short))
	if cmd.Long != "" {
		fmt.Fprintf(w, "        %s\n", strings.ReplaceAll(strings.TrimSpace(cmd.Long), "\n", "\n        "))
	}
	if cmd.LocalNonPersistentFlags().HasAvailableFlags() {
		fmt.Fprintf(w, "\nArguments\n")
		listFlags(w, cmd.LocalNonPersistentFlags())
	}
	fmt.Fprintf(w, "\nGlobal Arguments\n")
	listFlags(w, cmd.InheritedFlags())
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nExamples\n    %s\n", strings.ReplaceAll(cmd.Example, "\n", "\n    "))
	}
	fmt.Fprintln(w)
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return " : " + text
}

func listCommands(w io.Writer, title string, cmd *cobra.Command, groups bool) {
	width := 0
	var subs []*cobra.Command
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.HasAvailableSubCommands() == groups {
			subs = append(subs, sub)
			width = max(width, len(sub.Name()))
		}
	}
	if len(subs) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, sub := range subs {
		fmt.Fprintf(w, "    %-*s%s\n", width, sub.Name(), colon(sub.Short))
	}
}

func listFlags(w io.Writer, flags *pflag.FlagSet) {
	type row struct{ names, help string }
	var rows []row
	width := 0
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		r := row{"--" + f.Name, f.Usage}
		if f.Shorthand != "" {
			r.names += " -" + f.Shorthand
		}
		if in, ok := f.Value.(*input); ok {
			r = row{strings.Join(strings.Fields(in.arg.names), " "), in.arg.describe()}
			if in.arg.required {
				r.names += " [Required]"
			}
		}
		width = max(width, len(r.names))
		rows = append(rows, r)
	})
	for _, r := range rows {
		fmt.Fprintf(w, "    %-*s : %s\n", width, r.names, r.help)
	}
}

func (a arg) describe() string {
	text := a.help
	if len(a.choices) > 0 {
		text += "  Allowed values: " + strings.Join(a.choices, ", ") + "."
	}
	if a.value != "" && a.kind != flag {
		text += "  Default: " + a.value + "."
	}
	if a.from != "" {
		text += "  May be configured: configure --defaults " + a.from + "=..."
	}
	return text
}
