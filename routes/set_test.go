package routes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// cases are routes of every kind; those of a row replace those of the row before.
func cases(w *world) [][]Route {
	a, b, c := w.via(0, "10.0.0.2"), w.via(1, "10.0.1.2"), w.via(0, "10.0.0.3")
	a6, b6, ll := w.via(0, "fd00:0::2"), w.via(1, "fd00:1::2"), w.via(1, "fe80::2")
	heavy := b
	heavy.Weight = 200
	src := func(r Route, addr string) Route {
		r.Src = netip.MustParseAddr(addr)
		return r
	}
	return [][]Route{
		{route("10.9.0.0/24", a), route("fd09::/64", a6)},
		{route("10.9.0.0/24", b), route("fd09::/64", b6)},
		{route("10.9.0.0/24", a, b), route("fd09::/64", a6, b6)},
		{route("10.9.0.0/24", a, heavy), route("10.9.1.0/24", a, b), route("fd09::/64", a6, ll), route("fd09:1::/64", ll)},
		{route("10.9.0.0/24"), route("10.9.1.0/24", a, b, c), route("fd09::/64"), route("fd09:1::/64", a6)},
		{route("10.9.0.0/24", a), route("10.9.1.0/24"), route("fd09::/64", ll), route("fd09:1::/64")},
		{route("10.9.0.0/24", a6), route("10.9.1.0/24", a, ll), route("fd09::/64", a6, b6), route("fd09:2::/64", a6, b6)},
		{route("0.0.0.0/0", a), route("::/0", a6), route("10.9.0.1/32", b), route("fd09::1/128", b6)},
		{route("10.9.0.1/32", w.via(0, "")), route("fd09::1/128", w.via(1, ""))},
		{src(route("10.9.0.1/32", a), "10.0.1.1"), src(route("fd09::1/128", b6), "fd00:0::1"), route("10.9.0.2/32", a), route("fd09::2/128", b6)},
		{src(route("10.9.0.1/32", a), "10.0.0.1"), src(route("fd09::1/128", b6), "fd00:1::1"), route("10.9.0.2/32", a), route("fd09::2/128", b6)},
		{},
	}
}

func TestSet(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		for _, row := range cases(w) {
			w.set(t, row...)
			slices.Reverse(row)
			if n := w.set(t, row...); n != 0 {
				t.Errorf("the second Set of the same sends %d messages", n)
			}
		}
		if left := w.objects(t); len(left) > 0 {
			t.Errorf("objects left: %q", left)
		}
	})
}

// TestUpdate does the same by differences.
func TestUpdate(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		if err := w.fib.Set(t.Context(), Desired{}); err != nil {
			t.Fatal(err)
		}
		var before []Route
		for _, row := range cases(w) {
			var gone []netip.Prefix
			for _, r := range before {
				gone = append(gone, r.Dst) // also those that are in the row: these stay
			}
			for range 2 {
				if err := w.fib.Update(t.Context(), row, gone); err != nil {
					t.Fatal(err)
				}
				w.check(t, row...)
			}
			before = row
		}
	})
}

func TestLaterOfTwoCounts(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		first, later := route("10.9.0.1/24", w.via(0, "10.0.0.2")), route("10.9.0.2/24", w.via(1, "10.0.1.2"))
		if err := w.fib.Set(t.Context(), Desired{Routes: []Route{first, later}}); err != nil {
			t.Fatal(err)
		}
		w.check(t, Route{Dst: later.Dst.Masked(), NextHops: later.NextHops})
	})
}

func TestSixtyFourPaths(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		var v4, v6 []NextHop
		for i := range 64 {
			h4, h6 := w.via(i%2, fmt.Sprintf("10.0.%d.%d", i%2, i+2)), w.via(i%2, fmt.Sprintf("fd00:%d::%x", i%2, i+2))
			h4.Weight, h6.Weight = 1+4*i, 1+i
			v4, v6 = append(v4, h4), append(v6, h6)
		}
		w.set(t, route("10.9.0.0/24", v4...), route("fd09::/64", v6...))
		w.set(t, route("10.9.0.0/24", v4[:63]...), route("fd09::/64", v6[1:]...))
	})
}

// TestOneMessage counts what it takes to change the set of many routes.
func TestOneMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, Options{})
	a, b := w.via(0, "10.0.0.2"), w.via(1, "10.0.1.2")
	heavy := b
	heavy.Weight = 3
	others := []Route{route("10.8.0.0/24", a), route("10.8.1.0/24", b)} // keep the nexthop objects
	steps := []struct {
		name string
		hops []NextHop
	}{
		{"one path lost", []NextHop{a}},
		{"all to another next hop", []NextHop{b}},
		{"a path gained", []NextHop{a, b}},
		{"reweighted", []NextHop{a, heavy}},
	}
	w.set(t, append(manyRoutes(1000, false, a, b), others...)...)
	for _, s := range steps {
		if n := w.set(t, append(manyRoutes(1000, false, s.hops...), others...)...); n != 1 {
			t.Errorf("%s: Set sends %d messages", s.name, n)
		}
		if n := w.set(t, append(manyRoutes(1000, false, s.hops...), others...)...); n != 0 {
			t.Errorf("%s: Set sends %d messages for nothing", s.name, n)
		}
	}
	// The same through Update, which is not told of the others.
	for _, s := range steps {
		before := w.sent()
		if err := w.fib.Update(t.Context(), manyRoutes(1000, false, s.hops...), nil); err != nil {
			t.Fatal(err)
		}
		w.check(t, append(manyRoutes(1000, false, s.hops...), others...)...)
		if n := w.sent() - before; n != 1 {
			t.Errorf("%s: Update sends %d messages", s.name, n)
		}
	}
	// All of a set gone: the group takes the routes along.
	if n := w.set(t, others...); n != 1 {
		t.Errorf("withdrawal sends %d messages", n)
	}
	w.set(t)
	if left := w.objects(t); len(left) > 0 {
		t.Errorf("objects left: %q", left)
	}
}

// TestSwap exchanges the next hops of two sets of routes.
func TestSwap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, Options{})
	for _, n := range []int{1, few - 1, few, 3 * few} {
		x, y := []NextHop{w.via(0, "10.0.0.2")}, []NextHop{w.via(1, "10.0.1.2")}
		for range 3 {
			all := manyRoutes(2*n, false, x...)
			for i := range n {
				all[i].NextHops = y
			}
			w.set(t, all...)
			x, y = y, x
		}
	}
}

// TestErrors wants every impossible route reported, and all others in the kernel.
func TestErrors(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		good := []Route{route("10.9.0.0/24", w.via(0, "10.0.0.2")), route("fd09::/64", w.via(0, "fd00:0::2")), route("10.9.1.0/24")}
		heavy := w.via(0, "10.0.0.2")
		heavy.Weight = 257
		strange := route("10.7.4.0/24", w.via(0, "10.0.0.2"))
		strange.Src = netip.MustParseAddr("192.0.2.1")
		bad := []Route{
			route("10.7.0.0/24", w.via(0, "192.0.2.1")), // not a neighbour
			route("10.7.1.0/24", NextHop{Addr: netip.MustParseAddr("10.0.0.2"), Link: 4711}),
			route("10.7.2.0/24", NextHop{Addr: netip.MustParseAddr("10.0.0.2")}),
			route("10.7.3.0/24", heavy), strange,
			route("fd07::/64", w.via(0, "10.0.0.2")),
			{Dst: netip.MustParsePrefix("fd07:1::/64")},
			route("fd07:2::/64", w.via(0, "2001:db8::1")), // not a neighbour
			{},
		}
		for range 2 {
			err := w.fib.Set(t.Context(), Desired{Routes: slices.Concat(good[:1], bad, good[1:])})
			var all Errors
			if !errors.As(err, &all) {
				t.Fatalf("Set returns %v", err)
			}
			var got, want []string
			for _, e := range all {
				var r *RouteError
				if errors.As(e, &r) {
					got = append(got, r.Dst.String())
				}
			}
			for _, r := range bad {
				want = append(want, r.Dst.String())
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("routes with errors (-want +got):\n%s", diff)
			}
			if text := err.Error(); !strings.Contains(text, "and ") || len(text) > 1000 {
				t.Errorf("text of %d errors: %s", len(all), text)
			}
			t.Log(all[:])
			w.check(t, good...)
		}
		w.set(t, good...)
	})
}

// TestErrorsAreMatched has every seventh of many routes refused by the kernel itself.
func TestErrorsAreMatched(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 1, o)
		all := manyRoutes(3000, false, w.via(0, "10.0.0.2"))
		want := map[netip.Prefix]bool{}
		for i := 0; i < len(all); i += 7 {
			all[i].Src = netip.MustParseAddr("192.0.2.1") // not ours
			want[all[i].Dst] = true
		}
		err := w.fib.Set(t.Context(), Desired{Routes: all})
		var errs Errors
		if !errors.As(err, &errs) || len(errs) != len(want) {
			t.Fatalf("Set returns %v", err)
		}
		for _, e := range errs {
			var r *RouteError
			if !errors.As(e, &r) || !want[r.Dst] || !errors.Is(e, unix.EINVAL) {
				t.Errorf("an error too many: %v", e)
			}
		}
		if !strings.Contains(err.Error(), "prefsrc") {
			t.Errorf("without the kernel's words: %v", err)
		}
		w.check(t, slices.DeleteFunc(all, func(r Route) bool { return want[r.Dst] })...)
	})
}

func TestKeep(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		old := []Route{route("10.9.0.0/24", w.via(0, "10.0.0.2")), route("10.9.1.0/24", w.via(0, "10.0.0.2")), route("fd09::/64", w.via(0, "fd00:0::2")), route("10.9.9.0/24")}
		w.set(t, old...)
		w.fib = w.open(t, o)
		some := []Route{route("10.9.0.0/24", w.via(1, "10.0.1.2")), route("10.9.2.0/24", w.via(0, "10.0.0.2"))}
		if err := w.fib.Set(t.Context(), Desired{Routes: some, Keep: true}); err != nil {
			t.Fatal(err)
		}
		w.check(t, some[0], some[1], old[1], old[2], old[3])
		// Update is the same Set with other routes: it keeps as well.
		if err := w.fib.Update(t.Context(), nil, []netip.Prefix{some[1].Dst, old[1].Dst}); err != nil {
			t.Fatal(err)
		}
		w.check(t, some[0], some[1], old[1], old[2], old[3])
		w.set(t, some...)
	})
}

func TestUpdateBeforeSet(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 1, o)
		old := route("10.9.0.0/24", w.via(0, "10.0.0.2"))
		w.set(t, old)
		w.fib = w.open(t, o)
		young := route("10.9.1.0/24", w.via(0, "10.0.0.2"))
		if err := w.fib.Update(t.Context(), []Route{young}, nil); err != nil {
			t.Fatal(err)
		}
		w.check(t, old, young)
	})
}

func TestRemove(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		w.Run(t, "ip route add 10.9.0.0/24 via 10.0.0.9 proto static", "ip route add 10.244.0.5/32 dev up0 proto 179 metric 100",
			"ip nexthop add id 7 via 10.0.0.9 dev up0", "ip route add 10.6.0.0/24 nhid 7")
		foreign, objects := w.foreign(t), w.objects(t)
		w.set(t, append(manyRoutes(200, true, w.via(0, "fd00:0::2")), route("10.9.0.0/24", w.via(0, "10.0.0.2")), route("10.9.1.0/24"))...)
		if err := w.fib.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.check(t)
		if diff := gocmp.Diff(foreign, w.foreign(t)); diff != "" {
			t.Errorf("foreign routes (-before +after):\n%s", diff)
		}
		if diff := gocmp.Diff(objects, w.objects(t)); diff != "" {
			t.Errorf("nexthop objects (-before +after):\n%s", diff)
		}
	})
}

func TestCancelled(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 1, o)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		all := manyRoutes(1000, false, w.via(0, "10.0.0.2"))
		if err := w.fib.Set(ctx, Desired{Routes: all}); !errors.Is(err, context.Canceled) {
			t.Fatalf("Set returns %v", err)
		}
		w.set(t, all...)
	})
}
