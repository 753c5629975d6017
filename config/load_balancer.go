package config

// LoadBalancerClass is the spec.loadBalancerClass of Services that get addresses of pools with use loadBalancers.
const LoadBalancerClass = Group + "/bgp"

// Annotations of Services of type LoadBalancer. What they ask for is separated by commas, at most one a family.
const (
	// AnnotationLoadBalancerIPs asks for addresses.
	AnnotationLoadBalancerIPs = Group + "/load-balancer-ips"
	// AnnotationLoadBalancerPool asks for addresses of these AddressPools.
	AnnotationLoadBalancerPool = Group + "/load-balancer-pool"
	// AnnotationSharingKey: Services of a namespace with one key may have one address.
	AnnotationSharingKey = Group + "/sharing-key"
	// AnnotationGiven is podroute's own note of the addresses that it has given.
	AnnotationGiven = Group + "/load-balancer-given"
)

// Types of conditions where load balancers are concerned.
const (
	// ConditionLoadBalancer of a Service: it has the addresses that it should have.
	ConditionLoadBalancer = Group + "/LoadBalancer"
	// ConditionFree of an AddressPool for load balancers: it has addresses for Services to come.
	ConditionFree = "Free"
)

// Serves tells whether Services of type LoadBalancer with this class are given addresses.
func (s LoadBalancersSpec) Serves(class string) bool {
	return class == LoadBalancerClass || class == "" && !s.RequireClass
}
