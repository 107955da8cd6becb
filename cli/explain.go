package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"lapis/cli/az"
	"lapis/cli/cloud"
)

func (p *platform) explain() *cobra.Command {
	var principal, action, scope string
	data := false
	cmd := p.withData(p.verb("explain", "Say why a principal may or may not do something, and what would change it.", func(ctx context.Context, _ []string) error {
		if principal == "" || action == "" || scope == "" {
			return errors.New("name all three: --principal, --action and --scope")
		}
		s, err := p.Session()
		if err != nil {
			return err
		}
		query := url.Values{"principal": {principal}, "action": {action}, "scope": {scope}}
		if data || strings.Contains(strings.ToLower(action), "/containers/blobs/") { // these are data actions only
			query.Set("data", "true")
		}
		reply, err := s.Call(ctx, cloud.Request{Path: "/providers/Lapis.Platform/explain", Version: "2026-11-01", Query: query})
		if err != nil {
			return err
		}
		decision := reply.Object()
		if p.Formatted() {
			err = p.Print(decision)
		} else {
			p.tell(decision)
		}
		if err == nil && decision["allowed"] != true {
			err = az.ErrNo
		}
		return err
	}))
	cmd.Flags().StringVar(&principal, "principal", "", "Object id of the principal.")
	cmd.Flags().StringVar(&action, "action", "", "Action, such as Microsoft.Storage/storageAccounts/read, or a data action.")
	cmd.Flags().StringVar(&scope, "scope", "", "Id of the resource that it is done to.")
	cmd.Flags().BoolVar(&data, "data-action", false, "The action is a data action. Those of blobs are known to be.")
	cmd.Long = "The exit code is 0 for ALLOWED and 1 for DENIED, with -o and --query too.\nWhat fails says so on stderr, and has the exit code of a failed az command."
	cmd.Example = "lapis explain --principal ID --action Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read --scope SCOPE"
	return cmd
}

// tell writes a decision for a person.
func (p *platform) tell(o cloud.Object) {
	word := "DENIED"
	if o["allowed"] == true {
		word = "ALLOWED"
	}
	fmt.Fprintf(p.Stdout, "%s: %v\n  %v\n  at %v\n", word, o["principal"], o["action"], o["scope"])
	if a, ok := o["assignment"].(cloud.Object); ok {
		fmt.Fprintf(p.Stdout, "because of\n  %s\n", one(a))
	}
	list := func(title, key string, line func(cloud.Object) string) {
		items, _ := o[key].([]any)
		if len(items) == 0 {
			return
		}
		fmt.Fprintln(p.Stdout, title)
		for _, item := range items {
			if entry, ok := item.(cloud.Object); ok {
				fmt.Fprintf(p.Stdout, "  %s\n", line(entry))
			}
		}
	}
	list("looked at", "considered", func(e cloud.Object) string {
		text := fmt.Sprintf("%s: %v", one(e), e["why"])
		if detail := str(e["detail"]); detail != "" {
			text += " (" + detail + ")"
		}
		return text
	})
	list("what would allow it", "remedies", func(e cloud.Object) string {
		text := fmt.Sprintf("%v at %v", e["role"], e["scope"])
		if command := str(e["command"]); command != "" {
			text += "\n    " + command
		}
		return text
	})
}

// one writes an assignment on a line.
func one(a cloud.Object) string { return fmt.Sprintf("%v at %v", a["role"], a["scope"]) }

func str(v any) string {
	s, _ := v.(string)
	return s
}
