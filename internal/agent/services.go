package agent

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
)

// servicePaths are the addresses of Services that this node advertises: those that Advertisements name, while a packet
// for them that comes here is served. Of several Services with one address, any will do. A node that is drained
// withdraws them.
//
// Who is told are BGPPeers, never the nodes' mesh: other nodes have a kube-proxy of their own. Of several paths of a
// prefix the speaker takes the first that names the peer; see serviceAds for their order.
func (d *draft) servicePaths() []bgp.Path {
	ads := d.serviceAds()
	if len(ads) == 0 {
		return nil
	}
	var all []string
	around := slices.Clone(d.Gateways)
	for _, p := range d.Snapshot.PeersOf(d.node) {
		all, around = append(all, p.Name), append(around, p.Spec.Neighbour())
	}
	s := frontage{
		draft: d, pods: coverOf(d.pods), nodes: coverOf(d.nodes), given: coverOf(d.balancers()), around: around,
		named: map[netip.Prefix]bool{}, owners: map[netip.Prefix][]string{}, told: map[tale]bool{},
		found: map[netip.Prefix]time.Time{},
	}
	for _, ad := range ads {
		path := pathOf(ad.Spec)
		path.Peers = all
		if named := ad.Spec.Peers; len(named) > 0 {
			path.Peers = slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !slices.Contains(named, name) })
		}
		for _, v := range d.Snapshot.Services {
			s.add(v, ad, path)
		}
	}
	slices.SortStableFunc(s.paths, func(a, b bgp.Path) int { return comparePrefixes(a.Prefix, b.Prefix) })
	d.NFT.Services = d.refused(ads, slices.SortedFunc(maps.Keys(s.named), comparePrefixes))
	d.Served, d.Found = slices.SortedFunc(maps.Keys(s.owners), comparePrefixes), s.found
	d.Origins = make(map[netip.Prefix]string, len(s.owners))
	for p, owners := range s.owners {
		slices.Sort(owners)
		d.Origins[p] = "service " + strings.Join(owners, ", ")
	}
	if d.Withdraw {
		return nil
	}
	return s.paths
}

// refused are the addresses and ranges that packets must not be forwarded to: what is still on its way to a service
// address was translated by nobody, and routers would send it back. A node without Advertisements of services says nothing
// of them to anybody, and leaves them alone.
func (d *draft) refused(ads []config.Advertisement, named []netip.Prefix) []netip.Prefix {
	kinds := map[config.ServiceAddress]bool{}
	for _, ad := range ads {
		for _, k := range ad.Spec.Services.Addresses {
			kinds[k] = true
		}
	}
	var all []netip.Prefix
	if kinds[config.ClusterAddress] {
		all = append(all, d.spec.ServicePrefixes()...)
	}
	if kinds[config.LoadBalancerAddress] {
		all = append(all, d.balancers()...)
	}
	in := coverOf(all)
	return append(all, slices.DeleteFunc(named, func(p netip.Prefix) bool { return in.holds(p.Addr()) })...)
}

// balancers are the pools of addresses for load balancers.
func (d *draft) balancers() []netip.Prefix {
	var all []netip.Prefix
	for _, v := range d.Snapshot.PoolsFor(config.UseLoadBalancers) {
		all = append(all, v.Spec.Prefix())
	}
	return all
}

// serviceAds are the Advertisements of services that select this node: first those for named peers, which win over those
// for all, and of either kind the later by name first.
func (d *draft) serviceAds() []config.Advertisement {
	ads := slices.DeleteFunc(d.Snapshot.AdvertisementsOf(d.node), func(a config.Advertisement) bool { return a.Spec.Services == nil })
	if d.Role == roleRouter {
		for _, a := range ads {
			if a.Spec.NodeSelector != nil {
				d.problem("Advertisement/"+a.Name, "spec.services", fmt.Sprintf("selects %s, a router: it passes on what nodes advertise, and serves nothing itself", d.node.Name),
					"select nodes")
			}
		}
		return nil
	}
	slices.SortFunc(ads, func(a, b config.Advertisement) int {
		return cmp.Or(cmp.Compare(min(len(b.Spec.Peers), 1), min(len(a.Spec.Peers), 1)), cmp.Compare(b.Name, a.Name))
	})
	return ads
}

// frontage are the addresses of Services in the making.
type frontage struct {
	*draft
	pods, nodes cover
	given       cover                     // pools for load balancers, which may lie in the ranges of pods
	around      []netip.Addr              // the routers beside this node; addresses of the host itself may be those of services (IPVS)
	named       map[netip.Prefix]bool     // by Advertisements, whoever serves
	owners      map[netip.Prefix][]string // the Services that this node serves an address for
	found       map[netip.Prefix]time.Time
	told        map[tale]bool
	paths       []bgp.Path
}

// tale is that an Advertisement names an address, or cannot.
type tale struct {
	ad     string
	prefix netip.Prefix
}

// add takes in a Service as an Advertisement sees it.
func (f *frontage) add(v config.Service, ad config.Advertisement, path bgp.Path) {
	for _, kind := range ad.Spec.Services.Kinds(v) {
		for i, a := range v.Addresses(kind) {
			path.Prefix = netip.PrefixFrom(a, a.BitLen())
			path.NextHop = ad.Spec.Via(path.Prefix)
			if !f.usable(v, kind, i) {
				continue
			}
			f.named[path.Prefix] = true
			if len(path.Peers) == 0 || !f.serves(v, kind, a) {
				continue
			}
			if owners := f.owners[path.Prefix]; !slices.Contains(owners, v.Key()) {
				f.owners[path.Prefix] = append(owners, v.Key())
			}
			if t := (tale{ad.Name, path.Prefix}); !f.told[t] {
				f.told[t] = true
				if f.settled(path.Prefix, ad.Spec.Services.Settle()) {
					f.paths = append(f.paths, path)
				}
			}
		}
	}
}

// serves tells whether packets for an address of a Service that come to this node find an endpoint, and may be sent
// here. With the traffic policy Local the last endpoint that terminates still serves what comes, and nothing new is to
// come (KEP-1669). kube-proxy translates within a family.
func (f *frontage) serves(v config.Service, kind config.ServiceAddress, a netip.Addr) bool {
	endpoints := v.Endpoints(config.FamilyOf(a))
	switch {
	case !f.known || f.node.ExcludesServices():
		return false
	case v.Local(kind):
		return endpoints.ReadyOn(f.node.Name)
	}
	return endpoints.Serving()
}

// settled tells whether an address has been served for long enough to be advertised. Whoever translates it learns of
// its endpoints when we do, and takes a while to act; what comes before is refused.
func (f *frontage) settled(p netip.Prefix, delay time.Duration) bool {
	if f.Since == nil {
		f.found[p] = time.Time{}
		return true
	}
	since, known := f.Since[p]
	if !known {
		since = f.Now
	}
	f.found[p] = since
	due := since.Add(delay)
	if !f.Now.Before(due) {
		return true
	}
	if f.Due.IsZero() || due.Before(f.Due) {
		f.Due = due
	}
	return false
}

// usable tells whether an address can be a Service's, and reports where it is a pod's, a node's or a router's: a route
// for it would take it from them. Whoever writes Services may write any external address.
func (f *frontage) usable(v config.Service, kind config.ServiceAddress, i int) bool {
	a := v.Addresses(kind)[i]
	whose := ""
	switch {
	case f.pods.holds(a) && !f.given.holds(a):
		whose = "pods"
	case f.nodes.holds(a):
		whose = "nodes"
	case slices.Contains(f.around, a):
		whose = "a router beside this node"
	default:
		return true
	}
	if t := (tale{v.Key(), netip.PrefixFrom(a, a.BitLen())}); !f.told[t] {
		f.told[t] = true
		f.problem("Service/"+v.Key(), fmt.Sprintf("%s[%d]", fieldOf(kind), i), fmt.Sprintf("%v is an address of %s: it is not advertised", a, whose),
			"use an address that nobody has, outside of clusterCIDRs and nodeCIDRs, or let no Advertisement name it")
	}
	return false
}

// fieldOf is where a Service has addresses of a kind.
func fieldOf(kind config.ServiceAddress) string {
	switch kind {
	case config.LoadBalancerAddress:
		return "status.loadBalancer.ingress"
	case config.ExternalAddress:
		return "spec.externalIPs"
	}
	return "spec.clusterIPs"
}

// cover tells which addresses lie in some of many ranges.
type cover struct {
	ranges map[netip.Prefix]bool
	bits   []int // the lengths among them
}

func coverOf(ranges []netip.Prefix) cover {
	c := cover{ranges: make(map[netip.Prefix]bool, len(ranges))}
	for _, p := range ranges {
		c.ranges[p.Masked()] = true
		if !slices.Contains(c.bits, p.Bits()) {
			c.bits = append(c.bits, p.Bits())
		}
	}
	return c
}

func (c cover) holds(a netip.Addr) bool {
	return slices.ContainsFunc(c.bits, func(bits int) bool {
		p, err := a.Prefix(bits)
		return err == nil && c.ranges[p]
	})
}

// since is when each service address was first found served. A first turn after a restart goes on with what was before
// it; after a boot nothing is known of whoever translates addresses.
func (l *loop) since(restarted bool) map[netip.Prefix]time.Time {
	switch first := l.resolver == nil; {
	case first && restarted:
		return nil
	case l.desired.Found == nil:
		return map[netip.Prefix]time.Time{}
	}
	return l.desired.Found
}
