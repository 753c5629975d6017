package agent

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/ipam"
	"github.com/podroute/podroute/ipam/pool"
	"github.com/podroute/podroute/routes"
)

// Addressing is which addresses this node has, and whose pods get which.
type Addressing struct {
	// Subnets in the order in which they are filled.
	Subnets []ipam.Block
	// Everyone is what pods get whose namespace no pool selects, Namespaces what pods of each known namespace
	// get, where some pool selects namespaces (Selective).
	Everyone   serving
	Namespaces map[string]serving
	Selective  bool
	// Claims is what claims of blocks are planned from, but for what only the allocator knows.
	Claims pool.State
}

// serving is what serves a pod: blocks of these pools, with an address of each of these families at least.
// Pools nil stands for all.
type serving struct {
	Pools, Families []string
}

// poolless stands for the pool of blocks whose pool is not known.
func poolless(family string) string { return "none, " + family }

// blocks settles the node's pod subnets, their unreachable routes, and whose they are.
func (d *draft) blocks() {
	for _, b := range d.Snapshot.PodSubnets(d.node) {
		// A block that is given back is not advertised any more, and its route stays until it is another's.
		d.Local = append(d.Local, routes.Route{Dst: b, Unreachable: true})
		if !slices.Contains(d.Releasing, b) {
			d.Blocks = append(d.Blocks, b)
		}
	}
	if d.spec.PodSubnets != config.SubnetsFromPool {
		for _, b := range d.Blocks {
			d.Addressing.Subnets = append(d.Addressing.Subnets, ipam.Block{Prefix: b})
		}
		return
	}
	d.Addressing.Claims = pool.State{Node: d.node.Name, Pools: d.claimable()}
	d.subnets()
	d.servings()
}

// claimable are the pools of pod addresses, as this node sees them.
func (d *draft) claimable() []pool.Pool {
	var out []pool.Pool
	for _, v := range d.Snapshot.PoolsFor(config.UsePods) {
		s := v.Spec
		p := pool.Pool{
			Name: v.Name, CIDR: s.Prefix(), BlockSize: int(s.BlockSize), Excluded: s.Excluded(), Reserved: s.Reserved(),
			Open: d.known && d.Gone.Name == "" && d.Role == roleNode && !s.Disabled && config.Selects(s.NodeSelector, d.node.Labels),
		}
		if s.TopologyKey != "" {
			p.RangeSize, p.Value = int(s.TopologySize), d.node.Labels[s.TopologyKey]
			if p.Open && p.Value == "" {
				p.Open = false
				d.problem("Node/"+d.node.Name, "metadata.labels["+s.TopologyKey+"]", "is missing: AddressPool/"+v.Name+" gives blocks by it", "label the node")
			}
		}
		out = append(out, p)
	}
	return out
}

// subnets sorts the blocks for the allocator: those of pools that are to run dry come last.
func (d *draft) subnets() {
	c := &d.Addressing.Claims
	open := map[string]bool{}
	for _, b := range d.Snapshot.Blocks {
		p := b.Spec.Prefix()
		if b.Spec.Node != d.node.Name {
			c.Taken = append(c.Taken, p)
			continue
		}
		s := ipam.Block{Prefix: p, Pool: poolless(config.FamilyOf(p.Addr()))}
		if i := slices.IndexFunc(c.Pools, func(v pool.Pool) bool { return v.CIDR.Overlaps(p) }); i >= 0 {
			v := c.Pools[i]
			s.Pool, open[v.Name] = v.Name, v.Open
			s.Excluded, s.Reserved = overlapping(v.Excluded, p), overlapping(v.Reserved, p)
		}
		c.Own = append(c.Own, pool.Block{Prefix: p, Pool: s.Pool, Claimed: b.Claimed()})
		if slices.Contains(d.Blocks, p) {
			d.Addressing.Subnets = append(d.Addressing.Subnets, s)
		}
	}
	slices.SortStableFunc(d.Addressing.Subnets, func(a, b ipam.Block) int {
		return cmp.Compare(closedLast(open[a.Pool]), closedLast(open[b.Pool]))
	})
}

func closedLast(open bool) int {
	if open {
		return 0
	}
	return 1
}

func overlapping(ps []netip.Prefix, p netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(ps), func(o netip.Prefix) bool { return !o.Overlaps(p) })
}

// servings settles which pools serve which namespaces.
func (d *draft) servings() {
	a := &d.Addressing
	a.Everyone = d.serving(nil)
	a.Selective = slices.ContainsFunc(d.Snapshot.PoolsFor(config.UsePods), func(v config.AddressPool) bool { return v.Spec.NamespaceSelector != nil })
	if !a.Selective {
		return
	}
	a.Namespaces = map[string]serving{}
	for name, labels := range d.Snapshot.Namespaces {
		a.Namespaces[name] = d.serving(labels)
	}
}

// serving is what serves a namespace with these labels; nil stands for one that no pool selects. In each
// family pools that select the namespace serve it alone; else those that are for all. Pools that are closed to
// this node come last: there may be blocks of them still.
func (d *draft) serving(namespace map[string]string) serving {
	var out serving
	for _, family := range []string{config.FamilyIPv4, config.FamilyIPv6} {
		selecting, general := d.candidates(family, namespace)
		serves, required := general, d.anyOpen(general)
		if slices.ContainsFunc(selecting, d.enabled) {
			serves, required = selecting, true
		} else {
			serves = append(append(serves, selecting...), poolless(family))
		}
		slices.SortStableFunc(serves, func(a, b string) int { return cmp.Compare(closedLast(d.open(a)), closedLast(d.open(b))) })
		out.Pools = append(out.Pools, serves...)
		if required && d.Claiming {
			out.Families = append(out.Families, family)
		}
	}
	return out
}

// candidates are the pools of a family that select a namespace, and those for all.
func (d *draft) candidates(family string, namespace map[string]string) (selecting, general []string) {
	for _, v := range d.Snapshot.PoolsFor(config.UsePods) {
		switch s := v.Spec; {
		case config.FamilyOf(s.Prefix().Addr()) != family:
		case s.NamespaceSelector == nil:
			general = append(general, v.Name)
		case namespace != nil && config.Selects(s.NamespaceSelector, namespace):
			selecting = append(selecting, v.Name)
		}
	}
	return selecting, general
}

func (d *draft) open(name string) bool {
	return slices.ContainsFunc(d.Addressing.Claims.Pools, func(v pool.Pool) bool { return v.Name == name && v.Open })
}

func (d *draft) anyOpen(names []string) bool { return slices.ContainsFunc(names, d.open) }

func (d *draft) enabled(name string) bool {
	return slices.ContainsFunc(d.Snapshot.Pools, func(v config.AddressPool) bool { return v.Name == name && !v.Spec.Disabled })
}

// noBlocks says why this node has no pod subnet, or none of a family that its pods must have, and what to do
// about it; empty if it can serve pods.
func (d *draft) noBlocks() string {
	n, has := d.node.Name, func(family string) bool {
		return slices.ContainsFunc(d.Blocks, func(p netip.Prefix) bool { return config.FamilyOf(p.Addr()) == family })
	}
	if d.Claiming && d.Role == roleNode {
		for _, family := range d.Addressing.Everyone.Families {
			if !has(family) {
				return fmt.Sprintf("node %s waits for a block of %s addresses: %s", n, family, d.waiting(family))
			}
		}
		if d.Addressing.Selective {
			return ""
		}
	}
	switch {
	case len(d.Blocks) > 0:
		return ""
	case d.Role == roleRouter:
		return fmt.Sprintf("node %s is a router and has no pod subnet", n)
	case d.spec.PodSubnets != config.SubnetsFromPool:
		return fmt.Sprintf("node %s waits for its podCIDRs: set spec.podCIDRs of the Node (in a cluster, kube-controller-manager --allocate-node-cidrs does)", n)
	case d.Claiming:
		return fmt.Sprintf("no AddressPool is open to node %s: add one, or mend the nodeSelector of one", n)
	default:
		return fmt.Sprintf("node %s owns no AddressBlock: add one", n)
	}
}

// waiting says what the claim of a block of a family waits for.
func (d *draft) waiting(family string) string {
	var why []string
	for _, name := range d.Addressing.Everyone.Pools {
		v, open := d.Addressing.Claims.Pools, d.open(name)
		i := slices.IndexFunc(v, func(v pool.Pool) bool { return v.Name == name })
		if i < 0 || !open || config.FamilyOf(v[i].CIDR.Addr()) != family {
			continue
		}
		reason, known := d.Waiting[name]
		if !known {
			reason = "claiming one of AddressPool/" + name
		}
		why = append(why, reason)
	}
	return strings.Join(why, "; ")
}

// shortages are what claims cannot get, as problems of this node.
func (d *draft) shortages() {
	for _, name := range slices.Sorted(maps.Keys(d.Waiting)) {
		d.problem("Node/"+d.node.Name, "", d.Waiting[name], "enlarge the supply: add an AddressPool, or take nodes or pods away")
	}
}

// spelled leaves the prefixes of pods out that a node must not originate: what is not all its own would draw
// others' traffic here. Only routers originate aggregates, because they know the ways behind them.
func (d *draft) spelled(ad config.Advertisement) []netip.Prefix {
	var out []netip.Prefix
	for i, p := range ad.Spec.Named() {
		own := slices.ContainsFunc(d.Blocks, func(b netip.Prefix) bool { return b.Bits() <= p.Bits() && b.Contains(p.Addr()) })
		if d.Role == roleRouter || own || !slices.ContainsFunc(d.pods, p.Overlaps) {
			out = append(out, p)
			continue
		}
		d.problem("Advertisement/"+ad.Name, fmt.Sprintf("spec.prefixes[%d]", i),
			fmt.Sprintf("%v holds pod addresses of others: node %s does not originate it", p, d.node.Name), "select routers (routerSelector of RouterConfig) instead of nodes")
	}
	return out
}
