//go:build failpoint

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var hits atomic.Int64 //nolint:gochecknoglobals // counts the hits of the one failpoint that this test process waits for

// Hit ends the process with SIGKILL where name is the failpoint that PODROUTE_FAILPOINT asks for.
func Hit(name string) {
	want, nth, _ := strings.Cut(os.Getenv("PODROUTE_FAILPOINT"), ":")
	if name != want {
		return
	}
	n, err := strconv.ParseInt(nth, 10, 64)
	if err != nil {
		n = 1
	}
	if hits.Add(1) == n {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}
