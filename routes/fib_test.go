package routes

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// world is a namespace with links, and a FIB in it.
type world struct {
	*nstest.NS
	far  *nstest.NS // where the other ends of the links are
	fib  *FIB
	link map[string]int // index by name
}

// newWorld makes links up0, up1, … with addresses 10.0.N.1/24 and fd00:N::1/64.
func newWorld(t testing.TB, links int, o Options) *world {
	t.Helper()
	w := &world{NS: nstest.New(t), far: nstest.New(t), link: map[string]int{}}
	w.Run(t, "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0")
	for i := range links {
		name := fmt.Sprintf("up%d", i)
		nstest.Veth(t, w.NS, name, w.far, name)
		w.Run(t, fmt.Sprintf("ip addr add 10.0.%d.1/24 dev %s", i, name), fmt.Sprintf("ip addr add fd00:%d::1/64 dev %s nodad", i, name))
	}
	w.fib = w.open(t, o)
	list, err := w.fib.Links(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		w.link[l.Name] = l.Index
	}
	return w
}

// open makes a FIB in the world's namespace.
func (w *world) open(t testing.TB, o Options) *FIB {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(&testWriter{t: t}, nil))
	}
	var f *FIB
	err := w.Do(func() (err error) {
		f, err = New(o)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// run starts Run until the test ends.
func (w *world) run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.fib.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not return")
		}
	})
}

type testWriter struct{ t testing.TB }

func (w *testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSpace(string(b)))
	return len(b), nil
}

// hop is a next hop on link upN with the host number 2, or what is given.
func (w *world) hop(n int, addr string) NextHop {
	h := NextHop{Link: w.link[fmt.Sprintf("up%d", n)]}
	if addr != "" {
		h.Addr = netip.MustParseAddr(addr)
	}
	return h
}

func route(dst string, hops ...NextHop) Route {
	return Route{Dst: netip.MustParsePrefix(dst), NextHops: hops}
}

// set calls Set, which must succeed, and returns how many messages it took.
func (w *world) set(t testing.TB, routes ...Route) int {
	t.Helper()
	before := w.fib.conn.sent
	if err := w.fib.Set(t.Context(), Desired{Routes: routes}); err != nil {
		t.Fatal(err)
	}
	return w.fib.conn.sent - before
}

func TestFirst(t *testing.T) {
	w := newWorld(t, 2, Options{})
	a, b := w.hop(0, "10.0.0.2"), w.hop(1, "10.0.1.2")
	a6, b6 := w.hop(0, "fd00:0::2"), w.hop(1, "fd00:1::2")
	n := w.set(t, route("10.9.0.0/24", a), route("10.9.1.0/24", a, b), route("10.9.2.0/24", a6), route("fd09::/64", a6, b6),
		Route{Dst: netip.MustParsePrefix("10.9.3.0/24"), Unreachable: true}, Route{Dst: netip.MustParsePrefix("fd09:1::/64"), Unreachable: true})
	t.Log(n)
	t.Log("\n" + w.Run(t, "ip nexthop") + w.Run(t, "ip route") + w.Run(t, "ip -6 route"))
	n = w.set(t, route("10.9.0.0/24", a), route("10.9.1.0/24", a, b), route("10.9.2.0/24", a6), route("fd09::/64", a6, b6),
		Route{Dst: netip.MustParsePrefix("10.9.3.0/24"), Unreachable: true}, Route{Dst: netip.MustParsePrefix("fd09:1::/64"), Unreachable: true})
	t.Log(n)
	n = w.set(t, route("10.9.0.0/24", b), route("10.9.1.0/24", a, b), route("10.9.2.0/24", a6), route("fd09::/64", a6))
	t.Log(n)
	t.Log("\n" + w.Run(t, "ip nexthop") + w.Run(t, "ip route") + w.Run(t, "ip -6 route"))
	x, err := w.fib.Installed(t.Context())
	t.Log(x, err)
	t.Log(w.fib.Foreign(t.Context()))
	w.run(t)
	w.Run(t, "ip route flush proto 179")
	t.Log("\n" + w.Run(t, "ip nexthop") + w.Run(t, "ip route") + w.Run(t, "ip -6 route"))
}
