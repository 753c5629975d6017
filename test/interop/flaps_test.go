package interop

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// undamped is RouterConfig for tests that cut sessions again and again.
const undamped = "  flapDamping: {disabled: true}\n"

// kernelChanges notes what the kernel says of routes and next hops of ours until the test ends.
func (n *node) kernelChanges(t *testing.T) *nstest.Output {
	t.Helper()
	out := &nstest.Output{}
	ctx, cancel := context.WithCancel(context.Background())
	c := n.Command(ctx, "ip", "-timestamp", "monitor", "route", "nexthop")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = c.Wait() })
	return out
}

// TestInteropFlaps: a router whose session is lost again and again. After the fifth time the kernel hears no more of it: what
// both routers have goes through the other one. Its routes come back in the end.
func TestInteropFlaps(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "filters: a router that comes and goes changes nothing in the kernel after the fifth time"}.Each(t, func(t *testing.T, kind routers.Kind) {
		n, _ := newDualHomed(t, kind, func(_ int, c *routers.Config) {
			for i := range c.Neighbors {
				c.Neighbors[i].GracefulRestart = false
			}
		}, func(o *rackOptions) { o.config = "  gracefulRestart: {disabled: true}\n" })
		for _, p := range outside {
			inKernel(t, n, p, 2)
		}
		cut := func(flaps int) {
			t.Helper()
			n.Run(t, "ss -K dst 10.0.2.0")
			nstest.Within(t, 2*waitSession, func() error {
				if s := n.session(t, "tor-b"); s.Flaps != flaps || s.State != "Established" || s.received() == 0 {
					return fmt.Errorf("after %d flaps: %+v", flaps, s)
				}
				return nil
			})
		}
		for i := range 4 {
			cut(i + 1)
		}
		inKernel(t, n, outside[0], 2)
		cut(5)
		inKernel(t, n, outside[0], 1)
		changes := n.kernelChanges(t)
		time.Sleep(time.Second) // what was on its way is over
		before := changes.String()
		for i := range 2 {
			cut(6 + i)
		}
		time.Sleep(time.Second)
		if after := changes.String(); after != before {
			t.Errorf("the kernel has heard of it:\n%s", strings.TrimPrefix(after, before))
		}
		s := n.session(t, "tor-b")
		if text := n.table(t); len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "it was lost 7 times") || !strings.Contains(text, s.Warnings[0]) {
			t.Errorf("%+v\n%s", s, text)
		}
		if out, err := n.ask("status"); err != nil || !strings.Contains(string(out), `"sessions_held": 1`) && !strings.Contains(string(out), `"sessions_held":1`) {
			t.Errorf("status: %s, %v", out, err)
		}
		o := rackOptions{kind: kind, nodes: 1, as: 64601, config: undamped + "  gracefulRestart: {disabled: true}\n"}
		n.configure(t, "rack.yaml", rackManifests(o, 1)+o.peers("-b", 2, torAS))
		for _, p := range outside {
			inKernel(t, n, p, 2)
		}
	})
}
