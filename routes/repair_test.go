package routes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/internal/nstest"
)

// whole waits until the kernel has exactly these routes.
func (w *world) whole(t *testing.T, routes ...Route) {
	t.Helper()
	nstest.Within(t, within, func() error {
		if diff := w.diff(t, routes...); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// quiet waits until no signal has come for a while, and reports whether one came.
func (w *world) quiet() (came bool) {
	for {
		select {
		case <-w.fib.Changed():
			came = true
		case <-time.After(300 * time.Millisecond):
			return came
		}
	}
}

// TestRepair breaks routes in every way that leaves their links alone; Run restores them.
func TestRepair(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		a, b, a6, b6 := w.via(0, "10.0.0.2"), w.via(1, "10.0.1.2"), w.via(0, "fd00:0::2"), w.via(1, "fd00:1::2")
		all := []Route{
			route("10.9.0.0/24", a), route("10.9.1.0/24", a, b), route("10.9.2.0/24", a, b), route("10.9.3.0/24"),
			route("fd09::/64", a6), route("fd09:1::/64", a6, b6), route("fd09:2::/64"),
		}
		w.run(t)
		w.set(t, all...)
		breakages := [][]string{
			{"ip route del 10.9.0.0/24 proto 179"},
			{"ip route del 10.9.1.0/24", "ip route del 10.9.2.0/24", "ip -6 route del fd09:1::/64"},
			{"ip route del unreachable 10.9.3.0/24", "ip -6 route del unreachable fd09:2::/64"},
			{"ip -6 route del fd09::/64"},
			{"ip route append 10.9.0.0/24 via 10.0.1.77 proto 179 metric 179"},
			{"ip route append unreachable 10.9.0.0/24 proto 179 metric 179"},
			{"ip route replace 10.9.0.0/24 via 10.0.1.77 proto 179 metric 179"},
			{"ip route add 10.99.0.0/24 via 10.0.1.77 proto 179 metric 179"},
			{"ip -6 route add fd99::/64 via fd00:0::77 proto 179 metric 179"},
			{"ip -6 route replace unreachable fd09::/64 proto 179 metric 179"},
			{"ip -6 route replace fd09::/64 via fd00:0::77 proto 179 metric 179"},
		}
		if !o.writtenOut {
			breakages = append(breakages,
				[]string{"ip nexthop flush proto 179"},
				[]string{"ip nexthop del id {group}"},
				[]string{"ip nexthop del id {hop}"},
				[]string{"ip nexthop replace id {group} group {other} proto 179"},
				[]string{"ip nexthop replace id {hop} via 10.0.0.77 dev up0 proto 179"},
			)
		}
		for _, lines := range breakages {
			for _, l := range lines {
				w.Run(t, w.fill(l))
			}
			w.signalled(t)
			w.whole(t, all...)
			if n := w.set(t, all...); n != 0 {
				t.Errorf("%q: after the repair Set sends %d messages", lines, n)
			}
		}
		nstest.Within(t, within, func() error {
			select {
			case <-w.fib.Changed():
				return errors.New("signals go on")
			default:
				return nil
			}
		})
	})
}

// fill puts ids of nexthop objects into a command: an IPv4 one, a group with it, another.
func (w *world) fill(line string) string {
	w.fib.mu.Lock()
	defer w.fib.mu.Unlock()
	for k, h := range w.fib.image.hops {
		switch k.addr.String() {
		case "10.0.0.2":
			line = replace(line, "{hop}", h.id)
			for id, g := range w.fib.image.groups {
				if len(g.live) == 1 && g.live[0].hop == h {
					line = replace(line, "{group}", id)
				}
			}
		case "10.0.1.2":
			line = replace(line, "{other}", h.id)
		}
	}
	return line
}

// TestRepairBesideForeign: a foreign route takes our place; ours comes back beside it.
func TestRepairBesideForeign(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, Options{})
	all := []Route{route("10.9.0.0/24", w.via(0, "10.0.0.2")), route("fd09::/64", w.via(0, "fd00:0::2"))}
	w.run(t)
	w.set(t, all...)
	w.Run(t, "ip route replace 10.9.0.0/24 via 10.0.0.77 metric 179", "ip -6 route replace fd09::/64 via fd00:0::77 metric 179")
	foreign := w.foreign(t)
	w.whole(t, all...)
	w.set(t)
	if diff := gocmp.Diff(foreign, w.foreign(t)); diff != "" {
		t.Errorf("foreign routes (-before +after):\n%s", diff)
	}
}

// TestRepairIsQuick measures the time from before a deletion to the news of the repair.
func TestRepairIsQuick(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, Options{})
	r := route("10.9.0.0/24", w.via(0, "10.0.0.2"))
	w.run(t)
	w.set(t, append(manyRoutes(5000, false, w.via(0, "10.0.0.2")), r)...)
	var ear *monitor
	var hand *conn
	err := w.Do(func() (err error) {
		if ear, err = listen(0); err == nil {
			hand, err = dial()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	back := make(chan time.Time, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- ear.run(ctx, func() (int, time.Duration) {
			n, _ := ear.drain(func(h header, body []byte) {
				if m, ok := parseRoute(body, false); ok && m.dst == r.Dst && h.typ == unix.RTM_NEWROUTE {
					back <- time.Now()
				}
			})
			return n, 0
		})
	}()
	var took []time.Duration
	for range 21 {
		w.fib.mu.Lock()
		g := w.fib.table.get(r.Dst).have
		w.fib.mu.Unlock()
		start := time.Now()
		err := hand.do(t.Context(), 1, func(w *writer, _ int) { deleteRoute(w, r.Dst, g) }, func(_ int, err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		select {
		case at := <-back:
			took = append(took, at.Sub(start))
		case <-time.After(within):
			t.Fatal("not restored")
		}
	}
	cancel()
	if err := errors.Join(<-done, ear.close(), hand.close()); err != nil {
		t.Error(err)
	}
	slices.Sort(took)
	t.Logf("from deletion to repair: median %v, longest %v", took[len(took)/2], took[len(took)-1])
	// The quicker quarter says whether anything waits by design; the rest, how busy the host is.
	if q := took[len(took)/4]; q > 5*time.Millisecond {
		t.Errorf("three of four take more than %v", q)
	}
}

// TestCarrier takes the carrier from links and gives it back.
func TestCarrier(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		a, b, a6, b6 := w.via(0, "10.0.0.2"), w.via(1, "10.0.1.2"), w.via(0, "fd00:0::2"), w.via(1, "fd00:1::2")
		all := []Route{
			route("10.9.0.0/24", a), route("10.9.1.0/24", a, b), route("10.9.2.0/24", b), route("10.9.3.0/24"),
			route("fd09::/64", a6), route("fd09:1::/64", a6, b6), route("fd09:2::/64", b6),
		}
		w.run(t)
		w.set(t, all...)
		for range 3 {
			w.far.Run(t, "ip link set up0 down")
			w.signalled(t)
			if !o.writtenOut {
				w.whole(t, route("10.9.1.0/24", b), all[2], all[3], route("fd09:1::/64", b6), all[6])
			}
			// The owner hears of it, and takes the next hops of the link out of what it desires.
			w.set(t, route("10.9.0.0/24", b), route("10.9.1.0/24", b), all[2], all[3], route("fd09::/64", b6), route("fd09:1::/64", b6), all[6])
			w.far.Run(t, "ip link set up0 up")
			nstest.Within(t, within, func() error { return w.fib.Set(t.Context(), Desired{Routes: all}) })
			w.check(t, all...)
			if n := w.set(t, all...); n != 0 {
				t.Errorf("the second Set sends %d messages", n)
			}
		}
	})
}

// TestCarrierWithoutOwner: nobody calls Set; Run restores what carrier brings back.
func TestCarrierWithoutOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, Options{})
	all := []Route{
		route("10.9.0.0/24", w.via(0, "10.0.0.2")), route("10.9.1.0/24", w.via(0, "10.0.0.2"), w.via(1, "10.0.1.2")),
		route("fd09::/64", w.via(0, "fd00:0::2")), route("fd09:1::/64", w.via(0, "fd00:0::2"), w.via(1, "fd00:1::2")),
	}
	w.run(t)
	w.set(t, all...)
	for _, line := range []string{"ip link set up0 down", "ip link set up1 down"} {
		w.far.Run(t, line)
		nstest.Within(t, within, func() error {
			if w.diff(t, all...) == "" {
				return errors.New("the routes are still there")
			}
			return nil
		})
		w.far.Run(t, line[:len(line)-len("down")]+"up")
		w.whole(t, all...)
	}
	// A link that goes down by our own side's hand loses its IPv6 addresses as well.
	w.Run(t, "ip link set up0 down", "ip link set up0 up", "ip addr add fd00:0::1/64 dev up0 nodad")
	w.whole(t, all...)
}

// TestCarrierAlone is the same with the least to go by: one route, one path, no IPv6 address that
// comes and goes with the link.
func TestCarrierAlone(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 1, o)
		w.Run(t, "sysctl -qw net.ipv6.conf.up0.disable_ipv6=1")
		all := []Route{route("10.9.0.0/24", w.via(0, "10.0.0.2"))}
		w.run(t)
		w.set(t, all...)
		w.quiet()
		for _, side := range []*nstest.NS{w.far, w.NS} {
			side.Run(t, "ip link set up0 down")
			if !o.writtenOut || side == w.NS {
				w.whole(t) // IPv4 keeps routes written out while the link is up without carrier
			}
			w.quiet()
			side.Run(t, "ip link set up0 up")
			w.whole(t, all...)
		}
	})
}

// TestDeadMember has a set with one next hop that cannot be: the others carry, and the dead one is
// reported until it lives.
func TestDeadMember(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		w.far.Run(t, "ip link set up0 down")
		w.Run(t, "ip link set up0 down")
		both4, both6 := []NextHop{w.via(0, "10.0.0.2"), w.via(1, "10.0.1.2")}, []NextHop{w.via(0, "fd00:0::2"), w.via(1, "fd00:1::2")}
		all := []Route{route("10.9.0.0/24", both4...), route("10.9.1.0/24", both4...), route("fd09::/64", both6...), route("10.9.2.0/24", both4[0])}
		for range 2 {
			err := w.fib.Set(t.Context(), Desired{Routes: all})
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("Set returns %v", err)
			}
			dead, without := 0, 0
			for _, e := range errs {
				var r *RouteError
				var h *NextHopError
				switch {
				case errors.As(e, &r) && r.Dst == all[3].Dst:
					without++
				case errors.As(e, &h) && h.NextHop.Link == w.link["up0"]:
					dead++
				default:
					t.Errorf("error %v", e)
				}
			}
			if dead != 2 || without != 1 {
				t.Errorf("%d next hops and %d routes reported: %v", dead, without, err)
			}
			w.check(t, route("10.9.0.0/24", both4[1]), route("10.9.1.0/24", both4[1]), route("fd09::/64", both6[1]))
		}
		w.Run(t, "ip link set up0 up", "ip addr add fd00:0::1/64 dev up0 nodad")
		w.far.Run(t, "ip link set up0 up")
		nstest.Within(t, within, func() error { return w.fib.Set(t.Context(), Desired{Routes: all}) })
		w.check(t, all...)
	})
}

// TestSource takes the address away that routes have as their source.
func TestSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, Options{})
	w.Run(t, "ip addr add 192.0.2.1/32 dev lo", "ip addr add 2001:db8::1/128 dev lo nodad")
	all := manyRoutes(10, false, w.via(0, "10.0.0.2"))
	for i := range all {
		all[i].Src = addr("192.0.2.1")
	}
	six := manyRoutes(10, true, w.via(0, "fd00:0::2"))
	for i := range six {
		six[i].Src = addr("2001:db8::1")
	}
	all = append(all, six...)
	w.run(t)
	w.set(t, all...)
	w.Run(t, "ip addr del 192.0.2.1/32 dev lo", "ip addr del 2001:db8::1/128 dev lo")
	w.signalled(t)
	if err := w.fib.Set(t.Context(), Desired{Routes: all}); err == nil {
		t.Error("Set accepts a source that the host does not have")
	}
	w.Run(t, "ip addr add 192.0.2.1/32 dev lo", "ip addr add 2001:db8::1/128 dev lo nodad")
	w.whole(t, all...)
	for i := range all {
		all[i].Src = addr("")
	}
	w.set(t, all...)
}

// TestPodLinks: pod links come and go without a message and without a signal.
func TestPodLinks(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 1, o)
		all := []Route{route("10.9.0.0/24", w.via(0, "10.0.0.2")), route("fd09::/64", w.via(0, "fd00:0::2"))}
		w.run(t)
		w.set(t, all...)
		w.quiet() // the links' own IPv6 addresses have come
		for i := range 3 {
			w.Run(t, fmt.Sprintf("ip link add pr%012x type veth peer name c%d netns %s", i, i, w.far.Path()), fmt.Sprintf("ip link set pr%012x up", i))
			w.far.Run(t, fmt.Sprintf("ip link set c%d up", i))
			w.Run(t, fmt.Sprintf("ip addr add 169.254.1.%d/32 dev pr%012x", i+1, i), fmt.Sprintf("ip addr add fd11::%d/64 dev pr%012x", i+1, i),
				fmt.Sprintf("ip route add 10.244.0.%d/32 dev pr%012x proto 179 metric 100", i, i),
				fmt.Sprintf("ip route add 10.244.1.%d/32 dev up0 proto 179 metric 100", i))
		}
		w.far.Run(t, "ip link set c0 down", "ip link del c1")
		w.Run(t, "ip link set pr000000000002 down")
		if n := w.set(t, all...); n != 0 {
			t.Errorf("%d messages for nothing", n)
		}
		if w.quiet() {
			t.Error("a signal for nothing")
		}
		w.Run(t, "ip link set up0 mtu 1400")
		w.signalled(t)
	})
}

// TestOverflow lets the monitor miss events.
func TestOverflow(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 1, o)
		all := manyRoutes(3000, false, w.via(0, "10.0.0.2"))
		w.set(t, all...)
		err := w.fib.monitor.raw.Control(func(fd uintptr) {
			if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all[:200] {
			w.Run(t, "ip route del "+r.Dst.String())
		}
		w.set(t, all...)
		w.signalled(t)
	})
}

// TestConcurrent uses everything at once, for the race detector.
func TestConcurrent(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		w.run(t)
		sets := [][]NextHop{{w.via(0, "10.0.0.2")}, {w.via(1, "10.0.1.2")}, {w.via(0, "10.0.0.2"), w.via(1, "10.0.1.2")}}
		var all sync.WaitGroup
		work := []func(i int) error{
			func(i int) error {
				return w.fib.Set(t.Context(), Desired{Routes: manyRoutes(100, false, sets[i%3]...)})
			},
			func(i int) error { return w.fib.Update(t.Context(), manyRoutes(50, false, sets[i%3]...), nil) },
			func(i int) error { return w.fib.Update(t.Context(), nil, prefixes(manyRoutes(i, false))) },
			func(int) error { _, err := w.fib.Links(t.Context()); return err },
			func(int) error { _, err := w.fib.Foreign(t.Context()); return err },
			func(int) error { _, err := w.fib.Installed(t.Context()); return err },
			func(i int) error {
				_, err := w.Try(fmt.Sprintf("ip route replace 10.1.%d.0/24 via 10.0.0.9", i))
				return err
			},
		}
		for _, f := range work {
			all.Go(func() {
				for i := range 30 {
					if err := f(i); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		w.set(t, manyRoutes(100, false, sets[0]...)...)
	})
}
