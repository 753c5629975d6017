package config

import (
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Labels and annotations of others that podroute heeds where services are concerned.
const (
	// AnnotationAdvertise on a Service says which of its addresses may be advertised: "false" none, "true" those that
	// Advertisements name, or kinds of addresses separated by commas: only these of them.
	AnnotationAdvertise = Group + "/advertise"
	// LabelExcludeNode on a Node, whatever its value, keeps service addresses from being advertised there. It is
	// Kubernetes' own (KEP-1143).
	LabelExcludeNode = "node.kubernetes.io/exclude-from-external-load-balancers"
	// labelServiceName on an EndpointSlice names its Service.
	labelServiceName = "kubernetes.io/service-name"
)

// ServiceAddress is a kind of address of a Service.
type ServiceAddress string

// Kinds of addresses of a Service.
const (
	LoadBalancerAddress ServiceAddress = "LoadBalancer" // status.loadBalancer.ingress, but for ipMode Proxy
	ExternalAddress     ServiceAddress = "ExternalIP"   // spec.externalIPs
	ClusterAddress      ServiceAddress = "ClusterIP"    // spec.clusterIPs
)

// DefaultServiceDelay is twice the shortest time between two updates of kube-proxy's rules (minSyncPeriod).
const DefaultServiceDelay = 2 * time.Second

// ServiceAdvertisement selects addresses of Services.
//
// +kubebuilder:object:generate=true
type ServiceAdvertisement struct {
	// Addresses are the kinds that are advertised: LoadBalancer, ExternalIP, ClusterIP.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	// +listType=set
	// +kubebuilder:validation:items:Enum=LoadBalancer;ExternalIP;ClusterIP
	Addresses []ServiceAddress `json:"addresses"`
	// Selector selects Services by their labels. Absent: all.
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// OptIn: of these only the Services whose annotation podroute.io/advertise asks for it.
	OptIn bool `json:"optIn,omitempty"`
	// Delay is how long an address has been served before a node advertises it, 0 s to 60 s: kube-proxy takes a moment
	// to learn of an endpoint, too. Default 2 s.
	// +kubebuilder:validation:XValidation:rule="(duration(self) >= duration('0s') && duration(self) <= duration('60s') && duration(self).getMilliseconds() % 1000 == 0)",message="must be whole seconds, 0s to 60s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	Delay *metav1.Duration `json:"delay,omitempty"`
}

// Service is what podroute needs of a v1 Service and of its EndpointSlices.
type Service struct {
	Namespace, Name string
	Labels          map[string]string
	// Annotations hold AnnotationAdvertise, if anything.
	Annotations map[string]string
	// Type is ClusterIP, NodePort, LoadBalancer or ExternalName.
	Type string
	// LoadBalancerClass of a Service of type LoadBalancer, empty for the cluster's default.
	LoadBalancerClass string
	// ClusterIPs are none where the Service is headless; ExternalIPs as written; IngressIPs those of its load
	// balancer that packets keep as their destination (ipMode VIP, or none).
	ClusterIPs, ExternalIPs, IngressIPs []netip.Addr
	// ExternalLocal and InternalLocal: the traffic policy Local, for ExternalIPs and IngressIPs, and for ClusterIPs.
	ExternalLocal, InternalLocal bool
	// IPv4 and IPv6 are the endpoints of each family: kube-proxy translates within one.
	IPv4, IPv6 Endpoints
}

// Endpoints say where a Service is served in one family, as kube-proxy sees it: by the nodes' names, sorted, each once.
// A name is empty where it is not known, or where nobody has a use for it: config/kube tells its own node only from the
// others, and a Snapshot tells no nodes where no policy is Local.
type Endpoints struct {
	// Ready are the nodes with endpoints that are ready and not terminating.
	Ready []string
	// Terminating are the nodes with endpoints that serve while they terminate; kube-proxy uses these where
	// no others are ready.
	Terminating []string
}

// Serving tells whether anybody serves, be it while terminating.
func (e Endpoints) Serving() bool { return len(e.Ready)+len(e.Terminating) > 0 }

// ReadyOn tells whether a node has an endpoint that is ready and not terminating.
func (e Endpoints) ReadyOn(node string) bool { return slices.Contains(e.Ready, node) }

// EndpointSlice is what podroute needs of a discovery.k8s.io/v1 EndpointSlice.
type EndpointSlice struct {
	Namespace, Name string
	// Service is the name of its Service, in the same namespace.
	Service string
	// Family of its addresses.
	Family string
	Endpoints
}

// Endpoints are those of a family.
func (s Service) Endpoints(family string) Endpoints {
	if family == FamilyIPv4 {
		return s.IPv4
	}
	return s.IPv6
}

// Addresses are those of a kind.
func (s Service) Addresses(kind ServiceAddress) []netip.Addr {
	switch kind {
	case LoadBalancerAddress:
		return s.IngressIPs
	case ExternalAddress:
		return s.ExternalIPs
	}
	return s.ClusterIPs
}

// Local tells whether the traffic policy for addresses of a kind is Local.
func (s Service) Local(kind ServiceAddress) bool {
	if kind == ClusterAddress {
		return s.InternalLocal
	}
	return s.ExternalLocal
}

// Key is namespace/name.
func (s Service) Key() string { return s.Namespace + "/" + s.Name }
