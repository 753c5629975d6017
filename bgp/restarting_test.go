package bgp

import (
	"fmt"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// A node that has restarted tells its own paths at once: a neighbour holds them as stale until then, and would drop them if the
// node died once more. What changes while gobgp holds back the rest is told, too.
func TestToldAtOnce(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	p, c := speak(t, us, func(c *Config) { c.Restarting, c.Deferral = true, time.Minute }, passive())
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	up := time.Now()
	nstest.Within(t, time.Second, func() error {
		if n := r.endsOfRIB(); n != 2 || len(r.told()) != 2 {
			return fmt.Errorf("told %v and %d End-of-RIBs", r.told(), n)
		}
		return nil
	})
	t.Logf("told after %v", time.Since(up))
	c.Paths = append(c.Paths[:1:1], Path{Prefix: pfx("10.130.3.0/24")})
	p.set(c)
	r.withdraws("fd10:2::/64")
	r.announces("10.130.3.0/24")
	if p.must("routes").Synced {
		t.Error("synced, although the neighbour has sent no End-of-RIB")
	}
}

// A router passes on what it has not heard yet: it waits.
func TestRouterWaits(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	speak(t, us, func(c *Config) { c.Restarting, c.Transit, c.Deferral = true, true, 2*time.Second }, passive())
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	time.Sleep(time.Second)
	if n := r.endsOfRIB(); n != 0 {
		t.Errorf("%d End-of-RIBs before the neighbour's", n)
	}
	r.announces("10.130.2.0/24")
}
