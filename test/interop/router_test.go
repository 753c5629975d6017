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

// eachKind runs a test against every daemon, or against those that have a forwarding table.
func eachKind(t *testing.T, forwarding bool, test func(t *testing.T, kind routers.Kind)) {
	t.Parallel()
	for _, kind := range routers.Kinds() {
		if forwarding && kind == routers.GoBGP {
			continue
		}
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, kind)
		})
	}
}

// TestRoutes: both families over one session; the router learns the pod subnets, the node's kernel
// gets the router's routes; what is withdrawn on either side goes.
func TestRoutes(t *testing.T) {
	eachKind(t, false, func(t *testing.T, kind routers.Kind) {
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

// TestPassword: with the right password there is a session, with a wrong one there is none, and the
// right one put in its place brings it up.
func TestPassword(t *testing.T) {
	eachKind(t, false, func(t *testing.T, kind routers.Kind) {
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

// TestECMP: a prefix that two routers announce is in the kernel over both links.
func TestECMP(t *testing.T) {
	eachKind(t, false, func(t *testing.T, kind routers.Kind) {
		n := newNode(t, "n1")
		manifests := rackManifests(rackOptions{nodes: 1}, 1)
		for i := 1; i <= 2; i++ {
			tor := nstest.New(t)
			nstest.Veth(t, tor, "port", n.NS, fmt.Sprintf("eth%d", i))
			tor.Run(t, fmt.Sprintf("ip addr add 10.0.%d.0/31 dev port", i), fmt.Sprintf("ip addr add fd00:0:0:%d::/127 dev port nodad", i))
			n.Run(t, fmt.Sprintf("ip addr add 10.0.%d.1/31 dev eth%d", i, i), fmt.Sprintf("ip addr add fd00:0:0:%d::1/127 dev eth%d nodad", i, i))
			routers.Start(t, tor, kind, routers.Config{
				AS: uint32(torAS + i - 1), RouterID: netip.MustParseAddr(fmt.Sprintf("10.255.0.%d", i)), Announce: outside,
				Neighbors: []routers.Neighbor{{
					Address: netip.MustParseAddr(fmt.Sprintf("10.0.%d.1", i)), AS: 64601,
					NextHop6: netip.MustParseAddr(fmt.Sprintf("fd00:0:0:%d::", i)),
				}},
			})
		}
		manifests += fmt.Sprintf("---\napiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: tor2}\nspec: {address: 10.0.2.0, asNumber: %d}\n", torAS+1)
		n.configure(t, "rack.yaml", manifests)
		n.start(t)
		for _, p := range outside {
			inKernel(t, n, p, 2)
		}
		n.Run(t, "ip link set eth2 down")
		for _, p := range outside {
			inKernel(t, n, p, 1)
		}
	})
}

// TestRestart: the agent killed and started, the agent stopped and started, our routes deleted by
// hand, the router killed and started. The path is watched by a ping every 10 ms each way.
func TestRestart(t *testing.T) {
	eachKind(t, true, func(t *testing.T, kind routers.Kind) {
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
				t.Logf("%s: %v: sent %d, lost %d", e.name, w.to, sent, lost)
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
func inKernel(t *testing.T, n *node, p netip.Prefix, links int) {
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
