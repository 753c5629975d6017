package agent

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
)

// mesh are the sessions that nodes have with one another by themselves. Both sides dial; RFC 4271
// section 6.8 settles which connection stays. Where a BGPPeer has the other node's address, it counts. While the mesh
// changes, the sessions of both stay, so that a route is there by the new ones before the old ones take it away.
func (d *draft) mesh() {
	if !d.known || d.Role == roleRouter {
		return
	}
	plans := []meshPlan{planOf(d.Snapshot)}
	if d.Before != nil {
		plans = append(plans, *d.Before)
	}
	reflects := func(name string) bool {
		return slices.ContainsFunc(plans, func(p meshPlan) bool { return p.reflectors[name] })
	}
	self := reflects(d.node.Name)
	taken := map[string]bool{}
	for _, p := range d.Snapshot.PeersOf(d.node) {
		taken[p.Name] = true
	}
	for _, n := range d.Snapshot.Nodes {
		if n.Name == d.node.Name || d.Snapshot.IsRouter(n) || d.isPeer(n) {
			continue
		}
		other := reflects(n.Name)
		if !slices.ContainsFunc(plans, func(p meshPlan) bool { return p.joins(d.node.Name, n.Name) }) {
			continue
		}
		p, ok := d.meshPeer(n, taken)
		if !ok {
			continue
		}
		if !other { // a reflector speaks for all nodes, and the cluster's ranges alone bound what it may say
			p.Only = append([]netip.Prefix{}, d.Snapshot.PodSubnets(n)...)
		}
		p.ReflectorClient = self && !other
		// All are ready to hear several paths, so that only the reflectors' own ends change with the mesh. Reflectors hear all
		// clients themselves.
		p.ReceivePaths, p.SendPaths = true, p.ReflectorClient && !d.spec.ReflectBestOnly
		p.Lost = d.Lost[p.Name]
		d.watchNode(p)
		d.BGP.Peers = append(d.BGP.Peers, p)
		if n.Lost {
			d.lost++
		}
	}
}

// alone tells whether this is the only node of a mesh: there is nobody to peer with yet.
func (d *draft) alone() bool {
	return d.known && d.Role == roleNode && d.spec.Mesh != config.MeshNone &&
		!slices.ContainsFunc(d.Snapshot.Nodes, func(n config.Node) bool { return n.Name != d.node.Name })
}

// isPeer tells whether a BGPPeer of this node has another node's address.
func (d *draft) isPeer(n config.Node) bool {
	return slices.ContainsFunc(d.BGP.Peers, func(p bgp.Peer) bool { return slices.Contains(n.Addresses, p.Address) })
}

// meshName is the name of a session with another node: mesh-NODE. Where that is taken by a BGPPeer of this node the address is added,
// with a slash, which stands in no object's name.
func meshName(n config.Node, a netip.Addr, taken map[string]bool) string {
	name := "mesh-" + n.Name
	if taken[name] {
		return name + "/" + a.String()
	}
	return name
}

// meshPeer is the session with another node: one, for both families, on the first address that both
// have. In a mesh a next hop is the other node itself, so the other node must be a neighbour on a
// link; one that is not is reported, for its routes could only lead into a black hole. taken are the names of BGPPeers.
func (d *draft) meshPeer(n config.Node, taken map[string]bool) (bgp.Peer, bool) {
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
		p := d.session(meshName(n, a, taken), a)
		p.AS = n.AS(d.spec)
		return d.families(object, p, nil)
	}
	d.problem(object, "status.addresses", "no address of a family that this node has too", "give both nodes an InternalIP of one family")
	return bgp.Peer{}, false
}
