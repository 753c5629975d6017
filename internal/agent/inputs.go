package agent

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/routes"
)

// podLinkPrefix begins the name of every pod's link on the host.
const podLinkPrefix = "pr"

// Inputs are all that the desired state depends on.
type Inputs struct {
	// NodeName is the name of the node that this agent runs on.
	NodeName string
	// Snapshot is the configuration.
	Snapshot config.Snapshot
	// Gone is what was known of this node's Node before it was deleted; the zero Node otherwise.
	Gone config.Node
	// Links are the host's, pods' included.
	Links []routes.Link
	// Foreign are destinations of the host's routes that are not ours.
	Foreign []netip.Prefix
	// Ways are those of the host's routes that next hops may be found by; not to be changed.
	Ways []routes.Way
	// Restarting is whether this start adopted the routes of an earlier one.
	Restarting bool
	// Flushed are the families of which it found none, though there had been some.
	Flushed []bgp.Family
	// Claiming: this agent claims blocks of pools by itself. Releasing are blocks that it gives back, and Waiting
	// says by pool why it cannot have one more.
	Claiming  bool
	Releasing []netip.Prefix
	Waiting   map[string]string
	// Before is the mesh that was until lately, whose sessions stay beside the new ones; nil: there is none.
	Before *meshPlan
	// Gateways are the routers of the node's default routes, Neighbours those at the other end of links, by the links'
	// names; link-local ones with their zones.
	Gateways   []netip.Addr
	Neighbours map[string]netip.Addr
	// Callers are the neighbours that have called from the prefixes of peers, by the peers' names.
	Callers map[string]bgp.Callers
	// Lost are when BFD last lost peers, by name.
	Lost map[string]time.Time
	// Now is the present, and Since the last Desired.Found: when service addresses were first found served. Nil: long ago.
	Now   time.Time
	Since map[netip.Prefix]time.Time
	// Drain: this node is being drained; Withdraw: so far that its service addresses are not advertised any more.
	Drain, Withdraw bool
}

// uplinks are the links that may lead to other machines: neither loopback nor a pod's.
func uplinks(links []routes.Link) []routes.Link {
	return slices.DeleteFunc(slices.Clone(links), func(l routes.Link) bool {
		return l.Loopback || strings.HasPrefix(l.Name, podLinkPrefix)
	})
}

// onLink finds the uplink on which addr is a neighbour: by zone, where addr has one, or by prefix,
// the longest first.
func onLink(links []routes.Link, addr netip.Addr) (routes.Link, bool) {
	best, bits := -1, -1
	for i, l := range links {
		if addr.Zone() != "" {
			if l.Name == addr.Zone() {
				return l, true
			}
			continue
		}
		for _, p := range l.Prefixes {
			if p.Bits() > bits && p.Addr() != addr && p.Contains(addr) && !linkLocal(addr) {
				best, bits = i, p.Bits()
			}
		}
	}
	if best < 0 {
		return routes.Link{}, false
	}
	return links[best], true
}

// isLocal tells whether the host itself has addr.
func isLocal(links []routes.Link, addr netip.Addr) bool {
	return slices.ContainsFunc(links, func(l routes.Link) bool {
		return slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Addr() == addr })
	})
}

// globalAddr is the first address of the link that neighbours beyond it can use.
func globalAddr(l routes.Link, is4 bool) netip.Addr {
	for _, p := range l.Prefixes {
		if p.Addr().Is4() == is4 && !p.Addr().IsLinkLocalUnicast() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// smallestMTU of the uplinks that are up and have an address; 0 without any.
func smallestMTU(links []routes.Link) int {
	mtu := 0
	for _, l := range uplinks(links) {
		if l.Up && len(l.Prefixes) > 0 && (mtu == 0 || l.MTU < mtu) {
			mtu = l.MTU
		}
	}
	return mtu
}
