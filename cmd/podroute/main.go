// TCP MD5 (RFC 2385) and GTSM (RFC 5082) are set on plain TCP sockets only; Go would listen with MPTCP.
//go:debug multipathtcp=0

// Command podroute is the node agent and the operator's command line.
//
// It exits with 0 when all is well, 1 when something is wrong, 2 when it was called wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := newRoot().ExecuteContext(ctx)
	stop()
	os.Exit(exitCode(err))
}

// Exit codes.
const (
	exitFine  = 0
	exitWrong = 1
	exitUsage = 2
)

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errNotReady ends a command with exitWrong where all that there is to say has been printed.
var errNotReady = errors.New("not ready")

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "podroute: %v\nSee podroute --help.\n", err)
		return exitUsage
	case errors.Is(err, errNotReady):
		return exitWrong
	default:
		fmt.Fprintf(os.Stderr, "podroute: %v\n", err)
		return exitWrong
	}
}
