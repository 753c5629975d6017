package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxLinkName is the longest name of a link (IFNAMSIZ less one), in bytes.
const maxLinkName = 15

// mostLongLived is the longest stale time that RFC 9494 can express, in seconds.
const mostLongLived = 1<<24 - 1

// peer checks a BGPPeer by itself.
func (r *report) peer(s *BGPPeerSpec) {
	r.selector("spec.nodeSelector", s.NodeSelector)
	r.neighbour(s)
	r.peerAS(s)
	r.between("spec.port", int64(s.Port), 1, 65535)
	r.passwordSource("spec.password", s.Password)
	r.hops(s)
	r.idle(s)
	r.timers(s.Timers)
	r.bfd(s)
	for i, f := range s.Families {
		field := indexed("spec.families", i)
		if r.oneOf(field, f, FamilyIPv4, FamilyIPv6) && slices.Contains(s.Families[:i], f) {
			r.addf(field, "remove one", "%s is there twice", f)
		}
	}
	r.filter("spec.import", s.Import)
	r.filter("spec.export", s.Export)
	if s.MaxPrefixes != 0 {
		r.between("spec.maxPrefixes", int64(s.MaxPrefixes), 1, 1<<31-1)
	}
	r.oneOf("spec.maxPrefixesAction", s.MaxPrefixesAction, MaxPrefixesTeardown, MaxPrefixesWarn)
	r.between("spec.maxPrefixesWarnAt", int64(s.MaxPrefixesWarnAt), 1, 100)
	r.seconds("spec.maxPrefixesRetry", s.MaxPrefixesRetry, 1, 24*60*60)
	r.seconds("spec.longLivedStaleTime", s.LongLivedStaleTime, 1, mostLongLived)
	r.between("spec.allowOwnAS", int64(s.AllowOwnAS), 0, 10)
	if s.NextHop != "" {
		r.oneOf("spec.nextHop", string(s.NextHop), string(NextHopSelf), string(NextHopUnchanged))
	}
}

// neighbour checks who the neighbour is, and our end of the session.
func (r *report) neighbour(s *BGPPeerSpec) {
	set := 0
	for _, field := range []string{s.Address, s.Gateway, s.Interface, s.Prefix} {
		if field != "" {
			set++
		}
	}
	if set != 1 {
		r.addf("spec", "set address", "exactly one of address, gateway, interface and prefix must be set, not %d", set)
	}
	r.callers(s)
	if s.Gateway != "" {
		r.oneOf("spec.gateway", s.Gateway, FamilyIPv4, FamilyIPv6)
	}
	if len(s.Interface) > maxLinkName || strings.ContainsAny(s.Interface, "/ \t\n") {
		r.addf("spec.interface", "write the name of a link, such as eth0", "%q is no name of a link", s.Interface)
	}
	var peer, local netip.Addr
	if s.Address != "" {
		peer = r.neighbourAddress(s.Address)
	}
	if s.SourceAddress == "" {
		return
	}
	local, ok := r.address("spec.sourceAddress", s.SourceAddress)
	switch {
	case !ok || !peer.IsValid():
	case local.IsUnspecified() || local.IsMulticast():
		r.addf("spec.sourceAddress", "use an address of the node", "%s is no address of a node", local)
	case FamilyOf(local) != FamilyOf(peer):
		r.addf("spec.sourceAddress", "use one of the neighbour's family", "%s is not of the family of %s", local, peer)
	case local == peer:
		r.addf("spec.sourceAddress", "use an address of the node", "%s is the neighbour's own", local)
	}
}

// callers checks a peer that is whoever calls from a prefix.
func (r *report) callers(s *BGPPeerSpec) {
	if s.Prefix == "" {
		if s.MaxNeighbors != 0 {
			r.add("spec.maxNeighbors", "has no effect without prefix", "remove it")
		}
		return
	}
	if s.MaxNeighbors != 0 {
		r.between("spec.maxNeighbors", int64(s.MaxNeighbors), 1, 1024)
	}
	p, ok := r.cidr("spec.prefix", s.Prefix)
	if local := parseAddr(s.SourceAddress); ok && local.IsValid() && local.Is4() != p.Addr().Is4() {
		r.addf("spec.sourceAddress", "use one of the prefix's family", "%s is not of the family of %s", local, p)
	}
}

func (r *report) neighbourAddress(s string) netip.Addr {
	a, ok := r.address("spec.address", s)
	switch {
	case !ok:
	case a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		r.addf("spec.address", "use the neighbour's address", "%s is no address of a neighbour", a)
	case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "":
		r.addf("spec.address", fmt.Sprintf("name the link, as in %s%%eth0", a), "%s is link-local and has no zone", a)
	default:
		return a
	}
	return netip.Addr{}
}

func (r *report) peerAS(s *BGPPeerSpec) {
	n, isNumber := s.ASNumber.Number()
	switch {
	case s.ASNumber == "":
		r.add("spec.asNumber", "is missing", `set it: a number, "internal" for our own, or "external" for any other`)
	case s.ASNumber == ASExternal:
	case s.ASNumber == ASInternal:
		if s.LocalAS != 0 {
			r.add("spec.localAS", `excludes asNumber "internal", which says that both ends have our number`, "remove one")
		}
	case isNumber:
		r.asNumber("spec.asNumber", n)
	default:
		r.addf("spec.asNumber", `use 1 to 4294967294 without a dot, "internal" or "external"`, "%q is no AS number", string(s.ASNumber))
	}
	if s.LocalAS != 0 {
		r.asNumber("spec.localAS", s.LocalAS)
	}
}

// idle reports fields that have no effect beside others.
func (r *report) idle(s *BGPPeerSpec) {
	if s.Passive && s.Port != 0 && s.Port != DefaultPort {
		r.add("spec.port", "has no effect with passive: the neighbour calls", "remove one")
	}
	if s.GracefulRestart != nil && !*s.GracefulRestart && s.LongLivedStaleTime != nil {
		r.add("spec.longLivedStaleTime", "has no effect with gracefulRestart false: it follows the restart time (RFC 9494)", "remove one")
	}
	if s.ReflectorClient && s.ASNumber == ASExternal {
		r.add("spec.reflectorClient", "excludes asNumber external: clients are of the reflector's AS (RFC 4456)", "remove one")
	}
}

func (r *report) passwordSource(field string, p *PasswordSource) {
	if p == nil {
		return
	}
	if (p.SecretRef != nil) == (p.File != "") {
		r.add(field, "exactly one of secretRef and file must be set", "keep one")
	}
	if p.SecretRef != nil && p.SecretRef.Name == "" {
		r.add(field+".secretRef.name", "is missing", "name the Secret")
	}
}

func (r *report) hops(s *BGPPeerSpec) {
	if s.MultihopTTL != 0 {
		r.between("spec.multihopTTL", int64(s.MultihopTTL), 2, 255)
	}
	if s.TTLSecurity != 0 {
		r.between("spec.ttlSecurity", int64(s.TTLSecurity), 1, 254)
	}
	if s.MultihopTTL != 0 && s.TTLSecurity != 0 {
		r.add("spec.ttlSecurity", "excludes multihopTTL (RFC 5082)", "keep one: ttlSecurity counts hops too")
	}
	if s.Interface != "" && s.MultihopTTL != 0 {
		r.add("spec.multihopTTL", "excludes interface: the neighbour is one hop away", "remove it")
	}
	if a, err := netip.ParseAddr(s.Address); err == nil && a.IsLinkLocalUnicast() && s.MultihopTTL != 0 {
		r.addf("spec.multihopTTL", "remove it", "%s is link-local: it is one hop away", a)
	}
}
