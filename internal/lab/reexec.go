package lab

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Names under which this program starts itself again.
const (
	initName   = "podroute-lab-node"   // PID 1 of a node
	deployName = "podroute-lab-deploy" // a deployer inside a user namespace
)

// Reexec does the work of a process that this package has started as a copy of the running program,
// and returns its exit code. In any other process it returns false at once. It must come first in
// main: what follows must not run in such a copy.
func Reexec() (code int, ran bool) {
	var err error
	switch os.Args[0] {
	case initName:
		err = runInit()
	case deployName:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
		defer stop()
		err = runUserDeploy(ctx)
	default:
		return 0, false
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		return 1, true
	}
	return 0, true
}
