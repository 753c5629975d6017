package routes

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// The kernel tells of a link once a second. One that goes down and comes back in between is told of once, as being up, which it was
// before; who has read meanwhile that it is down must hear of it.
func TestLinkBackWithinASecond(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, Options{})
	w.run(t)
	up := func() bool {
		list, err := w.fib.Links(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return list[slices.IndexFunc(list, func(l Link) bool { return l.Name == "up0" })].Up
	}
	for range 3 {
		w.far.Run(t, "ip link set up0 down")
		nstest.Within(t, within, func() error {
			if up() {
				return errors.New("the link is not down")
			}
			return nil
		})
		w.far.Run(t, "ip link set up0 up")
		// Who reads only when there is something new.
		known, deadline := false, time.After(within)
		for !known {
			select {
			case <-w.fib.Changed():
				known = up()
			case <-deadline:
				t.Fatal("nobody tells that the link is up")
			}
		}
	}
}
