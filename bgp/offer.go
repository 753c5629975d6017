package bgp

import (
	"net/netip"
	"slices"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

const (
	defaultLocalPref = 100
	llgrStale        = 0xffff0006 // RFC 9494
	noLLGR           = 0xffff0007 // RFC 9494
	shutdown         = 0xffff0000 // GRACEFUL_SHUTDOWN, RFC 8326
)

// offer is what an UPDATE says of all the prefixes in it. It never changes.
type offer struct {
	hop            netip.Addr
	path           []uint32 // the AS path, of sequences only; see unordered
	unordered      bool     // the AS path has a segment that is no AS_SEQUENCE
	origin         uint8
	localPref, med uint32
	communities    []uint32
	large          [][3]uint32
	worn           bool       // LLGR_STALE
	leaving        bool       // an external neighbour asks for other ways (RFC 8326)
	short          bool       // NO_LLGR
	originator     netip.Addr // RFC 4456
	alone          *pathSet   // the set of this path only, once there was one

	// For people only:
	priced   bool         // MED is there
	clusters []netip.Addr // RFC 4456
	summary  bool         // ATOMIC_AGGREGATE or AGGREGATOR is
}

// ourOffer is what a path of our own is worth: its attributes are put on when it is sent.
func ourOffer() *offer { return &offer{localPref: defaultLocalPref} }

// read takes in path attributes. LOCAL_PREF of an external neighbour is ignored (RFC 4271 section 5.1.5).
func (n *neighbour) read(attrs []gobgp.PathAttributeInterface) *offer {
	o := ourOffer()
	for _, a := range attrs {
		switch a := a.(type) {
		case *gobgp.PathAttributeOrigin:
			o.origin = a.Value
		case *gobgp.PathAttributeAsPath:
			for _, seg := range a.Value {
				o.path = append(o.path, seg.GetAS()...)
				o.unordered = o.unordered || seg.GetType() != gobgp.BGP_ASPATH_ATTR_TYPE_SEQ
			}
		case *gobgp.PathAttributeLocalPref:
			if n.internal {
				o.localPref = a.Value
			}
		case *gobgp.PathAttributeMultiExitDisc:
			o.med, o.priced = a.Value, true
		case *gobgp.PathAttributeCommunities:
			o.worn, o.short = slices.Contains(a.Value, llgrStale), slices.Contains(a.Value, noLLGR)
			o.leaving = !n.internal && slices.Contains(a.Value, shutdown)
			o.communities = append(o.communities, a.Value...)
		case *gobgp.PathAttributeLargeCommunities:
			for _, c := range a.Values {
				o.large = append(o.large, [3]uint32{c.ASN, c.LocalData1, c.LocalData2})
			}
		case *gobgp.PathAttributeOriginatorId:
			o.originator = a.Value
		case *gobgp.PathAttributeClusterList:
			o.clusters = a.Value
		case *gobgp.PathAttributeAtomicAggregate, *gobgp.PathAttributeAggregator:
			o.summary = true
		}
	}
	if o.leaving {
		o.localPref = 0 // RFC 8326 section 4.3
	}
	o.hop = nextHop(attrs, n.addr.Zone())
	return o
}

// same says whether two offers are worth the same; neighbours say the same in many UPDATEs.
func (o *offer) same(p *offer) bool {
	return p != nil && o.hop == p.hop && o.unordered == p.unordered && o.origin == p.origin && o.localPref == p.localPref &&
		o.med == p.med && o.worn == p.worn && o.leaving == p.leaving && o.short == p.short && o.originator == p.originator && slices.Equal(o.path, p.path) &&
		slices.Equal(o.communities, p.communities) && slices.Equal(o.large, p.large) &&
		o.priced == p.priced && o.summary == p.summary && slices.Equal(o.clusters, p.clusters)
}

// neighbourAS is the AS that gave the path to ours; 0: it began in ours.
func (o *offer) neighbourAS() uint32 {
	if len(o.path) == 0 {
		return 0
	}
	return o.path[0]
}

// nextHop is where a path leads. A link-local next hop gets the zone of the neighbour that named it, as
// RFC 2545 section 3 means it.
func nextHop(attrs []gobgp.PathAttributeInterface, zone string) netip.Addr {
	for _, a := range attrs {
		switch a := a.(type) {
		case *gobgp.PathAttributeNextHop:
			return a.Value
		case *gobgp.PathAttributeMpReachNLRI:
			hop := a.Nexthop
			if (!hop.IsValid() || hop.IsUnspecified()) && a.LinkLocalNexthop.IsValid() {
				hop = a.LinkLocalNexthop
			}
			if hop.IsLinkLocalUnicast() && hop.Is6() {
				return hop.WithZone(zone)
			}
			return hop
		}
	}
	return netip.Addr{}
}
