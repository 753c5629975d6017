package agent

import (
	"net/netip"
	"slices"

	"github.com/podroute/podroute/config"
)

// departing tells whether this node goes for good.
func (a *Agent) departing() bool { return a.Cluster != nil && a.Cluster.Departing() }

// orphan is this node after its Node object was deleted. Its pods still run, and what is in force stays: to take
// their network away is for the SIGTERM that follows, when the node's pods are deleted. Only a pod subnet
// that another node has been given is given up.
func (d *draft) orphan() config.Node {
	d.problem("Node/"+d.NodeName, "", "the Node object was deleted; what is in force stays until this agent is stopped, and is then taken back",
		"shut this machine down, or restart its kubelet to register the node anew")
	n := d.Gone
	n.PodCIDRs = slices.DeleteFunc(slices.Clone(n.PodCIDRs), func(p netip.Prefix) bool {
		return slices.ContainsFunc(d.Snapshot.Nodes, func(o config.Node) bool { return slices.ContainsFunc(o.PodCIDRs, p.Overlaps) })
	})
	return n
}
