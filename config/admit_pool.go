package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The checks of pools and blocks: by themselves, then against the rest.

// pool checks an AddressPool by itself.
func (r *report) pool(s *AddressPoolSpec) {
	r.selector("spec.nodeSelector", s.NodeSelector)
	r.selector("spec.namespaceSelector", s.NamespaceSelector)
	r.selector("spec.serviceSelector", s.ServiceSelector)
	r.oneOf("spec.use", string(s.Use), string(UsePods), string(UseLoadBalancers))
	p, ok := r.cidr("spec.cidr", s.CIDR)
	if !ok || !r.podRange("spec.cidr", p) {
		return
	}
	r.partsOf(p, "spec.exclusions", s.Exclusions, "disable the pool instead")
	r.partsOf(p, "spec.reservations", s.Reservations, "reserve a part of it")
	if s.Use == UseLoadBalancers {
		r.noBlocks(s)
		return
	}
	if s.ServiceSelector != nil {
		r.add("spec.serviceSelector", "has no effect on a pool for pods", "remove it, or set use to loadBalancers")
	}
	highest := 30 // the smallest block with addresses for pods
	if p.Addr().Is6() {
		highest = 126
	}
	if p.Bits() > highest {
		r.addf("spec.cidr", fmt.Sprintf("use /%d or shorter", highest), "%s is too small for a block", p)
	} else if r.between("spec.blockSize", int64(s.BlockSize), int64(p.Bits()), int64(highest)) {
		r.topology(s, p)
	}
}

// noBlocks reports what is said of blocks in a pool for load balancers: it has none.
func (r *report) noBlocks(s *AddressPoolSpec) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"blockSize", s.BlockSize != 0},
		{"topologyKey", s.TopologyKey != ""},
		{"topologySize", s.TopologySize != 0},
		{"nodeSelector", s.NodeSelector != nil},
	} {
		if f.set {
			r.add("spec."+f.name, "has no effect with use loadBalancers: no node owns the addresses", "remove it")
		}
	}
}

// topology checks how a pool is cut into ranges.
func (r *report) topology(s *AddressPoolSpec, p netip.Prefix) {
	switch {
	case s.TopologyKey == "" && s.TopologySize != 0:
		r.add("spec.topologySize", "has no effect without topologyKey", "name the node label, or remove it")
	case s.TopologyKey == "":
	case len(validation.IsQualifiedName(s.TopologyKey)) > 0:
		r.addf("spec.topologyKey", "write one, such as "+LabelRack, "%q is no name of a label", s.TopologyKey)
	case s.TopologySize == 0:
		r.add("spec.topologySize", "is missing", "say how long a range's prefix is")
	case p.Bits() >= int(s.BlockSize):
		r.add("spec.blockSize", "leaves no room for ranges of several blocks", "use smaller blocks, or remove topologyKey")
	default: // a range is larger than a block: the two are told apart by name
		r.between("spec.topologySize", int64(s.TopologySize), int64(p.Bits()), int64(s.BlockSize)-1)
	}
}

// partsOf checks sub-ranges of a pool; whole says what to do instead of naming all of it.
func (r *report) partsOf(p netip.Prefix, field string, list []string, whole string) {
	r.cidrs(field, list, func(field string, e netip.Prefix) bool {
		switch {
		case e.Addr().Is4() != p.Addr().Is4():
			r.addf(field, "use the pool's family", "%s is not of the pool's address family", e)
		case !p.Contains(e.Addr()) || e.Bits() < p.Bits():
			r.addf(field, "name ranges of the pool only", "%s is not inside %s", e, p)
		case e == p:
			r.addf(field, whole, "%s is the whole pool", e)
		}
		return true
	})
}

// block checks an AddressBlock by itself.
func (r *report) block(b *AddressBlock) {
	p, ok := r.cidr("spec.cidr", b.Spec.CIDR)
	if ok && r.podRange("spec.cidr", p) && b.Name != BlockName(p) {
		r.addf("metadata.name", "name it "+BlockName(p), "is not its CIDR, which makes ownership exclusive")
	}
	switch {
	case b.Spec.Node == "" && b.Spec.TopologyValue == "":
		r.add("spec.node", "is missing", "name the node that owns the block")
	case b.Spec.Node != "" && b.Spec.TopologyValue != "":
		r.add("spec.topologyValue", "excludes node: a range is no node's", "remove one of them")
	case b.Spec.TopologyValue != "" && b.Spec.Pool == "":
		r.add("spec.pool", "is missing", "name the pool that the range is of")
	}
}

// pool admits an AddressPool, for whatever use.
func (w *build) pool(c *candidate) {
	o, ok := w.admit(c, func(r *report, o Object) bool {
		s := &o.Value.(*AddressPool).Spec
		p := s.Prefix()
		if c.previous != nil {
			was := &c.previous.Value.(*AddressPool).Spec
			r.immutable("spec.cidr", s.CIDR, was.CIDR)
			r.immutable("spec.use", s.Use, was.Use)
			r.immutable("spec.blockSize", s.BlockSize, was.BlockSize)
			r.immutable("spec.topologyKey", s.TopologyKey, was.TopologyKey)
			r.immutable("spec.topologySize", s.TopologySize, was.TopologySize)
		}
		w.disjoint(r, p)
		if other, owner, found := w.pools.find(p); found {
			r.addf("spec.cidr", "make them disjoint: the older one is in force", "%s overlaps %s of AddressPool/%s", p, other, owner)
		}
		if s.Use == UseLoadBalancers {
			if other, owner, found := w.subnets.find(p); found {
				r.addf("spec.cidr", "make them disjoint", "%s overlaps %s of Node/%s", p, other, owner)
			}
			return len(r.problems) == 0
		}
		good := len(r.problems) == 0
		r.outside("spec.cidr", p, &w.snapshot.Router.Spec)
		return good
	})
	if ok {
		v := *o.Value.(*AddressPool)
		w.pools.add(v.Spec.Prefix(), v.Name)
		w.snapshot.Pools = append(w.snapshot.Pools, v)
	}
}

// disjoint reports that a range of pod addresses holds addresses of services or nodes.
func (w *build) disjoint(r *report, p netip.Prefix) {
	spec := &w.snapshot.Router.Spec
	r.taken("spec.cidr", p, "serviceCIDRs", spec.ServicePrefixes())
	r.taken("spec.cidr", p, "nodeCIDRs", spec.NodePrefixes())
	if a, owner, found := w.addresses.find(p); found {
		r.addf("spec.cidr", "make them disjoint", "%s contains address %s of Node/%s", p, a.Addr(), owner)
	}
}

func (r *report) immutable(field string, is, was any) {
	if is != was {
		r.addf(field, "set it back, or delete the object and write one of another name", "%v was %v and must not change", is, was)
	}
}

// outside reports pod ranges that are not in clusterCIDRs; that harms, but forbids nothing.
func (r *report) outside(field string, p netip.Prefix, spec *RouterConfigSpec) {
	ranges := spec.ClusterPrefixes()
	inside := slices.ContainsFunc(ranges, func(o netip.Prefix) bool { return o.Contains(p.Addr()) && o.Bits() <= p.Bits() })
	if len(ranges) > 0 && !inside {
		r.addf(field, "add it to clusterCIDRs, or choose another", "%s is not inside RouterConfig's clusterCIDRs: routers will not accept it", p)
	}
}

// block admits an AddressBlock.
func (w *build) block(c *candidate) {
	o, ok := w.admit(c, func(r *report, o Object) bool {
		s := &o.Value.(*AddressBlock).Spec
		p := s.Prefix()
		if c.previous != nil {
			was := &c.previous.Value.(*AddressBlock).Spec
			r.immutable("spec.node", s.Node, was.Node)
			r.immutable("spec.topologyValue", s.TopologyValue, was.TopologyValue)
		}
		if s.TopologyValue != "" {
			w.blockPool(r, s)
			return len(r.problems) == 0
		}
		w.disjoint(r, p)
		if other, owner, found := w.blocks.find(p); found {
			r.addf("spec.cidr", "make them disjoint", "%s overlaps %s of Node/%s", p, other, owner)
		}
		good := len(r.problems) == 0
		w.blockPool(r, s) // pods may live in it, whatever has become of the pool
		return good
	})
	if !ok {
		return
	}
	v := *o.Value.(*AddressBlock)
	if v.Spec.Node == "" {
		w.snapshot.Ranges = append(w.snapshot.Ranges, v)
		return
	}
	w.blocks.add(v.Spec.Prefix(), v.Spec.Node)
	w.snapshot.Blocks = append(w.snapshot.Blocks, v)
}

// blockPool checks a block against the pool that it names, else the one that it lies in.
func (w *build) blockPool(r *report, s *AddressBlockSpec) {
	p := s.Prefix()
	pool := slices.IndexFunc(w.snapshot.Pools, func(v AddressPool) bool {
		return v.Name == s.Pool || s.Pool == "" && v.Spec.Prefix().Overlaps(p)
	})
	if pool < 0 {
		if s.Pool != "" {
			r.addf("spec.pool", "name a pool, or write it", "AddressPool/%s is not there", s.Pool)
		}
		return
	}
	v := &w.snapshot.Pools[pool]
	switch whole := v.Spec.Prefix(); {
	case v.Spec.Use == UseLoadBalancers:
		r.addf("spec.cidr", "choose a block of another pool", "AddressPool/%s is for load balancers", v.Name)
	case !whole.Contains(p.Addr()) || p.Bits() < whole.Bits():
		r.addf("spec.cidr", "choose a block of the pool", "%s is not inside %s of AddressPool/%s", p, whole, v.Name)
	case s.TopologyValue != "" && v.Spec.TopologyKey == "":
		r.addf("spec.topologyValue", "remove the object", "AddressPool/%s has no topologyKey, and so no ranges", v.Name)
	case s.TopologyValue != "" && p.Bits() != int(v.Spec.TopologySize):
		r.addf("spec.cidr", fmt.Sprintf("use a /%d", v.Spec.TopologySize), "%s is not of the topologySize of AddressPool/%s", p, v.Name)
	case s.TopologyValue == "" && p.Bits() != int(v.Spec.BlockSize):
		r.addf("spec.cidr", fmt.Sprintf("use a /%d", v.Spec.BlockSize), "%s is not of the block size of AddressPool/%s", p, v.Name)
	}
}

// namespace keeps the labels of a namespace where a pool selects by them.
func (w *build) namespace(c *candidate) {
	n := c.Value.(*Namespace)
	w.accepted[c.key()] = c.Object
	selects := func(v AddressPool) bool { return v.Spec.NamespaceSelector != nil }
	if !slices.ContainsFunc(w.snapshot.Pools, selects) {
		return
	}
	if w.snapshot.Namespaces == nil {
		w.snapshot.Namespaces = map[string]map[string]string{}
	}
	labels := map[string]string{corev1.LabelMetadataName: n.Name} // as the API server does
	maps.Copy(labels, n.Labels)
	w.snapshot.Namespaces[n.Name] = labels
}
