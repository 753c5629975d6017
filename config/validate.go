package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// routerConfig checks a RouterConfig by itself.
func (r *report) routerConfig(c *RouterConfig) {
	s := &c.Spec
	if c.Name != DefaultName {
		r.addf("metadata.name", `name it "default"`, "%q is not read: there is one RouterConfig", c.Name)
	}
	r.asNumber("spec.asNumber", s.ASNumber)
	r.oneOf("spec.mesh", string(s.Mesh), string(MeshFull), string(MeshReflectors), string(MeshNone))
	r.reflectors(s)
	r.selector("spec.routerSelector", s.RouterSelector)
	r.oneOf("spec.podSubnets", string(s.PodSubnets), string(SubnetsFromNode), string(SubnetsFromPool))

	pods := r.cidrs("spec.clusterCIDRs", s.ClusterCIDRs, r.podRange)
	nodes := r.cidrs("spec.nodeCIDRs", s.NodeCIDRs, nil)
	services := r.cidrs("spec.serviceCIDRs", s.ServiceCIDRs, nil)
	r.apart("spec.clusterCIDRs", pods, "spec.serviceCIDRs", services)
	r.apart("spec.clusterCIDRs", pods, "spec.nodeCIDRs", nodes)
	r.apart("spec.serviceCIDRs", services, "spec.nodeCIDRs", nodes)
	r.cidrs("spec.masquerade.exclude", s.Masquerade.Exclude, nil)
	if s.Mesh == MeshNone {
		for _, list := range []struct {
			field string
			cidrs []string
		}{{"spec.clusterCIDRs", s.ClusterCIDRs}, {"spec.nodeCIDRs", s.NodeCIDRs}} {
			if len(list.cidrs) == 0 {
				r.add(list.field, "is missing: with mesh None a node does not see the others", "list the ranges")
			}
		}
	}

	r.bmp(s.BMP)
	if s.ListenPort != -1 {
		r.between("spec.listenPort", int64(s.ListenPort), 1, 65535)
	}
	r.between("spec.maxPaths", int64(s.MaxPaths), 1, 256)
	if s.MTU != 0 {
		r.between("spec.mtu", int64(s.MTU), 1280, 65535)
	}
	r.seconds("spec.gracefulRestart.restartTime", s.GracefulRestart.RestartTime, 1, 4095)
	r.seconds("spec.gracefulRestart.deferral", s.GracefulRestart.Deferral, 1, 360)
	r.seconds("spec.gracefulRestart.longLivedStaleTime", s.GracefulRestart.LongLivedStaleTime, 1, mostLongLived)
	r.lengths("spec.acceptedPrefixLengths.ipv4", s.AcceptedPrefixLengths.IPv4, 32)
	r.lengths("spec.acceptedPrefixLengths.ipv6", s.AcceptedPrefixLengths.IPv6, 128)
	r.seconds("spec.blockQuarantine", s.BlockQuarantine, 60, 30*24*3600)
	if n := s.Readiness.MinSessions; n != nil {
		r.between("spec.readiness.minSessions", int64(*n), 0, 1000)
	}
	r.drain(s)
}

func (r *report) reflectors(s *RouterConfigSpec) {
	r.selector("spec.reflectorSelector", s.ReflectorSelector)
	if s.ClusterID != "" {
		r.dotted("spec.clusterID", s.ClusterID)
	}
	if s.MeshBFD != nil {
		r.bfdTimers("spec.meshBFD", *s.MeshBFD)
		if s.Mesh == MeshNone {
			r.add("spec.meshBFD", "has no effect with mesh None", "remove it; BGPPeers have bfd")
		}
	}
	switch {
	case s.Mesh == MeshReflectors && s.ReflectorSelector == nil:
		r.add("spec.reflectorSelector", "is missing: mesh Reflectors needs nodes that reflect", "select them by label")
	case s.Mesh == MeshReflectors:
	case s.ReflectorSelector != nil:
		r.addf("spec.reflectorSelector", "set mesh to Reflectors, or remove it", "has no effect with mesh %s", s.Mesh)
	}
}

func (r *report) lengths(field string, l *LengthRange, highest int64) {
	low := r.between(field+".min", int64(l.Min), 0, highest)
	high := r.between(field+".max", int64(l.Max), 0, highest)
	if low && high && l.Min > l.Max {
		r.addf(field, "exchange them", "min %d is larger than max %d", l.Min, l.Max)
	}
}

// advertisement checks an Advertisement by itself.
func (r *report) advertisement(s *AdvertisementSpec) {
	r.selector("spec.nodeSelector", s.NodeSelector)
	sums := len(s.Aggregates) > 0 || s.RackRanges
	if !s.PodSubnets && !s.NodeAddresses && len(s.Connected) == 0 && len(s.Prefixes) == 0 && !sums && s.Services == nil {
		r.add("spec", "advertises nothing", "set one of podSubnets, nodeAddresses, connected, prefixes, aggregates, rackRanges, services")
	}
	if s.SummaryOnly && !sums {
		r.add("spec.summaryOnly", "has no effect without aggregates or rackRanges", "name the aggregates, or remove it")
	}
	for _, list := range []struct {
		field string
		items int
	}{{"spec.peers", len(s.Peers)}, {"spec.prefixes", len(s.Prefixes)}, {"spec.aggregates", len(s.Aggregates)}, {"spec.communities", len(s.Communities)}} {
		r.atMost(list.field, list.items)
	}
	for i, name := range s.Peers {
		if name == "" || slices.Contains(s.Peers[:i], name) {
			r.addf(indexed("spec.peers", i), "remove it", "%q is empty or there twice", name)
		}
	}
	r.services(s.Services)
	r.cidrs("spec.connected", s.Connected, nil)
	r.named("spec.prefixes", s.Prefixes)
	for i, p := range r.named("spec.aggregates", s.Aggregates) {
		if p.IsValid() && (p.Bits() == 0 || p.IsSingleIP()) {
			r.addf(indexed("spec.aggregates", i), "name a range of addresses", "%s is no range: it is all addresses, or one", p)
		}
	}
	r.nextHops(s.NextHops)
	for i, c := range s.Communities {
		field := indexed("spec.communities", i)
		if !isCommunity(c) {
			r.noCommunity(field, c)
		} else if slices.Contains(s.Communities[:i], c) {
			r.addf(field, "remove one", "%q is there twice", c)
		}
	}
	r.between("spec.prepend", int64(s.Prepend), 0, 16)
}

// named reads prefixes that may overlap, because one may be a part of another; of one that cannot be read the zero Prefix.
func (r *report) named(field string, list []string) []netip.Prefix {
	var seen []netip.Prefix
	for i, text := range list {
		p, ok := r.cidr(indexed(field, i), text)
		if ok && slices.Contains(seen, p) {
			r.addf(indexed(field, i), "remove one", "%s is there twice", p)
		}
		seen = append(seen, p)
	}
	return seen
}

// nextHops checks who others are told to send to.
func (r *report) nextHops(list []string) {
	seen := map[bool]bool{}
	for i, text := range list {
		field := indexed("spec.nextHops", i)
		a, ok := r.address(field, text)
		if !ok || !r.unicast(field, a) {
			continue
		}
		if seen[a.Is4()] {
			r.addf(field, "name one of each family at most", "%s is the second of %s", a, FamilyOf(a))
		}
		seen[a.Is4()] = true
	}
}

// wellKnown are the communities that have names (RFC 1997, 3765, 7999, 8326).
func wellKnown() []string {
	return []string{"no-export", "no-advertise", "no-export-subconfed", "no-peer", "blackhole", "graceful-shutdown"}
}

// isCommunity tells communities (RFC 1997) and large communities (RFC 8092) from anything else.
func isCommunity(s string) bool {
	if slices.Contains(wellKnown(), s) {
		return true
	}
	parts := strings.Split(s, ":")
	bits := map[int]int{2: 16, 3: 32}[len(parts)]
	for _, part := range parts {
		if _, err := strconv.ParseUint(part, 10, bits); err != nil || bits == 0 || part[0] == '+' {
			return false
		}
	}
	return true
}

// noCommunity reports what is none. One whose number is that of an AS of four bytes is meant to be a large one.
func (r *report) noCommunity(field, c string) {
	mend := `write one such as "64512:100", "64512:1:2", or ` + strings.Join(wellKnown(), ", ")
	if as, value, ok := strings.Cut(c, ":"); ok && isCommunity(as+":0:"+value) {
		mend = fmt.Sprintf("its two numbers go up to 65535: write a large one for a larger AS number, such as %q", as+":0:"+value)
	}
	r.addf(field, mend, "%q is no community", c)
}

// timers checks a session's hold time and keepalive interval (RFC 4271 section 4.2).
func (r *report) timers(t *PeerTimers) {
	hold, keepalive := t.Hold.Duration, t.Keepalive.Duration
	if hold == 0 {
		r.add("spec.timers.hold", "is 0s, and a session without a hold time is not to be had: nobody would notice its end", "use 3s to 65535s")
		return
	}
	r.seconds("spec.timers.hold", t.Hold, 3, 65535)
	switch {
	case keepalive%time.Second != 0:
		r.seconds("spec.timers.keepalive", t.Keepalive, 1, 65535)
	case hold >= 3*time.Second && (keepalive < time.Second || keepalive >= hold):
		r.addf("spec.timers.keepalive", "use a third of hold", "%s is not between 1s and the hold time %s", keepalive, hold)
	}
}
