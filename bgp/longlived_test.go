package bgp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
	"github.com/podroute/podroute/internal/routers"
)

// longLived is the capability of RFC 9494 for IPv4, with a stale time in seconds.
func longLived(seconds byte) []byte { return []byte{71, 7, 0, 1, 1, 0x80, 0, 0, seconds} }

// After the restart time a neighbour's routes are the last choice, those with NO_LLGR go at once, and all when the shorter of the two
// stale times is over (RFC 9494 section 4.2).
func TestLongLived(t *testing.T) {
	t.Parallel()
	us, spaces, peers := spokes(t, 2, func(_ int, q *Peer) {
		q.AS, q.Families, q.GracefulRestart, q.LongLived = 65001, []Family{IPv4}, true, time.Minute
	})
	p, _ := speak(t, us, nil, peers...)
	call := func(i int, stale byte) *raw {
		return callBy(t, p, spaces[i], i, rawbgp.Open{
			AS: 65001, Hold: 90, IPv4: true, GracefulRestart: &rawbgp.GracefulRestart{Time: 2, Forwarding: true}, Capabilities: longLived(stale),
		})
	}
	first, second := call(0, 6), call(1, 60)
	if got, want := first.Capabilities()[71], []byte{0, 1, 1, 0, 0, 0, 60}; !slices.Equal(got, want) {
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
	if st := p.peer("t0"); !st.Stale || !st.LastChoice || st.Reason != ReasonRestartExpired {
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

// A router passes long-lived stale routes on to neighbours that know what that is, with LLGR_STALE, and takes them back from others
// (RFC 9494 section 4.3).
func TestLongLivedPassedOn(t *testing.T) {
	t.Parallel()
	us, spaces, peers := spokes(t, 3, func(i int, q *Peer) {
		q.AS, q.Families, q.GracefulRestart, q.LongLived = uint32(65100+i), []Family{IPv4}, true, time.Minute
	})
	p, _ := speak(t, us, func(c *Config) { c.Transit = true }, peers...)
	var raws []*raw
	for i := range 3 {
		open := rawbgp.Open{AS: peers[i].AS, Hold: 90, IPv4: true, GracefulRestart: &rawbgp.GracefulRestart{Time: 2, Forwarding: true}}
		if i < 2 {
			open.Capabilities = longLived(60)
		}
		raws = append(raws, callBy(t, p, spaces[i], i, open))
	}
	raws[0].send(rawbgp.Announce([]uint32{65100}, addr("10.0.0.1"), prefixList("10.130.1.0/24")), rawbgp.EndOfRIB(false))
	raws[1].announces("10.130.1.0/24")
	raws[2].announces("10.130.1.0/24")
	_ = raws[0].Close()
	nstest.Within(t, 10*time.Second, func() error {
		if got, want := raws[1].announces("10.130.1.0/24").Attrs[rawbgp.AttrCommunities], []byte{0xff, 0xff, 0, 6}; !slices.Equal(got, want) {
			return fmt.Errorf("communities %v, want %v", got, want)
		}
		return nil
	})
	raws[2].withdraws("10.130.1.0/24")
	p.learns("10.130.1.0/24 via 10.0.0.1")
}

// The neighbour keeps our routes after our restart time, and takes them anew when we are back.
func TestInteropLongLived(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "restarts: the router keeps our routes after our restart time (RFC 9494)", Lacks: map[routers.Kind]string{
		routers.OpenBGPD: "bgpd.conf(5), announce: no option for it; bgpd(8), STANDARDS, does not name RFC 9494",
	}}.Each(t, func(t *testing.T, kind routers.Kind) {
		us, torNS := pair(t)
		conf := torConfig()
		conf.Neighbors[0].LongLived = 60
		tor := routers.Start(t, torNS, kind, conf)
		peer := them()
		peer.RestartTime, peer.LongLived = 3*time.Second, time.Minute
		p, c := speak(t, us, nil, peer)
		tor.Learns(15*time.Second, pfx("10.130.2.0/24"), addr("10.0.0.2"))
		tor.Learns(15*time.Second, pfx("fd10:2::/64"), addr("fd00::2"))
		stop4, stop6 := watchRoutes(t, tor, "10.130.2.0/24"), watchRoutes(t, tor, "fd10:2::/64")
		p.kill()
		// Longer than the restart time: what is left then is what is long-lived, and says so.
		nstest.Within(t, 20*time.Second, func() error {
			a, err := tor.Attributes(pfx("10.130.2.0/24"))
			if err == nil && !slices.ContainsFunc(a.Communities, isStale) {
				err = fmt.Errorf("communities %v", a.Communities)
			}
			return err
		})
		time.Sleep(2 * time.Second)
		p = startSpeaker(t, us, "second life")
		c.Restarting = true
		p.set(c)
		nstest.Within(t, 30*time.Second, func() error {
			a, err := tor.Attributes(pfx("10.130.2.0/24"))
			if err == nil && slices.ContainsFunc(a.Communities, isStale) {
				err = fmt.Errorf("communities %v", a.Communities)
			}
			return err
		})
		if n4, n6 := stop4(), stop6(); n4+n6 > 0 {
			t.Errorf("our routes were missing %d (IPv4) and %d (IPv6) times", n4, n6)
		}
	})
}

// isStale knows LLGR_STALE by the names that daemons have for it.
func isStale(c string) bool {
	return c == "65535:6" || strings.EqualFold(strings.ReplaceAll(c, "_", "-"), "llgr-stale")
}
