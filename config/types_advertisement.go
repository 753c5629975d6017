package config

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Advertisement says what the selected nodes advertise besides their pod subnets, or with which
// attributes.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=podroute,shortName=adv
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Pods,type=boolean,JSONPath=`.spec.podSubnets`
// +kubebuilder:printcolumn:name=Prefixes,type=string,JSONPath=`.spec.prefixes`
// +kubebuilder:printcolumn:name=Services,type=string,JSONPath=`.spec.services.addresses`
// +kubebuilder:printcolumn:name=Peers,type=string,JSONPath=`.spec.peers`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].message`,priority=1
type Advertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec   AdvertisementSpec `json:"spec,omitempty"`
	Status Status            `json:"status,omitempty"`
}

// AdvertisementSpec names prefixes and what goes with them.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="(has(self.podSubnets) && self.podSubnets) || (has(self.nodeAddresses) && self.nodeAddresses) || (has(self.connected) && size(self.connected) > 0) || (has(self.prefixes) && size(self.prefixes) > 0) || (has(self.aggregates) && size(self.aggregates) > 0) || (has(self.rackRanges) && self.rackRanges) || has(self.services)",message="advertises nothing: set one of podSubnets, nodeAddresses, connected, prefixes, aggregates, rackRanges, services"
// +kubebuilder:validation:XValidation:rule="!has(self.summaryOnly) || !self.summaryOnly || (has(self.aggregates) && size(self.aggregates) > 0) || (has(self.rackRanges) && self.rackRanges)",message="summaryOnly has no effect without aggregates or rackRanges"
// +kubebuilder:validation:XValidation:rule="!has(self.nextHops) || size(self.nextHops) < 2 || !isIP(self.nextHops[0]) || !isIP(self.nextHops[1]) || ip(self.nextHops[0]).family() != ip(self.nextHops[1]).family()",message="nextHops must be of different families"
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
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	Connected []string `json:"connected,omitempty"`
	// Prefixes are advertised as they stand.
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	Prefixes []string `json:"prefixes,omitempty"`
	// Aggregates are ranges that routers advertise while they know a route inside. What nobody inside has is
	// unreachable there.
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	// +kubebuilder:validation:items:XValidation:rule="!isCIDR(self) || cidr(self).prefixLength() > 0 && cidr(self).prefixLength() < (cidr(self).ip().family() == 4 ? 32 : 128)",message="must be a range, neither all addresses nor one"
	Aggregates []string `json:"aggregates,omitempty"`
	// RackRanges are aggregates, too: the ranges of pools with a topologyKey that belong to the router's own value
	// of that label.
	RackRanges bool `json:"rackRanges,omitempty"`
	// SummaryOnly keeps the routes inside the aggregates back from those who are told the aggregates.
	SummaryOnly bool `json:"summaryOnly,omitempty"`
	// Services advertises addresses of Services, to BGPPeers only: other nodes have a kube-proxy of their own.
	Services *ServiceAdvertisement `json:"services,omitempty"`
	// NextHops are who traffic for the prefixes and services is to go to instead of the node, at most one a family.
	// +kubebuilder:validation:MaxItems=2
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=39
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) && !ip(self).isUnspecified() && !ip(self).isLoopback() && !ip(self).isLinkLocalUnicast() && !ip(self).isLinkLocalMulticast()",message="must be an IP address that others reach"
	NextHops []string `json:"nextHops,omitempty"`
	// Communities (RFC 1997, "64512:100" or a well-known name) and large communities (RFC 8092, "1:2:3").
	// +kubebuilder:validation:MaxItems=256
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
