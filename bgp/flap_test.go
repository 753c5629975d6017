package bgp

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

// A neighbour that comes and goes 500 times, half of them with Cease and half without, leaves nothing behind but what gobgp
// does: a goroutine for some of the neighbours that are removed after a loss.
func TestFlapping(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	peer := passive()
	peer.Undamped = true
	p, c := speak(t, us, nil, peer)
	prefixes := prefixList()
	for i := range 100 {
		prefixes = append(prefixes, pfx(fmt.Sprintf("10.131.%d.0/24", i)))
	}
	count := func(want int) {
		t.Helper()
		nstest.Within(t, 15*time.Second, func() error {
			if n := p.must("count").Count; n != want {
				return fmt.Errorf("%d routes, want %d", n, want)
			}
			return nil
		})
	}
	flap := func(i int) {
		r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
		r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixes), rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true))
		count(len(prefixes))
		if i%2 == 0 {
			r.send(rawbgp.Notification(6, 2))
		}
		_ = r.Close()
		// gobgp rests for seconds after a loss. A link that goes down and comes back makes it forget.
		// What gobgp has yet to tell of the session, and what was to follow from it, must not touch the next one.
		c.Peers[0].Down = true
		p.set(c)
		count(0)
		c.Peers[0].Down = false
		p.set(c)
	}
	type use struct{ goroutines, left, files, kilobytes int }
	measure := func() use {
		a := p.must("count")
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
		if err != nil {
			t.Fatal(err)
		}
		return use{a.Goroutines, a.Left, len(fds), a.RSS}
	}
	for i := range 100 {
		flap(i)
	}
	var before, after use
	before = measure()
	for i := range 400 {
		flap(i)
	}
	nstest.Within(t, 10*time.Second, func() error {
		after = measure()
		if after.goroutines > before.goroutines+2 || after.left > before.left+400 || after.files > before.files || after.kilobytes > before.kilobytes+8192 {
			return fmt.Errorf("after 100 times %+v, after 500 %+v", before, after)
		}
		return nil
	})
	t.Logf("after 100 times %+v, after 500 %+v", before, after)
	// A session that is over before gobgp has told that it began is none.
	if st := p.peer("tor"); st.Flaps < 450 || st.Flaps > 500 {
		t.Errorf("%d flaps", st.Flaps)
	}
}
