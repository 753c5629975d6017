package bgp

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
	"github.com/podroute/podroute/internal/routers"
)

// graceful is a neighbour that restarts as a test wants it to: pair's, over one session for both families.
type graceful struct {
	*process
	us, tor *nstest.NS
	config  Config
}

var gracefulRoutes = []string{"10.130.1.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1"}

func newGraceful(t *testing.T, change func(*Peer)) *graceful {
	t.Helper()
	g := &graceful{}
	g.us, g.tor = pair(t)
	peer := passive()
	if change != nil {
		change(&peer)
	}
	g.process, g.config = speak(t, g.us, nil, peer)
	return g
}

// calls brings up a session; with routes they are announced, and End-of-RIB.
func (g *graceful) calls(gr rawbgp.GracefulRestart, routes bool) *raw {
	g.t.Helper()
	open := tor()
	open.GracefulRestart = &gr
	r := dial(g.t, g.tor, "10.0.0.1", "10.0.0.2", open)
	g.established("tor")
	if routes {
		r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")),
			rawbgp.Announce([]uint32{65001}, addr("fd00::1"), prefixList("fd10:1::/64")), rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true))
		g.learns(gracefulRoutes...)
	}
	return r
}

// keeps checks for a second that the session is away and that these routes are there.
func (g *graceful) keeps(want ...string) {
	g.t.Helper()
	nstest.Within(g.t, 5*time.Second, func() error {
		if st := g.peer("tor"); st.State == "Established" || st.Stale != (want != nil) {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	for range 10 {
		if got := g.learned(); !slices.Equal(got, want) && len(got)+len(want) > 0 {
			g.t.Fatalf("kept %v, want %v", got, want)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// A NOTIFICATION ends a session and takes no routes, if both ends have said so; a Hard Reset takes them (RFC 8538).
func TestNotifications(t *testing.T) {
	t.Parallel()
	malformed := rawbgp.Message(rawbgp.TypeUpdate, []byte{0, 9})
	for name, c := range map[string]struct {
		notifies bool
		end      []byte
		kept     bool
		reason   Reason
		text     string
	}{
		"agreed":            {true, rawbgp.Notification(6, 4), true, ReasonNotificationReceived, "the neighbour sent NOTIFICATION: Cease, Administrative Reset"},
		"not agreed":        {false, rawbgp.Notification(6, 4), false, ReasonNotificationReceived, "the neighbour sent NOTIFICATION: Cease, Administrative Reset"},
		"hard reset":        {true, rawbgp.Notification(6, 9, 6, 2), false, ReasonNotificationReceived, "the neighbour sent NOTIFICATION: Cease, Hard Reset: Cease, Administrative Shutdown"},
		"by us":             {true, malformed, true, ReasonNotificationSent, "we sent NOTIFICATION: UPDATE Message Error, Malformed Attribute List"},
		"by us, not agreed": {false, malformed, false, ReasonNotificationSent, "we sent NOTIFICATION: UPDATE Message Error, Malformed Attribute List"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGraceful(t, nil)
			r := g.calls(rawbgp.GracefulRestart{Time: 20, Forwarding: true, Notifies: c.notifies}, true)
			r.send(c.end)
			if !c.kept {
				g.learns()
				g.keeps()
			} else {
				g.keeps(gracefulRoutes...)
			}
			if st := g.peer("tor"); st.Reason != c.reason || st.LastError != c.text {
				t.Errorf("%s: %s", st.Reason, st.LastError)
			}
			if c.kept {
				g.calls(rawbgp.GracefulRestart{Restarting: true, Time: 20, Forwarding: true, Notifies: true}, true)
				nstest.Within(t, 5*time.Second, func() error {
					if st := g.peer("tor"); st.Stale {
						return fmt.Errorf("%+v", st)
					}
					return nil
				})
			}
		})
	}
}

// After a NOTIFICATION of ours nothing but our own clock ends the wait.
func TestNotificationExpires(t *testing.T) {
	t.Parallel()
	g := newGraceful(t, nil)
	r := g.calls(rawbgp.GracefulRestart{Time: 3, Forwarding: true, Notifies: true}, true)
	r.send(rawbgp.Message(rawbgp.TypeUpdate, []byte{0, 9}))
	g.keeps(gracefulRoutes...)
	g.learns()
	if st := g.peer("tor"); st.Stale || st.Reason != ReasonRestartExpired {
		t.Errorf("%+v", st)
	}
}

// A family for which the neighbour did not keep forwarding loses its routes when it is back (RFC 4724 section 4.2).
func TestForwardingBit(t *testing.T) {
	t.Parallel()
	g := newGraceful(t, nil)
	_ = g.calls(rawbgp.GracefulRestart{Time: 20, Forwarding: true}, true).Close()
	g.keeps(gracefulRoutes...)
	r := g.calls(rawbgp.GracefulRestart{Restarting: true, Time: 20, Forwarding: true, Lost: 2}, false)
	g.learns(gracefulRoutes[0])
	_ = r.Close()
	g.learns() // what is left is stale from before
	_ = g.calls(rawbgp.GracefulRestart{Restarting: true, Time: 20, Forwarding: true}, true).Close()
	g.keeps(gracefulRoutes...)
	g.calls(rawbgp.GracefulRestart{Restarting: true, Time: 20}, false)
	g.learns()
	nstest.Within(t, 5*time.Second, func() error {
		if st := g.peer("tor"); st.Stale || st.State != "Established" {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}

// Restarts that follow one another: what was stale goes with the second (RFC 4724 section 4.2), unless both ends have agreed
// that it does not (RFC 8538 section 4.1).
func TestConsecutiveRestarts(t *testing.T) {
	t.Parallel()
	for _, notifies := range []bool{false, true} {
		t.Run(fmt.Sprint("agreed ", notifies), func(t *testing.T) {
			t.Parallel()
			g := newGraceful(t, nil)
			gr := rawbgp.GracefulRestart{Restarting: true, Time: 20, Forwarding: true, Notifies: notifies}
			_ = g.calls(gr, true).Close()
			g.keeps(gracefulRoutes...)
			r := g.calls(gr, false)
			r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")))
			time.Sleep(300 * time.Millisecond)
			_ = r.Close()
			if notifies {
				g.keeps(gracefulRoutes...)
			} else {
				g.learns(gracefulRoutes[0])
				g.keeps(gracefulRoutes[0])
			}
		})
	}
}

// A neighbour that is back and never sends End-of-RIB loses what it did not say again, and keeps its session.
func TestNoEndOfRIB(t *testing.T) {
	t.Parallel()
	g := newGraceful(t, nil)
	_ = g.calls(rawbgp.GracefulRestart{Time: 20, Forwarding: true}, true).Close()
	g.keeps(gracefulRoutes...)
	r := g.calls(rawbgp.GracefulRestart{Restarting: true, Time: 20, Forwarding: true}, false)
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")))
	back, since := time.Now(), g.peer("tor").Since
	for len(g.learned()) == 2 && time.Since(back) < endOfRIBTime+5*time.Second {
		time.Sleep(100 * time.Millisecond)
	}
	if d := time.Since(back); d < endOfRIBTime-2*time.Second {
		t.Errorf("given up after %v", d)
	}
	g.learns(gracefulRoutes[0])
	if st := g.peer("tor"); st.Stale || st.State != "Established" || !st.Since.Equal(since) {
		t.Errorf("%+v", st)
	}
}

// A neighbour that falls silent is the last choice while its routes are kept.
func TestSilentNeighbour(t *testing.T) {
	t.Parallel()
	us, spaces, peers := spokes(t, 2, func(_ int, q *Peer) {
		q.AS, q.Families, q.GracefulRestart, q.Hold = 65001, []Family{IPv4}, true, 3*time.Second
	})
	p, _ := speak(t, us, nil, peers...)
	var raws []*raw
	for i, ns := range spaces {
		r := callBy(t, p, ns, i, rawbgp.Open{
			AS: 65001, Hold: 90, IPv4: true, GracefulRestart: &rawbgp.GracefulRestart{Time: 8, Forwarding: true, Notifies: true},
		})
		r.send(rawbgp.Announce([]uint32{65001}, peers[i].Address, prefixList("10.130.1.0/24")), rawbgp.EndOfRIB(false))
		raws = append(raws, r)
	}
	p.learns("10.130.1.0/24 via 10.0.0.1,10.0.1.1")
	spaces[0].Run(t, "nft add table inet silence", "nft add chain inet silence out { type filter hook output priority 0 ; policy drop ; }")
	p.learns("10.130.1.0/24 via 10.0.1.1")
	if st := p.peer("t0"); !st.Stale || !st.LastChoice || st.Reason != ReasonHoldTimerExpired {
		t.Errorf("%+v", st)
	}
	raws[1].send(rawbgp.Withdraw(prefixList("10.130.1.0/24")))
	p.learns("10.130.1.0/24 via 10.0.0.1")
	p.learns() // when its restart time is over
}

// Who is removed, or left, drops our routes, although it keeps them over other NOTIFICATIONs.
func TestHardReset(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do  func(g *graceful)
		why byte
	}{
		"removed": {func(g *graceful) { g.config.Peers = nil; g.set(g.config) }, 3},
		"left":    {func(g *graceful) { g.must("leave") }, 2},
		"too many prefixes": {func(g *graceful) {
			g.config.Peers = slices.Clone(g.config.Peers)
			g.config.Peers[0].MaxPrefixes = 1
			g.set(g.config)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGraceful(t, nil)
			r := g.calls(rawbgp.GracefulRestart{Time: 20, Forwarding: true, Notifies: true}, true)
			r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.3.0/24")))
			g.learns(append([]string{"10.130.3.0/24 via 10.0.0.1"}, gracefulRoutes...)...)
			c.do(g)
			var end *rawbgp.Closed
			if err := r.ends(5 * time.Second); !errors.As(err, &end) || end.Code != 6 || end.Subcode != 9 || !slices.Equal(end.Data, []byte{6, c.why}) {
				t.Errorf("the session ended with %v %+v, want Hard Reset for 6/%d", err, end, c.why)
			}
		})
	}
}

// lacksNotifications is why the N bit of RFC 8538 is not set by others.
func lacksNotifications() map[routers.Kind]string {
	return map[routers.Kind]string{
		routers.BIRD:     "BIRD 2.0's NEWS has \"BGP graceful restart (RFC 4724)\" and \"BGP Long-lived graceful restart\", and nothing of RFC 8538; its OPEN has no N bit",
		routers.OpenBGPD: "bgpd(8), STANDARDS, does not name RFC 8538",
	}
}

// Both ends keep routes over NOTIFICATIONs: over ours, when the neighbour's packets are lost and the hold time is over, and over its own; a
// Hard Reset takes them.
func TestInteropNotifications(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "restarts: routes outlive NOTIFICATIONs and the hold time, but no Hard Reset (RFC 8538)", Lacks: lacksNotifications()}.Each(t, func(t *testing.T, kind routers.Kind) {
		us, torNS := pair(t)
		conf := torConfig()
		conf.Neighbors[0].RestartTime = 60
		tor := routers.Start(t, torNS, kind, conf)
		peer := them()
		peer.Hold, peer.RestartTime = 3*time.Second, 60*time.Second
		p, _ := speak(t, us, nil, peer)
		learned := []string{"10.130.1.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1"}
		p.learns(learned...)
		tor.Learns(15*time.Second, pfx("10.130.2.0/24"), addr("10.0.0.2"))
		tor.Learns(15*time.Second, pfx("fd10:2::/64"), addr("fd00::2"))
		again := func() {
			t.Helper()
			nstest.Within(t, 30*time.Second, func() error {
				got, st := p.learned(), p.peer("tor")
				switch there := slices.Equal(got, learned); {
				case !there && kind == routers.GoBGP && st.State == "Established":
					return fmt.Errorf("gobgpd, whose OPEN says that it has not kept forwarding, has not said again: %v", got)
				case !there:
					t.Fatalf("kept %v", got)
				case st.State != "Established" || st.Stale:
					return fmt.Errorf("%+v", st)
				}
				return nil
			})
		}
		again()
		stop4, stop6 := watchRoutes(t, tor, "10.130.2.0/24"), watchRoutes(t, tor, "fd10:2::/64")
		us.Run(t, "nft add table inet deaf", "nft add chain inet deaf in { type filter hook input priority 0 ; policy drop ; }")
		away := func(why Reason) {
			t.Helper()
			nstest.Within(t, 10*time.Second, func() error {
				if st := p.peer("tor"); st.State == "Established" || !st.Stale || st.Reason != why {
					return fmt.Errorf("%+v", st)
				}
				return nil
			})
		}
		away(ReasonHoldTimerExpired)
		us.Run(t, "nft delete table inet deaf")
		again()
		if n4, n6 := stop4(), stop6(); n4+n6 > 0 {
			t.Errorf("our routes were missing %d (IPv4) and %d (IPv6) times", n4, n6)
		}
		tor.Reset(addr("10.0.0.2"), false) // FRR drops what it has of us, whom it tells to keep all
		away(ReasonNotificationReceived)
		again()
		if kind == routers.FRR { // gobgpd never sends one
			tor.Reset(addr("10.0.0.2"), true)
			nstest.Within(t, 2*time.Second, func() error {
				if got := p.learned(); len(got) > 0 {
					return fmt.Errorf("kept %v over a Hard Reset", got)
				}
				return nil
			})
			p.learns(learned...)
		}
		p.must("leave")
		tor.Learns(3*time.Second, pfx("10.130.2.0/24"))
		tor.Learns(3*time.Second, pfx("fd10:2::/64"))
	})
}
