package interop

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// TestInteropUnwelcome: a router that announces what no router may talk a node into. None of it reaches the
// kernel; what it may say does, and the routes of others stay as they are.
func TestInteropUnwelcome(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "filters: what no router may talk a node into"}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 1})
		n := r.nodes[0]
		n.Run(t, "ip route add 10.244.99.0/24 via 10.0.1.0 proto static", "ip route add fd00:244:0:99::/64 via fd00:0:0:1:: proto static")
		before := foreign(t, n)
		var unwelcome []netip.Prefix
		for _, s := range []string{
			"0.0.0.0/0", "::/0", // default routes
			"10.0.1.0/31", "fd00:0:0:1::/127", // the node's own link
			"10.0.1.1/32", "fd00:0:0:1::1/128", // the node's own address
			"10.244.1.0/24", "fd00:244:0:1::/64", // the node's own block
			"10.244.1.128/25", "10.244.1.7/32", "fd00:244:0:1::7/128", // and inside it
			"10.96.0.0/16", "10.96.0.10/32", "fd00:96::a/128", // services
			"10.244.99.0/24", "fd00:244:0:99::/64", // prefixes that another program has a route for
			"192.0.2.0/24", "2001:db8::/64", // outside the cluster
			"10.0.0.0/8", // around it
		} {
			unwelcome = append(unwelcome, netip.MustParsePrefix(s))
		}
		welcome := []netip.Prefix{netip.MustParsePrefix("10.244.78.0/24"), netip.MustParsePrefix("fd00:244:0:78::/64")}
		r.router.Announce(append(append(unwelcome, outside...), welcome...)...)
		for _, p := range append(outside, welcome...) {
			inKernel(t, n, p, 1)
		}
		want := len(unwelcome) + len(outside) + len(welcome)
		if kind == routers.BIRD {
			want -= 2 // its own connected routes win over static ones of the same prefix, and are not exported
		}
		nstest.Within(t, waitRoute, func() error { // all has come, not only what was accepted
			all, err := n.sessions()
			got := 0
			for _, x := range all {
				got += x.received()
			}
			if err == nil && got != want {
				err = fmt.Errorf("%d prefixes received, want %d", got, want)
			}
			return err
		})
		for _, p := range unwelcome {
			family := "-4"
			if p.Addr().Is6() {
				family = "-6"
			}
			out := n.Run(t, fmt.Sprintf("ip %s route show exact %v proto 179 type unicast", family, p))
			if out != "" {
				t.Errorf("%v is in the kernel: %s", p, out)
			}
		}
		if after := foreign(t, n); after != before {
			t.Errorf("routes of others were\n%s\nand are\n%s", before, after)
		}
	})
}

// foreign are the routes that are not ours.
func foreign(t *testing.T, n *node) string {
	t.Helper()
	var w strings.Builder
	for _, family := range []string{"-4", "-6"} {
		for line := range strings.Lines(n.Run(t, "ip "+family+" route show")) {
			if !strings.Contains(line, "proto 179") && !strings.HasPrefix(line, "\t") {
				w.WriteString(line)
			}
		}
	}
	return w.String()
}

// TestReload: a second peer appears, is broken by a bad edit, and goes; the first session never moves.
func TestReload(t *testing.T) {
	t.Parallel()
	r := newRack(t, rackOptions{kind: routers.BIRD, nodes: 1})
	n := r.nodes[0]
	since := n.session(t, "tor").Since
	const other = "apiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: other}\nspec: {address: 10.0.1.9, asNumber: %s}\n"
	n.configure(t, "other.yaml", fmt.Sprintf(other, "65009"))
	nstest.Within(t, waitRoute, func() error { return n.hasPeers("other", "tor") })
	n.configure(t, "other.yaml", fmt.Sprintf(other, "nonsense"))
	nstest.Within(t, waitRoute, func() error {
		out, err := n.ask("status")
		if err == nil && !strings.Contains(string(out), "other.yaml, document 1") {
			err = fmt.Errorf("the bad edit is not named: %s", out)
		}
		return err
	})
	if err := n.hasPeers("other", "tor"); err != nil {
		t.Errorf("the bad edit took away the last good state: %v", err)
	}
	n.remove(t, "other.yaml")
	nstest.Within(t, waitRoute, func() error { return n.hasPeers("tor") })
	if now := n.session(t, "tor"); now.Since != since || now.Flaps != 0 {
		t.Errorf("the first session moved: since %s, then %+v", since, now)
	}
}

// TestUplink: a link taken down and up again is whole again within a second of carrier and addresses
// being back, sessions aside; a pod's link likewise.
func TestUplink(t *testing.T) {
	t.Parallel()
	r := newRack(t, rackOptions{kind: routers.BIRD, nodes: 2})
	a, b := r.nodes[0], r.nodes[1]
	pods := []*pod{a.add(t, "pod-a"), b.add(t, "pod-b")}
	reach(t, pods)

	host := a.podLink(t, "pod-a")
	a.Run(t, "ip link set "+host+" down", "ip link set "+host+" up")
	back := time.Now()
	nstest.Within(t, 5*time.Second, func() error { return pings(pods[1], pods[0].addrs) })
	t.Logf("the pod's link was whole again after %v, two pings included", time.Since(back))

	r.tor.Run(t, "ip link set port1 down")
	inKernel(t, a, outside[0], 0)
	r.tor.Run(t, "ip link set port1 up", "ip addr add fd00:0:0:1::/127 dev port1 nodad")
	r.router.Established(waitSession)
	for _, p := range outside {
		inKernel(t, a, p, 1)
	}
	reach(t, pods)

	for i, n := range r.nodes {
		if err := n.del(pods[i]); err != nil {
			t.Error(err)
		}
		if s, err := n.status(); err != nil || s.Pods != 0 {
			t.Errorf("pods of %s after DEL: %d, %v", n.name, s.Pods, err)
		}
	}
}

// pings tries each address once.
func pings(from *pod, to []netip.Addr) error {
	for _, a := range to {
		if _, err := from.Try("ping -c 1 -W 1 " + a.String()); err != nil {
			return err
		}
	}
	return nil
}
