package bgp

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

// longLived is the capability of RFC 9494 for IPv4, with a stale time in seconds.
func longLived(seconds byte) []byte { return []byte{71, 7, 0, 1, 1, 0x80, 0, 0, seconds} }

// After the restart time a neighbour's routes are the last choice, those with NO_LLGR go at once, and all when the shorter of the two
// stale times is over (RFC 9494 section 4.2).
func TestLongLived(t *testing.T) {
	t.Parallel()
	us := nstest.New(t)
	spaces := []*nstest.NS{nstest.New(t), nstest.New(t)}
	var peers []Peer
	for i := range spaces {
		link(t, us, spaces[i], i)
		peers = append(peers, Peer{
			Name: fmt.Sprintf("t%d", i), Address: addr(fmt.Sprintf("10.0.%d.1", i)), AS: 65001, Passive: true, Families: []Family{IPv4},
			GracefulRestart: true, LongLived: time.Minute,
		})
	}
	p, _ := speak(t, us, nil, peers...)
	call := func(i int, stale byte) *raw {
		a := fmt.Sprintf("10.0.%d.1", i)
		r := dial(t, spaces[i], a, fmt.Sprintf("10.0.%d.2", i), rawbgp.Open{
			AS: 65001, ID: addr(a), Hold: 90, IPv4: true, GracefulRestart: &rawbgp.GracefulRestart{Time: 2, Forwarding: true}, Capabilities: longLived(stale),
		})
		p.established(fmt.Sprintf("t%d", i))
		return r
	}
	first, second := call(0, 6), call(1, 60)
	if got, want := capabilities(first.Peer)[71], []byte{0, 1, 1, 0, 0, 0, 60}; !slices.Equal(got, want) {
		t.Errorf("capability is %v, want %v", got, want)
	}
	both, short, only := "10.130.1.0/24", "10.130.3.0/24", "10.130.4.0/24"
	first.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList(both, only)),
		rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList(short), rawbgp.Communities(noLLGR)), rawbgp.EndOfRIB(false))
	second.send(rawbgp.Announce([]uint32{65001, 65009}, addr("10.0.1.1"), prefixList(both)), rawbgp.EndOfRIB(false))
	p.learns(both+" via 10.0.0.1", short+" via 10.0.0.1", only+" via 10.0.0.1")
	_ = first.Close()
	lost := time.Now()
	p.learns(both+" via 10.0.1.1", only+" via 10.0.0.1")
	if d := time.Since(lost); d < 1500*time.Millisecond {
		t.Errorf("the last choice after %v", d)
	}
	if st := p.peer("t0"); !st.Stale || st.Reason != ReasonRestartExpired {
		t.Errorf("%+v", st)
	}
	second.send(rawbgp.Withdraw(prefixList(both)))
	p.learns(both+" via 10.0.0.1", only+" via 10.0.0.1")

	// It is back, and away again before it has said all: the time goes on.
	again := call(0, 6)
	again.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList(both)))
	time.Sleep(200 * time.Millisecond)
	_ = again.Close()
	p.learns() // within 15 s
	if d := time.Since(lost); d < 7500*time.Millisecond {
		t.Errorf("gone after %v", d)
	}
	if st := p.peer("t0"); st.Stale {
		t.Errorf("%+v", st)
	}
}
