package config

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Defaults of DrainSpec.
const (
	DefaultDrainTimeout  = 5 * time.Minute
	DefaultWithdrawAfter = 30 * time.Second
)

// DrainSpec says when nodes are drained by themselves, and how long that may take.
//
// +kubebuilder:object:generate=true
type DrainSpec struct {
	// OnCordon drains a node as long as its spec.unschedulable is true: from kubectl cordon or drain to uncordon.
	OnCordon bool `json:"onCordon,omitempty"`
	// WithdrawAfter is how long service addresses stay advertised, with GRACEFUL_SHUTDOWN, unless their traffic fades
	// before, 1 s to 1 h. Default 30 s. Routers that let flows end in their own time have as long for it.
	// +kubebuilder:validation:XValidation:rule="(duration(self) >= duration('1s') && duration(self) <= duration('3600s') && duration(self).getMilliseconds() % 1000 == 0)",message="must be whole seconds, 1s to 3600s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	WithdrawAfter *metav1.Duration `json:"withdrawAfter,omitempty"`
	// Timeout is how long traffic is waited for to fade, 1 s to 24 h, before what still comes is reported. Default 5 min.
	// +kubebuilder:validation:XValidation:rule="(duration(self) >= duration('1s') && duration(self) <= duration('86400s') && duration(self).getMilliseconds() % 1000 == 0)",message="must be whole seconds, 1s to 86400s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// Defaults of ResilientHashingSpec.
const (
	DefaultBuckets         = 512
	DefaultIdleTimer       = 20 * time.Second
	DefaultUnbalancedTimer = 10 * time.Minute
)

// ResilientHashingSpec says how a router spreads flows over the nodes that serve an address: by buckets of flows that
// stay with their node while others come and go (Linux 5.13).
//
// +kubebuilder:object:generate=true
type ResilientHashingSpec struct {
	// Disabled leaves it to the kernel's plain multipath, which moves flows of nodes that stay, too.
	Disabled bool `json:"disabled,omitempty"`
	// Buckets that the flows to an address are sorted into, 2 to 16384; more than nodes by far. Default 512.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16384
	// +kubebuilder:validation:XValidation:rule="self != 1",message="must be at least 2"
	Buckets int32 `json:"buckets,omitempty"`
	// IdleTimer is how long a bucket must have been without a packet before a node that comes gets it, 1 s to 1 h.
	// Default 20 s.
	// +kubebuilder:validation:XValidation:rule="(duration(self) >= duration('1s') && duration(self) <= duration('3600s') && duration(self).getMilliseconds() % 1000 == 0)",message="must be whole seconds, 1s to 3600s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	IdleTimer *metav1.Duration `json:"idleTimer,omitempty"`
	// UnbalancedTimer is after how long busy buckets are moved, too, for nodes that have too few: 0 for never, or 1 s to
	// 24 h. Default 10 min.
	// +kubebuilder:validation:XValidation:rule="(duration(self) >= duration('0s') && duration(self) <= duration('86400s') && duration(self).getMilliseconds() % 1000 == 0)",message="must be whole seconds, 0s to 86400s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	UnbalancedTimer *metav1.Duration `json:"unbalancedTimer,omitempty"`
}

func (s *DrainSpec) setDefaults() {
	if s == nil {
		return
	}
	if s.Timeout == nil {
		s.Timeout = &metav1.Duration{Duration: DefaultDrainTimeout}
	}
	if s.WithdrawAfter == nil {
		s.WithdrawAfter = &metav1.Duration{Duration: DefaultWithdrawAfter}
	}
}

func (s *ResilientHashingSpec) setDefaults() {
	if s == nil {
		return
	}
	orDefault(&s.Buckets, DefaultBuckets)
	if s.IdleTimer == nil {
		s.IdleTimer = &metav1.Duration{Duration: DefaultIdleTimer}
	}
	if s.UnbalancedTimer == nil {
		s.UnbalancedTimer = &metav1.Duration{Duration: DefaultUnbalancedTimer}
	}
}

// drain checks what concerns nodes that leave and come back.
func (r *report) drain(s *RouterConfigSpec) {
	if d := s.Drain; d != nil {
		r.seconds("spec.drain.timeout", d.Timeout, 1, 24*3600)
		r.seconds("spec.drain.withdrawAfter", d.WithdrawAfter, 1, 3600)
	}
	if h := s.ResilientHashing; h != nil {
		r.between("spec.resilientHashing.buckets", int64(h.Buckets), 2, 16384)
		r.seconds("spec.resilientHashing.idleTimer", h.IdleTimer, 1, 3600)
		r.seconds("spec.resilientHashing.unbalancedTimer", h.UnbalancedTimer, 0, 24*3600)
	}
}

// DrainTimeout is how long the traffic of a node that is drained may take to fade.
func (s RouterConfigSpec) DrainTimeout() time.Duration {
	if s.Drain == nil {
		return DefaultDrainTimeout
	}
	return duration(s.Drain.Timeout, DefaultDrainTimeout)
}

// WithdrawAfter is how long service addresses of a node that is drained stay advertised.
func (s RouterConfigSpec) WithdrawAfter() time.Duration {
	if s.Drain == nil {
		return DefaultWithdrawAfter
	}
	return duration(s.Drain.WithdrawAfter, DefaultWithdrawAfter)
}

// Hashing are the buckets of resilient hashing, 0 where it is off, and its two timers.
func (s RouterConfigSpec) Hashing() (buckets int, idle, unbalanced time.Duration) {
	var h ResilientHashingSpec
	if s.ResilientHashing != nil {
		h = *s.ResilientHashing
	}
	if h.Disabled {
		return 0, 0, 0
	}
	h.setDefaults()
	return int(h.Buckets), h.IdleTimer.Duration, h.UnbalancedTimer.Duration
}

// Draining is how far the draining of a node is: since when, a stage in a word, and a sentence.
type Draining struct {
	Since           time.Time
	Reason, Message string
}

// DrainedBecause says why the configuration has a node drained, empty if it does not.
func (s RouterConfigSpec) DrainedBecause(n Node) []string {
	var why []string
	if n.Draining() {
		why = append(why, "annotation "+AnnotationDrain)
	}
	if n.Unschedulable && s.Drain != nil && s.Drain.OnCordon {
		why = append(why, "the node is cordoned")
	}
	return why
}
