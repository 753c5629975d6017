package config

import (
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// The accessors read what validation has let through: they return no errors, and on values that were
// never validated they leave out what they cannot read.

// Selects tells whether a label selector selects an object with these labels. An absent selector
// selects everything, as does an empty one.
func Selects(sel *metav1.LabelSelector, set map[string]string) bool {
	if sel == nil {
		return true
	}
	s, err := metav1.LabelSelectorAsSelector(sel)
	return err == nil && s.Matches(labels.Set(set))
}

// Prefixes reads a list of CIDRs.
func Prefixes(list []string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			ps = append(ps, p.Masked())
		}
	}
	return ps
}

func parsePrefix(s string) netip.Prefix { p, _ := netip.ParsePrefix(s); return p.Masked() }

func parseAddr(s string) netip.Addr { a, _ := netip.ParseAddr(s); return a }

// ClusterPrefixes are ClusterCIDRs, read.
func (s RouterConfigSpec) ClusterPrefixes() []netip.Prefix { return Prefixes(s.ClusterCIDRs) }

// NodePrefixes are NodeCIDRs, read.
func (s RouterConfigSpec) NodePrefixes() []netip.Prefix { return Prefixes(s.NodeCIDRs) }

// ServicePrefixes are ServiceCIDRs, read.
func (s RouterConfigSpec) ServicePrefixes() []netip.Prefix { return Prefixes(s.ServiceCIDRs) }

// Cluster is the cluster ID of reflectors (RFC 4456), the zero Addr where each has its own router ID.
func (s RouterConfigSpec) Cluster() netip.Addr { return parseAddr(s.ClusterID) }

// Restart says whether graceful restart (RFC 4724) is on, how long peers keep our routes, and how long
// we wait for their End-of-RIB.
func (s RouterConfigSpec) Restart() (on bool, restart, deferral time.Duration) {
	g := s.GracefulRestart
	if g == nil {
		return true, DefaultRestartTime, DefaultDeferral
	}
	return !g.Disabled, duration(g.RestartTime, DefaultRestartTime), duration(g.Deferral, DefaultDeferral)
}

// Damps tells whether routes of peers that come and go are held back.
func (s RouterConfigSpec) Damps() bool { return s.FlapDamping == nil || !s.FlapDamping.Disabled }

// Lengths are the bounds of accepted prefix lengths of a family, in bits.
func (s RouterConfigSpec) Lengths(family string) (lowest, highest int) {
	s.setDefaults()
	l := s.AcceptedPrefixLengths.IPv4
	if family == FamilyIPv6 {
		l = s.AcceptedPrefixLengths.IPv6
	}
	return int(l.Min), int(l.Max)
}

// Quarantine is BlockQuarantine, read.
func (s RouterConfigSpec) Quarantine() time.Duration {
	return duration(s.BlockQuarantine, DefaultBlockQuarantine)
}

// Exclusions are the destinations of Exclude, read.
func (m MasqueradeSpec) Exclusions() []netip.Prefix { return Prefixes(m.Exclude) }

// who is the field that says who the neighbour is, and what it says.
func (s BGPPeerSpec) who() (field, value string) {
	switch {
	case s.Gateway != "":
		return "spec.gateway", "the gateway for " + s.Gateway
	case s.Interface != "":
		return "spec.interface", "the neighbour on " + s.Interface
	}
	if s.Prefix != "" {
		return "spec.prefix", "any neighbour in " + s.Prefix
	}
	return "spec.address", s.Neighbour().String()
}

// Callers is Prefix, read, and how many neighbours it may have at a time; false: the peer is a single neighbour.
func (s BGPPeerSpec) Callers() (p netip.Prefix, most int, ok bool) {
	if s.Prefix == "" {
		return p, 0, false
	}
	most = DefaultMaxNeighbors
	if s.MaxNeighbors != 0 {
		most = int(s.MaxNeighbors)
	}
	return parsePrefix(s.Prefix), most, true
}

// Neighbour is Address, read, with the zone of a link-local one; the zero Addr where it is found by other means.
func (s BGPPeerSpec) Neighbour() netip.Addr { return parseAddr(s.Address) }

// Local is SourceAddress, read; the zero Addr where the kernel chooses.
func (s BGPPeerSpec) Local() netip.Addr { return parseAddr(s.SourceAddress) }

// Hold is the hold time that is proposed.
func (s BGPPeerSpec) Hold() time.Duration {
	if s.Timers == nil {
		return DefaultHold
	}
	return duration(s.Timers.Hold, DefaultHold)
}

// Keepalive is the interval of keepalives.
func (s BGPPeerSpec) Keepalive() time.Duration {
	third := (s.Hold() / 3).Truncate(time.Second)
	if s.Timers == nil {
		return third
	}
	return duration(s.Timers.Keepalive, third)
}

// Carries tells whether the session carries a family.
func (s BGPPeerSpec) Carries(family string) bool {
	return len(s.Families) == 0 || slices.Contains(s.Families, family)
}

// Restarts tells whether graceful restart is on for this neighbour, given RouterConfig's setting.
func (s BGPPeerSpec) Restarts(router RouterConfigSpec) bool {
	if s.GracefulRestart != nil {
		return *s.GracefulRestart
	}
	on, _, _ := router.Restart()
	return on
}

// LongLived is for how long routes are kept after the restart time (RFC 9494); 0: they are not.
func (s BGPPeerSpec) LongLived(router RouterConfigSpec) time.Duration {
	var routers *metav1.Duration
	if router.GracefulRestart != nil {
		routers = router.GracefulRestart.LongLivedStaleTime
	}
	return duration(s.LongLivedStaleTime, duration(routers, 0))
}

// Damps tells whether the routes of this neighbour are held back when it comes and goes, given RouterConfig's setting.
func (s BGPPeerSpec) Damps(router RouterConfigSpec) bool {
	if s.FlapDamping != nil {
		return *s.FlapDamping
	}
	return router.Damps()
}

// PrefixLimit is the number of prefixes a family that the neighbour may send to a node, or a router.
func (s BGPPeerSpec) PrefixLimit(router bool) int {
	switch {
	case s.MaxPrefixes != 0:
		return int(s.MaxPrefixes)
	case router:
		return DefaultMaxPrefixes
	}
	return DefaultMaxPrefixesNode
}

// Excess is whether more prefixes than PrefixLimit are only warned of, from which percentage of it on there are warnings, and for
// how long a neighbour is out the first time.
func (s BGPPeerSpec) Excess() (warnOnly bool, warnAt int, retry time.Duration) {
	return s.MaxPrefixesAction == MaxPrefixesWarn, int(s.MaxPrefixesWarnAt), duration(s.MaxPrefixesRetry, DefaultRetry)
}

// Bounds are the CIDR and the lengths of the prefixes inside it that the entry names; without a CIDR the zero Prefix.
func (e FilterEntry) Bounds() (p netip.Prefix, lowest, highest int) {
	if e.CIDR == "" {
		return p, 0, 0
	}
	p = parsePrefix(e.CIDR)
	lowest = max(int(e.GE), p.Bits())
	return p, lowest, max(int(e.LE), lowest)
}

// Prefix is CIDR, read.
func (s AddressPoolSpec) Prefix() netip.Prefix { return parsePrefix(s.CIDR) }

// Excluded are Exclusions, read.
func (s AddressPoolSpec) Excluded() []netip.Prefix { return Prefixes(s.Exclusions) }

// Reserved are Reservations, read.
func (s AddressPoolSpec) Reserved() []netip.Prefix { return Prefixes(s.Reservations) }

// Prefix is CIDR, read.
func (s AddressBlockSpec) Prefix() netip.Prefix { return parsePrefix(s.CIDR) }

// ConnectedRanges are Connected, read.
func (s AdvertisementSpec) ConnectedRanges() []netip.Prefix { return Prefixes(s.Connected) }

// Named are Prefixes, read.
func (s AdvertisementSpec) Named() []netip.Prefix { return Prefixes(s.Prefixes) }

// Via is the next hop that NextHops name for a prefix, the zero Addr where it is the node.
func (s AdvertisementSpec) Via(p netip.Prefix) netip.Addr {
	for _, text := range s.NextHops {
		if a := parseAddr(text); a.IsValid() && a.Is4() == p.Addr().Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// Sums are Aggregates, read.
func (s AdvertisementSpec) Sums() []netip.Prefix { return Prefixes(s.Aggregates) }

// Address is the node's address of a family, the zero Addr where it has none.
func (n Node) Address(family string) netip.Addr {
	for _, a := range n.Addresses {
		if FamilyOf(a) == family {
			return a
		}
	}
	return netip.Addr{}
}

// AS is the node's AS number: its annotation's, else its label's, else RouterConfig's.
func (n Node) AS(router RouterConfigSpec) uint32 {
	for _, m := range []map[string]string{n.Annotations, n.Labels} {
		if as, err := strconv.ParseUint(m[AnnotationAS], 10, 32); err == nil {
			return uint32(as)
		}
	}
	return router.ASNumber
}

// Draining tells whether neighbours are to use other ways than through the node.
func (n Node) Draining() bool { return n.Annotations[AnnotationDrain] == "true" }

// RouterID is the node's BGP identifier (RFC 6286): its annotation's, else its IPv4 address, else a
// hash of its name.
func (n Node) RouterID() netip.Addr {
	if a := parseAddr(n.Annotations[AnnotationRouterID]); a.Is4() {
		return a
	}
	if a := n.Address(FamilyIPv4); a.IsValid() {
		return a
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(n.Name))
	sum := max(h.Sum32(), 1) // never 0.0.0.0
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

func duration(d *metav1.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.Duration
}
