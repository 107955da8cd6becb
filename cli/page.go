package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"

	"github.com/spf13/cobra"

	"lapis/cli/cloud"
)

// page prints where to look. The token, which opens nothing but the page, stands
// in the fragment: browsers send that to nobody.
func (p *platform) page() *cobra.Command {
	return p.withData(p.verb("page", "Print the address of a page that shows endpoints, refusals and roles, to be opened in a browser of this machine.", func(ctx context.Context, _ []string) error {
		s, err := p.Session()
		if err != nil {
			return err
		}
		at, err := pageAt(s.Proxy)
		if err != nil {
			return err
		}
		if _, err := s.Get(ctx, "/providers/Lapis.Platform/status", "2026-11-01"); err != nil { // does it answer?
			return err
		}
		s.DropToken(cloud.AudiencePage) // whole hours lie before a new one
		token, err := s.Token(ctx, cloud.AudiencePage)
		if err != nil {
			return err
		}
		s.DropToken(cloud.AudiencePage) // it is for the browser, and kept nowhere else
		fmt.Fprintln(p.Stdout, at+"#"+token.Access)
		if p.Terminal.Out {
			fmt.Fprintf(p.Stderr, "good until %s, on this machine; keep it to yourself: who has it sees what you see there\n", token.Expires.Local().Format("15:04"))
		}
		return nil
	}))
}

// pageAt is the page's address at the gateway of a proxy's.
func pageAt(proxy string) (string, error) {
	u, err := url.Parse(proxy)
	if err != nil || u.Host == "" {
		return "", errors.New("no platform is known here; start one with lapis up, or name its data folder with --data")
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() { // it listens everywhere; the page is for this machine
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, u.Port()) + "/page", nil
}
