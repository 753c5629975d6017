package agent

import (
	"net/netip"
	"time"

	"github.com/podroute/podroute/routes"
)

// leavingIdle is how long a bucket of a next hop that asks for other ways (RFC 8326) must have been idle before another gets it. What
// pauses for longer is cut when the address is withdrawn, if not before: waiting for it would keep busy buckets there, too.
const leavingIdle = time.Second

// spread is how a router spreads flows over the nodes that serve an address: which routes lead to one is told by what
// they are, host routes to what is neither a pod's address nor a node's.
type spread struct {
	routes.Hashing
	pods, nodes cover
}

// spreading settles it. A node that is no router has no use for it: its kube-proxy answers for services.
func (d *draft) spreading() {
	if d.Role != roleRouter {
		return
	}
	d.Spread.Buckets, d.Spread.Idle, d.Spread.Unbalanced = d.spec.Hashing()
	d.Spread.pods, d.Spread.nodes = coverOf(d.pods), coverOf(d.nodes)
}

// of is the hashing of a learned route.
func (s *spread) of(p netip.Prefix) routes.Hashing {
	if s.Buckets == 0 || !p.IsSingleIP() || s.pods.holds(p.Addr()) || s.nodes.holds(p.Addr()) {
		return routes.Hashing{}
	}
	return s.Hashing
}
