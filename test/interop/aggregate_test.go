package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// transit is a podroute router with a daemon on either side: leaf, behind 10.0.1.0/31, and spine, behind 10.0.2.0/31,
// the router's ends last.
type transit struct {
	*node
	leafNS, spineNS *nstest.NS
	leaf, spine     *routers.Router
	options         rackOptions
}

const (
	leafAS  = torAS
	spineAS = torAS + 1
)

// newTransit builds it. Where the router itself knows no way, it has a default route to the spine.
func newTransit(t *testing.T, kind routers.Kind, advertisements string, change func(leaf, spine *routers.Config)) *transit {
	t.Helper()
	r := &transit{node: newNode(t, "r1"), leafNS: nstest.New(t), spineNS: nstest.New(t), options: rackOptions{kind: kind, as: 64601}}
	configs := []*routers.Config{{AS: leafAS}, {AS: spineAS}}
	for i, ns := range []*nstest.NS{r.leafNS, r.spineNS} {
		n := i + 1
		nstest.Veth(t, ns, "port", r.NS, fmt.Sprintf("eth%d", n))
		ns.Run(t, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1", fmt.Sprintf("ip addr add 10.0.%d.0/31 dev port", n),
			fmt.Sprintf("ip addr add fd00:0:0:%d::/127 dev port nodad", n))
		r.Run(t, fmt.Sprintf("ip addr add 10.0.%d.1/31 dev eth%d", n, n), fmt.Sprintf("ip addr add fd00:0:0:%d::1/127 dev eth%d nodad", n, n))
		configs[i].RouterID, configs[i].Neighbors = netip.MustParseAddr(fmt.Sprintf("10.255.0.%d", n)), r.options.neighbors(n)
	}
	r.leafNS.Run(t, "ip route add default via 10.0.1.1", "ip route add default via fd00:0:0:1::1")
	r.Run(t, "ip route add default via 10.0.2.0", "ip route add default via fd00:0:0:2::")
	configs[0].Announce = outside
	change(configs[0], configs[1])
	r.leaf, r.spine = routers.Start(t, r.leafNS, kind, *configs[0]), routers.Start(t, r.spineNS, kind, *configs[1])
	r.configure(t, "fabric.yaml", `
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec:
  asNumber: 64601
  mesh: None
  routerSelector: {matchLabels: {role: router}}
  clusterCIDRs: [10.244.0.0/16, "fd00:244::/32"]
  nodeCIDRs: [10.0.0.0/16, "fd00::/48"]
---
apiVersion: v1
kind: Node
metadata: {name: r1, labels: {role: router}}
status: {addresses: [{type: InternalIP, address: 10.0.1.1}, {type: InternalIP, address: "fd00:0:0:1::1"}]}
`+r.options.peers("-leaf", 1, leafAS)+r.options.peers("-spine", 2, spineAS))
	r.configure(t, "advertisements.yaml", advertisements)
	r.start(t)
	r.leaf.Established(waitSession)
	r.spine.Established(waitSession)
	return r
}

// sums are ranges of which the leaf has a part, with the router's address that they are told from.
func sums() map[netip.Prefix]netip.Addr {
	return map[netip.Prefix]netip.Addr{
		netip.MustParsePrefix("10.244.64.0/20"): netip.MustParseAddr("10.0.2.1"),
		netip.MustParsePrefix("fd00:244::/56"):  netip.MustParseAddr("fd00:0:0:2::1"),
	}
}

// TestInteropAggregates: a router tells its spine a range while it knows a part of it. What nobody in the range has is
// unreachable at the router, and does not circle between it and the spine, which has a default route here and it one there.
func TestInteropAggregates(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "attributes: aggregates on a router, unreachable route first, with and without their parts"}.Each(t, func(t *testing.T, kind routers.Kind) {
		const advertisement = `
apiVersion: podroute.io/v1alpha1
kind: Advertisement
metadata: {name: rack}
spec: {peers: %s, aggregates: [10.244.64.0/20, "fd00:244::/56"], summaryOnly: %t}
`
		peers := "[tor-spine]"
		if kind == routers.OpenBGPD { // a session for each family
			peers = "[tor-spine, tor6-spine]"
		}
		r := newTransit(t, kind, fmt.Sprintf(advertisement, peers, false), func(*routers.Config, *routers.Config) {})
		r.leafNS.Run(t, "ip addr add 10.244.77.1/32 dev lo", "ip addr add fd00:244:0:77::1/128 dev lo nodad")
		if _, ok := noFIB()[kind]; ok {
			r.spineNS.Run(t, "ip route add 10.244.64.0/20 via 10.0.2.1", "ip route add fd00:244::/56 via fd00:0:0:2::1")
		}
		all := func(told bool) {
			t.Helper()
			for p, hop := range sums() {
				if !told {
					r.spine.Learns(waitRoute, p)
					nstest.Within(t, waitRoute, func() error { return unreachable(r.node, p, false) })
					continue
				}
				r.spine.Learns(waitRoute, p, hop)
				if err := unreachable(r.node, p, true); err != nil {
					t.Errorf("%v is told: %v", p, err)
				}
				r.shows(t, "--advertised", p, func(byPeer map[string]route) error {
					for peer, x := range byPeer {
						if !x.Aggregate || !strings.HasSuffix(peer, "-spine") {
							return fmt.Errorf("want an aggregate, told to the spine alone, and %s is told %+v", peer, x)
						}
					}
					if len(byPeer) == 0 {
						return errors.New("nobody is told")
					}
					return nil
				})
			}
		}
		parts := func(told bool) {
			t.Helper()
			for i, p := range outside {
				if told {
					r.spine.Learns(waitRoute, p, netip.MustParseAddr([]string{"10.0.2.1", "fd00:0:0:2::1"}[i]))
				} else {
					r.spine.Learns(waitRoute, p)
				}
			}
		}
		all(true)
		parts(true)
		reaches(t, r)

		before := r.snapshot(t)
		r.configure(t, "advertisements.yaml", fmt.Sprintf(advertisement, peers, true))
		parts(false)
		all(true)
		reaches(t, r)
		r.configure(t, "advertisements.yaml", fmt.Sprintf(advertisement, peers, false))
		parts(true)
		all(true)

		r.leaf.Announce()
		parts(false)
		all(false)
		r.leaf.Announce(outside...)
		all(true)
		r.remove(t, "advertisements.yaml")
		all(false)
		parts(true)
		r.unmoved(t, before)
	})
}

// unreachable checks that the node's kernel says that a prefix is, or does not know of it.
func unreachable(n *node, p netip.Prefix, want bool) error {
	family := "-4"
	if p.Addr().Is6() {
		family = "-6"
	}
	out, err := n.Try(fmt.Sprintf("ip %s route show exact %v", family, p))
	if err == nil && strings.HasPrefix(out, "unreachable") != want {
		err = fmt.Errorf("the kernel says of %v: %q", p, out)
	}
	return err
}

// reaches: from the spine, the leaf's addresses answer, and others of the range are unreachable at once, at the router.
func reaches(t *testing.T, r *transit) {
	t.Helper()
	for _, c := range []struct{ there, nobody, router string }{
		{"10.244.77.1", "10.244.65.1", "10.0.2.1"}, {"fd00:244:0:77::1", "fd00:244:0:66::1", "fd00:0:0:2::1"},
	} {
		nstest.Within(t, waitRoute, func() error {
			_, err := r.spineNS.Try("ping -c 1 -W 1 " + c.there)
			return err
		})
		nstest.Within(t, waitRoute, func() error {
			out, err := r.spineNS.Try("ping -c 1 -W 1 " + c.nobody)
			if err == nil {
				return fmt.Errorf("%s answers", c.nobody)
			}
			out += err.Error()
			if !strings.Contains(strings.ToLower(out), "unreachable") || !strings.Contains(out, "From "+c.router) {
				return fmt.Errorf("of %s the router does not say that it is unreachable: %s", c.nobody, out)
			}
			return nil
		})
	}
}

// TestAggregateRestart: while the router's agent is killed and started again, nobody loses the aggregate, and the kernel always says
// that what nobody has is unreachable.
func TestAggregateRestart(t *testing.T) {
	t.Parallel()
	r := newTransit(t, routers.BIRD, "apiVersion: podroute.io/v1alpha1\nkind: Advertisement\nmetadata: {name: rack}\n"+
		"spec: {peers: [tor-spine], aggregates: [10.244.64.0/20, \"fd00:244::/56\"], summaryOnly: true}\n", func(*routers.Config, *routers.Config) {})
	for p, hop := range sums() {
		r.spine.Learns(waitRoute, p, hop)
	}
	changes := map[*nstest.NS]*nstest.Output{r.spineNS: {}, r.NS: {}}
	for ns, out := range changes {
		p, err := ns.Launch(context.Background(), out, "ip", "monitor", "route")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Stop)
	}
	r.signal(syscall.SIGKILL)
	r.start(t)
	r.leaf.Established(waitSession)
	r.spine.Established(waitSession)
	nstest.Within(t, 20*time.Second, func() error { // until all is known again, and for as long as an aggregate lingers
		if up := time.Since(r.since(t)); up < 16*time.Second {
			return fmt.Errorf("up for %v", up)
		}
		return nil
	})
	for p, hop := range sums() {
		r.spine.Learns(waitRoute, p, hop)
		if err := unreachable(r.node, p, true); err != nil {
			t.Error(err)
		}
		for _, out := range changes {
			for line := range strings.Lines(out.String()) {
				if strings.HasPrefix(line, "Deleted") && strings.Contains(line, p.String()) {
					t.Errorf("%v was away: %s", p, line)
				}
			}
		}
	}
}

// since is when the agent was started.
func (n *node) since(t *testing.T) time.Time {
	t.Helper()
	var s struct {
		Started time.Time `json:"started"`
	}
	out, err := n.ask("status")
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.Started
}
