package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Snapshot is the whole configuration at one moment: valid objects only, defaults filled in, sorted
// by name. It is a value: nobody changes it after it was handed out.
type Snapshot struct {
	Router RouterConfig
	Peers  []BGPPeer
	Pools  []AddressPool
	Blocks []AddressBlock
	// Ranges are those of pools that belong to a value of their topologyKey.
	Ranges         []AddressBlock
	Advertisements []Advertisement
	Nodes          []Node
	// Services are those that Advertisements name, by namespace and name.
	Services []Service
	// Namespaces are the labels of namespaces by name, where a pool has a namespace selector.
	Namespaces map[string]map[string]string
	// Secrets and PasswordFiles hold the passwords that peers refer to, files by the name that the
	// peer gives; Password reads them.
	Secrets       map[SecretKeyRef]Password `json:"-"`
	PasswordFiles map[string]Password       `json:"-"`
	// Keyless are the peers that were left out because their passwords are not known.
	Keyless []BGPPeer `json:"-"`
	// Problems are the objects that were left out, or parts of them, and why; besides what is in
	// force and yet wrong.
	Problems []Problem

	// shadowed are the peers that a node does not have although they select it, because another of
	// the same address does: node name, peer name.
	shadowed map[string]map[string]bool
}

// Node is what podroute needs of a v1 Node.
type Node struct {
	Name        string
	Labels      map[string]string
	Annotations map[string]string
	// Addresses are the InternalIPs, at most one a family: the first.
	Addresses []netip.Addr
	// PodCIDRs are the pod subnets, at most one a family.
	PodCIDRs []netip.Prefix
	// Lost: its kubelet has not been heard of for a while, condition Ready is Unknown. Nobody can wait for a
	// session with such a node.
	Lost bool
	// Unschedulable: it is cordoned.
	Unschedulable bool
}

// Equal tells whether two snapshots say the same.
func (s Snapshot) Equal(o Snapshot) bool { return reflect.DeepEqual(s, o) }

// Node returns the node of that name.
func (s Snapshot) Node(name string) (Node, bool) {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// IsRouter tells whether a node has the role Router.
func (s Snapshot) IsRouter(n Node) bool {
	sel := s.Router.Spec.RouterSelector
	return sel != nil && Selects(sel, n.Labels)
}

// IsReflector tells whether a node reflects routes in the mesh.
func (s Snapshot) IsReflector(n Node) bool {
	sel := s.Router.Spec.ReflectorSelector
	return s.Router.Spec.Mesh == MeshReflectors && sel != nil && Selects(sel, n.Labels)
}

// PodSubnets are a node's pod subnets: its podCIDRs, or its AddressBlocks, as RouterConfig says.
func (s Snapshot) PodSubnets(n Node) []netip.Prefix {
	if s.Router.Spec.PodSubnets != SubnetsFromPool {
		return n.PodCIDRs
	}
	var subnets []netip.Prefix
	for _, b := range s.Blocks {
		if b.Spec.Node == n.Name {
			subnets = append(subnets, b.Spec.Prefix())
		}
	}
	return subnets
}

// RackRanges are the ranges of pools that belong to a node's own values of the pools' topology keys.
func (s Snapshot) RackRanges(n Node) []netip.Prefix {
	var ranges []netip.Prefix
	for _, b := range s.Ranges {
		i := slices.IndexFunc(s.Pools, func(v AddressPool) bool { return v.Name == b.Spec.Pool })
		if i >= 0 && n.Labels[s.Pools[i].Spec.TopologyKey] == b.Spec.TopologyValue {
			ranges = append(ranges, b.Spec.Prefix())
		}
	}
	return ranges
}

// PoolsFor are the pools whose addresses are for a use.
func (s Snapshot) PoolsFor(use PoolUse) []AddressPool {
	var pools []AddressPool
	for _, p := range s.Pools {
		if p.Spec.Use == use {
			pools = append(pools, p)
		}
	}
	return pools
}

// PeersOf are the peers of a node: those that select it. Of two with the same address the one that
// was in force first counts, and a node is no peer of its own.
func (s Snapshot) PeersOf(n Node) []BGPPeer {
	var peers []BGPPeer
	for _, p := range s.Peers {
		a := p.Spec.Neighbour()
		if Selects(p.Spec.NodeSelector, n.Labels) && !s.shadowed[n.Name][p.Name] && (!a.IsValid() || n.Address(FamilyOf(a)) != a) {
			peers = append(peers, p)
		}
	}
	return peers
}

// KeylessOf are the peers that select a node and were left out because their passwords are not known.
func (s Snapshot) KeylessOf(n Node) []BGPPeer {
	return selecting(s.Keyless, n, func(p BGPPeer) *metav1.LabelSelector { return p.Spec.NodeSelector })
}

// AdvertisementsOf are the advertisements of a node: those that select it.
func (s Snapshot) AdvertisementsOf(n Node) []Advertisement {
	return selecting(s.Advertisements, n, func(a Advertisement) *metav1.LabelSelector { return a.Spec.NodeSelector })
}

// selecting are the objects whose selectors pick a node.
func selecting[T any](objects []T, n Node, selector func(T) *metav1.LabelSelector) []T {
	var out []T
	for _, o := range objects {
		if Selects(selector(o), n.Labels) {
			out = append(out, o)
		}
	}
	return out
}

// Password returns the password of a peer, empty where it has none. A peer whose password is not
// known is not in the snapshot, so an error says that the peer is of another one.
func (s Snapshot) Password(p BGPPeer) (Password, error) {
	source := p.Spec.Password
	if source == nil {
		return "", nil
	}
	if password, ok := s.secret(source); ok {
		return password, nil
	}
	return "", fmt.Errorf("BGPPeer/%s: spec.password: not in this snapshot", p.Name)
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
