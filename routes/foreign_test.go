package routes

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/internal/nstest"
)

// others puts foreign routes on the destinations of ours: same metric and other metrics, a gateway,
// two gateways, unreachable, other protocols and our protocol with a pod's metric.
func others(t *testing.T, w *world) {
	t.Helper()
	w.Run(t,
		"ip route add 10.9.0.0/24 via 10.0.0.9 metric 179",
		"ip route add 10.9.0.0/24 via 10.0.0.9 proto static",
		"ip route add 10.9.0.0/24 via 10.0.1.9 proto bird metric 32",
		"ip route add unreachable 10.9.1.0/24 metric 179",
		"ip route add 10.9.2.0/24 proto bgp metric 179 nexthop via 10.0.0.8 nexthop via 10.0.1.8",
		"ip route add 10.9.3.0/24 dev up0 proto 179 metric 100",
		"ip route add default via 10.0.0.9",
		"ip -6 route add fd09::/64 via fd00:0::9 metric 179",
		"ip -6 route add fd09::/64 via fd00:1::9 proto static",
		"ip -6 route add unreachable fd09:1::/64 metric 179",
		"ip -6 route add fd09:2::/64 proto bgp metric 179 nexthop via fd00:0::8 nexthop via fd00:1::8",
		"ip -6 route add fd09:3::/64 dev up0 proto 179 metric 100",
		"ip -6 route add default via fd00:0::9",
	)
}

// TestForeignRoutesSurvive everything that we do.
func TestForeignRoutesSurvive(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		others(t, w)
		before := w.foreign(t)
		last := map[netip.Prefix]Route{} // what was accepted
		for _, hops := range [][]int{{0}, {1}, {0, 1}, {}, {1}, {}, {0, 1}} {
			var all []Route
			for i := range 4 {
				r4, r6 := route(fmt.Sprintf("10.9.%d.0/24", i)), route(fmt.Sprintf("fd09:%d::/64", i))
				for _, h := range hops {
					r4.NextHops = append(r4.NextHops, w.via(h, fmt.Sprintf("10.0.%d.2", h)))
					r6.NextHops = append(r6.NextHops, w.via(h, fmt.Sprintf("fd00:%d::2", h)))
				}
				r4.Unreachable, r6.Unreachable = len(hops) == 0, len(hops) == 0
				all = append(all, r4, r6)
			}
			err := w.fib.Set(t.Context(), Desired{Routes: all})
			// Not in the kernel: what the errors name. Written out, ours would have to replace a foreign
			// route or be joined with it; and of unreachable routes IPv6 has one a metric.
			var refused Errors
			errors.As(err, &refused)
			for _, e := range refused {
				var r *RouteError
				if !errors.As(e, &r) || !errors.Is(e, errForeign) || !o.writtenOut && r.Dst.String() != "fd09:1::/64" {
					t.Errorf("error %v", e)
					continue
				}
				all = slices.DeleteFunc(all, func(x Route) bool { return x.Dst == r.Dst })
				if stays, ok := last[r.Dst]; ok {
					all = append(all, stays) // until it can be replaced
				}
			}
			for _, r := range all {
				last[r.Dst] = r
			}
			w.check(t, all...)
			if diff := gocmp.Diff(before, w.foreign(t)); diff != "" {
				t.Fatalf("next hops %v: foreign routes (-before +after):\n%s", hops, diff)
			}
		}
		if err := w.fib.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(before, w.foreign(t)); diff != "" {
			t.Fatalf("Remove: foreign routes (-before +after):\n%s", diff)
		}
	})
}

func TestForeign(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 1, o)
		w.set(t, route("10.8.0.0/24", w.via(0, "10.0.0.2")), route("10.8.1.0/24"))
		w.Run(t, "ip route add 10.9.3.0/24 dev up0 proto 179 metric 100", "ip route add 10.7.0.0/16 via 10.0.0.9 table 100",
			"ip route add 10.9.0.0/24 via 10.0.0.9", "ip route add 10.9.0.0/24 via 10.0.0.9 metric 7", "ip -6 route add default via fd00:0::9")
		check := func(want ...string) {
			t.Helper()
			var dumps uint32
			for again := range 2 { // dumped, then remembered
				if again == 1 {
					dumps = w.fib.reader.w.seq
				}
				list, err := w.fib.Foreign(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, p := range list {
					got = append(got, p.String())
				}
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("foreign destinations (-want +got):\n%s", diff)
				}
			}
			if w.fib.reader.w.seq != dumps {
				t.Error("what has not changed is dumped again")
			}
		}
		w.run(t)
		w.quiet() // the links' own IPv6 addresses have come
		check("10.0.0.0/24", "10.9.0.0/24", "::/0", "fd00::/64", "fe80::/64")
		w.Run(t, "ip route add default via 10.0.0.9 proto dhcp", "ip -6 route del default")
		check("0.0.0.0/0", "10.0.0.0/24", "10.9.0.0/24", "fd00::/64", "fe80::/64")
		w.Run(t, "ip link set up0 down")
		check()
	})
}

func TestInstalled(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		heavy := w.via(1, "10.0.1.2")
		heavy.Weight = 7
		src := route("fd09::/64", w.via(0, "fd00:0::2"), w.via(1, "fd00:1::2"))
		src.Src = netip.MustParseAddr("fd00:1::1")
		ours := []Route{
			route("10.9.0.0/24", w.via(0, "10.0.0.2"), heavy), route("10.9.1.0/24"), src, route("fd09:1::/64"),
			route("10.9.2.0/24", w.via(0, "fd00:0::2")), route("10.9.3.1/32", w.via(0, "")),
		}
		w.set(t, ours...)
		w.Run(t, "ip route add 10.9.3.0/24 dev up0 proto 179 metric 100", "ip -6 route add fd09:3::/64 dev up0 proto 179 metric 100",
			"ip route add 10.9.4.0/24 via 10.0.0.9 metric 179")
		for _, compat := range []int{1, 0} {
			w.Run(t, fmt.Sprintf("sysctl -qw net.ipv4.nexthop_compat_mode=%d", compat))
			list, err := w.fib.Installed(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var want, got []string
			for _, r := range ours {
				want = append(want, w.text(r)+" metric 179")
			}
			for _, p := range []string{"10.9.3.0/24", "fd09:3::/64"} {
				want = append(want, w.text(route(p, w.via(0, "")))+" metric 100 pod")
			}
			for _, r := range list {
				line := fmt.Sprintf("%s metric %d", w.text(r.Route), r.Metric)
				if r.Pod {
					line += " pod"
				}
				got = append(got, line)
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("compat mode %d: installed (-want +got):\n%s", compat, diff)
			}
		}
	})
}

func TestLinks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, Options{})
	w.Run(t, "ip link add bare type veth peer name barer", "ip link set up1 mtu 9000", "ip addr add 192.0.2.1 peer 192.0.2.9/32 dev up0")
	w.far.Run(t, "ip link set up1 down")
	// IPv6 link-local addresses come by themselves and are left out of the comparison.
	want := map[string]Link{
		"lo":   {Up: true, Loopback: true, MTU: 65536, Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}},
		"up0":  {Up: true, MTU: 1500, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("fd00:0::1/64")}},
		"up1":  {MTU: 9000, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.1/24"), netip.MustParsePrefix("fd00:1::1/64")}},
		"bare": {MTU: 1500}, "barer": {MTU: 1500},
	}
	nstest.Within(t, within, func() error {
		list, err := w.fib.Links(t.Context())
		if err != nil {
			return err
		}
		got := map[string]Link{}
		for _, l := range list {
			x := Link{Up: l.Up, Loopback: l.Loopback, MTU: l.MTU}
			for _, p := range l.Prefixes {
				if !p.Addr().IsLinkLocalUnicast() {
					x.Prefixes = append(x.Prefixes, p)
				}
			}
			got[l.Name] = x
		}
		if diff := gocmp.Diff(want, got, gocmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}
