package routes

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// TestOnLink: routers that no subnet of their link holds, beside others and alone, written, read back and known again by the next process.
func TestOnLink(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		on := func(n int, addr string) NextHop {
			h := w.via(n, addr)
			h.OnLink = true
			return h
		}
		ours := []Route{
			route("10.9.0.0/24", on(0, "192.0.2.9")), route("10.9.1.0/24", on(0, "192.0.2.9"), w.via(1, "10.0.1.2")), route("10.9.2.0/24", on(1, "10.0.1.2")),
			route("10.9.3.0/24", w.via(1, "10.0.1.2")), route("fd09::/64", on(0, "2001:db8::9")), route("fd09:1::/64", on(0, "2001:db8::9"), w.via(1, "fd00:1::2")),
		}
		w.set(t, ours...)
		if n := w.set(t, ours...); n != 0 {
			t.Errorf("a second Set sends %d messages", n)
		}
		w.fib = w.open(t, o)
		if n := w.set(t, ours...); n != 0 {
			t.Errorf("the first Set of a new process sends %d messages", n)
		}
		installed, err := w.fib.Installed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, r := range installed {
			var hops []string
			for _, h := range r.NextHops {
				hops = append(hops, fmt.Sprintf("%v %t", h.Addr, h.OnLink))
			}
			got[r.Dst.String()] = strings.Join(hops, ", ")
		}
		want := map[string]string{
			"10.9.0.0/24": "192.0.2.9 true", "10.9.1.0/24": "10.0.1.2 false, 192.0.2.9 true", "10.9.2.0/24": "10.0.1.2 true", "10.9.3.0/24": "10.0.1.2 false",
			"fd09::/64": "2001:db8::9 true", "fd09:1::/64": "2001:db8::9 true, fd00:1::2 false",
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("installed (-want +got):\n%s", diff)
		}
		err = w.fib.Set(t.Context(), Desired{Routes: []Route{route("10.9.0.0/24", w.via(0, "192.0.2.9"))}})
		var refused *RouteError
		if !errors.As(err, &refused) {
			t.Errorf("a router on no subnet of its link is taken: %v", err)
		}
		if err := w.fib.Remove(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
