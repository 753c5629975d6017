package bgp

import (
	"net/netip"
	"slices"
	"time"

	"github.com/podroute/podroute/bgp/bmp"
)

// Family is an address family of unicast routes (RFC 4760).
type Family uint8

// Families.
const (
	IPv4 Family = iota + 1
	IPv6
)

// String is "IPv4" or "IPv6".
func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return "unknown family"
}

// familyOf is the family of an address; an IPv4-mapped IPv6 address counts as IPv6.
func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Config is the whole desired state of the speaker.
type Config struct {
	// AS is our autonomous system, 1 to 4294967294 (RFC 6793).
	AS uint32
	// RouterID is our BGP identifier (RFC 4271 section 4.2): an IPv4 address, unique in the AS.
	RouterID netip.Addr
	// ListenPort is the TCP port on which neighbours are accepted, -1 for no listener, 0 for 179.
	ListenPort int
	// MaxPaths bounds the equal-cost paths of a route; 0 means 1.
	MaxPaths int
	// Restarting says that the routes of an earlier life are still in the kernel: neighbours are told so
	// (the Restart State bit, RFC 4724 section 3). It is read when a neighbour is first added.
	Restarting bool
	// Flushed are the families of which that is not so, though of the other it is: neighbours are not told that forwarding went on.
	Flushed []Family
	// Deferral bounds the wait for the neighbours' End-of-RIB, in whole seconds; 0 means 10 s.
	Deferral time.Duration
	// Transit re-advertises what was learned, with ourselves as the next hop.
	Transit bool
	// Drain asks the neighbours to use other ways than through us: all that we send carries GRACEFUL_SHUTDOWN
	// (RFC 8326) and, to internal neighbours, the lowest local preference.
	Drain bool
	// ClusterID of a route reflector (RFC 4456); zero means RouterID.
	ClusterID netip.Addr

	// Import are the prefixes accepted from every peer.
	Import []PrefixRange
	// Never are prefixes rejected from every peer whose own Import.Accept does not name the very prefix, or, of a range,
	// a part of it.
	Never []PrefixRange
	// NeverEver are rejected from everybody, with everything inside them.
	NeverEver []netip.Prefix

	// Links are the addresses of this host's links that are up, with the lengths of their prefixes. A path whose
	// next hop is on none of them is chosen only where there is no other (RFC 4271 section 9.1.2). Empty: not known.
	Links []netip.Prefix
	// Ways are the destinations of this host's other routes: a next hop that the longest of them leads to is reached as well,
	// where it comes from a peer with Recursive.
	Ways []Way

	Peers []Peer
	Paths []Path
	// Ranges are where neighbours may call from that are not among Peers.
	Ranges []Range
	// Stations are told what neighbours say (RFC 7854).
	Stations []bmp.Station
}

// passesOn says whether what neighbours say is told to others.
func (c Config) passesOn() bool {
	return c.Transit || slices.ContainsFunc(c.Peers, func(p Peer) bool { return p.ReflectorClient })
}

// Way is a destination of this host that BGP has nothing to do with. Dead: its route leads nowhere.
type Way struct {
	Dst  netip.Prefix
	Dead bool
}

// PrefixRange is the set of prefixes inside Prefix whose length is Min to Max bits.
type PrefixRange struct {
	Prefix   netip.Prefix
	Min, Max int
}

// exact says that the range is one prefix.
func (r PrefixRange) exact() bool { return r.Min == r.Prefix.Bits() && r.Max == r.Min }

// contains says whether p is one of the range's prefixes.
func (r PrefixRange) contains(p netip.Prefix) bool {
	return r.Min <= p.Bits() && p.Bits() <= r.Max && r.Prefix.Bits() <= p.Bits() && r.Prefix.Contains(p.Addr())
}

// Peer is a neighbour.
type Peer struct {
	// Name is unique among the peers; states and errors carry it.
	Name string
	// Address of the neighbour, unique; a link-local one carries its zone.
	Address netip.Addr
	// AS of the neighbour; with External, 0: any but ours.
	AS       uint32
	External bool
	// LocalAS replaces ours on this session; 0 means Config.AS.
	LocalAS uint32
	// Port of the neighbour; 0 means 179.
	Port int
	// Password for TCP MD5 signatures (RFC 2385), at most 80 bytes.
	Password string
	// Local is our end of the session; zero leaves the choice to the kernel.
	Local netip.Addr
	// Passive waits for the neighbour to connect.
	Passive bool
	// MultihopTTL is the TTL of our packets to an external neighbour that is not on a link of ours;
	// 0 means 1, a neighbour on the link. It excludes TTLSecurity.
	MultihopTTL int
	// TTLSecurity accepts packets of a neighbour at most this many hops away only (RFC 5082); 0 is off.
	TTLSecurity int
	// Hold time, at least 3 s, 0 means 90 s; Keepalive, 0 means a third of Hold. Whole seconds.
	Hold, Keepalive time.Duration
	// Families of the session; empty means both.
	Families []Family
	// NextHops are the next hops of what we send in a family; a family without one has our end of the
	// session as its next hop, which takes a session of that same family (or RFC 8950).
	NextHops map[Family]netip.Addr
	Import   Filter
	Export   Filter
	// Only, where not nil, is all that is accepted: these very prefixes.
	Only []netip.Prefix
	// MaxPrefixes a family that the neighbour may send before its session is ended; 0 is no bound. With WarnOnly its
	// session stays, and its state says so. WarnAt is the percentage of the bound from which on its state says that it
	// is near; 0 means 75. Retry is how long a neighbour whose session was ended stays out, twice as long each time that
	// follows soon, up to an hour; 0 means 5 min.
	MaxPrefixes int
	WarnOnly    bool
	WarnAt      int
	Retry       time.Duration
	// GracefulRestart (RFC 4724) in both roles, for all families of the session.
	GracefulRestart bool
	// RestartTime is how long the neighbour keeps our routes while we are away, in whole seconds up to
	// 4095 s; 0 means 120 s.
	RestartTime time.Duration
	// LongLived is how long after the restart time routes are kept, as the last choice (RFC 9494), in whole seconds up to 2^24-1 s: ours
	// by the neighbour, and its own by us; 0: they are not. It takes GracefulRestart.
	LongLived time.Duration
	// AllowOwnAS accepts AS paths that hold our own AS up to this many times.
	AllowOwnAS int
	// OverrideAS replaces the neighbour's own AS by ours in the paths that we send it, for neighbours that
	// share an AS number and reach one another through us.
	OverrideAS bool
	// ReceivePaths takes several paths to a prefix from the neighbour, and SendPaths tells it all that are passed on, up to 255 of a prefix, and not
	// only the best (RFC 7911).
	ReceivePaths, SendPaths bool
	// ReflectorClient makes the neighbour a client of ours (RFC 4456).
	ReflectorClient bool
	// Recursive says that next hops from the neighbour may be anywhere that Config.Ways lead to, and not only on links.
	Recursive bool
	// PassOn is the next hop of what others have told us and the neighbour is told.
	PassOn PassOn
	// Undamped uses the routes of the neighbour at once however often it comes and goes.
	Undamped bool
	// Down says that the link to the neighbour is down: its session ends at once, its routes leave, and
	// it is not dialled until Down is false.
	Down bool
	// Lost is when BFD last found the neighbour dead (RFC 5882), zero: never. A session that has been up since before
	// ends at once, its routes leave, and the neighbour is dialled anew.
	Lost time.Time
}

// families is Families with its default.
func (p Peer) families() []Family {
	if len(p.Families) == 0 {
		return []Family{IPv4, IPv6}
	}
	return p.Families
}

// localAS is the AS that the neighbour knows us by.
func (p Peer) localAS(c Config) uint32 {
	if p.LocalAS != 0 {
		return p.LocalAS
	}
	return c.AS
}

// internal says whether the session is iBGP.
func (p Peer) internal(c Config) bool { return !p.External && p.AS == p.localAS(c) }

// Path is a prefix that we announce. The same prefix may stand in several paths with different Peers.
type Path struct {
	Prefix netip.Prefix
	// NextHop, zero for ourselves.
	NextHop netip.Addr
	// Communities (RFC 1997) as "64512:100" or a well-known name, large ones (RFC 8092) as "1:2:3".
	Communities []string
	// LocalPref is sent to internal neighbours, MED to all (RFC 4271 sections 5.1.5 and 5.1.4).
	LocalPref, MED *uint32
	// Prepend repeats our AS this many more times towards external neighbours.
	Prepend int
	// Peers are the names of those who are told; empty means all.
	Peers []string
	// Aggregate says that the prefix stands for others inside it whose paths are not told with it (RFC 4271 section
	// 5.1.6); with SummaryOnly, who is told the aggregate is told nothing inside it.
	Aggregate, SummaryOnly bool
}

// Learned is a route that the neighbours have given us, or that they have taken back.
type Learned struct {
	Prefix netip.Prefix
	// Via are the best paths, in the order of their neighbours' addresses; empty: the route is gone.
	// Routes with the same set share the slice; do not change it.
	Via []Via
}

// Via is one path of a route.
type Via struct {
	// Addr is the next hop; a link-local one carries its zone.
	Addr netip.Addr
	// Peer is the name of the neighbour that announced it.
	Peer string
	// Leaving: the neighbour asks for other ways (RFC 8326), and there are some: flows that are under way may stay, no other is
	// to go there. It stands behind those that are not leaving.
	Leaving bool
}

// PeerState is the state of a session.
type PeerState struct {
	Name    string
	Address netip.Addr
	AS      uint32
	// State is a state of RFC 4271 section 8.2.2: Idle, Connect, Active, OpenSent, OpenConfirm or
	// Established.
	State string
	// Since is when the session came up, or went down.
	Since time.Time
	// Received, Accepted and Advertised count prefixes.
	Received, Accepted, Advertised map[Family]int
	// Reason and LastError say why the session is not up, or what ended it last. LastError is for people.
	Reason    Reason
	LastError string
	// Flaps counts how often the session was lost; LastDown and LastDownAt say why, for people, and when it was last.
	Flaps      int
	LastDown   string
	LastDownAt time.Time
	// HeldUntil is until when its routes are held back because it comes and goes; zero: they are not.
	HeldUntil time.Time
	// Warnings are what is amiss with a session that is up, each for people.
	Warnings []string
	// Looping is how many of its routes are dropped because their AS paths hold our own AS number, and are told by nobody else.
	Looping int
	// Families, HoldTime and GracefulRestart as negotiated; of an established session only.
	Families        []Family
	HoldTime        time.Duration
	GracefulRestart bool
	// Notifications says that routes are kept over NOTIFICATIONs (RFC 8538), LongLived for how long after the restart time (RFC 9494), and
	// ReceivesPaths and SendsPaths that several paths to a prefix are told (RFC 7911), in one family at least.
	Notifications             bool
	LongLived                 time.Duration
	ReceivesPaths, SendsPaths bool
	// Stale says that the neighbour is restarting and that its routes are kept (RFC 4724 section 4.2).
	Stale bool
	// LastChoice says of those routes that they are used only where there are no others: the neighbour has fallen silent, or has been away
	// for longer than its restart time.
	LastChoice bool
	// Local is our end of the session, RouterID the neighbour's BGP identifier, Restart for how long its routes are kept while it restarts, and
	// Keepalive as negotiated; of an established session only.
	Local, RouterID    netip.Addr
	Restart, Keepalive time.Duration
	// Settings are what it is configured to be, defaults and our AS filled in, without its password; Signed: it has one.
	Settings Peer
	Signed   bool
}

// AdvertisedRoute is a route as a neighbour is told it.
type AdvertisedRoute struct {
	Peer   string
	Prefix netip.Prefix
	Attributes
}

// Attributes are those of a path, for people. They may be shared: do not change them.
type Attributes struct {
	// NextHop; a link-local one carries its zone.
	NextHop netip.Addr
	// Origin is IGP, EGP or INCOMPLETE (RFC 4271 section 5.1.1).
	Origin string
	ASPath []uint32
	// LocalPref and MED; nil: there is none. What neighbours say always has a local preference, which is what it counts for.
	LocalPref, MED *uint32
	// Communities as "64512:100", then large ones as "1:2:3".
	Communities []string
	// Originator and Clusters of what was reflected (RFC 4456).
	Originator netip.Addr
	Clusters   []netip.Addr
	// Aggregate: it says so (ATOMIC_AGGREGATE or AGGREGATOR).
	Aggregate bool
}
