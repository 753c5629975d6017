package vip

import (
	"net/netip"
	"time"

	"github.com/podroute/podroute/config"
)

// State is what there is.
type State struct {
	// Pools for load balancers that are in force, in the order of their names.
	Pools []config.AddressPool
	// Namespaces are the labels of namespaces by name.
	Namespaces map[string]map[string]string
	// Blocks of nodes: pods live there, even if a pool for load balancers was written around them later.
	Blocks   []netip.Prefix
	Services []Service
	// Cooling addresses were given back a moment ago: they are given only where nothing else is left.
	Cooling map[netip.Addr]bool
}

// Service is what counts of a Service.
type Service struct {
	Namespace, Name, UID string
	Created              time.Time
	Labels               map[string]string
	// Served: of type LoadBalancer, and its class is ours. Leaving: it is being deleted.
	Served, Leaving bool
	// Unclassed: it has no class, so that somebody else may serve it.
	Unclassed bool
	// Families that it is to have an address of, config.FamilyIPv4 or FamilyIPv6, in its order; Required: of each or of
	// none (RequireDualStack), and not of as many as can be (PreferDualStack).
	Families []string
	Required bool
	// Held are the addresses in its status. Strange: there is something else in it that podroute never writes.
	Held    []netip.Addr
	Strange bool
	// Given are the addresses that podroute noted on it; Noted: it has written something there, at least.
	Given []netip.Addr
	Noted bool
	// External are those in spec.externalIPs.
	External []netip.Addr
	Ports    []Port
	// Local is externalTrafficPolicy Local; Selector says which pods serve, empty where it does not.
	Local    bool
	Selector string
	Request  Request
}

// Port is one of a Service's.
type Port struct {
	Protocol string
	Number   int32
}

// Key is namespace/name.
func (s *Service) Key() string { return s.Namespace + "/" + s.Name }

// Plan is what is to be.
type Plan struct {
	// Verdicts in the order of the Services' keys. There is none on those that are leaving, nor on those that are none
	// of ours and never were, nor where a pool selects namespaces and the Service's is not known yet.
	Verdicts []Verdict
	// Pools by name.
	Pools map[string]Fill
}

// Verdict is what a Service is to have.
type Verdict struct {
	Service string // its Key
	// Release: it is not served any more; whatever is noted in Given is to go, and the notes.
	Release bool
	// Addresses in the order of its families, and the names of their pools, empty where there is none any more.
	Addresses []netip.Addr
	Pools     []string
	// Refusal of what it lacks; nil: it has what it should have.
	Refusal *Refusal
}

// Reason of a Refusal, as conditions write it.
type Reason string

// Reasons of a Refusal.
const (
	NoPool        Reason = "NoPool"        // no pool serves it
	PoolExhausted Reason = "PoolExhausted" // those that do are full, or disabled
	AddressTaken  Reason = "AddressTaken"  // what it asks for is another's
	NotInPool     Reason = "NotInPool"     // what it asks for is in no pool that serves it
	BadRequest    Reason = "BadRequest"    // what it asks for cannot be understood
)

// Refusal says why, and what to do.
type Refusal struct {
	Reason  Reason
	Message string
}

// Fill is how full a pool is.
type Fill struct {
	// Given are addresses that Services hold, each counted once; Free those that a Service can get without asking.
	// math.MaxInt32 stands for that many or more.
	Given, Free int32
	Disabled    bool
	// Strays are the Services that hold addresses which are excluded, as "ADDRESS of NAMESPACE/NAME".
	Strays []string
}
