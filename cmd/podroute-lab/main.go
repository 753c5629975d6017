// Command podroute-lab runs containerlab topology files in network namespaces.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/internal/lab"
)

// exitCode is an error that says nothing more and sets the process's exit code.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is a command line that makes no sense: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() { os.Exit(run()) }

func run() int {
	if code, ran := lab.Reexec(); ran {
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	err := rootCommand().ExecuteContext(ctx)
	var code exitCode
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "podroute-lab: %v\n", err)
		return 2
	default:
		fmt.Fprintf(os.Stderr, "podroute-lab: %v\n", err)
		return 1
	}
}

func rootCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "podroute-lab",
		Short: "Run containerlab topology files in network namespaces, without containers and images",
		Long: `podroute-lab runs containerlab topology files (*.clab.yml) in network namespaces of this host: no
containers, no images, no daemon. As root, or as a plain user where the host allows user namespaces.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q; see podroute-lab --help", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	c.AddCommand(deployCommand(), destroyCommand(), inspectCommand(), execCommand(), graphCommand(),
		killCommand(), startCommand(), restartCommand(), logsCommand(), demoCommand(), failoverCommand(), probeCommand())
	return c
}
