package config

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Status is what podroute says of an object in the Kubernetes API.
//
// +kubebuilder:object:generate=true
type Status struct {
	// Conditions of the object; ConditionAccepted says whether it is in force.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Types of conditions.
const (
	ConditionAccepted = "Accepted"        // of an object: valid and in force
	ConditionReady    = "Ready"           // of a NodeRouting: the readiness policy holds
	ConditionSessions = "SessionsHealthy" // of a NodeRouting: every session is up, and nothing is amiss with any
	ConditionDraining = "Draining"        // of a NodeRouting: the node is drained; there is none while it is not
)

// SessionEstablished is the state of a session that carries routes (RFC 4271 section 8.2.2).
const SessionEstablished = "Established"

// NodeRouting tells how a node's routing is. It is status only, written by the node's agent, and has the
// node's name.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=podroute,shortName=nrt
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Role,type=string,JSONPath=`.status.role`,priority=1
// +kubebuilder:printcolumn:name=AS,type=integer,JSONPath=`.status.asNumber`
// +kubebuilder:printcolumn:name=Sessions,type=integer,JSONPath=`.status.established`
// +kubebuilder:printcolumn:name=Pods,type=integer,JSONPath=`.status.pods`
// +kubebuilder:printcolumn:name=Routes,type=integer,JSONPath=`.status.installedRoutes`
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name=Draining,type=string,JSONPath=`.status.conditions[?(@.type=="Draining")].reason`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
type NodeRouting struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Status NodeRoutingStatus `json:"status,omitempty"`
}

// NodeRoutingStatus is a node's state at one moment.
//
// +kubebuilder:object:generate=true
type NodeRoutingStatus struct {
	// Role is Node or Router.
	Role string `json:"role,omitempty"`
	// +kubebuilder:validation:Format=int64
	ASNumber uint32 `json:"asNumber,omitempty"`
	RouterID string `json:"routerID,omitempty"`
	// Addresses are the node's own, at most one a family.
	// +listType=atomic
	Addresses []string `json:"addresses,omitempty"`
	// Version of the agent.
	Version string `json:"version,omitempty"`
	// Blocks are the node's pod subnets.
	// +listType=atomic
	Blocks []BlockStatus `json:"blocks,omitempty"`
	// Sessions with the node's peers.
	// +listType=atomic
	Sessions []SessionStatus `json:"sessions,omitempty"`
	// Established is how many of them are established, Pods how many pods have an address, and
	// InstalledRoutes how many routes of ours the kernel holds, pods' own not counted.
	Established     int32 `json:"established"`
	Pods            int32 `json:"pods"`
	InstalledRoutes int32 `json:"installedRoutes"`
	// Conditions: Ready, SessionsHealthy and, while the node is drained, Draining, each with a reason a person can act on.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Problems are what is wrong on this node, object by object.
	// +listType=atomic
	Problems []string `json:"problems,omitempty"`
}

// BlockStatus is a pod subnet and how full it is.
//
// +kubebuilder:object:generate=true
type BlockStatus struct {
	CIDR string `json:"cidr"`
	// Used addresses, CoolingDown ones that were freed lately, and Size, all that pods may have.
	Used        int64 `json:"used"`
	CoolingDown int64 `json:"coolingDown"`
	Size        int64 `json:"size"`
}

// SessionStatus is a BGP session.
//
// +kubebuilder:object:generate=true
type SessionStatus struct {
	// Peer is the BGPPeer's name, PEER/ADDRESS of one by prefix, or mesh-NODE.
	Peer    string `json:"peer"`
	Address string `json:"address"`
	// +kubebuilder:validation:Format=int64
	ASNumber uint32 `json:"asNumber,omitempty"`
	// State by its name in RFC 4271 section 8.2.2.
	State string `json:"state"`
	// Since is when it came to that state.
	Since *metav1.Time `json:"since,omitempty"`
	// LastError is why it is not up.
	LastError string `json:"lastError,omitempty"`
	// Flaps is how often it was lost. LastDown is why it was last, by the names of the RFCs, and LastDownTime when.
	Flaps        int32        `json:"flaps,omitempty"`
	LastDown     string       `json:"lastDown,omitempty"`
	LastDownTime *metav1.Time `json:"lastDownTime,omitempty"`
	// Warnings are what is amiss with it while it is up.
	// +listType=atomic
	Warnings []string `json:"warnings,omitempty"`
	// BFD is the state of the liveness detection: Up, Down, Init or AdminDown (RFC 5880); empty where there is none.
	BFD string `json:"bfd,omitempty"`
	// Families that the session carries, with the number of prefixes.
	// +listType=atomic
	Families []SessionFamily `json:"families,omitempty"`
}

// SessionFamily counts the prefixes of one family on a session.
//
// +kubebuilder:object:generate=true
type SessionFamily struct {
	Family     string `json:"family"`
	Received   int32  `json:"received"`
	Accepted   int32  `json:"accepted"`
	Advertised int32  `json:"advertised"`
}

// Sessions is whether every session is up and nothing is amiss with any: Reason says in a word why or why not, Message in a sentence, and
// Concerned are those with which something is amiss. Undecided: it is too early to say, and what was said before stands.
type Sessions struct {
	Healthy         bool
	Undecided       bool
	Reason, Message string
	Concerned       []string
}

// NodeReport is what a node's agent has to say to the cluster: the whole of it, each time.
type NodeReport struct {
	// Ready: the readiness policy holds. Reason says in a word why or why not, Message in a sentence.
	Ready bool
	// Undecided: the agent has taken over from another a moment ago and does not know yet; what was said before
	// of the node's readiness stands.
	Undecided       bool
	Reason, Message string
	// Sessions is how it stands with the sessions; nil: there are none, or nothing is known of them.
	Sessions *Sessions
	// Draining is how far the draining of the node is; nil: it is not drained.
	Draining *Draining
	// Routing is the state that is published as the node's NodeRouting.
	Routing NodeRoutingStatus
}
