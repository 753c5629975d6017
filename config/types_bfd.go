package config

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BFDSpec watches a neighbour's liveness (RFC 5880). Both ends need it; until the other end has it, nothing
// is watched and the session goes on without.
//
// +kubebuilder:object:generate=true
type BFDSpec struct {
	BFDTimers `json:",inline"`
	// Passive waits for the neighbour's first packet.
	Passive bool `json:"passive,omitempty"`
	// Multihop is RFC 5883, for a neighbour that is not on a connected link, in place of RFC 5881. Default: as the
	// session is by multihopTTL and ttlSecurity.
	Multihop *bool `json:"multihop,omitempty"`
	// Authentication of the packets, the same at both ends. Default: none.
	Authentication *BFDAuthentication `json:"authentication,omitempty"`
}

// BFDTimers are how often packets are sent and how long silence is a loss.
//
// +kubebuilder:object:generate=true
type BFDTimers struct {
	// TransmitInterval is the shortest at which this node sends, 10 ms to 1 min. Default 300 ms. What is used is the
	// larger of one end's TransmitInterval and the other's ReceiveInterval.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10ms') && duration(self) <= duration('1m')",message="must be 10ms to 1m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	TransmitInterval *metav1.Duration `json:"transmitInterval,omitempty"`
	// ReceiveInterval is the shortest at which this node receives, 10 ms to 1 min. Default 300 ms.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10ms') && duration(self) <= duration('1m')",message="must be 10ms to 1m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	ReceiveInterval *metav1.Duration `json:"receiveInterval,omitempty"`
	// DetectMultiplier is how many packets in a row must be missing for a loss, 1 to 255. Default 3.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	DetectMultiplier int32 `json:"detectMultiplier,omitempty"`
}

// BFDAuthentication is a method of RFC 5880 section 6.7 and its key.
//
// +kubebuilder:object:generate=true
type BFDAuthentication struct {
	// Method. The meticulous ones number every packet, and so bar old ones from being sent again.
	// +kubebuilder:validation:Enum=SimplePassword;KeyedMD5;MeticulousKeyedMD5;KeyedSHA1;MeticulousKeyedSHA1
	Method string `json:"method"`
	// KeyID tells keys apart, 0 to 255.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	KeyID int32 `json:"keyID,omitempty"`
	// Key of 1 to 16 bytes, with SHA1 up to 20.
	Key PasswordSource `json:"key"`
}
