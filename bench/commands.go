package main

import (
	"context"
	"errors"
	"regexp"
	"strings"
)

var sent = regexp.MustCompile(`DEBUG: GET (\S+) -> 200`)

// commands measures what the command line adds to the server's work: the time
// of a whole command less that of its requests from a client that is warm.
func (b *bench) commands(ctx context.Context) error {
	if err := b.deployTrivial(ctx); err != nil {
		return err
	}
	token, err := b.platform.token(audienceARM)
	if err != nil {
		return err
	}
	header := map[string]string{"Authorization": "Bearer " + token}
	for _, line := range []string{"account show", "group list", "ml online-endpoint show --name " + trivialEndpoint} {
		args := strings.Fields(line)
		_, log, err := b.platform.az(ctx, "", append(args, "--debug")...)
		if err != nil {
			return err
		}
		var addresses []string
		for _, m := range sent.FindAllStringSubmatch(log, -1) {
			addresses = append(addresses, m[1])
		}
		if len(addresses) == 0 {
			return errors.New("az " + line + " sent no request")
		}
		whole := timed(func() error {
			_, _, err := b.platform.az(ctx, "", args...)
			return err
		})
		server := timed(func() error {
			for _, address := range addresses {
				if err := call(b.platform.http, "GET", address, header, nil, 200, nil); err != nil {
					return err
				}
			}
			return nil
		})
		got, err := interleave(21, whole, server)
		if err != nil {
			return err
		}
		over := make(samples, len(got[0]))
		for i := range over {
			over[i] = got[0][i] - got[1][i]
		}
		b.report(figure{name: "az " + strings.TrimSuffix(line, " --name "+trivialEndpoint) + ", on top of the server", unit: ms, target: 50,
			value: over, floor: got[1], what: "the server's work"})
	}
	return nil
}
