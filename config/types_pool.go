package config

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PoolUse is what the addresses of a pool are for.
//
// +kubebuilder:validation:Enum=pods;loadBalancers
type PoolUse string

// Uses of a pool.
const (
	UsePods          PoolUse = "pods"
	UseLoadBalancers PoolUse = "loadBalancers"
)

// AddressPool is a range that blocks are cut from, or that Services of type LoadBalancer get addresses of.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=podroute,shortName=apool
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=CIDR,type=string,JSONPath=`.spec.cidr`
// +kubebuilder:printcolumn:name=Block,type=integer,JSONPath=`.spec.blockSize`
// +kubebuilder:printcolumn:name=Use,type=string,JSONPath=`.spec.use`,priority=1
// +kubebuilder:printcolumn:name=Given,type=integer,JSONPath=`.status.given`
// +kubebuilder:printcolumn:name=Free,type=integer,JSONPath=`.status.free`
// +kubebuilder:printcolumn:name=Disabled,type=boolean,JSONPath=`.spec.disabled`,priority=1
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].message`,priority=1
type AddressPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec   AddressPoolSpec   `json:"spec,omitempty"`
	Status AddressPoolStatus `json:"status,omitempty"`
}

// AddressPoolStatus is what podroute says of a pool.
//
// +kubebuilder:object:generate=true
type AddressPoolStatus struct {
	Status `json:",inline"`
	// PoolCounts of a pool for load balancers.
	PoolCounts `json:",inline"`
}

// PoolCounts tell how full a pool for load balancers is, in addresses. 2147483647 stands for that many or more.
//
// +kubebuilder:object:generate=true
type PoolCounts struct {
	// Given to Services, each counted once however many share it.
	Given *int32 `json:"given,omitempty"`
	// Free for Services that do not ask for one by name.
	Free *int32 `json:"free,omitempty"`
}

// AddressPoolSpec says what the range is for. CIDR, BlockSize, TopologyKey, TopologySize and Use never change.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="!has(self.use) || self.use != 'loadBalancers' || ((!has(self.blockSize) || self.blockSize == 0) && !has(self.topologyKey) && !has(self.topologySize) && !has(self.nodeSelector))",message="blockSize, topologyKey, topologySize and nodeSelector have no effect with use loadBalancers: no node owns its addresses"
// +kubebuilder:validation:XValidation:rule="!has(self.serviceSelector) || (has(self.use) && self.use == 'loadBalancers')",message="serviceSelector goes with use loadBalancers"
// +kubebuilder:validation:XValidation:rule="(has(self.use) && self.use == 'loadBalancers') == (has(oldSelf.use) && oldSelf.use == 'loadBalancers')",message="use must not change: write a pool of another name"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || (has(self.use) && self.use == 'loadBalancers') || cidr(self.cidr).prefixLength() <= (cidr(self.cidr).ip().family() == 4 ? 30 : 126)",message="cidr must be /30 or shorter, /126 for IPv6"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || !has(self.blockSize) || self.blockSize == 0 || (self.blockSize >= cidr(self.cidr).prefixLength() && self.blockSize <= (cidr(self.cidr).ip().family() == 4 ? 30 : 126))",message="blockSize must lie between the length of cidr and 30, 126 for IPv6"
// +kubebuilder:validation:XValidation:rule="(has(self.topologyKey) && size(self.topologyKey) > 0) == (has(self.topologySize) && self.topologySize != 0)",message="topologyKey and topologySize go together"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || !has(self.exclusions) || (!(self.cidr in self.exclusions) && self.exclusions.all(e, !isCIDR(e) || cidr(self.cidr).containsCIDR(e)))",message="exclusions must lie inside cidr, and not be the whole of it"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || !has(self.reservations) || self.reservations.all(e, !isCIDR(e) || cidr(self.cidr).containsCIDR(e))",message="reservations must lie inside cidr"
// +kubebuilder:validation:XValidation:rule="[self, oldSelf].map(s, has(s.blockSize) && s.blockSize != 0 ? s.blockSize : [cidr(s.cidr).prefixLength(), cidr(s.cidr).ip().family() == 4 ? 26 : 122].max()).isSorted() && [oldSelf, self].map(s, has(s.blockSize) && s.blockSize != 0 ? s.blockSize : [cidr(s.cidr).prefixLength(), cidr(s.cidr).ip().family() == 4 ? 26 : 122].max()).isSorted()",message="blockSize must not change: write a pool of another name"
// +kubebuilder:validation:XValidation:rule="has(self.topologyKey) == has(oldSelf.topologyKey) && (!has(self.topologyKey) || self.topologyKey == oldSelf.topologyKey) && (has(self.topologySize) ? self.topologySize : 0) == (has(oldSelf.topologySize) ? oldSelf.topologySize : 0)",message="topologyKey and topologySize must not change: write a pool of another name"
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
	// NamespaceSelector selects the namespaces whose pods, or Services, get addresses of this pool. They get addresses
	// of that family from no other pool. Absent: the pool is for all others.
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// ServiceSelector selects Services by their labels, with use loadBalancers. With NamespaceSelector, both must.
	ServiceSelector *metav1.LabelSelector `json:"serviceSelector,omitempty"`
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
	// Reservations are sub-ranges whose addresses are given only to pods that ask for them (AnnotationAddresses), or
	// Services (AnnotationLoadBalancerIPs).
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	Reservations []string `json:"reservations,omitempty"`
	// Use is what the addresses are for: pods (default) or loadBalancers.
	Use PoolUse `json:"use,omitempty"`
	// Disabled stops claims; blocks in use stay, and give addresses only while no other pool has any. Services keep
	// what they have.
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

	// +required
	Spec AddressBlockSpec `json:"spec,omitempty"`
}

// AddressBlockSpec says whose block it is.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="has(self.node) == has(oldSelf.node) && (!has(self.node) || self.node == oldSelf.node)",message="node must not change: delete the block, and write another"
// +kubebuilder:validation:XValidation:rule="has(self.topologyValue) == has(oldSelf.topologyValue) && (!has(self.topologyValue) || self.topologyValue == oldSelf.topologyValue)",message="topologyValue must not change: delete the range, and write another"
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
