package bgp

import (
	"fmt"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

// TestLost: a session that was up when its neighbour was lost ends, and its routes go at once although graceful restart
// is negotiated; the next session, up since, is let be, and so is one that is being restarted.
func TestLost(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	p, c := speak(t, us, nil, passive())
	talk := func() *raw {
		r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
		r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")), rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true))
		p.learns("10.130.1.0/24 via 10.0.0.1")
		p.established("tor")
		return r
	}
	r := talk()
	c.Peers[0].Lost = time.Now()
	p.set(c)
	p.learns()
	if err := r.ends(5 * time.Second); err == nil {
		t.Error("the session did not end")
	}
	if st := p.peer("tor"); st.Reason != ReasonLost || st.Stale || st.Flaps != 1 {
		t.Errorf("after the loss: %+v", st)
	}

	r = talk()
	p.set(c)
	if st := p.peer("tor"); st.State != "Established" || st.Flaps != 1 {
		t.Errorf("after the same loss again: %+v", st)
	}
	_ = r.Close()
	nstest.Within(t, 5*time.Second, func() error {
		if st := p.peer("tor"); !st.Stale {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	c.Peers[0].Lost = time.Now()
	p.set(c)
	p.learns("10.130.1.0/24 via 10.0.0.1")
}
