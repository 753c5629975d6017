package agent

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
)

// peers are the BGPPeers that select this node. One that cannot be served is reported and left out.
func (d *draft) peers() {
	for _, p := range d.Snapshot.PeersOf(d.node) {
		if p.Spec.Prefix != "" {
			continue // see callers
		}
		if addr, ok := d.neighbour("BGPPeer/"+p.Name, p.Spec); ok {
			d.add(p, p.Name, addr)
		}
	}
}

// add adds the session of a BGPPeer with a neighbour.
func (d *draft) add(p config.BGPPeer, name string, addr netip.Addr) {
	if peer, ok := d.peer(p, name, addr); ok {
		peer.Lost = d.Lost[name]
		d.watch(p, peer)
		d.BGP.Peers = append(d.BGP.Peers, peer)
	}
}

func (d *draft) peer(p config.BGPPeer, name string, addr netip.Addr) (bgp.Peer, bool) {
	object, s := "BGPPeer/"+p.Name, p.Spec
	peer := d.session(name, addr)
	peer.AS, peer.External = s.ASNumber.Resolve(d.AS), s.ASNumber == config.ASExternal
	peer.LocalAS = s.LocalAS
	peer.Port = int(s.Port)
	peer.Passive = s.Passive
	if s.Passive && d.spec.ListenPort < 0 {
		d.problem(object, "spec.passive", "this node hears no calls: RouterConfig's listenPort is -1", "set it, or let this node call")
	}
	peer.MultihopTTL, peer.TTLSecurity = int(s.MultihopTTL), int(s.TTLSecurity)
	peer.Recursive = reachesFar(peer, d.AS)
	peer.AllowOwnAS = int(s.AllowOwnAS)
	peer.OverrideAS = s.OverrideAS
	if s.OverrideAS && (d.Role != roleRouter || peer.AS == d.AS) {
		d.problem(object, "spec.overrideAS", "has no effect on node "+d.node.Name+": only a router passes on routes of others to another AS",
			"make it a router (routerSelector of RouterConfig), or remove overrideAS")
	}
	if peer.ReflectorClient = s.ReflectorClient; s.ReflectorClient && !d.internal(s) {
		d.problem(object, "spec.reflectorClient", fmt.Sprintf("has no effect on node %s, whose AS is %d: clients are of the reflector's AS (RFC 4456)", d.node.Name, d.AS),
			"remove it, or set asNumber: internal")
		peer.ReflectorClient = false
	}
	if s.AddPath != nil {
		peer.ReceivePaths, peer.SendPaths = s.AddPath.Receive, s.AddPath.Send
	}
	peer.PassOn = map[config.NextHop]bgp.PassOn{
		config.NextHopSelf: bgp.PassOnSelf, config.NextHopUnchanged: bgp.PassOnUnchanged,
	}[s.NextHop]
	if s.NextHop == config.NextHopSelf && peer.ReflectorClient && d.Role != roleRouter {
		d.problem(object, "spec.nextHop", "node "+d.node.Name+" is no router, and would draw traffic of others through it",
			"make it a router (routerSelector of RouterConfig), or remove nextHop")
		peer.PassOn = bgp.PassOnDefault
	}
	peer.Import, peer.Export = filter(s.Import), filter(s.Export)
	peer.MaxPrefixes = s.PrefixLimit(d.Role == roleRouter)
	peer.Undamped = !s.Damps(d.spec)
	peer.WarnOnly, peer.WarnAt, peer.Retry = s.Excess()
	peer.GracefulRestart, peer.LongLived = s.Restarts(d.spec), s.LongLived(d.spec)
	if s.LongLivedStaleTime != nil && !peer.GracefulRestart {
		d.problem(object, "spec.longLivedStaleTime", "has no effect: graceful restart, which it follows (RFC 9494), is disabled in RouterConfig",
			"set gracefulRestart: true here, or remove it")
	}
	peer.Hold, peer.Keepalive = s.Hold(), s.Keepalive()
	peer.Local = s.Local()
	password, err := d.Snapshot.Password(p)
	if err != nil { // fail closed: without its password the session is not attempted at all
		d.problem(object, "spec.password", err.Error(), "provide the password; until then there is no session")
		return bgp.Peer{}, false
	}
	peer.Password = string(password)
	if _, err := d.Snapshot.BFDKey(p); err != nil {
		d.problem(object, "spec.bfd.authentication.key", err.Error(), "provide the key; until then there is no session")
		return bgp.Peer{}, false
	}
	return d.families(object, peer, s.Families)
}

// reachesFar tells whether next hops that a peer names may be on no link of ours: those of one inside our AS may, and of one
// that is several hops away. Any other is to name itself or a router on the link between us (RFC 4271 section 5.1.3). So are the
// nodes of a mesh, for routers between them do not know the pods.
func reachesFar(p bgp.Peer, as uint32) bool {
	if p.LocalAS != 0 {
		as = p.LocalAS
	}
	return p.MultihopTTL > 1 || p.TTLSecurity > 1 || !p.External && p.AS == as
}

// internal tells whether a BGPPeer's session is one inside our AS, as it knows it.
func (d *draft) internal(s config.BGPPeerSpec) bool {
	own := d.AS
	if s.LocalAS != 0 {
		own = s.LocalAS
	}
	return s.ASNumber != config.ASExternal && s.ASNumber.Resolve(d.AS) == own
}

// untold reports what BGPPeers say of routes that are passed on to a neighbour, where none are: a node that is no router passes on
// nothing, but to whom it reflects.
func (d *draft) untold() {
	reflects := slices.ContainsFunc(d.BGP.Peers, func(p bgp.Peer) bool { return p.ReflectorClient })
	for _, p := range d.Snapshot.PeersOf(d.node) {
		s := p.Spec
		if d.Role == roleRouter || reflects && d.internal(s) {
			continue
		}
		why := "has no effect on node " + d.node.Name + ": it passes on nothing to this neighbour, for it is no router, nor a reflector of its AS"
		if s.AddPath != nil && s.AddPath.Send {
			d.problem("BGPPeer/"+p.Name, "spec.addPath.send", why, "make it a router (routerSelector of RouterConfig), or remove it")
		}
		if s.NextHop != "" {
			d.problem("BGPPeer/"+p.Name, "spec.nextHop", why, "make it a router (routerSelector of RouterConfig), or remove it")
		}
	}
}

// session is what any peer at addr starts from.
func (d *draft) session(name string, addr netip.Addr) bgp.Peer {
	restart, restartTime, _ := d.spec.Restart()
	var defaults config.BGPPeerSpec
	p := bgp.Peer{
		Name: name, Address: addr,
		GracefulRestart: restart, RestartTime: restartTime, LongLived: defaults.LongLived(d.spec),
		Hold: defaults.Hold(), Keepalive: defaults.Keepalive(),
		MaxPrefixes: defaults.PrefixLimit(d.Role == roleRouter),
		Undamped:    !d.spec.Damps(),
	}
	if l, ok := onLink(d.uplinks, addr); ok && !l.Up {
		p.Down = true
	}
	return p
}

// families settles which families a session carries and the next hop of the one that the session's
// own address cannot serve: IPv6 routes over an IPv4 session carry an IPv6 address of this node that
// the peer has a link to, and the other way round.
func (d *draft) families(object string, p bgp.Peer, want []string) (bgp.Peer, bool) {
	link, linked := onLink(d.uplinks, p.Address)
	for _, f := range []bgp.Family{bgp.IPv4, bgp.IPv6} {
		if len(want) > 0 && !slices.Contains(want, f.String()) {
			continue
		}
		if is4 := f == bgp.IPv4; is4 != p.Address.Is4() {
			hop := netip.Addr{}
			if linked {
				hop = globalAddr(link, is4)
			} else {
				hop = d.addressOf(is4)
			}
			if is4 && linked && !hop.IsValid() && p.Address.IsLinkLocalUnicast() {
				p.Families = append(p.Families, f) // with our link-local address as the next hop (RFC 8950)
				continue
			}
			if !hop.IsValid() {
				if len(want) > 0 && !p.Down {
					d.problem(object, "spec.families", fmt.Sprintf("this node has no %v address to be the next hop towards %v", f, p.Address),
						"give the link one, or leave this family out")
				}
				continue
			}
			p.NextHops = map[bgp.Family]netip.Addr{f: hop}
		}
		p.Families = append(p.Families, f)
	}
	return p, len(p.Families) > 0
}

// addressOf is the node's own address of a family, or the zero Addr.
func (d *draft) addressOf(is4 bool) netip.Addr {
	for _, a := range d.Addresses {
		if a.Is4() == is4 {
			return a
		}
	}
	return netip.Addr{}
}

func filter(f *config.PrefixFilter) bgp.Filter {
	if f == nil {
		return bgp.Filter{}
	}
	return bgp.Filter{Accept: matches(f.Accept), Reject: matches(f.Reject), Only: f.Only}
}

func matches(in []config.FilterEntry) []bgp.Match {
	var out []bgp.Match
	for _, e := range in {
		p, lowest, highest := e.Bounds()
		m := bgp.Match{Prefixes: bgp.PrefixRange{Prefix: p, Min: lowest, Max: highest}, Communities: e.Communities}
		switch e.Family {
		case config.FamilyIPv4:
			m.Family = bgp.IPv4
		case config.FamilyIPv6:
			m.Family = bgp.IPv6
		}
		if a := e.ASPath; a != nil {
			m.Path = bgp.PathMatch{Neighbor: a.Neighbor, Origin: a.Origin, Contains: a.Contains, MaxLength: int(a.MaxLength)}
		}
		out = append(out, m)
	}
	return out
}
