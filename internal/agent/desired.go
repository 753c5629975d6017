package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/bgp/bfd"
	"github.com/podroute/podroute/cni"
	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/internal/nft"
	"github.com/podroute/podroute/routes"
)

// Roles of a node.
const (
	roleNode   = "Node"   // exports its own blocks and addresses only, never transits
	roleRouter = "Router" // installs and re-advertises what it accepts
)

// Desired is the whole state that this node should be in, as plain values.
type Desired struct {
	Role     string
	AS       uint32
	RouterID netip.Addr
	// Addresses are the node's own, at most one a family.
	Addresses []netip.Addr
	// Blocks are the node's pod subnets, Addressing whose pods get which of their addresses.
	Blocks     []netip.Prefix
	Addressing Addressing
	// Local are the routes that do not come from BGP: each block's unreachable route.
	Local []routes.Route
	// Aggregates are those of BGP's paths that are to be told only while something inside them is known.
	Aggregates []netip.Prefix
	// Sources are the preferred source addresses of routes, those of Addresses that the host has.
	Sources []netip.Addr
	NFT     nft.Config
	CNI     cni.Settings
	BGP     bgp.Config
	BFD     bfd.Config
	// Called are the sessions of BGP with neighbours that have called from a peer's prefix, by name.
	Called map[string]bool
	// Unserved are the BGPPeers that select this node and have no session, each with its problem.
	Unserved []config.Problem
	// Unnumbered are the links whose neighbours are peers.
	Unnumbered []string
	// Served are the service addresses that this node advertises, or would if it were not drained; Origins says for
	// which Services.
	Served  []netip.Prefix
	Origins map[netip.Prefix]string
	// Found is when each of Served was first found served, and Due when the next of them is to be advertised; zero: all
	// are that shall be.
	Found map[netip.Prefix]time.Time
	Due   time.Time
	// Spread is how a router spreads flows to service addresses.
	Spread spread
	// MinSessions is how many established sessions the readiness policy asks for.
	MinSessions int
	// Problems are what is wrong, object by object.
	Problems []config.Problem
}

// draft is a Desired in the making, with what its parts are made of.
type draft struct {
	Inputs
	Desired
	spec config.RouterConfigSpec
	node config.Node
	// known: there is a Node object of this node's name.
	known bool
	// lost is how many peers are nodes that nobody hears of.
	lost int
	// uplinks are the host's links but pods'.
	uplinks []routes.Link
	// direct are the ranges of the cluster: pods, nodes, services.
	pods, nodes, services []netip.Prefix
}

// problem reports once what is wrong: what is wrong with the BGPPeer of several neighbours would be said for each.
func (d *draft) problem(object, field, message, mend string) {
	if p := (config.Problem{Object: object, Field: field, Message: message, Mend: mend}); !slices.Contains(d.Problems, p) {
		d.Problems = append(d.Problems, p)
	}
}

// desired computes the state of one node from its inputs. It is pure: the same inputs give the same
// result, and nothing is read or written besides.
func desired(in Inputs) Desired {
	d := &draft{Inputs: in, spec: in.Snapshot.Router.Spec, uplinks: uplinks(in.Links)}
	d.Problems = slices.Clone(in.Snapshot.Problems)
	d.identity()
	d.ranges()
	d.blocks()
	d.shortages()
	d.wiring()
	d.speaker()
	d.withhold()
	d.spreading()
	return d.Desired
}

// identity settles who this node is: role, AS number, router ID, addresses.
func (d *draft) identity() {
	node, ok := d.Snapshot.Node(d.NodeName)
	d.known = ok
	if !ok && d.Gone.Name != "" {
		node, d.known, ok = d.orphan(), true, true
	}
	if !ok {
		node = config.Node{Name: d.NodeName}
		d.problem("Node/"+d.NodeName, "", "there is no such node",
			"add a v1 Node manifest of this name, or start the agent with --node-name")
	}
	d.node = node
	d.Role = roleNode
	if d.Snapshot.IsRouter(node) {
		d.Role = roleRouter
	}
	d.AS = node.AS(d.spec)
	d.RouterID = node.RouterID()
	d.Addresses = node.Addresses
	for _, a := range node.Addresses {
		if isLocal(d.Links, a) {
			d.Sources = append(d.Sources, a)
		} else {
			d.problem("Node/"+node.Name, "status.addresses", fmt.Sprintf("InternalIP %v is on none of this host's links", a),
				"give the host this address or correct the Node")
		}
	}
}

// ranges collects the cluster's address ranges. Where RouterConfig names none, they are what the
// Node objects, or the AddressPools and AddressBlocks, say.
func (d *draft) ranges() {
	d.pods = d.spec.ClusterPrefixes()
	d.nodes = d.spec.NodePrefixes()
	d.services = d.spec.ServicePrefixes()
	if len(d.spec.ClusterCIDRs) == 0 && d.spec.PodSubnets == config.SubnetsFromPool {
		for _, v := range d.Snapshot.PoolsFor(config.UsePods) {
			d.pods = append(d.pods, v.Spec.Prefix())
		}
	}
	for _, n := range d.Snapshot.Nodes {
		if len(d.spec.ClusterCIDRs) == 0 {
			d.addPods(d.Snapshot.PodSubnets(n))
		}
		if len(d.spec.NodeCIDRs) == 0 {
			for _, a := range n.Addresses {
				d.nodes = append(d.nodes, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	d.services = append(d.services, d.balancers()...)
}

// addPods adds the subnets that are in none of the ranges so far.
func (d *draft) addPods(subnets []netip.Prefix) {
	for _, p := range subnets {
		if !slices.ContainsFunc(d.pods, func(r netip.Prefix) bool { return r.Bits() <= p.Bits() && r.Contains(p.Addr()) }) {
			d.pods = append(d.pods, p)
		}
	}
}

// wiring settles what pods need of this node: the CNI server's settings and the nftables table.
func (d *draft) wiring() {
	d.CNI = cni.Settings{MTU: int(d.spec.MTU)}
	if d.CNI.MTU == 0 {
		d.CNI.MTU = smallestMTU(d.Links)
	}
	if why := d.noBlocks(); why != "" {
		d.CNI.NotReady = errors.New(why)
	}
	exclude := d.spec.Masquerade.Exclusions()
	d.NFT = nft.Config{
		PodLinks:   podLinkPrefix,
		PodCIDRs:   d.Blocks,
		Direct:     slices.Concat(d.pods, d.nodes, d.services, exclude),
		NodeAddrs:  d.Sources,
		Masquerade: !d.spec.Masquerade.Disabled && len(d.Blocks) > 0,
	}
}
