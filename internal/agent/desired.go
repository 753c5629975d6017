package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/podroute/podroute/bgp"
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
	// Blocks are the node's pod subnets.
	Blocks []netip.Prefix
	// Local are the routes that do not come from BGP: each block's unreachable route.
	Local []routes.Route
	// Sources are the preferred source addresses of routes, those of Addresses that the host has.
	Sources []netip.Addr
	NFT     nft.Config
	CNI     cni.Settings
	BGP     bgp.Config
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

func (d *draft) problem(object, field, message, mend string) {
	d.Problems = append(d.Problems, config.Problem{Object: object, Field: field, Message: message, Mend: mend})
}

// desired computes the state of one node from its inputs. It is pure: the same inputs give the same
// result, and nothing is read or written besides.
func desired(in Inputs) Desired {
	d := &draft{Inputs: in, spec: in.Snapshot.Router.Spec, uplinks: uplinks(in.Links)}
	d.Problems = slices.Clone(in.Snapshot.Problems)
	d.identity()
	d.ranges()
	d.blocks()
	d.wiring()
	d.speaker()
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
// Node objects, or the AddressBlocks, say.
func (d *draft) ranges() {
	d.pods = d.spec.ClusterPrefixes()
	d.nodes = d.spec.NodePrefixes()
	d.services = d.spec.ServicePrefixes()
	for _, n := range d.Snapshot.Nodes {
		if len(d.spec.ClusterCIDRs) == 0 {
			d.pods = append(d.pods, d.Snapshot.PodSubnets(n)...)
		}
		if len(d.spec.NodeCIDRs) == 0 {
			for _, a := range n.Addresses {
				d.nodes = append(d.nodes, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
}

// blocks settles the node's pod subnets and their unreachable routes.
func (d *draft) blocks() {
	d.Blocks = d.Snapshot.PodSubnets(d.node)
	for _, b := range d.Blocks {
		d.Local = append(d.Local, routes.Route{Dst: b, Unreachable: true})
	}
}

// wiring settles what pods need of this node: the CNI server's settings and the nftables table.
func (d *draft) wiring() {
	d.CNI = cni.Settings{MTU: int(d.spec.MTU)}
	if d.CNI.MTU == 0 {
		d.CNI.MTU = smallestMTU(d.Links)
	}
	if len(d.Blocks) == 0 {
		d.CNI.NotReady = errors.New(d.noBlocks())
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

// noBlocks says why this node has no pod subnet, and what to do about it.
func (d *draft) noBlocks() string {
	switch {
	case d.Role == roleRouter:
		return fmt.Sprintf("node %s is a router and has no pod subnet", d.node.Name)
	case d.spec.PodSubnets == config.SubnetsFromPool:
		return fmt.Sprintf("node %s owns no AddressBlock: add one", d.node.Name)
	default:
		return fmt.Sprintf("node %s has no pod subnet yet: set spec.podCIDRs of its Node", d.node.Name)
	}
}
