package config

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

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

	// +required
	Spec   BGPPeerSpec `json:"spec,omitempty"`
	Status Status      `json:"status,omitempty"`
}

// Families of addresses that a session carries.
const (
	FamilyIPv4 = "IPv4"
	FamilyIPv6 = "IPv6"
)

// What becomes of a session with too many prefixes.
const (
	MaxPrefixesTeardown = "Teardown"
	MaxPrefixesWarn     = "Warn"
)

// BGPPeerSpec is one neighbour, or those of a prefix. Exactly one of Address, Gateway, Interface and Prefix is set.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="(has(self.address) && size(self.address) > 0 ? 1 : 0) + (has(self.gateway) && size(self.gateway) > 0 ? 1 : 0) + (has(self.interface) && size(self.interface) > 0 ? 1 : 0) + (has(self.prefix) && size(self.prefix) > 0 ? 1 : 0) == 1",message="exactly one of address, gateway, interface and prefix must be set"
// +kubebuilder:validation:XValidation:rule="has(self.prefix) && size(self.prefix) > 0 || !has(self.maxNeighbors) || self.maxNeighbors == 0",message="maxNeighbors has no effect without prefix"
// +kubebuilder:validation:XValidation:rule="!(has(self.multihopTTL) && self.multihopTTL != 0 && has(self.ttlSecurity) && self.ttlSecurity != 0)",message="ttlSecurity excludes multihopTTL (RFC 5082)"
// +kubebuilder:validation:XValidation:rule="!(has(self.interface) && size(self.interface) > 0 && has(self.multihopTTL) && self.multihopTTL != 0)",message="interface excludes multihopTTL: the neighbour is one hop away"
// +kubebuilder:validation:XValidation:rule="!(has(self.passive) && self.passive && has(self.port) && !(self.port in [0, 179]))",message="port has no effect with passive: the neighbour calls"
// +kubebuilder:validation:XValidation:rule="!(has(self.gracefulRestart) && !self.gracefulRestart && has(self.longLivedStaleTime))",message="longLivedStaleTime has no effect with gracefulRestart false: it follows the restart time (RFC 9494)"
// +kubebuilder:validation:XValidation:rule="!(has(self.reflectorClient) && self.reflectorClient && self.asNumber == 'external')",message="reflectorClient excludes asNumber external: clients are of the reflector's AS (RFC 4456)"
// +kubebuilder:validation:XValidation:rule="!(has(self.localAS) && self.localAS != 0 && self.asNumber == 'internal')",message="localAS excludes asNumber internal"
type BGPPeerSpec struct {
	// NodeSelector selects the nodes that have this peer. Absent: all.
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// Address of the neighbour; a link-local one carries its zone (fe80::1%eth0).
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || isIP(self.split('%')[0])",message="must be an IP address"
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || !isIP(self.split('%')[0]) || self.contains('%') == (ip(self.split('%')[0]).family() == 6 && ip(self.split('%')[0]).isLinkLocalUnicast())",message="an IPv6 link-local address carries its zone, as in fe80::1%eth0, and no other does"
	Address string `json:"address,omitempty"`
	// Gateway peers with the node's default gateway of that family: IPv4 or IPv6.
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="self in ['', 'IPv4', 'IPv6']",message="must be IPv4 or IPv6"
	Gateway string `json:"gateway,omitempty"`
	// Interface peers with whoever is at the other end of this link, over IPv6 link-local addresses (unnumbered);
	// IPv4 routes have IPv6 next hops then (RFC 8950) where the link has no IPv4 address.
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || self.matches('^[^/ \\t\\n]+$')",message="must be the name of a link"
	Interface string `json:"interface,omitempty"`
	// Prefix peers with whoever calls from one of these addresses.
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 192.0.2.0/24"
	Prefix string `json:"prefix,omitempty"`
	// MaxNeighbors of Prefix at a time, 1 to 1024. Default 64.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1024
	MaxNeighbors int32 `json:"maxNeighbors,omitempty"`
	// ASNumber of the neighbour: a number, "external" (any but ours) or "internal" (ours).
	ASNumber ASNumber `json:"asNumber"`
	// LocalAS replaces our own AS number towards this neighbour.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:XValidation:rule="!(self in [23456, 65535, 4294967295])",message="is reserved (RFC 6793, RFC 7300)"
	LocalAS uint32 `json:"localAS,omitempty"`
	// Port of the neighbour, where we call it. Default 179.
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
	// MaxPrefixesAction is what becomes of a session with more than MaxPrefixes: Teardown (the default) ends it, Warn
	// says so and no more.
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self in ['', 'Teardown', 'Warn']",message="must be Teardown or Warn"
	MaxPrefixesAction string `json:"maxPrefixesAction,omitempty"`
	// MaxPrefixesWarnAt is the percentage of MaxPrefixes from which on a warning is given, 1 to 100. Default 75.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MaxPrefixesWarnAt int32 `json:"maxPrefixesWarnAt,omitempty"`
	// MaxPrefixesRetry is how long a neighbour whose session was ended stays out, 1 s to 24 h; twice as long each time
	// that follows soon, up to an hour. Default 5 min.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h') && duration(self).getMilliseconds() % 1000 == 0",message="must be whole seconds, 1s to 24h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	MaxPrefixesRetry *metav1.Duration `json:"maxPrefixesRetry,omitempty"`
	// GracefulRestart overrides RouterConfig's for this neighbour.
	GracefulRestart *bool `json:"gracefulRestart,omitempty"`
	// LongLivedStaleTime overrides RouterConfig's for this neighbour, 1 s to 16777215 s.
	// +kubebuilder:validation:XValidation:rule="(duration(self) >= duration('1s') && duration(self) <= duration('16777215s') && duration(self).getMilliseconds() % 1000 == 0)",message="must be whole seconds, 1s to 16777215s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	LongLivedStaleTime *metav1.Duration `json:"longLivedStaleTime,omitempty"`
	// FlapDamping overrides RouterConfig's for this neighbour.
	FlapDamping *bool `json:"flapDamping,omitempty"`
	// AllowOwnAS accepts routes whose AS path holds our own AS number up to this many times, 0 to 10.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	AllowOwnAS int32 `json:"allowOwnAS,omitempty"`
	// OverrideAS has a router put its own AS number in the place of the neighbour's in the paths that it passes on to
	// it: for neighbours of one AS that reach each other through it.
	OverrideAS bool `json:"overrideAS,omitempty"`
	// BFD ends the session as soon as the neighbour falls silent (RFC 5880, RFC 5882).
	BFD *BFDSpec `json:"bfd,omitempty"`
	// AddPath exchanges several paths to a prefix with this neighbour (RFC 7911).
	AddPath *AddPathSpec `json:"addPath,omitempty"`
	// ReflectorClient makes the neighbour a client of ours (RFC 4456).
	ReflectorClient bool `json:"reflectorClient,omitempty"`
	// NextHop is the next hop of what routers and reflectors pass on to the neighbour: Self, Unchanged, or, by default,
	// Self but for what stays inside the AS.
	// +kubebuilder:validation:Enum=Self;Unchanged
	NextHop NextHop `json:"nextHop,omitempty"`
}

// NextHop is the next hop of what is passed on.
type NextHop string

// Next hops.
const (
	NextHopSelf      NextHop = "Self"      // this router
	NextHopUnchanged NextHop = "Unchanged" // whoever this router was told
)

// AddPathSpec says in which directions several paths to a prefix are exchanged.
//
// +kubebuilder:object:generate=true
type AddPathSpec struct {
	// Receive takes several paths from the neighbour; those of equal cost are used side by side.
	Receive bool `json:"receive,omitempty"`
	// Send tells the neighbour all paths that a router or reflector passes on, and not only the best.
	Send bool `json:"send,omitempty"`
}

// PeerTimers of a session (RFC 4271 section 4.2 and 10).
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="!has(self.keepalive) || duration(self.keepalive) >= duration('1s') && duration(self.keepalive) < duration(has(self.hold) ? self.hold : '90s')",message="keepalive must be at least 1s and less than hold"
type PeerTimers struct {
	// Hold time, 3 s to 65535 s. Default 90 s. A session without one (0 s) is not to be had: nobody would notice its end.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('3s') && duration(self) <= duration('65535s') && duration(self).getMilliseconds() % 1000 == 0",message="must be whole seconds, 3s to 65535s; a session without a hold time (0s) is not to be had"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	Hold *metav1.Duration `json:"hold,omitempty"`
	// Keepalive interval, at least 1 s and less than Hold. Default a third of Hold.
	// +kubebuilder:validation:XValidation:rule="(duration(self) >= duration('1s') && duration(self) <= duration('65535s') && duration(self).getMilliseconds() % 1000 == 0)",message="must be whole seconds, 1s to 65535s"
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
