package routes

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

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
		o.Log = slog.New(slog.NewTextHandler(&testLog{t: t}, nil))
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

// run starts Run, and returns what ends it.
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

// testLog passes a log on to the test.
type testLog struct {
	mu sync.Mutex
	t  testing.TB
}

func (w *testLog) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Logf("%s", strings.TrimSpace(string(b)))
	return len(b), nil
}

// via is a next hop on link upN.
func (w *world) via(n int, addr string) NextHop {
	h := NextHop{Link: w.link[fmt.Sprintf("up%d", n)]}
	if addr != "" {
		h.Addr = netip.MustParseAddr(addr)
	}
	return h
}

// route makes a route; one without next hops is unreachable.
func route(dst string, hops ...NextHop) Route {
	return Route{Dst: netip.MustParsePrefix(dst), NextHops: hops, Unreachable: len(hops) == 0}
}

// set calls Set, which must succeed, checks that the kernel has exactly these routes, and returns how
// many messages it took.
func (w *world) set(t testing.TB, routes ...Route) int {
	t.Helper()
	before := w.sent()
	if err := w.fib.Set(t.Context(), Desired{Routes: routes}); err != nil {
		t.Fatal(err)
	}
	w.check(t, routes...)
	return w.sent() - before
}

// sent is how many messages the FIB has sent.
func (w *world) sent() int {
	w.fib.mu.Lock()
	defer w.fib.mu.Unlock()
	return w.fib.conn.sent
}

// check compares the kernel's routes of ours, as the ip command shows them, with what they should be.
func (w *world) check(t testing.TB, routes ...Route) {
	t.Helper()
	if diff := w.diff(t, routes...); diff != "" {
		t.Fatalf("routes in the kernel (-want +got):\n%s", diff)
	}
}

func (w *world) diff(t testing.TB, routes ...Route) string {
	t.Helper()
	want := make([]string, len(routes))
	for i, r := range routes {
		want[i] = w.text(r)
	}
	slices.Sort(want)
	return gocmp.Diff(want, w.kernel(t), gocmp.Transformer("lines", func(s []string) string { return strings.Join(s, "\n") }))
}

// text writes a route as kernel does.
func (w *world) text(r Route) string {
	if r.Unreachable {
		return r.Dst.String() + " unreachable"
	}
	names := map[int]string{}
	for n, i := range w.link {
		names[i] = n
	}
	var hops []string
	for _, h := range r.NextHops {
		addr := "-"
		if h.Addr.IsValid() {
			addr = h.Addr.String()
		}
		weight := max(1, h.Weight)
		if len(r.NextHops) == 1 {
			weight = 1
		}
		hops = append(hops, fmt.Sprintf("%s@%s*%d", addr, names[h.Link], weight))
	}
	slices.Sort(hops)
	s := r.Dst.String() + " " + strings.Join(hops, " ")
	if r.Src.IsValid() {
		s += " src " + r.Src.String()
	}
	return s
}

// ipRoute is a route as "ip -j route" writes it.
type ipRoute struct {
	Dst, Type, Protocol, Prefsrc string
	Metric                       int
	ipHop
	Nexthops []ipHop
}

type ipHop struct {
	Gateway, Dev string
	Via          struct{ Host string }
	Weight       int
}

func (h ipHop) String() string {
	return fmt.Sprintf("%s@%s*%d", cmp.Or(h.Gateway, h.Via.Host, "-"), h.Dev, max(1, h.Weight))
}

// ipRoutes reads the main table of both families through the ip command.
func (w *world) ipRoutes(t testing.TB) []ipRoute {
	t.Helper()
	var all []ipRoute
	for _, family := range []string{"-4", "-6"} {
		var some []ipRoute
		out := w.Run(t, "ip -j "+family+" route show table main")
		if strings.TrimSpace(out) == "" {
			continue
		}
		if err := json.Unmarshal([]byte(out), &some); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for i := range some {
			d := some[i].Dst
			switch {
			case d == "default" && family == "-4":
				d = "0.0.0.0/0"
			case d == "default":
				d = "::/0"
			case !strings.Contains(d, "/") && family == "-4":
				d += "/32"
			case !strings.Contains(d, "/"):
				d += "/128"
			}
			some[i].Dst = d
		}
		all = append(all, some...)
	}
	return all
}

// kernel lists the routes that bear our marks, one a line, sorted.
func (w *world) kernel(t testing.TB) []string {
	t.Helper()
	lines := []string{}
	for _, r := range w.ipRoutes(t) {
		if r.Protocol != "179" || r.Metric != 179 {
			continue
		}
		if r.Type != "" {
			lines = append(lines, r.Dst+" "+r.Type)
			continue
		}
		hops := r.Nexthops
		if len(hops) == 0 {
			hops = []ipHop{r.ipHop}
		}
		var names []string
		for _, h := range hops {
			names = append(names, h.String())
		}
		slices.Sort(names)
		line := r.Dst + " " + strings.Join(names, " ")
		if r.Prefsrc != "" {
			line += " src " + r.Prefsrc
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// foreign lists the routes that do not bear our marks.
func (w *world) foreign(t testing.TB) []string {
	t.Helper()
	var lines []string
	for _, r := range w.ipRoutes(t) {
		if r.Protocol != "179" || r.Metric != 179 {
			lines = append(lines, fmt.Sprintf("%+v", r))
		}
	}
	return lines
}

// objects lists the nexthop objects.
func (w *world) objects(t testing.TB) []string {
	t.Helper()
	return strings.Fields(strings.ReplaceAll(strings.TrimSpace(w.Run(t, "ip nexthop")), " ", "_"))
}

// within is the patience of tests with what happens by itself.
const within = 5 * time.Second

// signalled waits for Changed.
func (w *world) signalled(t testing.TB) {
	t.Helper()
	select {
	case <-w.fib.Changed():
	case <-time.After(within):
		t.Fatal("no signal")
	}
}

// modes runs a test with nexthop objects and with next hops written out.
func modes(t *testing.T, f func(t *testing.T, o Options)) {
	t.Parallel()
	for name, o := range map[string]Options{"objects": {}, "written out": {writtenOut: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, o)
		})
	}
}

// addr parses an address; the zero Addr for "".
func addr(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a
}

// replace puts a number into a text.
func replace(s, old string, id uint32) string { return strings.ReplaceAll(s, old, fmt.Sprint(id)) }
