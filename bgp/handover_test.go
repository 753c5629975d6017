package bgp

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

// A session whose settings change is handed over: no NOTIFICATION, routes stay on both sides, and what the neighbour does
// not say again goes with its End-of-RIB.
func TestHandOver(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	p, c := speak(t, us, nil, passive())
	both := []string{"10.130.1.0/24 via 10.0.0.1", "10.130.3.0/24 via 10.0.0.1"}
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24", "10.130.3.0/24")), rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true))
	p.learns(both...)
	p.established("tor")

	c.Peers[0].Hold = 30 * time.Second
	p.set(c)
	if err := r.ends(5 * time.Second); !errors.Is(err, io.EOF) {
		t.Errorf("the session ended with %v, want no NOTIFICATION", err)
	}
	if st := p.peer("tor"); !st.Stale || st.State == "Established" {
		t.Errorf("after the change: %+v", st)
	}
	p.learns(both...)
	open := tor()
	open.GracefulRestart.Forwarding = false // it has not restarted, and does not say
	r = dial(t, torNS, "10.0.0.1", "10.0.0.2", open)
	if gr := r.Capabilities()[64]; len(gr) < 2 || gr[0]&0x80 == 0 {
		t.Errorf("graceful restart capability %v does not say that we have restarted", gr)
	}
	p.established("tor")
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")))
	p.learns(both...)
	r.send(rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true))
	p.learns(both[:1]...)
	r.announces("10.130.2.0/24")
	if st := p.peer("tor"); st.Stale || st.HoldTime != 30*time.Second {
		t.Errorf("after the new session: %+v", st)
	}
}

// One that does not take the new session loses its routes when our restart time is over.
func TestHandOverInVain(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	peer := passive()
	peer.RestartTime = 2 * time.Second
	p, c := speak(t, us, nil, peer)
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")), rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true))
	p.learns("10.130.1.0/24 via 10.0.0.1")
	p.established("tor")
	c.Peers[0].Hold = 30 * time.Second
	p.set(c)
	changed := time.Now()
	p.learns()
	if d := time.Since(changed); d < time.Second {
		t.Errorf("gone after %v", d)
	}
	nstest.Within(t, 5*time.Second, func() error {
		if st := p.peer("tor"); st.Reason != ReasonRestartExpired || st.Stale {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}

// Both ends change at once, and the other's end of the session comes first.
func TestHandOverOfBoth(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	p, c := speak(t, us, nil, passive())
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")), rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true))
	p.learns("10.130.1.0/24 via 10.0.0.1")
	_ = r.Close()
	nstest.Within(t, 5*time.Second, func() error {
		if st := p.peer("tor"); !st.Stale {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	c.Peers[0].Hold = 30 * time.Second
	p.set(c)
	p.learns("10.130.1.0/24 via 10.0.0.1")
	r = dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	if gr := r.Capabilities()[64]; len(gr) < 2 || gr[0]&0x80 == 0 {
		t.Errorf("graceful restart capability %v does not say that we have restarted", gr)
	}
	p.established("tor")
	p.learns("10.130.1.0/24 via 10.0.0.1")
	r.send(rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true))
	p.learns()
}
