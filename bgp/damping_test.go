package bgp

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

// An hour of losses: the holding back begins with the fifth within ten minutes, grows, and ends when there are fewer.
func TestHolds(t *testing.T) {
	t.Parallel()
	var f flaps
	start := time.Now()
	for i, want := range []time.Duration{0, 0, 0, 0, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute} {
		if f.lose(start.Add(time.Duration(i) * time.Second)); f.hold != want {
			t.Errorf("loss %d: %v, want %v", i+1, f.hold, want)
		}
	}
	f.recent(start.Add(flapWindow + 6*time.Second))
	if len(f.losses) != 5 || f.hold == 0 {
		t.Errorf("%d losses count, held back for %v", len(f.losses), f.hold)
	}
	f.recent(start.Add(flapWindow + 7*time.Second))
	if f.hold != 0 {
		t.Error("four losses in ten minutes, and held back")
	}
	if f.lose(start.Add(flapWindow + 7*time.Second)); f.hold != firstHold {
		t.Errorf("the next one too many: %v, want %v", f.hold, firstHold)
	}
	slow := flaps{}
	for i := range 60 {
		slow.lose(start.Add(time.Duration(i) * (flapWindow/4 + time.Second)))
	}
	if slow.hold != 0 || len(slow.losses) > 4 {
		t.Errorf("one loss in %v: held back for %v, %d losses kept", flapWindow/4, slow.hold, len(slow.losses))
	}
}

// Routes of a neighbour that is held back are not used, then used where there are no others, then like others.
func TestHeldBack(t *testing.T) {
	t.Parallel()
	tab := newTable(make(chan struct{}, 1), newAgenda())
	a, b := addr("10.0.0.1"), addr("10.0.0.2")
	learnFrom(tab, Config{AS: 65002, MaxPaths: 8, Import: []PrefixRange{within("10.128.0.0/9")}, Peers: []Peer{
		{Name: "a", Address: a, AS: 1}, {Name: "b", Address: b, AS: 2},
	}})
	say(tab, a, a, prefixList("10.130.1.0/24", "10.130.2.0/24")...)
	say(tab, b, b, prefixList("10.130.1.0/24")...)
	tab.drain()
	for _, x := range []struct {
		level held
		want  []string
	}{
		{shelved, []string{"10.130.1.0/24 via b", "10.130.2.0/24"}},
		{lastResort, []string{"10.130.2.0/24 via a"}},
		{free, []string{"10.130.1.0/24 via a b"}},
		{free, nil},
	} {
		tab.hold(a, x.level)
		changes, _ := tab.drain()
		var got []string
		for _, c := range changes {
			text := c.Prefix.String()
			for i, v := range c.Via {
				text += []string{" via ", " "}[min(i, 1)] + v.Peer
			}
			got = append(got, text)
		}
		slices.Sort(got)
		if !slices.Equal(got, x.want) {
			t.Errorf("held back by %d: %q, want %q", x.level, got, x.want)
		}
	}
}

// A neighbour that was lost five times within ten minutes gets nothing into the kernel before it has lasted ten seconds, and
// nothing that there are other paths to for longer. One that is not damped does.
func TestDamping(t *testing.T) {
	t.Parallel()
	p, c, call := star(t, 2, nil)
	steady := call(1)
	steady.send(rawbgp.Announce([]uint32{65101}, addr("10.0.1.1"), prefixList("10.130.1.0/24")))
	p.learns("10.130.1.0/24 via 10.0.1.1")
	both := []string{"10.130.1.0/24 via 10.0.0.1,10.0.1.1", "10.130.9.0/24 via 10.0.0.1"}
	come := func() *raw {
		r := call(0)
		r.send(rawbgp.Announce([]uint32{65100}, addr("10.0.0.1"), prefixList("10.130.1.0/24", "10.130.9.0/24")), rawbgp.EndOfRIB(false))
		nstest.Within(t, 5*time.Second, func() error {
			if st := p.peer("t0"); st.Received[IPv4] != 2 || st.Accepted[IPv4] != 2 {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
		return r
	}
	// A link that goes down and up again is quick: gobgp rests for seconds after other losses.
	cut := func() {
		for _, down := range []bool{true, false} {
			c.Peers[0].Down = down
			p.set(c)
		}
		p.learns("10.130.1.0/24 via 10.0.1.1")
	}
	for range flapsMost - 1 {
		come()
		p.learns(both...)
		cut()
	}
	come()
	p.learns(both...)
	cut()
	if n := p.must("count").Turns; n == 0 {
		t.Fatal("changes are not counted")
	}
	before := p.must("count").Turns
	for range 5 {
		come()
		if st := p.peer("t0"); st.HeldUntil.IsZero() || len(st.Warnings) != 1 {
			t.Errorf("not held back: %+v", st)
		}
		cut()
	}
	up := time.Now()
	come()
	if n := p.must("count").Turns; n != before {
		t.Errorf("%d changes for the reader while the neighbour came and went", n-before)
	}
	p.learns("10.130.1.0/24 via 10.0.1.1", "10.130.9.0/24 via 10.0.0.1")
	if took := time.Since(up); took < proving || took > proving+5*time.Second {
		t.Errorf("the routes that only it has are used after %v, want %v", took, proving)
	}
	c.Peers[0].Undamped = true
	p.set(c)
	p.learns(both...)
	if st := p.peer("t0"); !st.HeldUntil.IsZero() || st.Warnings != nil || st.Flaps != 2*flapsMost {
		t.Errorf("still held back: %+v", st)
	}
}
