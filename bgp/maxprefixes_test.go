package bgp

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

func TestBounds(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		most, percent, n int
		before, want     excess
	}{
		{0, 75, 1 << 20, below, below},
		{10, 75, 7, below, below},
		{10, 75, 8, below, near},
		{10, 75, 10, below, near},
		{10, 75, 11, near, over},
		{100, 80, 73, near, near}, // a warning ends a tenth below
		{100, 80, 72, near, below},
		{100, 80, 99, over, near},
		{100, 100, 99, below, below},
		{1, 75, 1, below, near},
	} {
		if got := (Peer{MaxPrefixes: x.most, WarnAt: x.percent}).bound().judge(x.n, x.before); got != x.want {
			t.Errorf("%+v: %d", x, got)
		}
	}
}

// A neighbour that may send more than it should keeps its session and its routes, and its state says so.
func TestMaxPrefixesWarn(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	peer := passive()
	peer.MaxPrefixes, peer.WarnOnly, peer.WarnAt = 10, true, 50
	p, c := speak(t, us, nil, peer)
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	all := manyPrefixes(12)
	says := func(want string) {
		t.Helper()
		nstest.Within(t, 5*time.Second, func() error {
			if got := strings.Join(p.peer("tor").Warnings, "; "); got != want {
				return fmt.Errorf("warnings %q, want %q", got, want)
			}
			return nil
		})
	}
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), all[:4]))
	says("")
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), all[4:5]))
	says("it has sent 5 prefixes of IPv4, 50 % of the 10 that maxPrefixes allows")
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), all[5:]))
	says("it has sent 12 prefixes of IPv4, more than the 10 that maxPrefixes allows")
	if got := len(p.learned()); got != 12 {
		t.Errorf("%d routes, want 12", got)
	}
	c.Peers[0].MaxPrefixes = 100
	p.set(c)
	says("")
	// What was only warned of ends the session once that is wanted.
	c.Peers[0].MaxPrefixes, c.Peers[0].WarnOnly = 10, false
	p.set(c)
	_ = r.ends(5 * time.Second)
	p.learns()
	c.Peers[0].WarnOnly = true
	p.set(c)
	r = dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), all))
	says("it has sent 12 prefixes of IPv4, more than the 10 that maxPrefixes allows")
}

// A neighbour that was shut out is admitted again after its time, and stays out for longer if it has learned nothing.
func TestMaxPrefixesRetry(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	peer := passive()
	peer.MaxPrefixes, peer.Retry = 10, time.Second
	p, _ := speak(t, us, nil, peer)
	for turn, want := range []string{"admitted again in 1s,", "admitted again in 2s,", "admitted again in 4s,"} {
		r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
		r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), manyPrefixes(11)))
		err := r.ends(5 * time.Second)
		var closed *rawbgp.Closed
		if !errors.As(err, &closed) || closed.Code != 6 {
			t.Errorf("turn %d: the session ended with %v, want Cease", turn, err)
		}
		if st := p.peer("tor"); st.Reason != ReasonMaxPrefixes || !strings.Contains(st.LastError, want) {
			t.Errorf("turn %d: %s %q, want %q", turn, st.Reason, st.LastError, want)
		}
	}
	dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	p.established("tor")
}
