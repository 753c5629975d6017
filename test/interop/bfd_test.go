package interop

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// watched is what a BGPPeer says for three packets of 50 ms.
const watched = "  bfd: {transmitInterval: 50ms, receiveInterval: 50ms, detectMultiplier: 3}\n"

// liveness is the feature of both tests of it.
func liveness(name string) routers.Feature {
	return routers.Feature{Name: "liveness: " + name, Lacks: map[routers.Kind]string{
		routers.GoBGP:    "no BFD: gobgpd 3.10's configuration (docs/sources/configuration.md) has no option for it",
		routers.OpenBGPD: "no BFD: bgpd.conf(5) of OpenBGPD 7.7 has no option for it",
	}}
}

// watchedRack is a rack whose router and nodes watch one another.
func watchedRack(t testing.TB, o rackOptions, graceful bool) *rack {
	t.Helper()
	o.peer += watched
	o.spared = true
	o.router = func(c *routers.Config) {
		for i := range c.Neighbors {
			c.Neighbors[i].BFD = &routers.BFD{Interval: 50, Multiplier: 3, Graceful: graceful}
		}
	}
	r := newRack(t, o)
	r.alive(t)
	return r
}

// spare puts all programs of a namespace before those that merely compute: routers stand for other machines, which the
// load of this one does not keep from sending in time.
func spare(t testing.TB, ns *nstest.NS) {
	t.Helper()
	var here, there unix.Stat_t
	if err := unix.Fstat(ns.Fd(), &here); err != nil {
		t.Fatal(err)
	}
	spared := 0
	threads, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*")
	for _, dir := range threads {
		if unix.Stat(dir+"/ns/net", &there) != nil || there.Ino != here.Ino {
			continue
		}
		id, _ := strconv.Atoi(filepath.Base(dir))
		if err := unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 10}, 0); err != nil {
			t.Fatalf("real-time scheduling of thread %d, which needs CAP_SYS_NICE: %v", id, err)
		}
		spared++
	}
	if spared == 0 {
		t.Fatal("nothing runs in the router's namespace")
	}
}

// alive waits until both ends say that BFD is up, at the timers that were asked for.
func (r *rack) alive(t testing.TB) {
	t.Helper()
	for i, n := range r.nodes {
		n.alive(t, "tor")
		isUp(t, r.router, netip.MustParseAddr(fmt.Sprintf("10.0.%d.1", i+1)))
	}
}

func isUp(t testing.TB, r *routers.Router, neighbor netip.Addr) {
	t.Helper()
	nstest.Within(t, waitSession, func() error {
		state, err := r.Liveness(neighbor)
		if err == nil && state != "Up" {
			err = fmt.Errorf("%s: BFD with %v is %s", r.Kind(), neighbor, state)
		}
		return err
	})
}

// alive waits until BFD with a peer is up and a silence of 150 ms is a loss.
func (n *node) alive(t testing.TB, peer string) {
	t.Helper()
	nstest.Within(t, waitSession, func() error {
		s := n.session(t, peer)
		if s.BFD.State != "Up" || s.BFD.Detect != 150 || s.BFD.Off {
			return fmt.Errorf("BFD of %s: %+v", n.name, s.BFD)
		}
		return nil
	})
}

// silence drops all packets from and to a namespace; its links stay up. The returned function ends it.
func silence(t testing.TB, ns *nstest.NS) (end func()) {
	t.Helper()
	ns.Run(t, "nft add table inet silence", "nft add chain inet silence in { type filter hook input priority -300 ; policy drop ; }",
		"nft add chain inet silence out { type filter hook output priority -300 ; policy drop ; }")
	return func() { ns.Run(t, "nft delete table inet silence") }
}

// TestInteropBFD: up with the timers of both ends; switched off and on again without a word to BGP; a silent router's
// routes leave at once, although graceful restart is negotiated, and come back with it.
func TestInteropBFD(t *testing.T) {
	t.Parallel()
	liveness("BFD over one hop (RFC 5881)").Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1}
		r := watchedRack(t, o, false)
		n := r.nodes[0]
		r.exchanged(t, 1)
		before := n.snapshot(t)
		n.configure(t, "rack.yaml", rackManifests(o, 1))
		nstest.Within(t, waitSession, func() error {
			if s := n.session(t, "tor"); !s.BFD.Off {
				return fmt.Errorf("BFD is not off: %+v", s.BFD)
			}
			return nil
		})
		time.Sleep(500 * time.Millisecond) // three detection times in which nothing may happen
		isUp(t, r.router, netip.MustParseAddr("10.0.1.1"))
		n.unmoved(t, before)
		o.peer = watched
		n.configure(t, "rack.yaml", rackManifests(o, 1))
		r.alive(t)
		n.unmoved(t, before)

		end := silence(t, r.tor)
		for _, p := range outside {
			inKernel(t, n, p, 0)
		}
		s := n.session(t, "tor")
		if s.BFD.Losses != before[0].BFD.Losses+1 || s.Flaps != before[0].Flaps+1 {
			t.Errorf("after the silence: %+v", s)
		}
		end()
		r.router.Established(waitSession)
		r.alive(t)
		r.exchanged(t, 1)
	})
}

// TestInteropBFDIPv6 and TestInteropBFDLinkLocal: the same over IPv6.
func TestInteropBFDIPv6(t *testing.T) {
	t.Parallel()
	liveness("BFD over IPv6").Each(t, func(t *testing.T, kind routers.Kind) {
		overIPv6(t, kind, "fd00:0:0:1::1", "fd00:0:0:1::")
	})
}

func TestInteropBFDLinkLocal(t *testing.T) {
	t.Parallel()
	liveness("BFD over IPv6, between link-local addresses").Each(t, func(t *testing.T, kind routers.Kind) {
		overIPv6(t, kind, "fe80::b%port1", "fe80::a%eth0")
	})
}

// overIPv6 tests BFD between a node, as the router names it, and a router, as the node names it.
func overIPv6(t *testing.T, kind routers.Kind, nodeAddr, routerAddr string) {
	t.Helper()
	n, tor := newNode(t, "n1"), nstest.New(t)
	nstest.Veth(t, tor, "port1", n.NS, "eth0")
	tor.Run(t, "ip addr add 10.0.1.0/31 dev port1", "ip addr add fd00:0:0:1::/127 dev port1 nodad", "ip addr add fe80::a/64 dev port1 nodad")
	n.Run(t, "ip addr add 10.0.1.1/31 dev eth0", "ip addr add fd00:0:0:1::1/127 dev eth0 nodad", "ip addr add fe80::b/64 dev eth0 nodad")
	r := routers.Start(t, tor, kind, routers.Config{
		AS: torAS, RouterID: netip.MustParseAddr("10.255.0.1"), Announce: outside,
		Neighbors: []routers.Neighbor{{
			Address: netip.MustParseAddr(nodeAddr), AS: 64601, OwnFamily: true, BFD: &routers.BFD{Interval: 50, Multiplier: 3},
		}},
	})
	spare(t, tor)
	n.configure(t, "rack.yaml", rackManifests(rackOptions{kind: kind, nodes: 1}, 1)+fmt.Sprintf(
		"---\napiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: six}\nspec:\n  address: %q\n  asNumber: %d\n  families: [IPv6]\n%s",
		routerAddr, torAS, watched))
	n.start(t)
	r.Established(waitSession)
	n.alive(t, "six")
	inKernel(t, n, outside[1], 1)
	end := silence(t, tor)
	inKernel(t, n, outside[1], 0)
	end()
	r.Established(waitSession)
	n.alive(t, "six")
	inKernel(t, n, outside[1], 1)
}

// TestInteropBFDMultihop: between loopback addresses, with a router in between that knows no BFD.
func TestInteropBFDMultihop(t *testing.T) {
	t.Parallel()
	liveness("BFD over several hops (RFC 5883)").Each(t, func(t *testing.T, kind routers.Kind) {
		n, mid, far := newNode(t, "n1"), nstest.New(t), nstest.New(t)
		nstest.Veth(t, mid, "port1", n.NS, "eth0")
		nstest.Veth(t, far, "port1", mid, "port2")
		mid.Run(t, "sysctl -qw net.ipv4.ip_forward=1", "ip addr add 10.0.1.0/31 dev port1", "ip addr add 10.0.2.0/31 dev port2",
			"ip route add 10.9.0.1 via 10.0.2.1")
		far.Run(t, "ip addr add 10.0.2.1/31 dev port1", "ip addr add 10.9.0.1/32 dev lo", "ip route add default via 10.0.2.0")
		n.Run(t, "ip addr add 10.0.1.1/31 dev eth0", "ip route add default via 10.0.1.0")
		r := routers.Start(t, far, kind, routers.Config{AS: torAS, RouterID: netip.MustParseAddr("10.255.0.1"), Neighbors: []routers.Neighbor{{
			Address: netip.MustParseAddr("10.0.1.1"), AS: 64601, Local: netip.MustParseAddr("10.9.0.1"), OwnFamily: true, Multihop: 8,
			BFD: &routers.BFD{Interval: 50, Multiplier: 3},
		}}})
		spare(t, far)
		manifests := rackManifests(rackOptions{kind: kind, nodes: 1}, 1)
		manifests += fmt.Sprintf("---\napiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: far}\nspec:\n"+
			"  address: 10.9.0.1\n  asNumber: %d\n  multihopTTL: 8\n  families: [IPv4]\n%s", torAS, watched)
		n.configure(t, "rack.yaml", manifests)
		n.start(t)
		r.Established(waitSession)
		n.alive(t, "far")
		before := n.session(t, "far")
		end := silence(t, far)
		nstest.Within(t, 5*time.Second, func() error {
			if s := n.session(t, "far"); s.State == "Established" || s.BFD.Losses != before.BFD.Losses+1 {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		end()
		r.Established(waitSession)
		n.alive(t, "far")
	})
}

// TestInteropBFDRestart: an agent that is stopped or killed and started again loses next to nothing: the routers take
// the end of the TCP connection for a restart, and the silence of BFD that follows for a part of it.
func TestInteropBFDRestart(t *testing.T) {
	t.Parallel()
	liveness("BFD and graceful restart (RFC 5882)").Each(t, func(t *testing.T, kind routers.Kind) {
		r := watchedRack(t, rackOptions{kind: kind, nodes: 2}, true)
		r.tor.Run(t, "sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv6.conf.all.forwarding=1")
		a, b := r.nodes[0], r.nodes[1]
		pods := []*pod{a.add(t, "pod-a"), b.add(t, "pod-b")}
		reach(t, pods)
		before := b.session(t, "tor") // FRR begins BFD anew when a session first comes up, and so ends that session once
		for name, signal := range map[string]syscall.Signal{"stopped": syscall.SIGTERM, "killed": syscall.SIGKILL} {
			watches := []*watch{startPing(t, pods[0], pods[1].addrs[0]), startPing(t, pods[1], pods[0].addrs[1])}
			a.signal(signal)
			a.start(t)
			r.router.Established(waitSession)
			a.ready(t)
			r.alive(t)
			for _, w := range watches {
				sent, lost := w.end(t)
				routers.Measured(t, "%s: %d of %d packets to %v lost", name, lost, sent, w.to)
				if lost > 1 {
					t.Errorf("%s: ping %v: %d of %d packets lost, want at most 1", name, w.to, lost, sent)
				}
			}
		}
		b.unmoved(t, []session{before})
	})
}

// TestInteropBFDRouterRestart: a router whose daemon is killed and comes back keeps its place in the node's kernel: it
// closed its connection first, and what BFD then tells is a part of its restart.
func TestInteropBFDRouterRestart(t *testing.T) {
	t.Parallel()
	liveness("BFD and the router's graceful restart").Each(t, func(t *testing.T, kind routers.Kind) {
		r := watchedRack(t, rackOptions{kind: kind, nodes: 1}, true)
		n := r.nodes[0]
		r.exchanged(t, 1)
		gone := watchRoutes(t, n.NS)
		before := n.session(t, "tor")
		r.router.Kill()
		nstest.Within(t, waitSession, func() error {
			if s := n.session(t, "tor"); s.State == "Established" || s.BFD.Losses == before.BFD.Losses && kind == routers.BIRD {
				return fmt.Errorf("nothing noticed yet: %+v", s)
			}
			return nil
		})
		time.Sleep(500 * time.Millisecond) // three detection times, in which nothing may happen
		r.router.Restart()
		r.router.Established(waitSession)
		spare(t, r.tor)
		r.alive(t)
		r.exchanged(t, 1)
		for {
			select {
			case g := <-gone:
				if slices.Contains(outside, g.prefix) {
					t.Errorf("%v left the kernel", g.prefix)
				}
			default:
				return
			}
		}
	})
}

type goneRoute struct {
	prefix netip.Prefix
	at     time.Time
}

// watchRoutes tells of routes that leave a namespace's forwarding table, until the test ends.
func watchRoutes(t testing.TB, ns *nstest.NS) <-chan goneRoute {
	t.Helper()
	updates, gone, done := make(chan netlink.RouteUpdate, 1000), make(chan goneRoute, 1000), make(chan struct{})
	at := netns.NsHandle(ns.Fd())
	if err := netlink.RouteSubscribeWithOptions(updates, done, netlink.RouteSubscribeOptions{Namespace: &at}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(done) })
	go func() {
		for u := range updates {
			if u.Type != unix.RTM_DELROUTE || u.Dst == nil {
				continue
			}
			a, _ := netip.AddrFromSlice(u.Dst.IP)
			ones, _ := u.Dst.Mask.Size()
			gone <- goneRoute{netip.PrefixFrom(a.Unmap(), ones), time.Now()}
		}
	}()
	return gone
}
