package config

// PrefixFilter accepts and rejects routes. Reject wins. On import, Accept adds to what is accepted anyway (prefixes
// inside ClusterCIDRs); on export, an empty Accept means everything.
//
// +kubebuilder:object:generate=true
type PrefixFilter struct {
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	Accept []FilterEntry `json:"accept,omitempty"`
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	Reject []FilterEntry `json:"reject,omitempty"`
	// Only what Accept names is accepted, and nothing else. On export that is so wherever Accept names something.
	Only bool `json:"only,omitempty"`
}

// FilterEntry is a set of routes: those for which all conditions hold that are set.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="has(self.cidr) && size(self.cidr) > 0 || has(self.family) && size(self.family) > 0 || has(self.communities) && size(self.communities) > 0 || has(self.asPath)",message="names no routes: set one of cidr, family, communities and asPath"
// +kubebuilder:validation:XValidation:rule="!has(self.cidr) || !isCIDR(self.cidr) || [has(self.ge) ? self.ge : 0, has(self.le) ? self.le : 0].all(n, n == 0 || n >= cidr(self.cidr).prefixLength() && n <= (cidr(self.cidr).ip().family() == 4 ? 32 : 128))",message="ge and le must lie between the length of cidr and that of an address"
// +kubebuilder:validation:XValidation:rule="!has(self.ge) || self.ge == 0 || !has(self.le) || self.le == 0 || self.ge <= self.le",message="ge must not be larger than le"
// +kubebuilder:validation:XValidation:rule="has(self.cidr) && size(self.cidr) > 0 || (!has(self.ge) || self.ge == 0) && (!has(self.le) || self.le == 0)",message="ge and le are lengths of prefixes inside cidr, which is missing"
// +kubebuilder:validation:XValidation:rule="!has(self.family) || size(self.family) == 0 || !has(self.cidr) || !isCIDR(self.cidr) || (self.family == 'IPv4') == (cidr(self.cidr).ip().family() == 4)",message="cidr is of another family"
type FilterEntry struct {
	// CIDR that the prefix of the route lies in. Absent: any.
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a CIDR without host bits, such as 10.244.0.0/16"
	CIDR string `json:"cidr,omitempty"`
	// GE is the least length of the prefix, default the length of CIDR.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	GE int32 `json:"ge,omitempty"`
	// LE is the greatest length, default the larger of GE and the length of CIDR: without both, CIDR itself only.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	LE int32 `json:"le,omitempty"`
	// Family of the route: IPv4 or IPv6. Absent: both.
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="self in ['', 'IPv4', 'IPv6']",message="must be IPv4 or IPv6"
	Family string `json:"family,omitempty"`
	// Communities (RFC 1997) and large communities (RFC 8092) that the route carries, all of them; * in place of a
	// number stands for all numbers.
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	// +kubebuilder:validation:items:Pattern=`^(no-export|no-advertise|no-export-subconfed|no-peer|blackhole|graceful-shutdown|(\*|0|[1-9]\d{0,9})(:(\*|0|[1-9]\d{0,9})){1,2})$`
	Communities []string `json:"communities,omitempty"`
	// ASPath is what the AS path of the route is like.
	ASPath *ASPathMatch `json:"asPath,omitempty"`
}

// ASPathMatch is what an AS path is like as it goes over the session: an external neighbour's number is in what it
// sends, ours is in what we send to one.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="[has(self.neighbor) ? self.neighbor : 0, has(self.origin) ? self.origin : 0, has(self.contains) ? self.contains : 0, has(self.maxLength) ? self.maxLength : 0].exists(n, n != 0)",message="says nothing: set one of neighbor, origin, contains and maxLength"
type ASPathMatch struct {
	// Neighbor is the AS that the path begins with: the one that it came from last.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	Neighbor uint32 `json:"neighbor,omitempty"`
	// Origin is the AS that the path ends with: the one that the route began in.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	Origin uint32 `json:"origin,omitempty"`
	// Contains is an AS that stands anywhere in the path.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	Contains uint32 `json:"contains,omitempty"`
	// MaxLength is how many ASes the path has at most, each counted as often as it stands there.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	MaxLength int32 `json:"maxLength,omitempty"`
}
