package agent

import (
	"net/netip"
	"slices"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
)

// speaker settles the BGP configuration: policy, paths, then peers.
func (d *draft) speaker() {
	_, _, deferral := d.spec.Restart()
	d.BGP = bgp.Config{
		AS:         d.AS,
		RouterID:   d.RouterID,
		ListenPort: int(d.spec.ListenPort),
		ClusterID:  d.spec.Cluster(), // of this node's clients: in the mesh, or BGPPeers
		MaxPaths:   int(d.spec.MaxPaths),
		Restarting: d.Restarting,
		Flushed:    d.Flushed,
		Deferral:   deferral,
		Transit:    d.Role == roleRouter,
		Import:     d.accepted(),
		Never:      d.never(),
		NeverEver:  d.Blocks,
		Links:      d.linkPrefixes(),
		Paths:      d.paths(),
		Stations:   d.stations(),
	}
	d.peers()
	d.mesh()
	d.callers()
	d.unserved()
	d.untold()
	if slices.ContainsFunc(d.BGP.Peers, func(p bgp.Peer) bool { return p.Recursive }) {
		d.BGP.Ways = newWays(d.Links, d.Ways).reach()
	}
	// Half of the peers is enough: with two top-of-racks, one may be down. Nodes that are dead do not count, or those
	// that are left of a small mesh would declare themselves unfit to take over.
	d.MinSessions = (len(d.BGP.Peers) - d.lost + 1) / 2
	if len(d.BGP.Peers) == 0 && !d.alone() {
		d.MinSessions = 1 // with no peer configured, a node is never ready by itself
	}
	if m := d.spec.Readiness.MinSessions; m != nil {
		d.MinSessions = int(*m)
	}
}

// linkPrefixes are those of the uplinks that are up: next hops in them can be reached.
func (d *draft) linkPrefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, l := range d.uplinks {
		if l.Up {
			out = append(out, l.Prefixes...)
		}
	}
	slices.SortFunc(out, comparePrefixes)
	return out
}

// accepted are the prefixes taken from any peer: those inside the cluster's pod ranges, of accepted
// lengths; without clusterCIDRs the nodes' own pod subnets and nothing inside or around them.
func (d *draft) accepted() []bgp.PrefixRange {
	var out []bgp.PrefixRange
	for _, p := range d.pods {
		r := bgp.PrefixRange{Prefix: p, Min: p.Bits(), Max: p.Bits()}
		if len(d.spec.ClusterCIDRs) > 0 {
			lowest, highest := d.spec.Lengths(config.FamilyOf(p.Addr()))
			r.Min, r.Max = max(p.Bits(), lowest), highest
		}
		if r.Min <= r.Max {
			out = append(out, r)
		}
	}
	return out
}

// never are the prefixes that no peer can talk us into, unless its own filter names them exactly:
// default routes, this host's own links and addresses, service ranges with all inside, and whatever
// another protocol has a route for.
func (d *draft) never() []bgp.PrefixRange {
	var out []bgp.PrefixRange
	seen := map[netip.Prefix]bool{}
	exact := func(p netip.Prefix) {
		if p = p.Masked(); !seen[p] {
			seen[p] = true
			out = append(out, bgp.PrefixRange{Prefix: p, Min: p.Bits(), Max: p.Bits()})
		}
	}
	exact(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	exact(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	for _, l := range d.uplinks {
		for _, p := range l.Prefixes {
			exact(p)
		}
	}
	for _, l := range d.Links {
		for _, p := range l.Prefixes {
			exact(netip.PrefixFrom(p.Addr().WithZone(""), p.Addr().BitLen()))
		}
	}
	for _, p := range d.Foreign {
		exact(p)
	}
	for _, p := range d.services {
		out = append(out, bgp.PrefixRange{Prefix: p, Min: p.Bits(), Max: p.Addr().BitLen()})
	}
	slices.SortFunc(out, func(a, b bgp.PrefixRange) int { return comparePrefixes(a.Prefix, b.Prefix) })
	return out
}

func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// paths are what this node originates: its blocks, and what Advertisements name.
func (d *draft) paths() []bgp.Path {
	var out []bgp.Path
	for _, b := range d.Blocks {
		out = append(out, bgp.Path{Prefix: b})
	}
	for _, ad := range d.Snapshot.AdvertisementsOf(d.node) {
		out = d.advertise(out, ad)
	}
	return append(out, d.servicePaths()...)
}

// advertise adds an Advertisement's prefixes. Of two that name the same prefix the later, by name,
// gives the attributes, and one for some peers leaves what the others are told.
func (d *draft) advertise(paths []bgp.Path, ad config.Advertisement) []bgp.Path {
	s := ad.Spec
	var prefixes []netip.Prefix
	if s.PodSubnets {
		prefixes = append(prefixes, d.Blocks...)
	}
	if s.NodeAddresses {
		for _, a := range d.Sources {
			prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	connected := s.ConnectedRanges()
	for _, l := range d.uplinks {
		for _, p := range l.Prefixes {
			in := slices.ContainsFunc(connected, func(c netip.Prefix) bool { return c.Bits() <= p.Bits() && c.Contains(p.Addr()) })
			if in && l.Up {
				prefixes = append(prefixes, p.Masked())
			}
		}
	}
	prefixes = append(prefixes, d.spelled(ad)...)
	sums := d.sums(ad)
	d.Aggregates = slices.DeleteFunc(d.Aggregates, func(p netip.Prefix) bool { return slices.Contains(prefixes, p) || slices.Contains(sums, p) })
	d.Aggregates = append(d.Aggregates, sums...)
	for i, p := range append(prefixes, sums...) {
		sum := i >= len(prefixes)
		path := pathOf(s)
		path.Prefix, path.NextHop = p, s.Via(p)
		path.Aggregate, path.SummaryOnly = sum, sum && s.SummaryOnly
		paths = append(supersede(paths, path), path)
	}
	return paths
}

// pathOf is a path with an Advertisement's attributes.
func pathOf(s config.AdvertisementSpec) bgp.Path {
	return bgp.Path{Communities: s.Communities, LocalPref: s.LocalPref, MED: s.MED, Prepend: int(s.Prepend), Peers: s.Peers}
}

// supersede takes away what a path replaces: of the same prefix, what is said to its own peers; for all, what is said to
// all. A prefix is no aggregate to some and another thing to others.
func supersede(paths []bgp.Path, by bgp.Path) []bgp.Path {
	var out []bgp.Path
	for _, q := range paths {
		if q.Prefix == by.Prefix {
			left := slices.DeleteFunc(slices.Clone(q.Peers), func(name string) bool { return slices.Contains(by.Peers, name) })
			same := len(left) == 0 && (len(by.Peers) == 0 || len(q.Peers) > 0)
			if same || q.Aggregate != by.Aggregate {
				continue
			}
			q.Peers = left
		}
		out = append(out, q)
	}
	return out
}
