package config

import (
	"log/slog"
	"net/netip"
)

// Snapshot is the whole configuration at one moment: valid objects only, defaults filled in, sorted
// by name. It is a value: nobody changes it after it was handed out.
type Snapshot struct {
	Router         RouterConfig
	Peers          []BGPPeer
	Pools          []AddressPool
	Blocks         []AddressBlock
	Advertisements []Advertisement
	Nodes          []Node
	Secrets        map[SecretKeyRef]Password
	// Problems are the objects that were left out, or parts of them, and why.
	Problems []Problem
}

// Node is what podroute needs of a v1 Node.
type Node struct {
	Name        string
	Labels      map[string]string
	Annotations map[string]string
	// Addresses are the InternalIPs, at most one a family.
	Addresses []netip.Addr
	// PodCIDRs are the pod subnets, at most one a family.
	PodCIDRs []netip.Prefix
}

// Password is a secret that does not print itself.
type Password string

// String hides the password.
func (Password) String() string { return "(hidden)" }

// GoString hides the password from %#v.
func (Password) GoString() string { return "(hidden)" }

// LogValue hides the password from logs.
func (Password) LogValue() slog.Value { return slog.StringValue("(hidden)") }

// MarshalJSON hides the password.
func (Password) MarshalJSON() ([]byte, error) { return []byte(`"(hidden)"`), nil }
