// Package markers of controller-gen.
// +groupName=podroute.io
// +versionName=v1alpha1

package config

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
type RouterConfigSpec struct {
	// ASNumber is the nodes' autonomous system, 1 to 4294967294. Default 64512.
	ASNumber uint32 `json:"asNumber,omitempty"`
	// Mesh is Full (default), Reflectors or None.
	Mesh Mesh `json:"mesh,omitempty"`
	// ReflectorSelector selects the nodes that reflect routes, with mesh Reflectors.
	ReflectorSelector *metav1.LabelSelector `json:"reflectorSelector,omitempty"`
	// ClusterID is the reflectors' cluster ID, in dotted form. Default: each reflector's router ID.
	ClusterID string `json:"clusterID,omitempty"`
	// RouterSelector selects the nodes that are plain routers (role Router): they install and
	// re-advertise what they accept. All others are Nodes, which never transit.
	RouterSelector *metav1.LabelSelector `json:"routerSelector,omitempty"`
	// PodSubnets is Node (default) or Pool.
	PodSubnets SubnetSource `json:"podSubnets,omitempty"`
	// ClusterCIDRs are the ranges that all pod addresses lie in.
	ClusterCIDRs []string `json:"clusterCIDRs,omitempty"`
	// NodeCIDRs are the ranges that the nodes' own addresses lie in.
	NodeCIDRs []string `json:"nodeCIDRs,omitempty"`
	// ServiceCIDRs are the ranges of ClusterIPs; never imported, never overlapping pod ranges.
	ServiceCIDRs []string `json:"serviceCIDRs,omitempty"`
	// Masquerade says what happens to pod traffic that leaves the cluster.
	Masquerade MasqueradeSpec `json:"masquerade,omitempty"`
	// ListenPort is the TCP port of the BGP listener, 1 to 65535, or -1 for no listener. Default 179.
	ListenPort int32 `json:"listenPort,omitempty"`
	// MaxPaths is the largest number of equal-cost paths of a route, 1 to 256. Default 64.
	MaxPaths int32 `json:"maxPaths,omitempty"`
	// GracefulRestart (RFC 4724) for all peers that do not say otherwise.
	GracefulRestart *GracefulRestartSpec `json:"gracefulRestart,omitempty"`
	// MTU of pod interfaces in bytes, 1280 to 65535. Default: the smallest uplink's.
	MTU int32 `json:"mtu,omitempty"`
	// AcceptedPrefixLengths bounds the lengths of prefixes that are accepted inside ClusterCIDRs.
	AcceptedPrefixLengths AcceptedLengths `json:"acceptedPrefixLengths,omitempty"`
	// Readiness is the policy that must hold before a node counts as ready.
	Readiness ReadinessSpec `json:"readiness,omitempty"`
	// BlockQuarantine is how long the blocks of a node that no longer exists stay its own after the last sign of
	// it, 1 min to 30 days. Default 1 h.
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
	Exclude []string `json:"exclude,omitempty"`
}

// GracefulRestartSpec configures RFC 4724.
//
// +kubebuilder:object:generate=true
type GracefulRestartSpec struct {
	// Disabled turns graceful restart off.
	Disabled bool `json:"disabled,omitempty"`
	// RestartTime is how long a peer keeps our routes while we restart, 1 s to 4095 s. Default 120 s.
	RestartTime *metav1.Duration `json:"restartTime,omitempty"`
	// Deferral is how long we wait, after a restart, for the peers' End-of-RIB before stale routes
	// are removed, 1 s to 360 s. Default 10 s.
	Deferral *metav1.Duration `json:"deferral,omitempty"`
}

// AcceptedLengths bounds prefix lengths for each address family.
//
// +kubebuilder:object:generate=true
type AcceptedLengths struct {
	// IPv4, default 16 to 32.
	IPv4 *LengthRange `json:"ipv4,omitempty"`
	// IPv6, default 32 to 128.
	IPv6 *LengthRange `json:"ipv6,omitempty"`
}

// LengthRange is an inclusive range of prefix lengths in bits.
//
// +kubebuilder:object:generate=true
type LengthRange struct {
	Min int32 `json:"min"`
	Max int32 `json:"max"`
}

// ReadinessSpec says when a node is ready to carry pods.
//
// +kubebuilder:object:generate=true
type ReadinessSpec struct {
	// MinSessions is how many sessions must be established. Default: more than half of those configured.
	MinSessions *int32 `json:"minSessions,omitempty"`
}

// BGPPeer is a BGP neighbour of the nodes that it selects.
//
// +kubebuilder:object:root=true
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
type BGPPeerSpec struct {
	// NodeSelector selects the nodes that have this peer. Absent: all.
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// Address of the neighbour; a link-local one carries its zone (fe80::1%eth0).
	Address string `json:"address,omitempty"`
	// Gateway peers with the node's default gateway of that family: IPv4 or IPv6. (not yet served)
	Gateway string `json:"gateway,omitempty"`
	// Interface peers over a link without addresses (unnumbered). (not yet served)
	Interface string `json:"interface,omitempty"`
	// ASNumber of the neighbour: a number, "external" or "internal". Only numbers and "internal" are served yet.
	ASNumber ASNumber `json:"asNumber"`
	// LocalAS replaces our own AS number towards this neighbour.
	LocalAS uint32 `json:"localAS,omitempty"`
	// Port of the neighbour. Default 179.
	Port int32 `json:"port,omitempty"`
	// Password for TCP MD5 (RFC 2385).
	Password *PasswordSource `json:"password,omitempty"`
	// SourceAddress is the local end of the session.
	SourceAddress string `json:"sourceAddress,omitempty"`
	// Passive waits for the neighbour to connect.
	Passive bool `json:"passive,omitempty"`
	// MultihopTTL allows a neighbour that is not on a connected link, 2 to 255. Excludes TTLSecurity.
	MultihopTTL int32 `json:"multihopTTL,omitempty"`
	// TTLSecurity (RFC 5082) accepts packets only of a neighbour at most this many hops away, 1 to 254.
	TTLSecurity int32 `json:"ttlSecurity,omitempty"`
	// Timers of the session.
	Timers *PeerTimers `json:"timers,omitempty"`
	// Families that the session carries. Default: both, as far as the node has addresses of them.
	Families []string `json:"families,omitempty"`
	// Import adds to what is accepted from this neighbour, or takes away.
	Import *PrefixFilter `json:"import,omitempty"`
	// Export takes away from what is sent to this neighbour.
	Export *PrefixFilter `json:"export,omitempty"`
	// MaxPrefixes a family that the neighbour may send before its session is ended. Default 10000 on
	// Nodes, 500000 on Routers.
	MaxPrefixes int32 `json:"maxPrefixes,omitempty"`
	// GracefulRestart overrides RouterConfig's for this neighbour.
	GracefulRestart *bool `json:"gracefulRestart,omitempty"`
	// AllowOwnAS accepts routes whose AS path holds our own AS number up to this many times, 0 to 10.
	AllowOwnAS int32 `json:"allowOwnAS,omitempty"`
	// ReflectorClient makes the neighbour a client of ours (RFC 4456).
	ReflectorClient bool `json:"reflectorClient,omitempty"`
}

// PeerTimers of a session (RFC 4271 section 4.2 and 10).
//
// +kubebuilder:object:generate=true
type PeerTimers struct {
	// Hold time, 0 or 3 s to 65535 s. Default 90 s.
	Hold *metav1.Duration `json:"hold,omitempty"`
	// Keepalive interval. Default a third of Hold.
	Keepalive *metav1.Duration `json:"keepalive,omitempty"`
}

// PasswordSource is a key of a Secret, or a file. Exactly one is set.
//
// +kubebuilder:object:generate=true
type PasswordSource struct {
	SecretRef *SecretKeyRef `json:"secretRef,omitempty"`
	// File, absolute or relative to the folder of manifests, is read anew whenever it changes; a
	// newline at its end is not part of the password.
	File string `json:"file,omitempty"`
}

// SecretKeyRef names a key of a Secret.
//
// +kubebuilder:object:generate=true
type SecretKeyRef struct {
	// Namespace, default kube-system.
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Key, default "password".
	Key string `json:"key,omitempty"`
}

// PrefixFilter accepts and rejects prefixes. Reject wins. On import, Accept adds to what is accepted
// anyway (prefixes inside ClusterCIDRs); on export, an empty Accept means everything.
//
// +kubebuilder:object:generate=true
type PrefixFilter struct {
	Accept []PrefixRange `json:"accept,omitempty"`
	Reject []PrefixRange `json:"reject,omitempty"`
}

// PrefixRange is a set of prefixes: those inside CIDR whose length is between GE and LE.
//
// +kubebuilder:object:generate=true
type PrefixRange struct {
	CIDR string `json:"cidr"`
	// GE, default the length of CIDR.
	GE int32 `json:"ge,omitempty"`
	// LE, default the larger of GE and the length of CIDR: without both, the prefix itself only.
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
type AddressPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AddressPoolSpec `json:"spec,omitempty"`
	Status Status          `json:"status,omitempty"`
}

// AddressPoolSpec says what the range is for. CIDR and BlockSize never change.
//
// +kubebuilder:object:generate=true
type AddressPoolSpec struct {
	CIDR string `json:"cidr"`
	// BlockSize is the length of a block's prefix in bits. Default 26 for IPv4, 122 for IPv6.
	BlockSize int32 `json:"blockSize,omitempty"`
	// NodeSelector selects the nodes that may own blocks.
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// NamespaceSelector selects the namespaces whose pods get addresses of this pool. Their pods get addresses
	// of that family from no other pool. Absent: the pool is for all other pods.
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// TopologyKey is a node label, podroute.io/rack for instance: the pool is cut into one range per value of the
	// label, and a node claims blocks of its own value's range only, so that a rack has one aggregate, which is
	// the routers' to originate.
	TopologyKey string `json:"topologyKey,omitempty"`
	// TopologySize is the length of a range's prefix in bits, with TopologyKey.
	TopologySize int32 `json:"topologySize,omitempty"`
	// Exclusions are sub-ranges that no address is given from and no block claimed in.
	Exclusions []string `json:"exclusions,omitempty"`
	// Reservations are sub-ranges whose addresses are given only to pods that ask for them (AnnotationAddresses).
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
type AddressBlock struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AddressBlockSpec `json:"spec,omitempty"`
}

// AddressBlockSpec says whose block it is.
//
// +kubebuilder:object:generate=true
type AddressBlockSpec struct {
	CIDR string `json:"cidr"`
	// Node that owns the block. Exactly one of Node and TopologyValue is set, and neither changes.
	Node string `json:"node,omitempty"`
	Pool string `json:"pool,omitempty"`
	// TopologyValue makes the object a range of a pool with TopologyKey: only nodes with this value claim
	// blocks in it.
	TopologyValue string `json:"topologyValue,omitempty"`
}

// Advertisement says what the selected nodes advertise besides their pod subnets, or with which
// attributes.
//
// +kubebuilder:object:root=true
type Advertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AdvertisementSpec `json:"spec,omitempty"`
	Status Status            `json:"status,omitempty"`
}

// AdvertisementSpec names prefixes and what goes with them.
//
// +kubebuilder:object:generate=true
type AdvertisementSpec struct {
	// NodeSelector selects the nodes that advertise. Absent: all.
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// Peers are names of the BGPPeers that are told. Empty: all.
	Peers []string `json:"peers,omitempty"`
	// PodSubnets applies the attributes below to the node's own pod subnets.
	PodSubnets bool `json:"podSubnets,omitempty"`
	// NodeAddresses advertises the node's own addresses (/32, /128), for nodes that have them on loopback.
	NodeAddresses bool `json:"nodeAddresses,omitempty"`
	// Connected advertises the prefixes of the node's links that lie in these ranges.
	Connected []string `json:"connected,omitempty"`
	// Prefixes are advertised as they stand.
	Prefixes []string `json:"prefixes,omitempty"`
	// Communities (RFC 1997, "64512:100" or a well-known name) and large communities (RFC 8092, "1:2:3").
	Communities []string `json:"communities,omitempty"`
	// LocalPref and MED (RFC 4271 section 5.1.4 and 5.1.5).
	LocalPref *uint32 `json:"localPref,omitempty"`
	MED       *uint32 `json:"med,omitempty"`
	// Prepend repeats our AS number this many times, 0 to 16.
	Prepend int32 `json:"prepend,omitempty"`
}
