package bgp

import (
	"fmt"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// An external neighbour may have any AS number but ours.
func TestExternal(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	peer := passive()
	peer.AS, peer.External = 0, true
	p, c := speak(t, us, nil, peer)

	own := tor()
	own.AS = 65002
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", own)
	_ = r.ends(5 * time.Second)
	nstest.Within(t, 5*time.Second, func() error {
		if st := p.peer("tor"); st.Reason != ReasonBadAS || st.State == "Established" {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})

	c.Peers[0].Hold = 30 * time.Second // another session, and so another try
	p.set(c)
	dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	p.established("tor")
	if st := p.peer("tor"); st.AS != 65001 {
		t.Errorf("AS of the neighbour is %d", st.AS)
	}
}
