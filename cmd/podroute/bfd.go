package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/podroute/podroute/bgp/bfd"
)

// newBFD is the process that the agent keeps its BFD sessions in: nothing that keeps the agent busy delays it.
func newBFD() *cobra.Command {
	return &cobra.Command{
		Use: "bfd", Short: "Keep BFD sessions for the agent, which starts this by itself", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			// Who stops the agent may signal all its processes at once. This one ends with the agent, and not before: until
			// then its neighbours shall know that there is a restart.
			return bfd.Serve(context.WithoutCancel(c.Context()), os.Stdin, os.Stdout)
		},
	}
}
