package routes

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/internal/nstest"
)

// ways are what Ways lists but links' own prefixes, as text.
func (w *world) ways(t *testing.T) []string {
	t.Helper()
	list, err := w.fib.Ways(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := map[int]string{}
	for name, index := range w.link {
		names[index] = name
	}
	got := []string{}
	for _, x := range list {
		text := fmt.Sprintf("%v metric %d", x.Dst, x.Metric)
		for _, h := range x.NextHops {
			text += fmt.Sprintf(", %v on %s weight %d", h.Addr, names[h.Link], h.Weight)
			if h.OnLink {
				text += " onlink"
			}
		}
		if !strings.HasPrefix(text, "10.0.") && !strings.HasPrefix(text, "fe80") && !strings.HasPrefix(text, "fd00") {
			got = append(got, text)
		}
	}
	return got
}

// TestWays: what next hops may be resolved through is listed with where it leads, and no other route is.
func TestWays(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		w.set(t, route("10.8.0.0/24", w.via(0, "10.0.0.2")), route("10.8.1.0/24"))
		w.run(t)
		w.quiet()
		w.Run(t,
			"ip route add default via 10.0.0.9", "ip route add 10.7.0.0/16 via 10.0.0.9 table 100",
			"ip route add 10.9.9.0/24 via 10.0.0.9 proto bgp", "ip route add 10.9.8.0/24 dev up0 proto 179 metric 100", "ip route add 10.9.7.0/24 via 10.0.0.9 tos 8",
			"ip route add 10.9.0.0/24 via 10.0.0.9 metric 7", "ip route add 10.9.0.0/24 via 10.0.1.9 proto static",
			"ip route add 10.9.1.0/24 proto ospf nexthop via 10.0.0.8 weight 3 nexthop via 10.0.1.8",
			"ip route add unreachable 10.9.2.0/24", "ip route add 10.9.3.0/24 dev up1", "ip route add 10.9.4.0/24 via inet6 fd00:1::9",
			"ip route add 10.9.5.0/24 via 192.0.2.9 dev up0 onlink", "ip nexthop add id 7 via 192.0.2.9 dev up0 onlink", "ip route add 10.9.6.0/24 nhid 7",
			"ip -6 route add fd09::/64 via fd00:0::9", "ip -6 route add fd09:1::/64 proto isis nexthop via fd00:0::8 nexthop via fe80::8 dev up1",
		)
		want := []string{
			"10.9.0.0/24 metric 0, 10.0.1.9 on up1 weight 1", "10.9.0.0/24 metric 7, 10.0.0.9 on up0 weight 1",
			"10.9.1.0/24 metric 0, 10.0.0.8 on up0 weight 3, 10.0.1.8 on up1 weight 1", "10.9.2.0/24 metric 0",
			"10.9.3.0/24 metric 0, invalid IP on up1 weight 1", "10.9.4.0/24 metric 0, fd00:1::9 on up1 weight 1",
			"10.9.5.0/24 metric 0, 192.0.2.9 on up0 weight 1 onlink", "10.9.6.0/24 metric 0, 192.0.2.9 on up0 weight 1 onlink",
			"fd09::/64 metric 1024, fd00::9 on up0 weight 1", "fd09:1::/64 metric 1024, fd00::8 on up0 weight 1, fe80::8 on up1 weight 1",
		}
		if diff := gocmp.Diff(want, w.ways(t)); diff != "" {
			t.Errorf("ways (-want +got):\n%s", diff)
		}
	})
}

// TestWaysChange: whatever others do to a way is said, and what was remembered of it forgotten; also where the kernel does not
// tell of the route.
func TestWaysChange(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		w.run(t)
		w.quiet()
		for _, step := range []struct{ do, want string }{
			{"ip route add 10.9.0.0/24 via 10.0.0.9", "10.0.0.9 on up0"},
			{"ip route replace 10.9.0.0/24 via 10.0.1.9", "10.0.1.9 on up1"},
			{"ip route replace 10.9.0.0/24 proto static nexthop via 10.0.0.9 nexthop via 10.0.1.9", "10.0.0.9 on up0 weight 1, 10.0.1.9 on up1"},
			{"ip route del 10.9.0.0/24", ""},
			{"ip nexthop add id 7 via 10.0.0.9 dev up0 && ip route add 10.9.0.0/24 nhid 7", "10.0.0.9 on up0"},
			{"ip nexthop replace id 7 via 10.0.1.9 dev up1", "10.0.1.9 on up1"},
			{"sysctl -qw net.ipv4.nexthop_compat_mode=0 && ip nexthop replace id 7 via 10.0.0.9 dev up0", "10.0.0.9 on up0"},
			{"ip nexthop del id 7", ""},
			{"ip route add 10.9.0.0/24 via 10.0.0.9", "10.0.0.9 on up0"},
			{"ip link set up0 down", ""},
		} {
			select {
			case <-w.fib.Changed():
			default:
			}
			for _, line := range strings.Split(step.do, " && ") {
				w.Run(t, line)
			}
			told := false
			nstest.Within(t, within, func() error {
				select {
				case <-w.fib.Changed():
					told = true
				default:
				}
				if !told {
					return errors.New("no signal")
				}
				got := w.ways(t)
				if step.want == "" && len(got) > 0 || step.want != "" && !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, step.want) }) {
					return fmt.Errorf("%s: %q, want %q", step.do, got, step.want)
				}
				return nil
			})
		}
	})
}
