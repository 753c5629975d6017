package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// newRoot builds the command line.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "podroute",
		Short: "Natively routed pod networking over BGP",
		Long: `podroute gives every Kubernetes node a pod subnet, wires pods into it, and advertises it over BGP:
the network itself routes pod traffic, without encapsulation and without NAT.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newAgent(), newStatus(), newPeers(), newRoutes(), newPods(), newBlocks(), newDoctor(), newDrain(), newUndrain(), newLeave(), newInstall(), newBFD())
	markUsage(root)
	return root
}

// markUsage makes wrong arguments of any command a usage error.
func markUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		markUsage(sub)
	}
}

// outputFlag adds -o to a command, with formats of its own besides those of all.
func outputFlag(c *cobra.Command, into *string, more ...string) {
	formats := append([]string{"table", "json", "yaml"}, more...)
	c.Flags().StringVarP(into, "output", "o", "table", "output format: "+strings.Join(formats, ", "))
	// The flag exists: it was added one line above.
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	run := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if !slices.Contains(formats, *into) {
			return usageError{fmt.Errorf("unknown output format %q: use one of %s", *into, strings.Join(formats, ", "))}
		}
		if run != nil {
			return run(c, args)
		}
		return nil
	}
}
