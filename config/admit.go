package config

import (
	"net/netip"
	"slices"
)

// The checks of objects against one another, and against what was in force before.

// router admits the RouterConfig. An edit that takes addresses away from nodes in force is refused.
func (w *build) router(c *candidate) {
	o, ok := w.admit(c, func(r *report, o Object) bool {
		if c.class != changed {
			return true
		}
		was, is := &c.previous.Value.(*RouterConfig).Spec, &o.Value.(*RouterConfig).Spec
		for _, other := range w.all {
			n, isNode := other.Value.(*Node)
			if !isNode || other.class != inForce {
				continue
			}
			before, after := &report{}, &report{}
			before.nodeRanges(n, was)
			after.nodeRanges(n, is)
			if len(before.problems) > 0 {
				continue // was left out before
			}
			for _, p := range after.problems {
				r.addf("spec", "keep the ranges of services, nodes and pods apart", "conflicts with Node/%s: %s: %s", n.Name, p.Field, p.Message)
			}
		}
		return len(r.problems) == 0
	})
	if ok {
		w.snapshot.Router, w.routerAt = *o.Value.(*RouterConfig), c
	}
}

// nodeRanges reports a node's addresses and pod subnets that lie in ranges for something else, and
// returns the node without them.
func (r *report) nodeRanges(n *Node, spec *RouterConfigSpec) Node {
	good := *n
	good.Addresses, good.PodCIDRs = nil, nil
	for _, a := range n.Addresses {
		switch host := netip.PrefixFrom(a, a.BitLen()); {
		case r.taken("status.addresses", host, "clusterCIDRs", spec.ClusterPrefixes()):
		case r.taken("status.addresses", host, "serviceCIDRs", spec.ServicePrefixes()):
		default:
			good.Addresses = append(good.Addresses, a)
		}
	}
	for _, p := range n.PodCIDRs {
		switch {
		case r.taken("spec.podCIDRs", p, "serviceCIDRs", spec.ServicePrefixes()):
		case r.taken("spec.podCIDRs", p, "nodeCIDRs", spec.NodePrefixes()):
		default:
			good.PodCIDRs = append(good.PodCIDRs, p)
		}
	}
	r.fatal()
	return good
}

// taken reports a prefix that overlaps a range of the RouterConfig.
func (r *report) taken(field string, p netip.Prefix, name string, ranges []netip.Prefix) bool {
	for _, o := range ranges {
		if p.Overlaps(o) {
			r.addf(field, "make them disjoint", "%s overlaps %s of RouterConfig's %s", show(p), o, name)
			return true
		}
	}
	return false
}

// show writes the prefix of a single address as that address.
func show(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// nodeClaims reports addresses and subnets that another node has, and returns the node without them.
func (w *build) nodeClaims(r *report, n Node) Node {
	good := n
	good.Addresses, good.PodCIDRs = nil, nil
	for _, a := range n.Addresses {
		host := netip.PrefixFrom(a, a.BitLen())
		if _, owner, taken := w.addresses.find(host); taken {
			r.addf("status.addresses", "give each node its own", "%s is the address of Node/%s too", a, owner)
		} else if p, owner, taken := w.subnets.find(host); taken {
			r.addf("status.addresses", "make them disjoint", "%s lies in pod subnet %s of Node/%s", a, p, owner)
			r.fatal()
		} else {
			good.Addresses = append(good.Addresses, a)
		}
	}
	for _, p := range n.PodCIDRs {
		own := slices.IndexFunc(n.Addresses, p.Contains)
		if own >= 0 {
			r.addf("spec.podCIDRs", "make them disjoint", "%s contains the node's own address %s", p, n.Addresses[own])
			r.fatal()
		} else if a, owner, taken := w.addresses.find(p); taken {
			r.addf("spec.podCIDRs", "make them disjoint", "%s contains address %s of Node/%s", p, a.Addr(), owner)
			r.fatal()
		} else if o, owner, taken := w.subnets.find(p); taken {
			r.addf("spec.podCIDRs", "give each node its own", "%s overlaps %s of Node/%s", p, o, owner)
		} else {
			good.PodCIDRs = append(good.PodCIDRs, p)
		}
	}
	return good
}

// node admits a node, if need be without the addresses and subnets that are another's: the rest of the
// cluster may well need the session.
func (w *build) node(c *candidate) {
	spec := &w.snapshot.Router.Spec
	check := func(r *report, n *Node) Node { return w.nodeClaims(r, r.nodeRanges(n, spec)) }
	r := w.report(c)
	good := check(r, c.Value.(*Node))
	w.note(c, r)
	accepted := c.Object
	if len(r.problems) > 0 && c.previous != nil {
		scratch := &report{}
		before := check(scratch, c.previous.Value.(*Node))
		if len(scratch.problems) == 0 {
			good, accepted = before, *c.previous
			w.keep(c.index)
		}
	}
	if len(good.Addresses) == 0 {
		return // its problems say why
	}
	r = w.report(c)
	r.nodeOutside(good, spec)
	w.note(c, r)
	w.accepted[c.key()] = accepted
	for _, a := range good.Addresses {
		w.addresses.add(netip.PrefixFrom(a, a.BitLen()), good.Name)
	}
	for _, p := range good.PodCIDRs {
		w.subnets.add(p, good.Name)
	}
	w.snapshot.Nodes = append(w.snapshot.Nodes, good)
	w.nodes = append(w.nodes, admitted[Node]{c, good})
}

// nodeOutside reports what the ranges of the RouterConfig do not cover; that harms, but forbids
// nothing.
func (r *report) nodeOutside(n Node, spec *RouterConfigSpec) {
	for _, a := range n.Addresses {
		ranges := spec.NodePrefixes()
		if len(ranges) > 0 && !slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) }) {
			r.addf("status.addresses", "add it to nodeCIDRs", "%s is not inside RouterConfig's nodeCIDRs: it is taken for the outside", a)
		}
	}
	if spec.PodSubnets == SubnetsFromNode {
		for _, p := range n.PodCIDRs {
			r.outside("spec.podCIDRs", p, spec)
		}
	}
}
