package agent

import (
	"fmt"
	"net/netip"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
)

// mesh are the sessions that nodes have with one another by themselves. Both sides dial; RFC 4271
// section 6.8 settles which connection stays.
func (d *draft) mesh() []bgp.Peer {
	if !d.known || d.Role == roleRouter || d.spec.Mesh == config.MeshNone {
		return nil
	}
	self := d.isReflector(d.node)
	var out []bgp.Peer
	for _, n := range d.Snapshot.Nodes {
		if n.Name == d.node.Name || roleOf(d.spec, n) == roleRouter {
			continue
		}
		other := d.isReflector(n)
		if d.spec.Mesh == config.MeshReflectors && !self && !other {
			continue
		}
		p, ok := d.meshPeer(n)
		if !ok {
			continue
		}
		switch {
		case other:
			// A reflector speaks for all nodes: what it may say is bounded by the cluster's ranges alone.
		case d.spec.PodSubnets == config.SubnetsFromNode:
			p.Only = append([]netip.Prefix{}, n.PodCIDRs...)
		}
		p.ReflectorClient = self && !other
		out = append(out, p)
	}
	return out
}

// isReflector tells whether a node reflects routes (RFC 4456).
func (d *draft) isReflector(n config.Node) bool {
	return d.spec.Mesh == config.MeshReflectors && d.spec.ReflectorSelector != nil &&
		config.Selects(d.spec.ReflectorSelector, n.Labels)
}

// meshPeer is the session with another node: one, for both families, on the first address that both
// have. In a mesh a next hop is the other node itself, so the other node must be a neighbour on a
// link; one that is not is reported, for its routes could only lead into a black hole.
func (d *draft) meshPeer(n config.Node) (bgp.Peer, bool) {
	object := "Node/" + n.Name
	for _, a := range n.Addresses {
		if !d.addressOf(a.Is4()).IsValid() {
			continue
		}
		if _, ok := onLink(d.uplinks, a); !ok {
			d.problem(object, "status.addresses", fmt.Sprintf("mesh peer %v is on none of this node's links", a),
				"set mesh: None and peer with the routers between the racks")
			return bgp.Peer{}, false
		}
		p := d.session("mesh-"+n.Name, a)
		p.AS = n.AS(d.spec)
		return d.families(object, p, nil)
	}
	d.problem(object, "status.addresses", "no address of a family that this node has too", "give both nodes an InternalIP of one family")
	return bgp.Peer{}, false
}
