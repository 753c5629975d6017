package bgp

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
	"github.com/podroute/podroute/internal/routers"
)

// What OPEN says after a restart is true family by family (RFC 4724 section 3). A family whose forwarding state is lost has no
// graceful restart in the session that follows, and has it again in the next one. No session is ended for it.
func TestForwardingStateOfEachFamily(t *testing.T) {
	t.Parallel()
	const n = 0x40 // RFC 8538
	both := []byte{n, 20, 0, 1, 1, 0, 0, 2, 1, 0}
	for name, x := range map[string]struct {
		families, flushed []Family
		open              []byte
	}{
		"both":                    {nil, nil, []byte{0x80 | n, 20, 0, 1, 1, 0x80, 0, 2, 1, 0x80}},
		"IPv4 only":               {nil, []Family{IPv6}, []byte{0x80 | n, 20, 0, 1, 1, 0x80}},
		"IPv6 only":               {nil, []Family{IPv4}, []byte{0x80 | n, 20, 0, 2, 1, 0x80}},
		"none":                    {nil, []Family{IPv4, IPv6}, both},
		"none of a single family": {[]Family{IPv6}, []Family{IPv6}, []byte{n, 20, 0, 2, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			us, torNS := pair(t)
			peer := passive()
			peer.Families = x.families
			p, c := speak(t, us, func(c *Config) { c.Restarting, c.Flushed = true, x.flushed }, peer)
			open := tor()
			open.IPv4 = peer.families()[0] == IPv4
			r := dial(t, torNS, "10.0.0.1", "10.0.0.2", open)
			if got := r.Capabilities()[64]; !slices.Equal(got, x.open) {
				t.Errorf("graceful restart capability is %v, want %v", got, x.open)
			}
			r.send(rawbgp.Announce([]uint32{65001}, addr("fd00::1"), prefixList("fd10:1::/64")), rawbgp.EndOfRIB(true))
			if open.IPv4 {
				r.send(rawbgp.EndOfRIB(false))
			}
			r.announces("fd10:2::/64")
			// The restart is over; what was true at its time is of no more account.
			time.Sleep(c.Deferral)
			c.Restarting, c.Flushed = false, nil
			p.set(c)
			time.Sleep(time.Second)
			select {
			case err := <-r.failed:
				t.Fatalf("the session ended: %v", err)
			default:
			}
			_ = r.Close()
			nstest.Within(t, 5*time.Second, func() error {
				if st := p.peer("tor"); st.Flaps != 1 || !st.Stale {
					return fmt.Errorf("%+v", st)
				}
				return nil
			})
			next := open
			next.GracefulRestart = &rawbgp.GracefulRestart{Restarting: true, Time: 20, Forwarding: true}
			r = dial(t, torNS, "10.0.0.1", "10.0.0.2", next)
			want := both
			if !open.IPv4 {
				want = x.open
			}
			if got := r.Capabilities()[64]; !slices.Equal(got, want) {
				t.Errorf("graceful restart capability is %v in the next session, want %v", got, want)
			}
			p.learns("fd10:1::/64 via fd00::1") // kept meanwhile
			r.send(rawbgp.EndOfRIB(true))
			if open.IPv4 {
				r.send(rawbgp.EndOfRIB(false))
			}
			p.learns()
		})
	}
}

// The neighbour drops at once what it kept of the family whose forwarding state is lost, and goes on with the other.
func TestInteropForwardingState(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "restarts: the neighbour keeps our routes of the family that is still forwarded"}.Each(t, func(t *testing.T, kind routers.Kind) {
		us, torNS := pair(t)
		conf, peers := bothEnds(kind)
		tor := routers.Start(t, torNS, kind, conf)
		p := startSpeaker(t, us, "first life")
		c := ours()
		c.Peers = peers
		p.set(c)
		four, six := pfx("10.130.2.0/24"), pfx("fd10:2::/64")
		tor.Learns(15*time.Second, four, addr("10.0.0.2"))
		tor.Learns(15*time.Second, six, addr("fd00::2"))
		stop4 := watchRoutes(t, tor, four.String())
		p.kill()
		p = startSpeaker(t, us, "second life")
		// A router tells its routes when all neighbours have been heard, and one of them is dead: for that long the neighbour has
		// only what it keeps.
		dead := passive()
		dead.Name, dead.Address = "dead", addr("10.0.0.77")
		c.Peers = append(slices.Clone(peers), dead)
		c.Restarting, c.Flushed, c.Transit, c.Deferral = true, []Family{IPv6}, true, 6*time.Second
		p.set(c)
		p.established(names(peers)...)
		// An IPv6 session has not restarted as far as the neighbour is told, and says all at once. gobgpd does not look at the bits.
		if len(peers) == 1 && kind != routers.GoBGP {
			nstest.Within(t, 4*time.Second, func() error {
				all, err := tor.Routes()
				if err != nil {
					return err
				}
				if _, ok := all[six]; ok {
					return fmt.Errorf("%v is still there", six)
				}
				return nil
			})
		}
		tor.Learns(20*time.Second, six, addr("fd00::2"))
		if n := stop4(); n > 0 {
			t.Errorf("%v was missing %d times", four, n)
		}
	})
}
