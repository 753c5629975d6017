package routes

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// TestAdopt has another process take over: what is right is not touched, ids included.
func TestAdopt(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		for _, row := range cases(w) {
			w.set(t, row...)
			objects := w.objects(t)
			w.fib = w.open(t, o)
			if n := w.set(t, row...); n != 0 {
				t.Errorf("the first Set of a new process sends %d messages for what is there already", n)
			}
			if diff := gocmp.Diff(objects, w.objects(t)); diff != "" {
				t.Errorf("nexthop objects (-before +after):\n%s", diff)
			}
		}
		// Then it changes them, by one message where that is enough.
		w.set(t, manyRoutes(500, false, w.via(0, "10.0.0.2"), w.via(1, "10.0.1.2"))...)
		w.fib = w.open(t, o)
		n := w.set(t, manyRoutes(500, false, w.via(1, "10.0.1.2"))...)
		if !o.writtenOut && n != 2 { // the group loses a member, whose object goes
			t.Errorf("a path lost during the restart takes %d messages", n)
		}
	})
}

// TestAdoptLeftovers starts from what a crash, an earlier version or a stranger may leave.
func TestAdoptLeftovers(t *testing.T) {
	t.Parallel()
	const a, b, a6 = "3003121665", "3003121666", "3003121667" // ids in our range
	object := []string{
		"ip nexthop add id " + a + " via 10.0.0.2 dev up0 proto 179",
		"ip nexthop add id " + b + " via 10.0.1.2 dev up1 proto 179",
		"ip nexthop add id " + a6 + " via fd00:0::2 dev up0 proto 179",
	}
	group := append(slices.Clone(object),
		"ip nexthop add id 3003121670 group "+a+" proto 179", "ip nexthop add id 3003121671 group "+b+" proto 179",
		"ip nexthop add id 3003121672 group "+a+"/"+b+" proto 179", "ip nexthop add id 3003121673 group "+a6+" proto 179")
	const mark = " proto 179 metric 179"
	leftovers := map[string][]string{
		"objects": object,
		"groups":  group,
		"a route twice": append(slices.Clone(group), "ip route append 10.9.0.0/24 nhid 3003121671"+mark,
			"ip route append 10.9.0.0/24 nhid 3003121670"+mark, "ip route append 10.9.0.0/24 nhid 3003121672"+mark,
			"ip -6 route append fd09::/64 nhid 3003121673"+mark, "ip -6 route append unreachable fd09::/64"+mark),
		"unreachable first": append(slices.Clone(group), "ip -6 route append unreachable fd09::/64"+mark,
			"ip -6 route append fd09::/64 nhid 3003121673"+mark, "ip route append unreachable 10.9.0.0/24"+mark,
			"ip route append 10.9.0.0/24 nhid 3003121672"+mark),
		"routes to objects":        append(slices.Clone(object), "ip route add 10.9.0.0/24 nhid "+a+mark, "ip route add 10.9.7.0/24 nhid "+b+mark, "ip -6 route add fd09::/64 nhid "+a6+mark),
		"routes written out":       {"ip route add 10.9.0.0/24 via 10.0.0.2" + mark, "ip route add 10.9.7.0/24" + mark + " nexthop via 10.0.0.2 nexthop via 10.0.1.2", "ip -6 route add fd09::/64 via fd00:0::2" + mark, "ip -6 route add fd07::/64" + mark + " nexthop via fd00:0::2 nexthop via fd00:1::2"},
		"other sources":            append(slices.Clone(group), "ip route add 10.9.0.0/24 nhid 3003121670 src 10.0.1.1"+mark, "ip route add 10.9.7.0/24 nhid 3003121670"+mark, "ip -6 route add fd09::/64 nhid 3003121673 src fd00:1::1"+mark),
		"other kinds":              {"ip route add blackhole 10.9.0.0/24" + mark, "ip -6 route add prohibit fd09::/64" + mark, "ip route add 10.9.7.0/24 dev up0 tos 4" + mark},
		"objects of strange kinds": append(slices.Clone(object), "ip nexthop add id 3003121680 blackhole proto 179", "ip nexthop add id 3003121681 via 10.0.0.2 dev up0 proto 179", "ip nexthop add id 3003121682 group "+a+"/3003121681 proto 179", "ip route add 10.9.0.0/24 nhid 3003121682"+mark, "ip route add 10.9.7.0/24 nhid 3003121680"+mark),
		"a foreign object in our range": {
			"ip nexthop add id " + a + " via 10.0.0.2 dev up0", "ip nexthop add id 3003121700 group " + a + " proto 179",
			"ip route add 10.9.0.0/24 nhid 3003121700" + mark, "ip route add 10.9.7.0/24 nhid " + a + mark, "ip route add 10.6.0.0/24 nhid " + a,
		},
		"our protocol outside our range": {"ip nexthop add id 17 via 10.0.0.2 dev up0 proto 179", "ip route add 10.6.0.0/24 nhid 17"},
	}
	for name, lines := range leftovers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2, Options{})
			w.Run(t, lines...)
			foreign := w.foreign(t)
			all := []Route{
				route("10.9.0.0/24", w.via(0, "10.0.0.2"), w.via(1, "10.0.1.2")), route("10.9.1.0/24", w.via(0, "10.0.0.2")),
				route("fd09::/64", w.via(0, "fd00:0::2")), route("fd09:1::/64"),
			}
			// While nothing may be removed, what is wanted is right all the same.
			if err := w.fib.Set(t.Context(), Desired{Routes: all, Keep: true}); err != nil {
				t.Fatal(err)
			}
			lines := w.kernel(t)
			for _, r := range all {
				n := 0
				for _, l := range lines {
					if strings.HasPrefix(l, r.Dst.String()+" ") {
						n++
					}
				}
				if n != 1 || !slices.Contains(lines, w.text(r)) {
					t.Errorf("with Keep %d routes to %s: %q", n, r.Dst, lines)
				}
			}
			w.set(t, all...)
			if n := w.set(t, all...); n != 0 {
				t.Errorf("the second Set sends %d messages", n)
			}
			if diff := gocmp.Diff(foreign, w.foreign(t)); diff != "" {
				t.Errorf("foreign routes (-before +after):\n%s", diff)
			}
			w.set(t)
			for _, o := range w.objects(t) {
				if !strings.HasPrefix(name, "a foreign") && !strings.HasPrefix(name, "our protocol") {
					t.Errorf("left: %s", o)
				}
			}
			if diff := gocmp.Diff(foreign, w.foreign(t)); diff != "" {
				t.Errorf("foreign routes at the end (-before +after):\n%s", diff)
			}
		})
	}
}

// countdown is a context that is cancelled at its nth look.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestCrashAfterEveryMessage stops a Set after each of its messages. Another process then finds its
// way, and at no time has a destination that both states know been without a route.
func TestCrashAfterEveryMessage(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		rows := cases(w)
		for i, row := range rows[1:] {
			before := rows[i]
			for n := 0; ; n++ {
				w.set(t, before...)
				w.fib.conn.batch = 1
				err := w.fib.Set(&countdown{t.Context(), n}, Desired{Routes: row})
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				now := strings.Join(w.kernel(t), "\n") + "\n"
				for _, r := range before {
					stays := slices.ContainsFunc(row, func(x Route) bool { return x.Dst == r.Dst })
					if stays && !strings.Contains("\n"+now, "\n"+r.Dst.String()+" ") {
						t.Errorf("step %d, message %d: no route to %s", i, n, r.Dst)
					}
				}
				w.fib = w.open(t, o)
				w.set(t, row...)
				if n := w.set(t, row...); n != 0 {
					t.Errorf("the second Set sends %d messages", n)
				}
				if err == nil {
					break
				}
			}
		}
		w.set(t)
		if left := w.objects(t); len(left) > 0 {
			t.Errorf("objects left: %q", left)
		}
	})
}
