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

// watchRoutes polls what a router knows of a prefix until stopped, and reports how often it was missing.
func watchRoutes(t *testing.T, r *routers.Router, prefix string) (stop func() int) {
	t.Helper()
	quit, done := make(chan struct{}), make(chan int)
	go func() {
		missing := 0
		for {
			select {
			case <-quit:
				done <- missing
				return
			case <-time.After(20 * time.Millisecond):
			}
			if all, err := r.Routes(); err == nil {
				if _, ok := all[pfx(prefix)]; !ok {
					missing++
				}
			}
		}
	}()
	return func() int { close(quit); return <-done }
}

// The speaker dies, or leaves to come back; the neighbour must not lose our routes.
func TestInteropNeighbourKeepsRoutes(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "restarts: the neighbour keeps our routes while we restart (RFC 4724)"}.Each(t, func(t *testing.T, kind routers.Kind) {
		for _, how := range []string{"restart", "SIGKILL"} {
			t.Run(how, func(t *testing.T) {
				t.Parallel()
				us, torNS := pair(t)
				conf, peers := bothEnds(kind)
				tor := routers.Start(t, torNS, kind, conf)
				p := startSpeaker(t, us, "first life")
				c := ours()
				c.Peers = peers
				p.set(c)
				for _, prefix := range []string{"10.130.2.0/24", "fd10:2::/64"} {
					nh := addr("10.0.0.2")
					if pfx(prefix).Addr().Is6() {
						nh = addr("fd00::2")
					}
					tor.Learns(15*time.Second, pfx(prefix), nh)
				}
				stop4, stop6 := watchRoutes(t, tor, "10.130.2.0/24"), watchRoutes(t, tor, "fd10:2::/64")
				if how == "restart" {
					p.must("restart")
				}
				p.kill()
				p = startSpeaker(t, us, "second life")
				c.Restarting = true
				p.set(c)
				p.established("tor")
				p.learns("10.130.1.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1")
				nstest.Within(t, 10*time.Second, func() error {
					if !p.must("routes").Synced {
						return errors.New("not synced")
					}
					return nil
				})
				// Past the deferral and the neighbour's own clean-up of stale routes.
				time.Sleep(5 * time.Second)
				if n4, n6 := stop4(), stop6(); n4+n6 > 0 {
					t.Errorf("our routes were missing %d (IPv4) and %d (IPv6) times", n4, n6)
				}
			})
		}
	})
}

// The neighbour dies and comes back; we must not lose its routes, and those that it no longer has go with
// its End-of-RIB.
func TestInteropWeKeepRoutes(t *testing.T) {
	t.Parallel()
	routers.Feature{
		Name: "restarts: we keep the neighbour's routes while it restarts (RFC 4724)",
		Lacks: map[routers.Kind]string{
			routers.OpenBGPD: `bgpd.conf(5), announce restart: "Currently only the End-of-RIB marker is supported and announced by the restart capability."`,
		},
	}.Each(t, func(t *testing.T, kind routers.Kind) {
		us, torNS := pair(t)
		tor := routers.Start(t, torNS, kind, torConfig())
		p := startSpeaker(t, us, "node")
		c := ours()
		c.Peers = []Peer{them()}
		p.set(c)
		want := []string{"10.130.1.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1"}
		p.learns(want...)

		tor.Kill()
		nstest.Within(t, 5*time.Second, func() error {
			if st := p.peer("tor"); !st.Stale {
				return fmt.Errorf("session is %s, routes not held stale: %s", st.State, st.LastError)
			}
			return nil
		})
		tor.Restart()
		start := time.Now()
		for time.Since(start) < 20*time.Second && p.peer("tor").Stale {
			if got := p.learned(); !slices.Equal(got, want) {
				t.Fatalf("%v after the start: learned %q", time.Since(start), got)
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("fresh after %v", time.Since(start))
		if st := p.peer("tor"); st.Stale || st.State != "Established" {
			t.Fatalf("still stale: %+v", st)
		}
		p.learns(want...)
	})
}

// Stale routes go when the neighbour's restart time has passed, or when it is back without them.
func TestStaleRoutesEnd(t *testing.T) {
	t.Parallel()
	// start brings up a session with three routes and breaks it; call brings up the next.
	start := func(t *testing.T, restartTime uint16) (p *process, call func(gr *rawbgp.GracefulRestart) *raw) {
		us, torNS := pair(t)
		p = startSpeaker(t, us, "node")
		c, peer := ours(), them()
		peer.Passive = true
		c.Peers = []Peer{peer}
		p.set(c)
		call = func(gr *rawbgp.GracefulRestart) *raw {
			open := tor()
			open.GracefulRestart = gr
			return dial(t, torNS, "10.0.0.1", "10.0.0.2", open)
		}
		r := call(&rawbgp.GracefulRestart{Time: restartTime, Forwarding: true})
		r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24", "10.130.3.0/24")),
			rawbgp.Announce([]uint32{65001}, addr("fd00::1"), prefixList("fd10:1::/64")),
			rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true))
		p.learns("10.130.1.0/24 via 10.0.0.1", "10.130.3.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1")
		_ = r.Close()
		return p, call
	}
	t.Run("restart time", func(t *testing.T) {
		t.Parallel()
		p, _ := start(t, 4)
		lost := time.Now()
		p.learns()
		if d := time.Since(lost); d < 3*time.Second {
			t.Errorf("gone after %v", d)
		}
	})
	t.Run("End-of-RIB", func(t *testing.T) {
		t.Parallel()
		p, call := start(t, 30)
		r := call(&rawbgp.GracefulRestart{Restarting: true, Time: 30, Forwarding: true})
		r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")))
		time.Sleep(time.Second)
		if n := len(p.learned()); n != 3 {
			t.Errorf("%d routes before End-of-RIB", n)
		}
		r.send(rawbgp.EndOfRIB(false))
		time.Sleep(time.Second)
		if n := len(p.learned()); n != 3 {
			t.Errorf("%d routes after one of two End-of-RIBs", n)
		}
		r.send(rawbgp.EndOfRIB(true))
		p.learns("10.130.1.0/24 via 10.0.0.1")
	})
	t.Run("no capability any more", func(t *testing.T) {
		t.Parallel()
		p, call := start(t, 30)
		call(nil)
		p.learns()
	})
	t.Run("NOTIFICATION", func(t *testing.T) {
		t.Parallel()
		p, call := start(t, 30)
		call(&rawbgp.GracefulRestart{Restarting: true, Time: 30, Forwarding: true}).send(rawbgp.Notification(6, 2))
		p.learns()
		nstest.Within(t, 2*time.Second, func() error {
			if st := p.peer("tor"); st.Reason != ReasonNotificationReceived {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
	})
}

// Every combination of families and graceful restart: what OPEN says, and whose routes outlive the session.
func TestFamiliesAndGracefulRestart(t *testing.T) {
	t.Parallel()
	for _, fams := range [][]Family{{IPv4}, {IPv6}, {IPv4, IPv6}} {
		for _, graceful := range []bool{false, true} {
			for _, restarting := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v graceful %v restarting %v", fams, graceful, restarting), func(t *testing.T) {
					t.Parallel()
					us, torNS := pair(t)
					peer := passive()
					peer.Families, peer.GracefulRestart = fams, graceful
					p, _ := speak(t, us, func(c *Config) { c.Restarting = restarting }, peer)
					r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
					caps := r.Capabilities()
					want := []byte(nil)
					if graceful {
						want = []byte{0x40, 20} // the N bit of RFC 8538
						if restarting {
							want[0] |= 0x80
						}
						for _, f := range fams {
							forwarding := byte(0)
							if restarting {
								forwarding = 0x80
							}
							want = append(want, 0, byte(f), 1, forwarding)
						}
					}
					if !slices.Equal(caps[64], want) {
						t.Errorf("graceful restart capability is %v, want %v", caps[64], want)
					}
					routes := map[Family][]byte{
						IPv4: rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")),
						IPv6: rawbgp.Announce([]uint32{65001}, addr("fd00::1"), prefixList("fd10:1::/64")),
					}
					vias := map[Family]string{IPv4: "10.130.1.0/24 via 10.0.0.1", IPv6: "fd10:1::/64 via fd00::1"}
					var learned []string
					for _, f := range fams {
						r.send(routes[f], rawbgp.EndOfRIB(f == IPv6))
						learned = append(learned, vias[f])
					}
					p.learns(learned...)
					nstest.Within(t, 5*time.Second, func() error {
						if !p.must("routes").Synced {
							return errors.New("not synced")
						}
						return nil
					})
					for _, f := range fams { // told as well, End-of-RIB last
						r.announces(map[Family]string{IPv4: "10.130.2.0/24", IPv6: "fd10:2::/64"}[f])
					}
					_ = r.Close()
					if !graceful {
						p.learns()
						return
					}
					nstest.Within(t, 5*time.Second, func() error {
						if !p.peer("tor").Stale {
							return errors.New("routes are not held")
						}
						return nil
					})
					if got := p.learned(); !slices.Equal(got, learned) {
						t.Errorf("held routes are %v, want %v", got, learned)
					}
				})
			}
		}
	}
}
