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
	routers.Feature{Name: "sessions: a router that comes and goes changes nothing in the kernel after its fifth loss"}.Each(t, func(t *testing.T, kind routers.Kind) {
		n, _ := newDualHomed(t, kind, func(_ int, c *routers.Config) {
			for i := range c.Neighbors {
				c.Neighbors[i].GracefulRestart = false
			}
		}, func(o *rackOptions) { o.config = "  gracefulRestart: {disabled: true}\n" })
		for _, p := range outside {
			inKernel(t, n, p, 2)
		}
		// A session that comes up before the link has its IPv6 address again would be taken anew for it.
		n.Run(t, "sysctl -qw net.ipv6.conf.eth2.keep_addr_on_down=1")
		names := []string{"tor-b"}
		if (rackOptions{kind: kind}).twoSessions() {
			names = append(names, "tor6-b")
		}
		cut := func(flaps int) {
			t.Helper()
			// The router hears of it, and a link that goes down has the neighbour dialled anew as soon as it is up.
			n.Run(t, "ss -K dst 10.0.2.0", "ss -K dst [fd00:0:0:2::]", "ip link set eth2 down", "ip link set eth2 up")
			nstest.Within(t, 2*waitSession, func() error {
				for _, name := range names {
					if s := n.session(t, name); s.Flaps != flaps || s.State != "Established" || s.received() == 0 {
						return fmt.Errorf("after %d flaps: %+v", flaps, s)
					}
				}
				return nil
			})
		}
		changes := n.kernelChanges(t)
		ours := func() (lines []string) {
			for line := range strings.Lines(changes.String()) {
				if strings.Contains(line, "proto 179") || strings.Contains(line, "proto bgp") {
					lines = append(lines, line)
				}
			}
			return lines
		}
		for i := range 4 {
			cut(i + 1)
			inKernel(t, n, outside[0], 2)
		}
		heard := len(ours())
		if heard == 0 {
			t.Fatalf("the kernel has heard of nothing:\n%s", changes)
		}
		cut(5)
		inKernel(t, n, outside[0], 1)
		time.Sleep(time.Second) // what was on its way is over
		before := len(ours())
		for i := range 2 {
			cut(6 + i)
		}
		time.Sleep(time.Second)
		after := ours()
		t.Logf("messages of the kernel: %d in the first four losses, %d since the fifth", heard, len(after)-before)
		if len(after) != before {
			t.Errorf("the kernel has heard of it:\n%s", strings.Join(after[before:], ""))
		}
		s := n.session(t, "tor-b")
		if text := n.table(t); len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "it was lost 7 times") || !strings.Contains(text, s.Warnings[0]) {
			t.Errorf("%+v\n%s", s, text)
		}
		if out, err := n.ask("status"); err != nil || !strings.Contains(strings.ReplaceAll(string(out), " ", ""), fmt.Sprintf(`"sessions_held":%d`, len(names))) {
			t.Errorf("status: %s, %v", out, err)
		}
		o := rackOptions{kind: kind, nodes: 1, as: 64601, config: undamped + "  gracefulRestart: {disabled: true}\n"}
		n.configure(t, "rack.yaml", rackManifests(o, 1)+o.peers("-b", 2, torAS))
		for _, p := range outside {
			inKernel(t, n, p, 2)
		}
	})
}
