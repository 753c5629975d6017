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
	// ClusterID is the reflectors' cluster ID, in dotted form. Default: each reflector's router ID.
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^(\d{1,3}\.){3}\d{1,3}$`
	ClusterID string `json:"clusterID,omitempty"`
	// RouterSelector selects the nodes that are plain routers (role Router): they install and
	// re-advertise what they accept. All others are Nodes, which never transit.
	RouterSelector *metav1.LabelSelector `json:"routerSelector,omitempty"`
	// PodSubnets is Node (default) or Pool.
	// +kubebuilder:validation:Enum=Node;Pool
	PodSubnets SubnetSource `json:"podSubnets,omitempty"`
	// ClusterCIDRs are the ranges that all pod addresses lie in.
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	ClusterCIDRs []string `json:"clusterCIDRs,omitempty"`
	// NodeCIDRs are the ranges that the nodes' own addresses lie in.
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	NodeCIDRs []string `json:"nodeCIDRs,omitempty"`
	// ServiceCIDRs are the ranges of ClusterIPs; never imported, never overlapping pod ranges.
	// +kubebuilder:validation:MaxItems=64
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
	// MTU of pod interfaces in bytes, 1280 to 65535. Default: the smallest uplink's.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="self == 0 || self >= 1280",message="must be at least 1280"
	MTU int32 `json:"mtu,omitempty"`
	// AcceptedPrefixLengths bounds the lengths of prefixes that are accepted inside ClusterCIDRs.
	AcceptedPrefixLengths AcceptedLengths `json:"acceptedPrefixLengths,omitempty"`
	// Readiness is the policy that must hold before a node counts as ready.
	Readiness ReadinessSpec `json:"readiness,omitempty"`
	// BlockQuarantine is how long the blocks of a node that no longer exists stay its own after the last sign of
	// it, 1 min to 30 days. Default 1 h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	BlockQuarantine *metav1.Duration `json:"blockQuarantine,omitempty"`
}

// MasqueradeSpec says whose source address pod traffic has that leaves the cluster: the node's.
//
// +kubebuilder:object:generate=true
type MasqueradeSpec struct {
	// Disabled turns masquerading off, for networks that route pod addresses everywhere.
	Disabled bool `json:"disabled,omitempty"`
	// Exclude are destinations reached with the pod's own address, besides ClusterCIDRs, NodeCIDRs
	// and ServiceCIDRs.
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	Exclude []string `json:"exclude,omitempty"`
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

// BGPPeer is a BGP neighbour of the nodes that it selects.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=podroute,shortName=bgpp
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Address,type=string,JSONPath=`.spec.address`
// +kubebuilder:printcolumn:name=AS,type=string,JSONPath=`.spec.asNumber`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].message`,priority=1
type BGPPeer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   BGPPeerSpec `json:"spec,omitempty"`
	Status Status      `json:"status,omitempty"`
}

// Families of addresses that a session carries.
const (
	FamilyIPv4 = "IPv4"
	FamilyIPv6 = "IPv6"
)

// BGPPeerSpec is one neighbour. Exactly one of Address, Gateway and Interface is set.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="(has(self.address) && size(self.address) > 0 ? 1 : 0) + (has(self.gateway) && size(self.gateway) > 0 ? 1 : 0) + (has(self.interface) && size(self.interface) > 0 ? 1 : 0) == 1",message="exactly one of address, gateway and interface must be set"
// +kubebuilder:validation:XValidation:rule="!(has(self.multihopTTL) && self.multihopTTL != 0 && has(self.ttlSecurity) && self.ttlSecurity != 0)",message="ttlSecurity excludes multihopTTL (RFC 5082)"
// +kubebuilder:validation:XValidation:rule="!(has(self.localAS) && self.localAS != 0 && self.asNumber == 'internal')",message="localAS excludes asNumber internal"
type BGPPeerSpec struct {
	// NodeSelector selects the nodes that have this peer. Absent: all.
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// Address of the neighbour; a link-local one carries its zone (fe80::1%eth0).
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || isIP(self.split('%')[0])",message="must be an IP address; a link-local one carries its zone, as in fe80::1%eth0"
	Address string `json:"address,omitempty"`
	// Gateway peers with the node's default gateway of that family: IPv4 or IPv6. (not yet served)
	// +kubebuilder:validation:MaxLength=4
	Gateway string `json:"gateway,omitempty"`
	// Interface peers over a link without addresses (unnumbered). (not yet served)
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface,omitempty"`
	// ASNumber of the neighbour: a number, "external" or "internal". Only numbers and "internal" are served yet.
	ASNumber ASNumber `json:"asNumber"`
	// LocalAS replaces our own AS number towards this neighbour.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:XValidation:rule="!(self in [23456, 65535, 4294967295])",message="is reserved (RFC 6793, RFC 7300)"
	LocalAS uint32 `json:"localAS,omitempty"`
	// Port of the neighbour. Default 179.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// Password for TCP MD5 (RFC 2385).
	Password *PasswordSource `json:"password,omitempty"`
	// SourceAddress is the local end of the session.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || isIP(self.split('%')[0])",message="must be an IP address"
	SourceAddress string `json:"sourceAddress,omitempty"`
	// Passive waits for the neighbour to connect.
	Passive bool `json:"passive,omitempty"`
	// MultihopTTL allows a neighbour that is not on a connected link, 2 to 255. Excludes TTLSecurity.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	// +kubebuilder:validation:XValidation:rule="self != 1",message="must be 2 to 255"
	MultihopTTL int32 `json:"multihopTTL,omitempty"`
	// TTLSecurity (RFC 5082) accepts packets only of a neighbour at most this many hops away, 1 to 254.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=254
	TTLSecurity int32 `json:"ttlSecurity,omitempty"`
	// Timers of the session.
	Timers *PeerTimers `json:"timers,omitempty"`
	// Families that the session carries. Default: both, as far as the node has addresses of them.
	// +kubebuilder:validation:MaxItems=2
	// +listType=set
	// +kubebuilder:validation:items:Enum=IPv4;IPv6
	Families []string `json:"families,omitempty"`
	// Import adds to what is accepted from this neighbour, or takes away.
	Import *PrefixFilter `json:"import,omitempty"`
	// Export takes away from what is sent to this neighbour.
	Export *PrefixFilter `json:"export,omitempty"`
	// MaxPrefixes a family that the neighbour may send before its session is ended. Default 10000 on
	// Nodes, 500000 on Routers.
	// +kubebuilder:validation:Minimum=0
	MaxPrefixes int32 `json:"maxPrefixes,omitempty"`
	// GracefulRestart overrides RouterConfig's for this neighbour.
	GracefulRestart *bool `json:"gracefulRestart,omitempty"`
	// AllowOwnAS accepts routes whose AS path holds our own AS number up to this many times, 0 to 10.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	AllowOwnAS int32 `json:"allowOwnAS,omitempty"`
	// ReflectorClient makes the neighbour a client of ours (RFC 4456).
	ReflectorClient bool `json:"reflectorClient,omitempty"`
}

// PeerTimers of a session (RFC 4271 section 4.2 and 10).
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="!(has(self.hold) && has(self.keepalive)) || (duration(self.hold) == duration('0s') ? duration(self.keepalive) == duration('0s') : duration(self.keepalive) >= duration('1s') && duration(self.keepalive) < duration(self.hold))",message="keepalive must be at least 1s and less than hold"
type PeerTimers struct {
	// Hold time, 0 or 3 s to 65535 s. Default 90 s.
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration('0s') || (duration(self) >= duration('3s') && duration(self) <= duration('65535s') && duration(self).getMilliseconds() % 1000 == 0)",message="must be whole seconds, 3s to 65535s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	Hold *metav1.Duration `json:"hold,omitempty"`
	// Keepalive interval. Default a third of Hold.
	// +kubebuilder:validation:XValidation:rule="(duration(self) >= duration('0s') && duration(self) <= duration('65535s') && duration(self).getMilliseconds() % 1000 == 0)",message="must be whole seconds, 0s to 65535s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	Keepalive *metav1.Duration `json:"keepalive,omitempty"`
}

// PasswordSource is a key of a Secret, or a file. Exactly one is set.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="has(self.secretRef) != (has(self.file) && size(self.file) > 0)",message="exactly one of secretRef and file must be set"
type PasswordSource struct {
	SecretRef *SecretKeyRef `json:"secretRef,omitempty"`
	// File, absolute or relative to the folder of manifests, is read anew whenever it changes; a
	// newline at its end is not part of the password.
	// +kubebuilder:validation:MaxLength=4096
	File string `json:"file,omitempty"`
}

// SecretKeyRef names a key of a Secret.
//
// +kubebuilder:object:generate=true
type SecretKeyRef struct {
	// Namespace, default kube-system.
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key, default "password".
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// PrefixFilter accepts and rejects prefixes. Reject wins. On import, Accept adds to what is accepted
// anyway (prefixes inside ClusterCIDRs); on export, an empty Accept means everything.
//
// +kubebuilder:object:generate=true
type PrefixFilter struct {
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Accept []PrefixRange `json:"accept,omitempty"`
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Reject []PrefixRange `json:"reject,omitempty"`
}

// PrefixRange is a set of prefixes: those inside CIDR whose length is between GE and LE.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="!has(self.ge) || self.ge == 0 || !has(self.le) || self.le == 0 || self.ge <= self.le",message="ge must not be larger than le"
type PrefixRange struct {
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	CIDR string `json:"cidr"`
	// GE, default the length of CIDR.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	GE int32 `json:"ge,omitempty"`
	// LE, default the larger of GE and the length of CIDR: without both, the prefix itself only.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	LE int32 `json:"le,omitempty"`
}

// PoolUse is what the addresses of a pool are for.
type PoolUse string

// Uses of a pool.
const (
	UsePods          PoolUse = "pods"
	UseLoadBalancers PoolUse = "loadBalancers"
)

// AddressPool is a range that blocks are cut from.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=podroute,shortName=apool
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=CIDR,type=string,JSONPath=`.spec.cidr`
// +kubebuilder:printcolumn:name=Block,type=integer,JSONPath=`.spec.blockSize`
// +kubebuilder:printcolumn:name=Use,type=string,JSONPath=`.spec.use`,priority=1
// +kubebuilder:printcolumn:name=Disabled,type=boolean,JSONPath=`.spec.disabled`,priority=1
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].message`,priority=1
type AddressPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AddressPoolSpec `json:"spec,omitempty"`
	Status Status          `json:"status,omitempty"`
}

// AddressPoolSpec says what the range is for. CIDR and BlockSize never change.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="(has(self.blockSize) ? self.blockSize : 0) == (has(oldSelf.blockSize) ? oldSelf.blockSize : 0)",message="blockSize must not change: write a pool of another name"
type AddressPoolSpec struct {
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="must not change: write a pool of another name"
	CIDR string `json:"cidr"`
	// BlockSize is the length of a block's prefix in bits. Default 26 for IPv4, 122 for IPv6.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=126
	BlockSize int32 `json:"blockSize,omitempty"`
	// NodeSelector selects the nodes that may own blocks.
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// NamespaceSelector selects the namespaces whose pods get addresses of this pool. Their pods get addresses
	// of that family from no other pool. Absent: the pool is for all other pods.
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// TopologyKey is a node label, podroute.io/rack for instance: the pool is cut into one range per value of the
	// label, and a node claims blocks of its own value's range only, so that a rack has one aggregate, which is
	// the routers' to originate.
	// +kubebuilder:validation:MaxLength=317
	TopologyKey string `json:"topologyKey,omitempty"`
	// TopologySize is the length of a range's prefix in bits, with TopologyKey.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=126
	TopologySize int32 `json:"topologySize,omitempty"`
	// Exclusions are sub-ranges that no address is given from and no block claimed in.
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	Exclusions []string `json:"exclusions,omitempty"`
	// Reservations are sub-ranges whose addresses are given only to pods that ask for them (AnnotationAddresses).
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	Reservations []string `json:"reservations,omitempty"`
	// Use is what the addresses are for: pods (default). loadBalancers is not yet served.
	Use PoolUse `json:"use,omitempty"`
	// Disabled stops claims; blocks in use stay, and give addresses only while no other pool has any.
	Disabled bool `json:"disabled,omitempty"`
}

// AddressBlock is a block of a pool owned by one node, or the range of one rack. Its name is its CIDR
// written as an object name (10-0-0-0-26; IPv6 expanded in full): that no two objects have one name is
// what makes ownership exclusive.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=podroute,shortName=ablock
// +kubebuilder:printcolumn:name=CIDR,type=string,JSONPath=`.spec.cidr`
// +kubebuilder:printcolumn:name=Node,type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name=Value,type=string,JSONPath=`.spec.topologyValue`,priority=1
// +kubebuilder:printcolumn:name=Pool,type=string,JSONPath=`.spec.pool`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == self.spec.cidr.replace('.', '-').replace('/', '-') || (self.metadata.name.matches('^([0-9a-f]{4}-){8}[0-9]{1,3}$') && isCIDR(self.metadata.name.substring(0, 39).replace('-', ':') + '/' + self.metadata.name.substring(40)) && cidr(self.metadata.name.substring(0, 39).replace('-', ':') + '/' + self.metadata.name.substring(40)) == cidr(self.spec.cidr))",message="must be named as its CIDR: 10-0-0-0-26 for 10.0.0.0/26; IPv6 with all digits"
type AddressBlock struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AddressBlockSpec `json:"spec,omitempty"`
}

// AddressBlockSpec says whose block it is.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a block does not change: delete it, and write another"
// +kubebuilder:validation:XValidation:rule="(has(self.node) && size(self.node) > 0 ? 1 : 0) + (has(self.topologyValue) && size(self.topologyValue) > 0 ? 1 : 0) == 1",message="exactly one of node and topologyValue must be set"
type AddressBlockSpec struct {
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	CIDR string `json:"cidr"`
	// Node that owns the block. Exactly one of Node and TopologyValue is set, and neither changes.
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
	// +kubebuilder:validation:MaxLength=253
	Pool string `json:"pool,omitempty"`
	// TopologyValue makes the object a range of a pool with TopologyKey: only nodes with this value claim
	// blocks in it.
	// +kubebuilder:validation:MaxLength=63
	TopologyValue string `json:"topologyValue,omitempty"`
}

// Advertisement says what the selected nodes advertise besides their pod subnets, or with which
// attributes.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=podroute,shortName=adv
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Pods,type=boolean,JSONPath=`.spec.podSubnets`
// +kubebuilder:printcolumn:name=Prefixes,type=string,JSONPath=`.spec.prefixes`
// +kubebuilder:printcolumn:name=Peers,type=string,JSONPath=`.spec.peers`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].message`,priority=1
type Advertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AdvertisementSpec `json:"spec,omitempty"`
	Status Status            `json:"status,omitempty"`
}

// AdvertisementSpec names prefixes and what goes with them.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="(has(self.podSubnets) && self.podSubnets) || (has(self.nodeAddresses) && self.nodeAddresses) || (has(self.connected) && size(self.connected) > 0) || (has(self.prefixes) && size(self.prefixes) > 0)",message="advertises nothing: set one of podSubnets, nodeAddresses, connected, prefixes"
type AdvertisementSpec struct {
	// NodeSelector selects the nodes that advertise. Absent: all.
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// Peers are names of the BGPPeers that are told. Empty: all.
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Peers []string `json:"peers,omitempty"`
	// PodSubnets applies the attributes below to the node's own pod subnets.
	PodSubnets bool `json:"podSubnets,omitempty"`
	// NodeAddresses advertises the node's own addresses (/32, /128), for nodes that have them on loopback.
	NodeAddresses bool `json:"nodeAddresses,omitempty"`
	// Connected advertises the prefixes of the node's links that lie in these ranges.
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	Connected []string `json:"connected,omitempty"`
	// Prefixes are advertised as they stand.
	// +kubebuilder:validation:MaxItems=1000
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	Prefixes []string `json:"prefixes,omitempty"`
	// Communities (RFC 1997, "64512:100" or a well-known name) and large communities (RFC 8092, "1:2:3").
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +kubebuilder:validation:items:Pattern=`^(no-export|no-advertise|no-export-subconfed|no-peer|blackhole|graceful-shutdown|\d{1,10}(:\d{1,10}){1,2})$`
	Communities []string `json:"communities,omitempty"`
	// LocalPref and MED (RFC 4271 section 5.1.4 and 5.1.5).
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	LocalPref *uint32 `json:"localPref,omitempty"`
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	MED *uint32 `json:"med,omitempty"`
	// Prepend repeats our AS number this many times, 0 to 16.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16
	Prepend int32 `json:"prepend,omitempty"`
}
