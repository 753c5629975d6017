// Package markers of controller-gen.
// +groupName=podroute.io
// +versionName=v1alpha1

package config

//go:generate controller-gen object crd paths=. output:crd:dir=../deploy/crds

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Group and Version of the kinds in this package.
const (
	Group      = "podroute.io"
	Version    = "v1alpha1"
	APIVersion = Group + "/" + Version
)

// Labels and annotations that podroute reads on Nodes.
const (
	// LabelRack names the rack a node stands in; only routers originate a rack's aggregate.
	LabelRack = "podroute.io/rack"
	// AnnotationAS, as an annotation or a label, overrides RouterConfig's AS number for one node.
	AnnotationAS = "podroute.io/as-number"
	// AnnotationAddresses on a Pod asks for addresses, at most one a family, separated by commas.
	AnnotationAddresses = "podroute.io/addresses"
	// TaintNotReady keeps pods from a node until podroute serves it; kubelet registers the node with it.
	TaintNotReady = "podroute.io/not-ready"
	// AnnotationRouterID overrides a node's router ID (RFC 4271 section 1.1), in dotted form.
	AnnotationRouterID = "podroute.io/router-id"
	// AnnotationDrain on a Node, "true", asks the neighbours to use other ways than through it (RFC 8326).
	AnnotationDrain = "podroute.io/drain"
)

// RouterConfig is the cluster's routing configuration: one object, named "default". Without it the
// defaults below hold: AS 64512, full mesh, pod subnets from the Node objects.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=podroute,shortName=rcfg
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=AS,type=integer,JSONPath=`.spec.asNumber`
// +kubebuilder:printcolumn:name=Mesh,type=string,JSONPath=`.spec.mesh`
// +kubebuilder:printcolumn:name=Subnets,type=string,JSONPath=`.spec.podSubnets`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].message`,priority=1
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'default'",message="there is one RouterConfig: name it default"
type RouterConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   RouterConfigSpec `json:"spec,omitempty"`
	Status Status           `json:"status,omitempty"`
}

// Mesh says which nodes peer with one another by themselves.
type Mesh string

// Meshes.
const (
	MeshFull       Mesh = "Full"       // every node with every node (iBGP); up to about 100 nodes
	MeshReflectors Mesh = "Reflectors" // every node with the reflectors (RFC 4456), reflectors with each other
	MeshNone       Mesh = "None"       // only BGPPeers; needs ClusterCIDRs and NodeCIDRs
)

// SubnetSource says where a node's pod subnets come from.
type SubnetSource string

// Sources of pod subnets.
const (
	SubnetsFromNode SubnetSource = "Node" // node.spec.podCIDRs
	SubnetsFromPool SubnetSource = "Pool" // AddressBlocks of AddressPools
)

// RouterConfigSpec holds what applies to every node.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="!has(self.mesh) || self.mesh != 'None' || (has(self.clusterCIDRs) && size(self.clusterCIDRs) > 0 && has(self.nodeCIDRs) && size(self.nodeCIDRs) > 0)",message="mesh None needs clusterCIDRs and nodeCIDRs: a node does not see the others"
// +kubebuilder:validation:XValidation:rule="(has(self.mesh) && self.mesh == 'Reflectors') == has(self.reflectorSelector)",message="reflectorSelector goes with mesh Reflectors, and with no other"
// +kubebuilder:validation:XValidation:rule="!has(self.meshBFD) || !has(self.mesh) || self.mesh != 'None'",message="meshBFD has no effect with mesh None: BGPPeers have bfd"
type RouterConfigSpec struct {
	// ASNumber is the nodes' autonomous system, 1 to 4294967294. Default 64512.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:XValidation:rule="!(self in [23456, 65535, 4294967295])",message="is reserved (RFC 6793, RFC 7300)"
	ASNumber uint32 `json:"asNumber,omitempty"`
	// Mesh is Full (default), Reflectors or None.
	// +kubebuilder:validation:Enum=Full;Reflectors;None
	Mesh Mesh `json:"mesh,omitempty"`
	// ReflectorSelector selects the nodes that reflect routes, with mesh Reflectors.
	ReflectorSelector *metav1.LabelSelector `json:"reflectorSelector,omitempty"`
	// MeshBFD has the nodes of a mesh watch each other's liveness (RFC 5880, RFC 5881). Default: off.
	MeshBFD *BFDTimers `json:"meshBFD,omitempty"`
	// ClusterID is the reflectors' cluster ID, in dotted form. Default: each reflector's router ID.
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^(\d{1,3}\.){3}\d{1,3}$`
	ClusterID string `json:"clusterID,omitempty"`
	// ReflectBestOnly has the reflectors of the mesh tell the nodes the best path to a prefix only, and not all (RFC 7911).
	ReflectBestOnly bool `json:"reflectBestOnly,omitempty"`
	// RouterSelector selects the nodes that are plain routers (role Router): they install and
	// re-advertise what they accept. All others are Nodes, which never transit.
	RouterSelector *metav1.LabelSelector `json:"routerSelector,omitempty"`
	// PodSubnets is Node (default) or Pool.
	// +kubebuilder:validation:Enum=Node;Pool
	PodSubnets SubnetSource `json:"podSubnets,omitempty"`
	// ClusterCIDRs are the ranges that all pod addresses lie in.
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	ClusterCIDRs []string `json:"clusterCIDRs,omitempty"`
	// NodeCIDRs are the ranges that the nodes' own addresses lie in.
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	NodeCIDRs []string `json:"nodeCIDRs,omitempty"`
	// ServiceCIDRs are the ranges of ClusterIPs; never imported, never overlapping pod ranges.
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	ServiceCIDRs []string `json:"serviceCIDRs,omitempty"`
	// Masquerade says what happens to pod traffic that leaves the cluster.
	Masquerade MasqueradeSpec `json:"masquerade,omitempty"`
	// ListenPort is the TCP port of the BGP listener, 1 to 65535, or -1 for no listener. Default 179.
	// +kubebuilder:validation:XValidation:rule="self == -1 || (self >= 0 && self <= 65535)",message="must be a TCP port, or -1 for none"
	ListenPort int32 `json:"listenPort,omitempty"`
	// MaxPaths is the largest number of equal-cost paths of a route, 1 to 256. Default 64.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=256
	MaxPaths int32 `json:"maxPaths,omitempty"`
	// GracefulRestart (RFC 4724) for all peers that do not say otherwise.
	GracefulRestart *GracefulRestartSpec `json:"gracefulRestart,omitempty"`
	// FlapDamping holds back the routes of peers that come and go, for all peers that do not say otherwise.
	FlapDamping *FlapDampingSpec `json:"flapDamping,omitempty"`
	// MTU of pod interfaces in bytes, 1280 to 65535. Default: the smallest uplink's.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="self == 0 || self >= 1280",message="must be at least 1280"
	MTU int32 `json:"mtu,omitempty"`
	// AcceptedPrefixLengths bounds the lengths of prefixes that are accepted inside ClusterCIDRs.
	AcceptedPrefixLengths AcceptedLengths `json:"acceptedPrefixLengths,omitempty"`
	// BMP are monitoring stations that hear what the nodes' neighbours say (RFC 7854).
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	BMP []BMPStation `json:"bmp,omitempty"`
	// Readiness is the policy that must hold before a node counts as ready.
	Readiness ReadinessSpec `json:"readiness,omitempty"`
	// BlockQuarantine is how long the blocks of a node that no longer exists stay its own after the last sign of
	// it, 1 min to 30 days. Default 1 h.
	// +kubebuilder:validation:XValidation:rule="(duration(self) >= duration('60s') && duration(self) <= duration('2592000s') && duration(self).getMilliseconds() % 1000 == 0)",message="must be whole seconds, 60s to 2592000s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	BlockQuarantine *metav1.Duration `json:"blockQuarantine,omitempty"`
	// LoadBalancers says which Services get addresses of pools with use loadBalancers.
	LoadBalancers LoadBalancersSpec `json:"loadBalancers,omitempty"`
	// Drain says when nodes are drained by themselves, and how long that may take.
	Drain *DrainSpec `json:"drain,omitempty"`
	// ResilientHashing is how routers (role Router) spread flows to service addresses. On unless it is disabled.
	ResilientHashing *ResilientHashingSpec `json:"resilientHashing,omitempty"`
}

// LoadBalancersSpec says which Services of type LoadBalancer are ours.
//
// +kubebuilder:object:generate=true
type LoadBalancersSpec struct {
	// RequireClass: only those with the loadBalancerClass podroute.io/bgp. Without it those without a class, too.
	RequireClass bool `json:"requireClass,omitempty"`
}

// MasqueradeSpec says whose source address pod traffic has that leaves the cluster: the node's.
//
// +kubebuilder:object:generate=true
type MasqueradeSpec struct {
	// Disabled turns masquerading off, for networks that route pod addresses everywhere.
	Disabled bool `json:"disabled,omitempty"`
	// Exclude are destinations reached with the pod's own address, besides ClusterCIDRs, NodeCIDRs
	// and ServiceCIDRs.
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	Exclude []string `json:"exclude,omitempty"`
}

// FlapDampingSpec configures what is made of peers that come and go.
//
// +kubebuilder:object:generate=true
type FlapDampingSpec struct {
	// Disabled uses the routes of every peer at once.
	Disabled bool `json:"disabled,omitempty"`
}

// GracefulRestartSpec configures RFC 4724.
//
// +kubebuilder:object:generate=true
type GracefulRestartSpec struct {
	// Disabled turns graceful restart off.
	Disabled bool `json:"disabled,omitempty"`
	// RestartTime is how long a peer keeps our routes while we restart, 1 s to 4095 s. Default 120 s.
	// +kubebuilder:validation:XValidation:rule="(duration(self) >= duration('1s') && duration(self) <= duration('4095s') && duration(self).getMilliseconds() % 1000 == 0)",message="must be whole seconds, 1s to 4095s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	RestartTime *metav1.Duration `json:"restartTime,omitempty"`
	// Deferral is how long we wait, after a restart, for the peers' End-of-RIB before stale routes
	// are removed, 1 s to 360 s. Default 10 s.
	// +kubebuilder:validation:XValidation:rule="(duration(self) >= duration('1s') && duration(self) <= duration('360s') && duration(self).getMilliseconds() % 1000 == 0)",message="must be whole seconds, 1s to 360s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	Deferral *metav1.Duration `json:"deferral,omitempty"`
	// LongLivedStaleTime is how long routes are kept, as the last choice, after the restart time (RFC 9494): ours by the peers, and
	// theirs by us, 1 s to 16777215 s. Default: they are not.
	// +kubebuilder:validation:XValidation:rule="(duration(self) >= duration('1s') && duration(self) <= duration('16777215s') && duration(self).getMilliseconds() % 1000 == 0)",message="must be whole seconds, 1s to 16777215s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	LongLivedStaleTime *metav1.Duration `json:"longLivedStaleTime,omitempty"`
}

// AcceptedLengths bounds prefix lengths for each address family.
//
// +kubebuilder:object:generate=true
type AcceptedLengths struct {
	// IPv4, default 16 to 32.
	// +kubebuilder:validation:XValidation:rule="self.max <= 32",message="must be at most 32 bits"
	IPv4 *LengthRange `json:"ipv4,omitempty"`
	// IPv6, default 32 to 128.
	IPv6 *LengthRange `json:"ipv6,omitempty"`
}

// LengthRange is an inclusive range of prefix lengths in bits.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="self.min <= self.max",message="min must not be larger than max"
type LengthRange struct {
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	Min int32 `json:"min"`
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	Max int32 `json:"max"`
}

// ReadinessSpec says when a node is ready to carry pods.
//
// +kubebuilder:object:generate=true
type ReadinessSpec struct {
	// MinSessions is how many sessions must be established. Default: half of those configured, rounded up.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	MinSessions *int32 `json:"minSessions,omitempty"`
}
