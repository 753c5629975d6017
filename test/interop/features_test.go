package interop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// exchanged waits until the router has node i's pod subnets and node i has the router's prefixes.
func (r *rack) exchanged(t *testing.T, i int) {
	t.Helper()
	for subnet, hop := range subnets(i) {
		r.router.Learns(waitRoute, subnet, hop)
	}
	for _, p := range outside {
		inKernel(t, r.nodes[i-1], p, 1)
	}
}

// told waits until the router has node 1's IPv4 subnet with the attributes that it shall have.
func (r *rack) told(t *testing.T, check func(a routers.Attributes) error) {
	t.Helper()
	nstest.Within(t, waitRoute, func() error {
		a, err := r.router.Attributes(netip.MustParsePrefix("10.244.1.0/24"))
		if err == nil {
			err = check(a)
		}
		if err != nil {
			err = fmt.Errorf("%w: %+v", err, a)
		}
		return err
	})
}

// unmoved fails if a session is not the one that it was.
func (n *node) unmoved(t *testing.T, before []session) {
	t.Helper()
	for _, b := range before {
		if now := n.session(t, b.Name); now.Since != b.Since || now.Flaps != b.Flaps || now.State != "Established" {
			t.Errorf("session %s moved: %+v, then %+v", b.Name, b, now)
		}
	}
}

func (n *node) snapshot(t *testing.T) []session {
	t.Helper()
	all, err := n.sessions()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestInteropIBGP(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: iBGP"}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 1, as: torAS})
		r.exchanged(t, 1)
		r.nodes[0].configure(t, "pods.yaml", "apiVersion: podroute.io/v1alpha1\nkind: Advertisement\nmetadata: {name: pods}\nspec: {podSubnets: true, localPref: 222}\n")
		r.told(t, func(a routers.Attributes) error {
			if a.LocalPref != 222 || len(a.ASPath) != 0 {
				return errors.New("want local preference 222 and no AS path")
			}
			return nil
		})
		r.nodes[0].showsAttributes(t, "--advertised", netip.MustParsePrefix("10.244.1.0/24"), "AS path [], local preference 222, MED -, communities []")
	})
}

func TestInteropTTLSecurity(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: TTL security (RFC 5082)"}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 1, peer: "  ttlSecurity: 1\n", router: func(c *routers.Config) {
			for i := range c.Neighbors {
				c.Neighbors[i].TTLSecurity = true
			}
		}})
		r.exchanged(t, 1)
	})
}

func TestInteropPassive(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: we wait for the router to call (passive)"}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 1, peer: "  passive: true\n", tor: func(tor *nstest.NS) {
			tor.Run(t, "nft add table inet calls", "nft add counter inet calls ours",
				"nft add chain inet calls in { type filter hook prerouting priority -300 ; }",
				"nft add rule inet calls in tcp dport 179 tcp flags & (syn | ack) == syn counter name ours")
		}})
		n := r.nodes[0]
		r.exchanged(t, 1)
		// Nor does it call when its session is lost and the router does not call either.
		r.tor.Run(t, "nft add chain inet calls out { type filter hook output priority 0 ; }", "nft add rule inet calls out tcp dport 179 drop")
		n.Run(t, "ss -K dst 10.0.1.0")
		time.Sleep(10 * time.Second) // others call again within seven seconds
		if s := n.session(t, "tor"); s.State == "Established" {
			t.Errorf("the session was not lost: %+v", s)
		}
		if calls := called(t, r.tor); calls != 0 {
			t.Errorf("the node has called %d times", calls)
		}
		err := n.Do(func() error { // one call shows that calls are counted
			c, err := net.DialTimeout("tcp", "10.0.1.0:179", 5*time.Second)
			if err == nil {
				err = c.Close()
			}
			return err
		})
		if calls := called(t, r.tor); calls == 0 {
			t.Errorf("a call is not counted: %v", err)
		}
	})
}

// called is how many packets that open a connection have come to a router.
func called(t *testing.T, tor *nstest.NS) (calls int) {
	t.Helper()
	out := tor.Run(t, "nft list counter inet calls ours")
	_, text, _ := strings.Cut(out, "packets ")
	if _, err := fmt.Sscan(text, &calls); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return calls
}

func TestInteropLocalAS(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: another AS number of ours towards one router"}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 1, peer: "  localAS: 4200000001\n", router: func(c *routers.Config) {
			for i := range c.Neighbors {
				c.Neighbors[i].AS = 4200000001
			}
		}})
		r.exchanged(t, 1)
		r.told(t, func(a routers.Attributes) error {
			if !slices.Equal(a.ASPath, []uint32{4200000001}) {
				return errors.New("want AS path 4200000001")
			}
			return nil
		})
	})
}

func TestInteropAttributes(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "attributes: communities, large communities, MED and prepending, changed under the session"}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 1})
		before := r.nodes[0].snapshot(t)
		const advertisement = "apiVersion: podroute.io/v1alpha1\nkind: Advertisement\nmetadata: {name: pods}\nspec: {podSubnets: true, communities: [%q, %q], med: %d, prepend: 2}\n"
		for _, med := range []uint32{10, 20} {
			community, large := fmt.Sprintf("65010:%d", med), fmt.Sprintf("65010:1:%d", med)
			r.nodes[0].configure(t, "pods.yaml", fmt.Sprintf(advertisement, community, large, med))
			r.told(t, func(a routers.Attributes) error {
				if !slices.Equal(a.Communities, []string{community}) || !slices.Equal(a.Large, []string{large}) || a.MED != med ||
					!slices.Equal(a.ASPath, []uint32{64601, 64601, 64601}) {
					return fmt.Errorf("want %s, %s, MED %d and 64601 three times", community, large, med)
				}
				return nil
			})
			r.nodes[0].showsAttributes(t, "--advertised", netip.MustParsePrefix("10.244.1.0/24"),
				fmt.Sprintf("AS path [64601 64601 64601], local preference -, MED %d, communities [%s %s]", med, community, large))
		}
		r.nodes[0].unmoved(t, before)
	})
}

func TestInteropMED(t *testing.T) {
	t.Parallel()
	better(t, "by MED", tagged(routers.Tags{MED: 50}, routers.Tags{MED: 10}))
}

func TestInteropPath(t *testing.T) {
	t.Parallel()
	better(t, "by the length of the AS path", tagged(routers.Tags{Prepend: 2}, routers.Tags{}))
}

// tagged are two routers that differ in what their routes carry.
func tagged(first, second routers.Tags) func(i int, c *routers.Config) {
	return func(i int, c *routers.Config) { c.Tags = []routers.Tags{first, second}[i-1] }
}

// better: of two routers of one AS, 1 and 2, the second is used, because of what they are, and when it is gone the first.
func better(t *testing.T, by string, change func(i int, c *routers.Config)) {
	t.Helper()
	routers.Feature{Name: "attributes: of two routers one is better, " + by}.Each(t, func(t *testing.T, kind routers.Kind) {
		n, both := newDualHomed(t, kind, change)
		for _, r := range both {
			r.Established(waitSession)
		}
		for _, p := range outside {
			usesLink(t, n, p, "eth2")
		}
		n.shows(t, "--learned", outside[0], beaten)
		n.Run(t, "ip link set eth2 down")
		for _, p := range outside {
			usesLink(t, n, p, "eth1")
		}
	})
}

// usesLink waits until the node's kernel sends what is for p through one link alone.
func usesLink(t *testing.T, n *node, p netip.Prefix, link string) {
	t.Helper()
	inKernel(t, n, p, 1)
	nstest.Within(t, waitRoute, func() error {
		out, err := n.Try(fmt.Sprintf("ip route get %v", p.Addr().Next()))
		if err == nil && !slices.Contains(strings.Fields(out), link) {
			err = fmt.Errorf("%v does not go through %s: %s", p, link, out)
		}
		return err
	})
}

func TestInteropMaxPrefixes(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "filters: too many prefixes end the session, a higher bound brings it back"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1, peer: "  maxPrefixes: 4\n"}
		r := newRack(t, o)
		n := r.nodes[0]
		r.exchanged(t, 1)
		many := []netip.Prefix{outside[0]} // FRR sends our own back, too
		for i := range 5 {
			many = append(many, netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", 80+i)))
		}
		r.router.Announce(many...)
		inKernel(t, n, outside[0], 0)
		if s := n.session(t, "tor"); s.State == "Established" || s.LastError == "" {
			t.Errorf("session is %+v", s)
		}
		o.peer = "  maxPrefixes: 8\n"
		n.configure(t, "rack.yaml", rackManifests(o, 1))
		inKernel(t, n, many[5], 1)
	})
}

// TestInteropFilters: filters of both directions change what is in the kernel and what the router has, never the session.
func TestInteropFilters(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "filters: import and export by prefix, changed under the session"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1}
		r := newRack(t, o)
		n := r.nodes[0]
		loopback := netip.MustParsePrefix("10.255.7.1/32")
		r.router.Announce(append([]netip.Prefix{loopback}, outside...)...)
		r.exchanged(t, 1)
		before := n.snapshot(t)
		inKernel(t, n, loopback, 0)
		o.peer = `  import: {accept: [{cidr: 10.255.0.0/16, ge: 32, le: 32}], reject: [{cidr: 10.244.77.0/24}]}
  export: {reject: [{cidr: 10.244.1.0/24}]}
`
		n.configure(t, "rack.yaml", rackManifests(o, 1))
		inKernel(t, n, loopback, 1)
		inKernel(t, n, outside[0], 0)
		r.router.Learns(waitRoute, netip.MustParsePrefix("10.244.1.0/24"))
		o.peer = ""
		n.configure(t, "rack.yaml", rackManifests(o, 1))
		inKernel(t, n, loopback, 0)
		r.exchanged(t, 1)
		n.unmoved(t, before)
	})
}

// TestInteropHoldTime: the shorter hold time of the two is used, and a router that falls silent is given up when it is over. Its
// routes stay where both ends keep them over NOTIFICATIONs (RFC 8538), as the last choice, and go otherwise.
func TestInteropHoldTime(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: hold time negotiated, and a silent router given up after it"}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 1, peer: "  timers: {hold: 3s, keepalive: 1s}\n"})
		n := r.nodes[0]
		r.exchanged(t, 1)
		if s := n.session(t, "tor"); s.Hold != 3 {
			t.Errorf("hold time is %d s, want 3", s.Hold)
		}
		r.tor.Run(t, "nft add table inet silence", "nft add chain inet silence out { type filter hook output priority 0 ; policy drop ; }")
		silent := time.Now()
		nstest.Within(t, waitRoute, func() error {
			if s := n.session(t, "tor"); s.State == "Established" {
				return errors.New("the session is still up")
			}
			return nil
		})
		inKernel(t, n, outside[0], map[routers.Kind]int{routers.FRR: 1, routers.GoBGP: 1}[kind])
		if d := time.Since(silent); d < time.Second || d > 6*time.Second {
			t.Errorf("given up after %v, the hold time is 3 s", d)
		}
		r.tor.Run(t, "nft delete table inet silence")
		r.exchanged(t, 1)
	})
}

// TestInteropUnnumbered: a link without addresses but link-local ones. The agent finds the router by itself, and takes
// the AS number that it has.
func TestInteropUnnumbered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		feature string
		lacks   map[routers.Kind]string
		family  string
		subnet  string
		out     netip.Prefix
	}{
		{"sessions: unnumbered, over IPv6 link-local addresses, with any AS number (external)", map[routers.Kind]string{
			routers.OpenBGPD: `bgpd.conf(5), neighbor: takes an address or a prefix, no interface; with a link-local address bgpd 7.7 on Linux ends by signal 11 when the session comes up`,
		}, "IPv6", "fd00:244:0:1::/64", outside[1]},
		{"routes: IPv4 with IPv6 next hops over an unnumbered session (RFC 8950)", map[routers.Kind]string{
			routers.OpenBGPD: "bgpd.conf(5), announce: its list of capabilities has no extended next hop; bgpd(8), STANDARDS, names neither RFC 5549 nor RFC 8950",
		}, "IPv4", "10.244.1.0/24", outside[0]},
	} {
		t.Run(c.family, func(t *testing.T) {
			t.Parallel()
			routers.Feature{Name: c.feature, Lacks: c.lacks}.Each(t, func(t *testing.T, kind routers.Kind) {
				n, tor, router := newUnnumbered(t, kind)
				n.ready(t)
				router.Established(waitSession)
				router.Learns(waitRoute, netip.MustParsePrefix(c.subnet), netip.MustParseAddr("fe80::2"))
				inKernel(t, n, c.out, 1)
				family := map[string]string{"IPv4": "-4", "IPv6": "-6"}[c.family]
				if out := n.Run(t, fmt.Sprintf("ip %s route get %v", family, c.out.Addr().Next())); !strings.Contains(out, "via inet6 fe80::1 ") && !strings.Contains(out, "via fe80::1 ") {
					t.Errorf("the way to %v is %s", c.out, out)
				}
				if _, lacks := noFIB()[kind]; lacks {
					return
				}
				nstest.Within(t, waitRoute, func() error {
					out, err := tor.Try(fmt.Sprintf("ip %s route show %s", family, c.subnet))
					if err == nil && !strings.Contains(out, "fe80::2 dev swp1") {
						err = fmt.Errorf("the router's way to %s is %q", c.subnet, out)
					}
					return err
				})
			})
		})
	}
}

// newUnnumbered is a node and a router on a link with link-local addresses only, fe80::2 and fe80::1.
func newUnnumbered(t *testing.T, kind routers.Kind) (*node, *nstest.NS, *routers.Router) {
	t.Helper()
	tor, n := nstest.New(t), newNode(t, "n1")
	nstest.Veth(t, tor, "swp1", n.NS, "eth0")
	for ns, host := range map[*nstest.NS]int{tor: 1, n.NS: 2} {
		dev := map[int]string{1: "swp1", 2: "eth0"}[host]
		ns.Run(t, "sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1",
			fmt.Sprintf("ip link set %s addrgenmode none", dev), "ip -6 addr flush dev "+dev,
			fmt.Sprintf("ip addr add fe80::%d/64 dev %s nodad", host, dev), fmt.Sprintf("ip addr add 10.255.0.%d/32 dev lo", host))
	}
	router := routers.Start(t, tor, kind, routers.Config{
		AS: torAS, RouterID: netip.MustParseAddr("10.255.0.1"), Announce: outside,
		Neighbors: []routers.Neighbor{{
			Address: netip.MustParseAddr("fe80::2%swp1"), AS: 64601, Unnumbered: true, ExtendedNextHop: true, GracefulRestart: true,
		}},
	})
	n.configure(t, "unnumbered.yaml", `
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec: {asNumber: 64601, mesh: None, clusterCIDRs: [10.244.0.0/16, "fd00:244::/32"], nodeCIDRs: [10.255.0.0/16]}
---
apiVersion: podroute.io/v1alpha1
kind: BGPPeer
metadata: {name: tor}
spec: {interface: eth0, asNumber: external}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, "fd00:244:0:1::/64"]}
status: {addresses: [{type: InternalIP, address: 10.255.0.2}]}
`)
	n.start(t)
	return n, tor, router
}

// TestInteropGateway: the peer is the router that the default route leads to, and follows it.
func TestInteropGateway(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: with the default gateway"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1}
		r := newRack(t, o)
		n := r.nodes[0]
		manifests := strings.ReplaceAll(rackManifests(o, 1), `address: "10.0.1.0"`, "gateway: IPv4")
		n.configure(t, "rack.yaml", strings.ReplaceAll(manifests, `address: "fd00:0:0:1::"`, "gateway: IPv6"))
		before := n.snapshot(t)
		nstest.Within(t, waitRoute, func() error {
			if s := n.session(t, "tor"); s.State != "Established" {
				return errors.New("the session is away")
			}
			return nil
		})
		r.exchanged(t, 1)
		n.unmoved(t, before)
		n.Run(t, "ip route del default", "ip -6 route del default")
		nstest.Within(t, waitRoute, func() error { return n.hasPeers() })
		n.Run(t, "ip route add default via 10.0.1.0", "ip -6 route add default via fd00:0:0:1::")
		r.router.Established(waitSession)
		r.exchanged(t, 1)
	})
}

// TestInteropDrain: a node that is drained says so on its routes, and takes it back; the session and the routes stay.
func TestInteropDrain(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "leaving: GRACEFUL_SHUTDOWN on our routes while a node is drained (RFC 8326)"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1}
		r := newRack(t, o)
		n := r.nodes[0]
		r.exchanged(t, 1)
		before := n.snapshot(t)
		for _, drain := range []bool{true, false} {
			n.configure(t, "rack.yaml", strings.ReplaceAll(rackManifests(o, 1), "annotations: {", fmt.Sprintf("annotations: {podroute.io/drain: \"%t\", ", drain)))
			r.told(t, func(a routers.Attributes) error {
				if slices.ContainsFunc(a.Communities, isShutdown) != drain {
					return fmt.Errorf("drained: %t", drain)
				}
				return nil
			})
		}
		r.exchanged(t, 1)
		n.unmoved(t, before)
	})
}

// isShutdown knows GRACEFUL_SHUTDOWN by the names that daemons have for it.
func isShutdown(c string) bool {
	return c == "65535:0" || strings.EqualFold(strings.ReplaceAll(c, "_", "-"), "graceful-shutdown")
}

func TestInteropShutdown(t *testing.T) {
	t.Parallel()
	better(t, "where the other says GRACEFUL_SHUTDOWN (RFC 8326)",
		tagged(routers.Tags{Communities: []string{"65535:0"}}, routers.Tags{Prepend: 1}))
}

// TestInteropRotation: the password of a session is changed, first here and then at the router, under pings between pods.
// Nothing is lost with FRR, which speaks RFC 8538. BIRD does not: it starts the protocol anew for another password, and drops what it has
// kept of us until it is back; what that costs is told.
func TestInteropRotation(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "restarts: a password rotated at both ends, session back within 15 s", Lacks: noFIB()}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 2, password: "first"}
		r := newRack(t, o)
		a, b := r.nodes[0], r.nodes[1]
		pods := []*pod{a.add(t, "pod-a"), b.add(t, "pod-b")}
		reach(t, pods)
		watches := []*watch{startPing(t, pods[0], pods[1].addrs[0]), startPing(t, pods[1], pods[0].addrs[1])}
		o.password = "second"
		changed := time.Now()
		a.configure(t, "rack.yaml", rackManifests(o, 1))
		nstest.Within(t, waitRoute, func() error {
			if s := a.session(t, "tor"); s.State == "Established" {
				return errors.New("the session is still the old one")
			}
			return nil
		})
		rotated := time.Now()
		r.router.Rekey(netip.MustParseAddr("10.0.1.1"), "second")
		nstest.Within(t, waitSession, func() error {
			if s := a.session(t, "tor"); s.State != "Established" {
				return fmt.Errorf("session: %+v", s)
			}
			return nil
		})
		took, away := time.Since(rotated), time.Since(changed)
		routers.Measured(t, "session back after %v", took.Round(10*time.Millisecond))
		time.Sleep(5 * time.Second) // until stale routes have been cleared
		for _, w := range watches {
			sent, lost := w.end(t)
			routers.Measured(t, "%d of %d packets to %v lost", lost, sent, w.to)
			most := 0
			if kind == routers.BIRD {
				most = int((away + 2*time.Second) / (10 * time.Millisecond)) // while the session was away, and no longer
			}
			if lost > most || took > 15*time.Second {
				t.Errorf("%v: %d of %d packets lost, session back after %v", w.to, lost, sent, took)
			}
		}
	})
}

// TestInteropWrongPassword: of two routers one has another password. That one is named within ten seconds; the other works.
func TestInteropWrongPassword(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: of two peers the one with the wrong password is named within 10 s"}.Each(t, func(t *testing.T, kind routers.Kind) {
		n, _ := newDualHomed(t, kind, func(i int, c *routers.Config) {
			for j := range c.Neighbors {
				c.Neighbors[j].Password = []string{"another", "right"}[i-1]
			}
		})
		o := rackOptions{kind: kind, nodes: 1, as: 64601, password: "right"}
		began := time.Now()
		n.configure(t, "rack.yaml", rackManifests(o, 1)+o.peers("-b", 2, torAS))
		nstest.Within(t, 10*time.Second, func() error {
			if err := n.names("session tor", "the password differs"); err != nil {
				return err
			}
			if s := n.session(t, "tor"); s.State == "Established" || !strings.Contains(s.LastError, "the password differs") {
				return fmt.Errorf("the wrong one: %+v", s)
			}
			return nil
		})
		routers.Measured(t, "named after %.1f s", time.Since(began).Seconds())
		nstest.Within(t, waitSession, func() error {
			if s := n.session(t, "tor-b"); s.State != "Established" {
				return fmt.Errorf("the right one: %+v", s)
			}
			return nil
		})
		if s := n.session(t, "tor-b"); s.LastError != "" || s.Flaps > 0 || n.names("session tor-b", "") == nil {
			t.Errorf("the right one: %+v", s)
		}
		if err := n.names("session tor", "the password differs"); err != nil {
			t.Error(err)
		}
	})
}

// TestInteropRefresh: a router that asks gets our routes again, over the same session.
func TestInteropRefresh(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "routes: sent again when the router asks (route refresh, RFC 2918)", Lacks: map[routers.Kind]string{
		routers.GoBGP: "gobgpd, cli-command-syntax.md: neighbor softresetin evaluates what it has kept; there is no command that sends ROUTE-REFRESH",
	}}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 1})
		r.exchanged(t, 1)
		before := r.nodes[0].snapshot(t)
		r.router.Refresh(waitRoute, netip.MustParseAddr("10.0.1.1"))
		r.exchanged(t, 1)
		r.nodes[0].unmoved(t, before)
	})
}
