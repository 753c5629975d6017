package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// NewObject checks one decoded object by itself and fills in its defaults: a pointer to one of the
// kinds of this package, or to a corev1.Node, Secret, Namespace or Service, or a discoveryv1.EndpointSlice. The value is
// changed, not copied.
// Any other type is a mistake of the caller and yields an object with a problem.
func NewObject(source string, value any) Object {
	kind := reflect.TypeOf(value).Elem().Name()
	o := Object{Source: source, Kind: kind}
	r := &report{source: source, object: kind}
	meta, ok := value.(metav1.ObjectMetaAccessor)
	if !ok {
		r.addf("", "read the kinds of "+APIVersion+", v1 Node, Secret, Namespace, Service, and EndpointSlice only", "%T is no kind of ours", value)
		o.Problems = r.problems
		return o
	}
	m := meta.GetObjectMeta()
	o.Name, o.Namespace, o.Created = m.GetName(), m.GetNamespace(), m.GetCreationTimestamp().Time
	if namespaced(kind) {
		o.Namespace = orNamespace(o.Namespace)
	}
	r.object = title(kind, o.Namespace, o.Name)
	r.metadata(o)

	switch v := value.(type) {
	case *RouterConfig:
		v.Status = Status{}
		v.Spec.setDefaults()
		r.routerConfig(v)
		r.fatal()
		o.Value = v
	case *BGPPeer:
		v.Status = Status{}
		v.Spec.setDefaults()
		r.peer(&v.Spec)
		o.Value = v
	case *AddressPool:
		v.Status = AddressPoolStatus{}
		v.Spec.setDefaults()
		r.pool(&v.Spec)
		o.Value = v
	case *AddressBlock:
		r.block(v)
		o.Value = v
	case *Advertisement:
		v.Status = Status{}
		r.advertisement(&v.Spec)
		o.Value = v
	case *corev1.Node:
		o.Value = r.node(v)
	case *corev1.Namespace:
		o.Value = &Namespace{Name: v.Name, Labels: v.Labels}
	case *corev1.Secret:
		o.Value = r.secret(o.Namespace, v)
	case *corev1.Service:
		o.Value = r.service(o.Namespace, v)
	case *discoveryv1.EndpointSlice:
		o.Value = r.endpointSlice(o.Namespace, v)
	default:
		r.addf("", "read the kinds of "+APIVersion+", v1 Node, Secret, Namespace, Service, and EndpointSlice only", "%T is no kind of ours", value)
	}
	if o.Problems = r.problems; len(o.Problems) > 0 {
		o.Value = nil
	}
	return o
}

// metadata checks the name and the scope.
func (r *report) metadata(o Object) {
	if len(validation.IsDNS1123Subdomain(o.Name)) > 0 {
		r.add("metadata.name", "is no object name",
			"use at most 253 lower case letters, digits, - and ., with a letter or digit at both ends")
	}
	if o.Namespace != "" && !namespaced(o.Kind) {
		r.add("metadata.namespace", "the kind is cluster-scoped", "remove the namespace")
	}
}

// node reduces a v1 Node to what podroute needs.
func (r *report) node(v *corev1.Node) *Node {
	n := &Node{Name: v.Name, Labels: v.Labels, Annotations: v.Annotations, Unschedulable: v.Spec.Unschedulable}
	n.Lost = slices.ContainsFunc(v.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown
	})
	for i, a := range v.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		field := indexed("status.addresses", i) + ".address"
		if addr, ok := r.address(field, a.Address); ok && r.unicast(field, addr) && !n.Address(FamilyOf(addr)).IsValid() {
			n.Addresses = append(n.Addresses, addr)
		}
	}
	if len(n.Addresses) == 0 && len(r.problems) == 0 {
		r.add("status.addresses", "has no InternalIP", "add an address of type InternalIP: it is the node's address in BGP")
	}
	cidrs, field := v.Spec.PodCIDRs, "spec.podCIDRs"
	if len(cidrs) == 0 && v.Spec.PodCIDR != "" {
		cidrs, field = []string{v.Spec.PodCIDR}, "spec.podCIDR"
	} else if v.Spec.PodCIDR != "" && cidrs[0] != v.Spec.PodCIDR {
		r.add("spec.podCIDR", "differs from the first of spec.podCIDRs", "remove it, or make it the same")
	}
	families := map[string]bool{}
	for i, s := range cidrs {
		at := field
		if field == "spec.podCIDRs" {
			at = indexed(field, i)
		}
		p, ok := r.cidr(at, s)
		if !ok || !r.podRange(at, p) {
			continue
		}
		if family := FamilyOf(p.Addr()); families[family] {
			r.addf(at, "keep one pod subnet a family", "is a second %s subnet", family)
			continue
		}
		families[FamilyOf(p.Addr())] = true
		n.PodCIDRs = append(n.PodCIDRs, p)
	}
	r.nodeOverrides(n)
	return n
}

// nodeOverrides checks the annotations and labels that podroute reads on Nodes.
func (r *report) nodeOverrides(n *Node) {
	for _, from := range []struct {
		field string
		m     map[string]string
	}{{"metadata.annotations", n.Annotations}, {"metadata.labels", n.Labels}} {
		s, ok := from.m[AnnotationAS]
		if !ok {
			continue
		}
		field := from.field + "[" + AnnotationAS + "]"
		number, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			r.addf(field, "use a number from 1 to 4294967294", "%q is no AS number", s)
		} else if why := reservedAS(uint32(number)); why != "" {
			r.add(field, why, "use another number")
		}
	}
	if s, ok := n.Annotations[AnnotationRouterID]; ok {
		r.dotted("metadata.annotations["+AnnotationRouterID+"]", s)
	}
	if s, ok := n.Annotations[AnnotationDrain]; ok {
		r.oneOf("metadata.annotations["+AnnotationDrain+"]", s, "true", "false")
	}
}

// secret reduces a v1 Secret. What it holds is looked at only when a peer refers to it.
func (r *report) secret(namespace string, v *corev1.Secret) *Secret {
	s := &Secret{Namespace: namespace, Name: v.Name, Data: map[string]Password{}}
	for key, value := range v.Data {
		s.Data[key] = Password(value)
	}
	for key, value := range v.StringData {
		s.Data[key] = Password(value)
	}
	return s
}

// BlockName returns the name of a block's AddressBlock: 10.0.0.0/26 is 10-0-0-0-26, and an IPv6
// prefix is written with all its digits.
func BlockName(p netip.Prefix) string {
	text := p.Addr().StringExpanded() // the same as String for IPv4
	text = strings.NewReplacer(".", "-", ":", "-").Replace(text)
	return text + "-" + strconv.Itoa(p.Bits())
}
