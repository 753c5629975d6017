package interop

import (
	"testing"
	"time"

	"github.com/podroute/podroute/internal/routers"
)

// TestInteropLongLived: of two routers the better one is killed. For its restart time nothing changes; then its routes give way to those of
// the other, and stay where there are no others. When it is back all is as before.
func TestInteropLongLived(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "restarts: a router's routes stay, as the last choice, after its restart time (RFC 9494)", Lacks: map[routers.Kind]string{
		routers.OpenBGPD: "bgpd.conf(5), announce: no option for it; bgpd(8), STANDARDS, does not name RFC 9494",
	}}.Each(t, func(t *testing.T, kind routers.Kind) {
		const restartTime = 8
		n, both := newDualHomed(t, kind, func(i int, c *routers.Config) {
			c.Neighbors[0].RestartTime, c.Neighbors[0].LongLived = restartTime, 120
			if i == 2 {
				c.Announce, c.Tags = outside[:1], routers.Tags{Prepend: 1}
			}
		})
		o := rackOptions{kind: kind, nodes: 1, as: 64601, config: "  gracefulRestart: {longLivedStaleTime: 2m}\n"}
		n.configure(t, "rack.yaml", rackManifests(o, 1)+o.peers("-b", 2, torAS))
		for _, r := range both {
			r.Established(waitSession)
		}
		usesLink(t, n, outside[0], "eth1")
		usesLink(t, n, outside[1], "eth1")
		both[0].Kill()
		killed := time.Now()
		usesLink(t, n, outside[0], "eth2")
		if d := time.Since(killed); d < restartTime*time.Second/2 {
			t.Errorf("its routes gave way after %v, its restart time is %d s", d, restartTime)
		}
		time.Sleep(2 * time.Second)
		usesLink(t, n, outside[1], "eth1")
		if s := n.session(t, "tor-b"); s.LongLived != 120 || s.Notifies != (kind != routers.BIRD) {
			t.Errorf("session: %+v", s)
		}
		if s := n.session(t, "tor"); s.LastError == "" || s.State == "Established" || !s.Stale {
			t.Errorf("session: %+v", s)
		}
		both[0].Restart()
		both[0].Established(waitSession)
		usesLink(t, n, outside[0], "eth1")
		usesLink(t, n, outside[1], "eth1")
	})
}
