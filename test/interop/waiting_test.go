package interop

import (
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// TestInteropWaitingInVain: of two routers one has another password, and we wait for its call: as a peer that is passive, and by
// prefix. Nobody can tell who it is that is not heard, but which BGPPeer it may be is said, and that calls are dropped.
func TestInteropWaitingInVain(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: a wrong password of a router that we wait for (passive, or by prefix) is told"}.Each(t, func(t *testing.T, kind routers.Kind) {
		right := func(o *rackOptions) { o.password = "right" }
		n, _ := newDualHomed(t, kind, func(i int, c *routers.Config) {
			if i == 2 {
				for j := range c.Neighbors {
					c.Neighbors[j].Password = "another"
				}
			}
		}, right)
		o := rackOptions{kind: kind, nodes: 1, as: 64601, password: "right"}
		passive := o
		passive.peer = "  passive: true\n"
		byPrefix := strings.NewReplacer(`address: "10.0.2.0"`, "prefix: 10.0.2.0/24", `address: "fd00:0:0:2::"`, `prefix: "fd00:0:0:2::/64"`)
		began := time.Now()
		n.configure(t, "rack.yaml", rackManifests(o, 1)+passive.peers("-b", 2, torAS))
		nstest.Within(t, 10*time.Second, func() error { return n.names("session tor-b", "if it calls, the password differs") })
		routers.Measured(t, "named after %.1f s", time.Since(began).Seconds())
		nstest.Within(t, 2*waitSession, func() error { return n.names("session tor-b", "with another password") })
		n.configure(t, "rack.yaml", rackManifests(o, 1)+byPrefix.Replace(o.peers("-b", 2, torAS)))
		nstest.Within(t, 2*waitSession, func() error { return n.names("BGPPeer/tor-b", "with another password") })
		if err := n.names("session tor", ""); err == nil {
			t.Error("the right one is named")
		}
	})
}
