package az

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lapis/cli/cloud"
)

// usageError is a command that cannot be run as written; the exit code is 2.
type usageError struct {
	text    string
	hint    string
	command *cobra.Command
}

func (e *usageError) Error() string { return e.text }

func usage(format string, args ...any) *usageError {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// ErrNo ends a command whose result, already printed, is a no. The exit code is
// 1, and nothing more is said.
var ErrNo = errors.New("the answer is no")

// hintedError is an error with what to do next.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

func hinted(err error, format string, args ...any) error {
	return &hintedError{err, fmt.Sprintf(format, args...)}
}

// flagError words pflag's complaints in az's way.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		name := unknown.GetSpecifiedName()
		dashes := "--"
		if len(name) == 1 {
			dashes = "-"
		}
		return unrecognized(cmd, []string{dashes + name})
	}
	var value *pflag.InvalidValueError
	if errors.As(err, &value) {
		title := "--" + value.GetFlag().Name
		if in, ok := value.GetFlag().Value.(*input); ok {
			title = in.arg.title()
		}
		return &usageError{text: fmt.Sprintf("argument %s: %v", title, value.Unwrap()), command: cmd}
	}
	return &usageError{text: err.Error(), command: cmd}
}

func unrecognized(cmd *cobra.Command, words []string) error {
	e := &usageError{text: "unrecognized arguments: " + strings.Join(words, " "), command: cmd}
	if near := nearest(cmd, words[0]); near != "" {
		e.hint = "did you mean " + near + "?"
	}
	return e
}

// nearest finds the argument whose name is most like the word.
func nearest(cmd *cobra.Command, word string) string {
	best, bestName := 3, ""
	visit := func(f *pflag.Flag) {
		if d := distance(strings.TrimLeft(word, "-"), f.Name); !f.Hidden && d < best {
			best, bestName = d, "--"+f.Name
		}
	}
	cmd.LocalFlags().VisitAll(visit)
	cmd.InheritedFlags().VisitAll(visit)
	return bestName
}

// distance is the number of single-letter edits between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// needsCommand runs when a group is called without a command of its own.
func (a *App) needsCommand(cmd *cobra.Command, words []string) error {
	if len(words) == 0 {
		return cmd.Help()
	}
	e := &usageError{text: fmt.Sprintf("%q is misspelled or not recognized by the system", words[0]), command: cmd}
	near := cmd.SuggestionsFor(words[0])
	if len(near) == 0 {
		for _, sub := range cmd.Commands() {
			if distance(words[0], sub.Name()) < 3 {
				near = append(near, sub.Name())
			}
		}
	}
	slices.Sort(near)
	if len(near) > 0 {
		e.hint = "did you mean " + strings.Join(near, ", or ") + "?"
	}
	return e
}

// complain draws an error on stderr and returns the exit code: 2 for a wrong
// command line, 3 for a resource that is not there, else 1.
func (a *App) complain(root *cobra.Command, err error) int {
	if errors.Is(err, ErrNo) {
		return 1
	}
	var bad *usageError
	if errors.As(err, &bad) {
		a.errorLine(bad.text)
		a.hintLines(bad.hint)
		path := a.Program
		if bad.command != nil {
			path = bad.command.CommandPath()
		}
		fmt.Fprintf(a.Stderr, "see: %s --help\n", path)
		return 2
	}
	var failure *cloud.Failure
	var hint *hintedError
	switch {
	case errors.As(err, &failure):
		a.drawFailure(err, failure)
	default:
		a.errorLine(err.Error())
	}
	if errors.As(err, &hint) {
		a.hintLines(hint.hint)
	}
	if failure != nil && (failure.Status == http.StatusNotFound || failure.Code == "ResourceNotFound" || failure.Code == "ResourceGroupNotFound") {
		return 3
	}
	return 1
}

func (a *App) drawFailure(err error, f *cloud.Failure) {
	message := strings.TrimSpace(f.Message)
	context := strings.TrimSuffix(err.Error(), f.Error())
	a.errorLine(context + (&cloud.Failure{Code: f.Code, Message: message}).Error())
	if f.Code != "" {
		fmt.Fprintf(a.Stderr, "Code: %s\n", f.Code)
	}
	if f.Target != "" {
		fmt.Fprintf(a.Stderr, "Target: %s\n", f.Target)
	}
	a.drawDetails(f.Details, "  ", message)
	if d := f.DenialOf(); d != nil && !strings.Contains(message, d.Remedy) {
		a.hintLines(fmt.Sprintf("%s may not %s at %s\nthe role %q at %s would allow it:\n%s", d.Principal, d.Action, d.Scope, d.Role, d.RoleScope, d.Remedy))
	}
}

func (a *App) drawDetails(details []*cloud.Failure, pad, said string) {
	for _, d := range details {
		text := strings.TrimSpace(d.Error())
		if !strings.Contains(said, strings.TrimSpace(d.Message)) || d.Message == "" {
			fmt.Fprintf(a.Stderr, "%s%s\n", pad, strings.ReplaceAll(text, "\n", "\n"+pad))
		}
		a.drawDetails(d.Details, pad+"  ", said+text)
	}
}

func (a *App) errorLine(text string) {
	if a.Terminal.Err && a.Getenv("NO_COLOR") == "" {
		fmt.Fprintf(a.Stderr, "\x1b[31mERROR: %s\x1b[0m\n", text)
		return
	}
	fmt.Fprintf(a.Stderr, "ERROR: %s\n", text)
}

func (a *App) hintLines(hint string) {
	if hint = strings.TrimSpace(hint); hint == "" {
		return
	}
	for i, line := range strings.Split(hint, "\n") {
		lead := "hint: "
		if i > 0 {
			lead = "      "
		}
		fmt.Fprintf(a.Stderr, "%s%s\n", lead, line)
	}
}
