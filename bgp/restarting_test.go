package bgp

import (
	"fmt"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
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
		if n := r.endsOfRIB(); n < 2 || len(r.told()) != 2 { // it is asked for until gobgp heeds that, and may do so twice
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

// The node is killed as soon as it says that the session is up, again and again; the neighbour loses none of its routes.
func TestInteropCrashes(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "restarts: the neighbour keeps our routes in a crash loop"}.Each(t, func(t *testing.T, kind routers.Kind) {
		us, torNS := pair(t)
		conf, peers := bothEnds(kind)
		tor := routers.Start(t, torNS, kind, conf)
		p := startSpeaker(t, us, "first life")
		c := ours()
		c.Peers = peers
		p.set(c)
		tor.Learns(15*time.Second, pfx("10.130.2.0/24"), addr("10.0.0.2"))
		tor.Learns(15*time.Second, pfx("fd10:2::/64"), addr("fd00::2"))
		stop4, stop6 := watchRoutes(t, tor, "10.130.2.0/24"), watchRoutes(t, tor, "fd10:2::/64")
		c.Restarting, c.Deferral = true, 20*time.Second
		for range 4 {
			if kind == routers.OpenBGPD {
				// Its two processes pass one another messages: an End-of-RIB that is handled after the end of its session counts
				// for the next one, and bgpd 7.7 drops what it has just begun to keep.
				time.Sleep(3 * time.Second)
			}
			p.kill()
			p = startSpeaker(t, us, "another life")
			p.set(c)
			p.established(names(peers)...)
		}
		if n4, n6 := stop4(), stop6(); n4+n6 > 0 {
			t.Errorf("our routes were missing %d (IPv4) and %d (IPv6) times", n4, n6)
		}
	})
}

func names(peers []Peer) []string {
	var out []string
	for _, p := range peers {
		out = append(out, p.Name)
	}
	return out
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
