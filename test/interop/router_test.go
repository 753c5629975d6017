package interop

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// Deadlines of what other programs do.
const (
	waitSession = 30 * time.Second
	waitRoute   = 15 * time.Second
)

// noFIB is why a daemon cannot take part in what needs a forwarding table.
func noFIB() map[routers.Kind]string {
	return map[routers.Kind]string{
		routers.GoBGP:    "gobgpd, zebra.md: FIB manipulation is zebra's; gobgpd by itself has no forwarding table",
		routers.OpenBGPD: "bgpd.conf(5) has fib-update, but bgpd elsewhere than on OpenBSD writes no routes to the kernel",
	}
}

// TestInteropRoutes: both families over one session; the router learns the pod subnets, the node's kernel
// gets the router's routes; what is withdrawn on either side goes.
func TestInteropRoutes(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "routes: into the kernel, withdrawn, and gone when the node leaves"}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 1})
		n := r.nodes[0]
		for subnet, hop := range subnets(1) {
			r.router.Learns(waitRoute, subnet, hop)
		}
		for _, p := range outside {
			inKernel(t, n, p, 1)
		}
		r.router.Announce(outside[0])
		inKernel(t, n, outside[1], 0)
		inKernel(t, n, outside[0], 1)
		if out, err := n.leave(); err != nil {
			t.Fatal(err, out)
		}
		for subnet := range subnets(1) {
			r.router.Learns(waitRoute, subnet)
		}
		if left := n.Run(t, "ip route show proto 179") + n.Run(t, "ip -6 route show proto 179") + n.Run(t, "ip nexthop show proto 179"); left != "" {
			t.Errorf("leave left behind:\n%s", left)
		}
	})
}

// TestInteropPasswordChange: with the right password there is a session, with a wrong one there is none, and the
// right one put in its place brings it up.
func TestInteropPasswordChange(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: TCP MD5, a password changed while running"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1, password: "s3cret"}
		r := newRack(t, o)
		n := r.nodes[0]
		o.password = "wrong"
		n.configure(t, "rack.yaml", rackManifests(o, 1))
		nstest.Within(t, waitSession, func() error {
			if s, err := n.status(); err != nil || s.SessionsEstablished != 0 {
				return fmt.Errorf("session is still up: %w", err)
			}
			return nil
		})
		o.password = "s3cret"
		n.configure(t, "rack.yaml", rackManifests(o, 1))
		n.ready(t)
	})
}

// TestInteropECMP: a prefix that two routers announce is in the kernel over both links.
func TestInteropECMP(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "topologies: two routers, equal paths over two links"}.Each(t, func(t *testing.T, kind routers.Kind) {
		n, _ := newDualHomed(t, kind, func(i int, c *routers.Config) { c.AS = uint32(torAS + i - 1) })
		for _, p := range outside {
			inKernel(t, n, p, 2)
		}
		n.Run(t, "ip link set eth2 down")
		for _, p := range outside {
			inKernel(t, n, p, 1)
		}
	})
}

// TestInteropRestart: the agent killed and started, the agent stopped and started, our routes deleted by
// hand, the router killed and started. The path is watched by a ping every 10 ms each way.
func TestInteropRestart(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "restarts: packets lost while the agent and the router are killed", Lacks: noFIB()}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 2})
		a, b := r.nodes[0], r.nodes[1]
		pods := []*pod{a.add(t, "pod-a"), b.add(t, "pod-b")}
		reach(t, pods)
		events := []struct {
			name string
			most int // lost packets that are allowed
			do   func()
		}{
			{"agent killed", 1, func() { a.signal(syscall.SIGKILL); a.start(t); r.router.Established(waitSession); a.ready(t) }},
			{"agent stopped", 1, func() { a.signal(syscall.SIGTERM); a.start(t); r.router.Established(waitSession); a.ready(t) }},
			{"routes deleted by hand", 1, func() {
				a.Run(t, deletions(t, a)...)
				for _, p := range outside {
					inKernel(t, a, p, 1)
				}
			}},
			// What a killed router loses is the router's doing; that its forwarding, and ours, went on while it
			// was away shows in losing far less than the seconds that it took to come back.
			{"router killed", 50, func() {
				r.router.Kill()
				r.router.Restart()
				r.router.Established(waitSession)
				a.ready(t)
				b.ready(t)
			}},
		}
		for _, e := range events {
			watches := []*watch{startPing(t, pods[0], pods[1].addrs[0]), startPing(t, pods[1], pods[0].addrs[1])}
			e.do()
			for _, w := range watches {
				sent, lost := w.end(t)
				routers.Measured(t, "%s: %d of %d packets to %v lost", e.name, lost, sent, w.to)
				if lost > e.most {
					t.Errorf("%s: ping %v: %d of %d packets lost, want at most %d", e.name, w.to, lost, sent, e.most)
				}
			}
		}
		if s, err := a.status(); err != nil || !s.Restarted || s.Pods != 1 {
			t.Errorf("after the restarts: %+v, %v", s, err)
		}
	})
}

// deletions are the commands that delete every route of ours on a node, those to its pods too.
func deletions(t *testing.T, n *node) []string {
	t.Helper()
	var out []string
	for _, family := range []string{"-4", "-6"} {
		for line := range strings.Lines(n.Run(t, "ip "+family+" route show proto 179")) {
			f := strings.Fields(line)
			if f[0] == "nexthop" {
				continue // of the route on the line before
			}
			if f[0] == "unreachable" {
				f = f[1:]
			}
			out = append(out, fmt.Sprintf("ip %s route del %s proto 179", family, f[0]))
		}
	}
	return out
}

// inKernel waits until the node's kernel has a route of ours to p over this many links; 0: none.
func inKernel(t testing.TB, n *node, p netip.Prefix, links int) {
	t.Helper()
	family := "-4"
	if p.Addr().Is6() {
		family = "-6"
	}
	nstest.Within(t, waitRoute, func() error {
		out, err := n.Try(fmt.Sprintf("ip %s route show %v proto 179", family, p))
		if err != nil {
			return err
		}
		if got := strings.Count(out, " dev "); got != links {
			return fmt.Errorf("%v is in the kernel over %d links, want %d:\n%s", p, got, links, out)
		}
		return nil
	})
}
