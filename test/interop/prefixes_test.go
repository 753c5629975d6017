package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// TestInteropLocalPref: inside one AS the router that says so is used.
func TestInteropLocalPref(t *testing.T) {
	t.Parallel()
	better(t, "by local preference (iBGP)", func(i int, c *routers.Config) {
		c.AS, c.Tags = 64601, routers.Tags{LocalPref: uint32(i) * 150}
	})
}

// TestInteropByName: what no router may talk a node into is accepted by its very name alone, and not by a range that holds
// it; what is inside the node's own block never is.
func TestInteropByName(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "filters: a default route, a service, another protocol's prefix: by name alone; our own never"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1}
		r := newRack(t, o)
		n := r.nodes[0]
		n.Run(t, "ip route add 10.244.99.0/24 via 10.0.1.0 proto static", "ip route add fd00:244:0:99::/64 via fd00:0:0:1:: proto static")
		before := foreign(t, n)
		named := list("0.0.0.0/0", "::/0", "10.96.0.10/32", "fd00:96::a/128", "10.244.99.0/24", "fd00:244:0:99::/64")
		own := list("10.244.1.7/32", "fd00:244:0:1::7/128", "10.244.1.128/25")
		other := list("192.0.2.0/24", "2001:db8::/48") // outside the cluster, so that they show when a filter is in force
		r.router.Announce(slices.Concat(named, own, other, outside)...)
		r.exchanged(t, 1)
		sessions := n.snapshot(t)
		set := func(accept string) {
			t.Helper()
			o.peer = "  import: {accept: [" + accept + "]}\n"
			n.configure(t, "rack.yaml", rackManifests(o, 1))
		}
		has := func(links int, prefixes []netip.Prefix) {
			t.Helper()
			for _, p := range prefixes {
				inKernel(t, n, p, links)
			}
		}
		ranges := `{cidr: 0.0.0.0/0, ge: 1, le: 32}, {cidr: "::/0", ge: 1, le: 128}, {cidr: 0.0.0.0/0, le: 32}, {cidr: "::/0", le: 128}`
		set(ranges)
		has(1, other)
		has(0, slices.Concat(named, own))
		set(ranges + `, {cidr: 0.0.0.0/0}, {cidr: "::/0"}, {cidr: 10.96.0.10/32}, {cidr: "fd00:96::a/128"}, {cidr: 10.244.99.0/24}, {cidr: "fd00:244:0:99::/64"}` +
			`, {cidr: 10.244.1.7/32}, {cidr: "fd00:244:0:1::7/128"}, {cidr: 10.244.1.128/25}`)
		has(1, slices.Concat(other, named))
		has(0, own)
		set(`{family: IPv6}`)
		has(0, slices.Concat(named, own, other[:1]))
		has(1, other[1:])
		if after := foreign(t, n); after != before {
			t.Errorf("routes of others were\n%s\nand are\n%s", before, after)
		}
		n.unmoved(t, sessions)
	})
}

func list(prefixes ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range prefixes {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// TestInteropOwnPrefixes: what an Advertisement names besides the pod subnets: the node's addresses on its loopback, the
// prefixes of its links while they are up, and others as they stand.
func TestInteropOwnPrefixes(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "routes: a node's own addresses, its links' prefixes and named ones"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1}
		r := newRack(t, o)
		n := r.nodes[0]
		nstest.Veth(t, nstest.New(t), "far", n.NS, "storage")
		n.Run(t, "ip addr add 10.0.200.1/32 dev lo", "ip addr add fd00:0:0:200::1/128 dev lo nodad",
			"ip addr add 10.7.1.1/24 dev storage", "ip addr add fd00:7::1/64 dev storage nodad", "ip link set storage up")
		n.configure(t, "rack.yaml", strings.NewReplacer("address: 10.0.1.1}", "address: 10.0.200.1}", `address: "fd00:0:0:1::1"}`, `address: "fd00:0:0:200::1"}`).
			Replace(rackManifests(o, 1)))
		own, links, named := list("10.0.200.1/32", "fd00:0:0:200::1/128"), list("10.7.1.0/24", "fd00:7::/64"), list("192.0.2.0/24", "2001:db8:7::/48")
		hops := []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00:0:0:1::1")}
		told := func(prefixes []netip.Prefix, told bool) {
			t.Helper()
			for i, p := range prefixes {
				if told {
					r.router.Learns(waitRoute, p, hops[i])
				} else {
					r.router.Learns(waitRoute, p)
				}
			}
		}
		const advertisement = `
apiVersion: podroute.io/v1alpha1
kind: Advertisement
metadata: {name: more}
spec: {nodeAddresses: true, connected: [10.7.0.0/16, "fd00:7::/48"], prefixes: [192.0.2.0/24, "2001:db8:7::/48"]}
`
		n.configure(t, "more.yaml", advertisement)
		for _, p := range [][]netip.Prefix{own, links, named} {
			told(p, true)
		}
		for _, args := range []string{"10.0.200.1/32", "10.7.1.0/24", "2001:db8:7::/48"} {
			if out, err := n.ask("routes", "--advertised"); err != nil || !strings.Contains(string(out), args) {
				t.Errorf("podroute routes --advertised does not show %s: %v\n%s", args, err, out)
			}
		}
		n.Run(t, "ip link set storage down")
		told(links, false)
		told(own, true)
		n.Run(t, "ip link set storage up", "ip addr replace fd00:7::1/64 dev storage nodad")
		told(links, true)
		n.remove(t, "more.yaml")
		for _, p := range [][]netip.Prefix{own, links, named} {
			told(p, false)
		}
		r.exchanged(t, 1)
	})
}

// TestInteropQuiet: a change is told to whom it concerns and to nobody else: the UPDATEs that two routers get are counted, and
// the kernel's messages about routes and next hops.
func TestInteropQuiet(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "routes: a change makes messages for whom it concerns alone, UPDATEs and netlink messages counted"}.Each(t, func(t *testing.T, kind routers.Kind) {
		many := append([]netip.Prefix{}, outside...)
		for i := range 60 {
			many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(100 + i), 0}), 24))
		}
		n, both := newDualHomed(t, kind, func(i int, c *routers.Config) { c.AS, c.Announce = uint32(torAS+i-1), many })
		o := rackOptions{kind: kind, nodes: 1, as: 64601}
		first := strings.ReplaceAll(rackManifests(o, 1), "metadata: {name: tor", "metadata: {name: tor-a")
		second := func(extra string) {
			t.Helper()
			o.peer = extra
			n.configure(t, "second.yaml", o.peers("-b", 2, torAS+1))
		}
		n.configure(t, "rack.yaml", strings.ReplaceAll(first, "tor-a6", "tor6-a"))
		second("")
		for _, p := range many {
			inKernel(t, n, p, 2)
		}
		watch := watchKernel(t, n)
		both[0].Announce(many[1:]...) // which shows that the monitor listens, and is an ordinary withdrawal
		inKernel(t, n, many[0], 1)
		watch.about(t, many[0])
		updates := func() [2]int { return [2]int{both[0].Updates(), both[1].Updates()} }
		before, sessions := updates(), n.snapshot(t)

		// For one router alone: other attributes, then fewer routes.
		const pods = "apiVersion: podroute.io/v1alpha1\nkind: Advertisement\nmetadata: {name: pods}\nspec: {podSubnets: true, peers: [tor-b, tor6-b], med: 77}\n"
		n.configure(t, "pods.yaml", pods)
		medAt(t, both[1], 77)
		second("  export: {reject: [{cidr: 10.244.1.0/24}]}\n")
		both[1].Learns(waitRoute, netip.MustParsePrefix("10.244.1.0/24"))
		now := updates()
		if now[0] != before[0] || now[1] == before[1] {
			t.Errorf("a change for the second router: UPDATEs were %v, and are %v", before, now)
		}
		watch.about(t, netip.Prefix{})

		// From one router alone one prefix is no longer accepted.
		second("  export: {reject: [{cidr: 10.244.1.0/24}]}\n  import: {reject: [{cidr: 10.244.100.0/24}]}\n")
		inKernel(t, n, netip.MustParsePrefix("10.244.100.0/24"), 1)
		watch.about(t, netip.MustParsePrefix("10.244.100.0/24"))
		// A pod concerns nobody but this node.
		n.add(t, "pod-a")
		if after := updates(); after != now {
			t.Errorf("a filter for what comes in, and a pod: UPDATEs were %v, and are %v", now, after)
		}
		n.unmoved(t, sessions)
	})
}

// medAt waits until a router has node 1's IPv4 subnet with a MED.
func medAt(t *testing.T, r *routers.Router, med uint32) {
	t.Helper()
	nstest.Within(t, waitRoute, func() error {
		a, err := r.Attributes(netip.MustParsePrefix("10.244.1.0/24"))
		if err == nil && a.MED != med {
			err = fmt.Errorf("MED is %d, want %d", a.MED, med)
		}
		return err
	})
}
