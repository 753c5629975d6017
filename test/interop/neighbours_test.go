package interop

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// byPrefix turns the rack's BGPPeers into those of whoever calls from the link's prefixes.
func byPrefix(manifests string) string {
	const more = "\n  maxNeighbors: 1"
	return strings.NewReplacer(`address: "10.0.1.0"`, "prefix: 10.0.1.0/24"+more, `address: "fd00:0:0:1::"`, `prefix: "fd00:0:0:1::/64"`+more).Replace(manifests)
}

// TestInteropNeighboursByPrefix: a router that nobody has named calls, signed with the right password, and becomes a
// neighbour; it is forgotten when it is gone, and back when it calls again.
func TestInteropNeighboursByPrefix(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: neighbours by prefix, with a password (dynamic neighbours)"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1, password: "s3cret", rewrite: byPrefix}
		r := newRack(t, o)
		n := r.nodes[0]
		names := []string{"tor/10.0.1.0"}
		if o.twoSessions() {
			names = append(names, "tor6/fd00:0:0:1::")
		}
		nstest.Within(t, waitSession, func() error {
			if err := n.hasPeers(names...); err != nil {
				return err
			}
			for _, name := range names {
				if s := n.session(t, name); s.State != "Established" {
					return fmt.Errorf("session %+v", s)
				}
			}
			return nil
		})
		r.exchanged(t, 1)
		// Over a restart of the agent it is known: it is called back, and its routes stay in the kernel.
		changes := n.kernelChanges(t)
		n.signal(syscall.SIGTERM)
		n.start(t)
		nstest.Within(t, waitSession, func() error { return n.hasPeers(names...) })
		n.ready(t)
		r.exchanged(t, 1)
		if text := changes.String(); strings.Contains(text, "Deleted "+outside[0].String()) {
			t.Errorf("the kernel lost a route while the agent restarted:\n%s", text)
		}
		r.router.Kill()
		r.tor.Run(t, "ip link set port1 down")
		nstest.Within(t, waitSession, func() error { return n.hasPeers() })
		inKernel(t, n, outside[0], 0)
		r.tor.Run(t, "ip link set port1 up", "ip addr replace fd00:0:0:1::/127 dev port1 nodad")
		r.router.Restart()
		r.router.Established(2 * waitSession) // it calls, is called back, and waits after a call that was refused
		r.exchanged(t, 1)
	})
}

// TestInteropNeighboursByPrefixBFD: a neighbour that has called is watched as its BGPPeer says, and given up when it falls silent.
func TestInteropNeighboursByPrefixBFD(t *testing.T) {
	t.Parallel()
	liveness("BFD with neighbours by prefix").Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 1, rewrite: byPrefix, peer: "  bfd: {}\n", router: func(c *routers.Config) {
			for i := range c.Neighbors {
				c.Neighbors[i].BFD = &routers.BFD{Interval: 300, Multiplier: 3}
			}
		}})
		n := r.nodes[0]
		r.exchanged(t, 1)
		nstest.Within(t, waitSession, func() error {
			if s := n.session(t, "tor/10.0.1.0"); s.BFD.State != "Up" {
				return fmt.Errorf("BFD: %+v", s)
			}
			return nil
		})
		r.tor.Run(t, "nft add table inet silence", "nft add chain inet silence out { type filter hook output priority 0 ; policy drop ; }")
		silent := time.Now()
		inKernel(t, n, outside[0], 0)
		if took := time.Since(silent); took > 10*time.Second {
			t.Errorf("given up after %v", took)
		}
		r.tor.Run(t, "nft delete table inet silence")
		r.exchanged(t, 1)
	})
}
