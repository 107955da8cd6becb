// Command lapis is the platform and its command line; called as az, it is the
// az command line alone.
package main

import (
	"context"
	"os"

	"lapis"
	"lapis/cli"
	"lapis/examples"
)

func main() {
	os.Exit(cli.Main(os.Args, cli.Hooks{Up: up, Examples: examples.ManagedIdentity(), Version: lapis.Version()}))
}

// up runs the platform until ctx ends.
func up(ctx context.Context, o cli.UpOptions) error {
	server, err := lapis.New(lapis.Config{
		DataDir: o.DataDir, Listen: o.Listen, Location: o.Location, EgressDeny: o.EgressDeny,
		HostPackage: o.HostPackages, ExactPython: o.ExactPython, Resettable: o.Resettable, IMDS: o.IMDS, AccessLog: o.AccessLog, RouteInTurn: o.RouteInTurn, Isolation: o.Isolation, Log: o.Log,
	})
	if err != nil {
		return err
	}
	return server.Run(ctx, o.Ready)
}
