package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// services checks what an Advertisement says of Services.
func (r *report) services(s *ServiceAdvertisement) {
	if s == nil {
		return
	}
	r.selector("spec.services.selector", s.Selector)
	r.seconds("spec.services.delay", s.Delay, 0, 60)
	const kinds = "LoadBalancer, ExternalIP, ClusterIP"
	if len(s.Addresses) == 0 {
		r.add("spec.services.addresses", "is missing", "list some of "+kinds)
	}
	for i, kind := range s.Addresses {
		field := indexed("spec.services.addresses", i)
		if slices.Contains(s.Addresses[:i], kind) {
			r.addf(field, "remove one", "%s is there twice", kind)
		} else {
			r.oneOf(field, string(kind), string(LoadBalancerAddress), string(ExternalAddress), string(ClusterAddress))
		}
	}
}

// service reduces a v1 Service to what podroute needs.
func (r *report) service(namespace string, v *corev1.Service) *Service {
	s := &Service{Namespace: namespace, Name: v.Name, Labels: v.Labels, Type: string(v.Spec.Type)}
	if s.Type == "" {
		s.Type = string(corev1.ServiceTypeClusterIP)
	}
	if text, ok := v.Annotations[AnnotationAdvertise]; ok {
		s.Annotations = map[string]string{AnnotationAdvertise: text}
	}
	if v.Spec.LoadBalancerClass != nil {
		s.LoadBalancerClass = *v.Spec.LoadBalancerClass
	}
	s.ExternalLocal = v.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	s.InternalLocal = v.Spec.InternalTrafficPolicy != nil && *v.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	r.serviceAddresses(s, v)
	if text, ok := s.Annotations[AnnotationAdvertise]; ok {
		if _, err := advertiseKinds(text); err != nil {
			r.addf("metadata.annotations["+AnnotationAdvertise+"]",
				`write "true", "false", or some of LoadBalancer, ExternalIP and ClusterIP, separated by commas`, "%q is not known", text)
		}
	}
	return s
}

// serviceAddresses reads the addresses of a Service. Those of a type that it had before, or that its load balancer
// answers itself, are none of it.
func (r *report) serviceAddresses(s *Service, v *corev1.Service) {
	if s.Type == string(corev1.ServiceTypeExternalName) {
		return
	}
	cidrs, field := v.Spec.ClusterIPs, "spec.clusterIPs"
	if len(cidrs) == 0 && v.Spec.ClusterIP != "" {
		cidrs, field = []string{v.Spec.ClusterIP}, "spec.clusterIP"
	}
	if !slices.Contains(cidrs, corev1.ClusterIPNone) {
		s.ClusterIPs = r.serviceList(field, cidrs)
	}
	s.ExternalIPs = r.serviceList("spec.externalIPs", v.Spec.ExternalIPs)
	if s.Type != string(corev1.ServiceTypeLoadBalancer) {
		return
	}
	var ingress []string
	for _, i := range v.Status.LoadBalancer.Ingress {
		if i.IP != "" && (i.IPMode == nil || *i.IPMode == corev1.LoadBalancerIPModeVIP) {
			ingress = append(ingress, i.IP)
		}
	}
	s.IngressIPs = r.serviceList("status.loadBalancer.ingress", ingress)
}

// serviceList reads addresses, each once, in their order.
func (r *report) serviceList(field string, list []string) []netip.Addr {
	var all []netip.Addr
	for i, text := range list {
		if text == "" {
			continue
		}
		at := field
		if field != "spec.clusterIP" {
			at = indexed(field, i)
		}
		a, ok := r.address(at, text)
		switch {
		case !ok:
		case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			r.addf(at, "use one that routers can have a route to", "%s is no address of a service", a)
		case !slices.Contains(all, a):
			all = append(all, a)
		}
	}
	return all
}

// advertiseKinds reads AnnotationAdvertise: which kinds of addresses it lets through.
func advertiseKinds(text string) ([]ServiceAddress, error) {
	all := []ServiceAddress{LoadBalancerAddress, ExternalAddress, ClusterAddress}
	switch text {
	case "true":
		return all, nil
	case "false":
		return nil, nil
	}
	var kinds []ServiceAddress
	for part := range strings.SplitSeq(text, ",") {
		kind := ServiceAddress(strings.TrimSpace(part))
		if !slices.Contains(all, kind) {
			return nil, fmt.Errorf("%q is no kind of address", part)
		}
		kinds = append(kinds, kind)
	}
	return kinds, nil
}

// endpointSlice reduces an EndpointSlice. Endpoints without ports count for nobody: kube-proxy finds none of the
// Service's ports among them.
func (r *report) endpointSlice(namespace string, v *discoveryv1.EndpointSlice) *EndpointSlice {
	e := &EndpointSlice{Namespace: namespace, Name: v.Name, Service: v.Labels[labelServiceName]}
	switch v.AddressType {
	case discoveryv1.AddressTypeIPv4:
		e.Family = FamilyIPv4
	case discoveryv1.AddressTypeIPv6:
		e.Family = FamilyIPv6
	case discoveryv1.AddressTypeFQDN:
	default:
		r.addf("addressType", "use IPv4 or IPv6", "%q is not known", v.AddressType)
	}
	if e.Family == "" || len(v.Ports) == 0 {
		return e
	}
	yes := func(b *bool, otherwise bool) bool { return b == nil && otherwise || b != nil && *b }
	for _, p := range v.Endpoints {
		node := ""
		if p.NodeName != nil {
			node = *p.NodeName
		}
		c := p.Conditions
		switch terminating := yes(c.Terminating, false); {
		case !terminating && yes(c.Ready, true):
			e.Ready = append(e.Ready, node)
		case terminating && (yes(c.Serving, true) || yes(c.Ready, false)):
			e.Terminating = append(e.Terminating, node)
		}
	}
	e.Endpoints = e.sorted()
	return e
}

// sorted is each name once.
func (e Endpoints) sorted() Endpoints {
	for _, list := range []*[]string{&e.Ready, &e.Terminating} {
		slices.Sort(*list)
		*list = slices.Clip(slices.Compact(*list))
	}
	return e
}

// anywhere leaves out who serves, but not how.
func (e Endpoints) anywhere() Endpoints {
	if len(e.Ready) > 0 {
		return Endpoints{Ready: []string{""}}
	}
	if len(e.Terminating) > 0 {
		return Endpoints{Terminating: []string{""}}
	}
	return Endpoints{}
}

// SeenFrom leaves out the names of other nodes: a change elsewhere is no change then, unless it is the first or the
// last endpoint there.
func (e EndpointSlice) SeenFrom(node string) EndpointSlice {
	own := func(list []string) []string {
		list = slices.Clone(list)
		for i, name := range list {
			if name != node {
				list[i] = ""
			}
		}
		return list
	}
	e.Endpoints = Endpoints{Ready: own(e.Ready), Terminating: own(e.Terminating)}.sorted()
	return e
}

// Settle is Delay with its default.
func (a ServiceAdvertisement) Settle() time.Duration { return duration(a.Delay, DefaultServiceDelay) }

// Kinds are the kinds of a Service's addresses that are to be advertised, going by its labels and annotations; whether
// and where anybody serves is another question.
func (a ServiceAdvertisement) Kinds(s Service) []ServiceAddress {
	text, asked := s.Annotations[AnnotationAdvertise]
	if a.OptIn && !asked || !Selects(a.Selector, s.Labels) {
		return nil
	}
	if !asked {
		return a.Addresses
	}
	kinds, _ := advertiseKinds(text) // of a text that cannot be read: none
	return slices.DeleteFunc(slices.Clone(kinds), func(k ServiceAddress) bool { return !slices.Contains(a.Addresses, k) })
}

// ExcludesServices tells whether a node is kept out of the way of traffic to services.
func (n Node) ExcludesServices() bool {
	_, excluded := n.Labels[LabelExcludeNode]
	return excluded
}

// endpoints keeps an EndpointSlice for its Service to find.
func (w *build) endpoints(c *candidate) {
	w.accepted[c.key()] = c.Object
	v := c.Value.(*EndpointSlice)
	if v.Service == "" || v.Family == "" {
		return
	}
	if w.slices == nil {
		w.slices = map[key][]*EndpointSlice{}
	}
	at := key{namespace: v.Namespace, name: v.Service}
	w.slices[at] = append(w.slices[at], v)
}

// service admits a Service, with its endpoints.
func (w *build) service(c *candidate) {
	w.accepted[c.key()] = c.Object
	v := *c.Value.(*Service)
	for _, e := range w.slices[key{namespace: v.Namespace, name: v.Name}] {
		into := &v.IPv4
		if e.Family == FamilyIPv6 {
			into = &v.IPv6
		}
		into.Ready = slices.Concat(into.Ready, e.Ready) // never in place: the slice is the object's
		into.Terminating = slices.Concat(into.Terminating, e.Terminating)
	}
	v.IPv4, v.IPv6 = v.IPv4.sorted(), v.IPv6.sorted()
	if !v.ExternalLocal && !v.InternalLocal { // it does not matter where, and its endpoints may come and go
		v.IPv4, v.IPv6 = v.IPv4.anywhere(), v.IPv6.anywhere()
	}
	w.snapshot.Services = append(w.snapshot.Services, v)
}

// reviewServices leaves out the Services that no Advertisement names: what happens to them concerns nobody.
func (w *build) reviewServices() {
	s := &w.snapshot
	s.Services = slices.DeleteFunc(s.Services, func(v Service) bool {
		return !slices.ContainsFunc(s.Advertisements, func(a Advertisement) bool {
			return a.Spec.Services != nil && slices.ContainsFunc(a.Spec.Services.Kinds(v), func(k ServiceAddress) bool { return len(v.Addresses(k)) > 0 })
		})
	})
}

// namespaced tells which kinds live in namespaces.
func namespaced(kind string) bool {
	switch kind {
	case "Secret", "Service", "EndpointSlice":
		return true
	}
	return false
}

// title names an object in problems. Secrets have gone by their names alone from the beginning.
func title(kind, namespace, name string) string {
	if kind == "Secret" || !namespaced(kind) {
		return kind + "/" + name
	}
	return kind + "/" + namespace + "/" + name
}

// orNamespace is the namespace of an object, as kubectl apply would have it.
func orNamespace(namespace string) string {
	if namespace == "" {
		return metav1.NamespaceDefault
	}
	return namespace
}
