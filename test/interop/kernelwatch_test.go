package interop

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// kernelWatch counts what the kernel tells of routes and next hops of ours.
type kernelWatch struct {
	n    *node
	out  *nstest.Output
	mark int // of the marks that tell the kernel's messages before it from those after it
	seen int
}

// watchKernel counts from now on, until the test ends.
func watchKernel(t *testing.T, n *node) *kernelWatch {
	t.Helper()
	w := &kernelWatch{n: n, out: &nstest.Output{}}
	w.listen(t)
	w.settled(t)
	return w
}

func (w *kernelWatch) listen(t *testing.T) {
	t.Helper()
	p, err := w.n.Launch(t.Context(), w.out, "ip", "monitor", "route", "nexthop")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
}

// about checks that all that the kernel has told of us since it was asked last is about one prefix: its route as it shall be,
// the one that it takes the place of, and a set of next hops of theirs each. The zero Prefix: nothing at all.
func (w *kernelWatch) about(t *testing.T, p netip.Prefix) {
	t.Helper()
	lines := w.settled(t)
	for _, l := range lines {
		f := strings.Fields(strings.TrimPrefix(l, "Deleted "))
		if !p.IsValid() || f[0] != "id" && f[0] != p.String() {
			t.Errorf("want nothing in the kernel but about %v, and there is: %s", p, l)
		}
	}
	if len(lines) > 4 || p.IsValid() && len(lines) == 0 {
		t.Errorf("%d messages of the kernel about %v: %s", len(lines), p, strings.Join(lines, "\n"))
	}
}

// settled waits until all that has happened so far has been told, and returns the messages about us since it was asked last:
// those of the kernel are in order, so a route of another's that comes and goes marks the place.
func (w *kernelWatch) settled(t *testing.T) []string {
	t.Helper()
	nstest.Within(t, 10*time.Second, func() error {
		w.mark++
		mark := fmt.Sprintf("198.18.%d.%d", w.mark>>8, w.mark&255)
		w.n.Run(t, "ip route add unreachable "+mark+"/32", "ip route del unreachable "+mark+"/32")
		for deadline := time.Now().Add(500 * time.Millisecond); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if strings.Contains(w.out.String(), "Deleted unreachable "+mark+" ") {
				return nil
			}
		}
		return fmt.Errorf("no mark in %q", w.out.String()[w.seen:])
	})
	text := w.out.String()[w.seen:]
	w.seen += len(text)
	var lines []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, "proto 179") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}
