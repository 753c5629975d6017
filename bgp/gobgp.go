package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"golang.org/x/sys/unix"
)

// This file translates our values to gobgp's and decides nothing, but for a few constants with reasons.

const (
	importPolicy = "import"
	exportPolicy = "export"

	// connectRetry, in seconds, spaces the attempts to dial a neighbour; gobgp's own is two minutes.
	connectRetry = 3
	// idleAfterReset, in seconds, is how long gobgp rests after an administrative reset; its own is 30.
	idleAfterReset = 1
	// mostPaths is the highest bound that gobgp has on the paths of a prefix that a neighbour is told. It keeps none well: see docs/adr/0025.
	mostPaths = 255
	// anyOwnAS turns gobgp's own check for loops off; see loopRules.
	anyOwnAS = 255
)

func (f Family) gobgp() gobgp.Family {
	if f == IPv4 {
		return gobgp.RF_IPv4_UC
	}
	return gobgp.RF_IPv6_UC
}

func (f Family) api() *api.Family {
	if f == IPv4 {
		return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	}
	return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
}

// familyFrom is the inverse of gobgp; false for families that we do not speak.
func familyFrom(f gobgp.Family) (Family, bool) {
	switch f {
	case gobgp.RF_IPv4_UC:
		return IPv4, true
	case gobgp.RF_IPv6_UC:
		return IPv6, true
	}
	return 0, false
}

// globalOf is what gobgp must know before anything else; a change of it takes a new speaker.
func globalOf(c Config) *api.Global {
	return &api.Global{
		Asn:        c.AS,
		RouterId:   c.RouterID.String(),
		ListenPort: int32(c.ListenPort),
		// gobgp wants all of them or none.
		ListenAddresses: listenAddresses(),
		Families:        []uint32{0, 1}, // gobgp's numbers for IPv4 and IPv6 unicast: no tables for the rest
	}
}

// listenAddresses are the unspecified addresses of the families that the kernel has.
func listenAddresses() []string {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return []string{"0.0.0.0"} // booted with ipv6.disable=1
	}
	if err == nil {
		_ = unix.Close(fd)
	}
	return []string{"0.0.0.0", "::"}
}

// peerOf is a neighbour as gobgp wants it. Where forwarding has outlived a restart in some families, OPEN has the Restart State bit, and
// gobgp sets the Forwarding State bit of every family that is there: the others are left out (see docs/adr/0104).
func peerOf(c Config, p Peer, kept []Family) *api.Peer {
	restarting := len(kept) > 0
	out := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: p.Address.String(),
			PeerAsn:         p.AS,
			LocalAsn:        p.LocalAS,
			AuthPassword:    p.Password,
			AllowOwnAsn:     anyOwnAS,
			ReplacePeerAsn:  p.OverrideAS,
		},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime:               uint64(p.Hold / time.Second),
			KeepaliveInterval:      uint64(p.Keepalive / time.Second),
			ConnectRetry:           connectRetry,
			IdleHoldTimeAfterReset: idleAfterReset,
		}},
		Transport: &api.Transport{PassiveMode: p.Passive, RemotePort: uint32(p.Port)},
	}
	if p.Local.IsValid() {
		out.Transport.LocalAddress = p.Local.String()
	}
	if p.MultihopTTL > 0 {
		out.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(p.MultihopTTL)}
	}
	if p.TTLSecurity > 0 {
		out.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: uint32(256 - p.TTLSecurity)}
	}
	if p.ReflectorClient {
		out.RouteReflector = &api.RouteReflector{RouteReflectorClient: true, RouteReflectorClusterId: c.ClusterID.String()}
	}
	if p.GracefulRestart {
		out.GracefulRestart = &api.GracefulRestart{
			Enabled:         true,
			RestartTime:     uint32(p.RestartTime / time.Second),
			DeferralTime:    uint32((c.Deferral + time.Second - 1) / time.Second),
			LocalRestarting: restarting,
			// RFC 8538
			NotificationEnabled: true,
			LonglivedEnabled:    p.LongLived > 0,
		}
	}
	for _, fam := range p.Families {
		out.AfiSafis = append(out.AfiSafis, familyOfPeer(p, fam, p.GracefulRestart && (!restarting || slices.Contains(kept, fam))))
	}
	return out
}

// familyOfPeer is what a neighbour is offered in a family.
func familyOfPeer(p Peer, fam Family, graceful bool) *api.AfiSafi {
	af := &api.AfiSafi{Config: &api.AfiSafiConfig{Family: fam.api(), Enabled: true}}
	if p.ReceivePaths || p.SendPaths {
		af.AddPaths = &api.AddPaths{Config: &api.AddPathsConfig{Receive: p.ReceivePaths}}
		if p.SendPaths {
			af.AddPaths.Config.SendMax = mostPaths
		}
	}
	if graceful {
		af.MpGracefulRestart = &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}}
		if p.LongLived > 0 {
			af.LongLivedGracefulRestart = &api.LongLivedGracefulRestart{
				Config: &api.LongLivedGracefulRestartConfig{Enabled: true, RestartTime: uint32(p.LongLived / time.Second)},
			}
		}
	}
	return af
}

// sessionKey is all of a peer that takes a new session when it changes: what OPEN carries (RFC 4271
// section 4.2, RFC 5492), what the TCP connection is made of, and what gobgp takes at a session's start only (docs/adr/0102).
func sessionKey(c Config, p Peer) string {
	var cluster netip.Addr // clients alone are told
	if p.ReflectorClient {
		cluster = c.ClusterID
	}
	return fmt.Sprint(p.Address, p.AS, p.External, p.localAS(c), p.Port, p.Local, p.Passive, p.MultihopTTL, p.TTLSecurity, p.Hold,
		p.Keepalive, p.Families, p.GracefulRestart, p.RestartTime, p.LongLived, p.ReceivePaths, p.SendPaths, p.OverrideAS, p.ReflectorClient,
		cluster) + "\x00" + p.Password
}

// pathOf is a path of ours: a bare prefix, because its attributes differ from peer to peer and are put on
// by the export policy.
func pathOf(c Config, prefix netip.Prefix, aggregate bool) (*apiutil.Path, error) {
	nlri, err := gobgp.NewIPAddrPrefix(prefix)
	if err != nil {
		return nil, err
	}
	fam := familyOf(prefix.Addr()).gobgp()
	out := &apiutil.Path{Family: fam, Nlri: nlri, Age: time.Now().Unix(), Attrs: []gobgp.PathAttributeInterface{gobgp.NewPathAttributeOrigin(0)}}
	if aggregate {
		who, err := gobgp.NewPathAttributeAggregator(c.AS, c.RouterID)
		if err != nil {
			return nil, err
		}
		out.Attrs = append(out.Attrs, gobgp.NewPathAttributeAtomicAggregate(), who)
	}
	if prefix.Addr().Is4() {
		nh, err := gobgp.NewPathAttributeNextHop(netip.IPv4Unspecified())
		if err != nil {
			return nil, err
		}
		out.Attrs = append(out.Attrs, nh)
		return out, nil
	}
	reach, err := gobgp.NewPathAttributeMpReachNLRI(fam, []gobgp.PathNLRI{{NLRI: nlri}}, netip.IPv6Unspecified())
	if err != nil {
		return nil, err
	}
	out.Attrs = append(out.Attrs, reach)
	return out, nil
}

// policiesOf is a policy as gobgp wants it: statements that name sets of prefixes, neighbours and communities.
func policiesOf(p policy) *api.SetPoliciesRequest {
	req := &api.SetPoliciesRequest{}
	for _, dir := range []struct {
		name  string
		rules []rule
	}{{importPolicy, p.Import}, {exportPolicy, p.Export}} {
		pol := &api.Policy{Name: dir.name}
		for i, r := range dir.rules {
			st, sets := r.statement(fmt.Sprintf("%s-%04d", dir.name, i))
			pol.Statements = append(pol.Statements, st)
			req.DefinedSets = append(req.DefinedSets, sets...)
		}
		req.Policies = append(req.Policies, pol)
	}
	return req
}

// statement is a rule, with the sets that its conditions refer to, which share its name.
func (r rule) statement(name string) (*api.Statement, []*api.DefinedSet) {
	var sets []*api.DefinedSet
	cond := &api.Conditions{RouteType: map[source]api.Conditions_RouteType{
		fromUs:       api.Conditions_ROUTE_TYPE_LOCAL,
		fromInternal: api.Conditions_ROUTE_TYPE_INTERNAL,
		fromExternal: api.Conditions_ROUTE_TYPE_EXTERNAL,
	}[r.From]}
	if len(r.Prefixes) > 0 {
		set := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX, Name: name + "-prefixes"}
		for _, p := range r.Prefixes {
			set.Prefixes = append(set.Prefixes, &api.Prefix{
				IpPrefix: p.Prefix.Masked().String(), MaskLengthMin: uint32(p.Min), MaskLengthMax: uint32(p.Max),
			})
		}
		sets = append(sets, set)
		cond.PrefixSet = &api.MatchSet{Name: set.Name, Type: api.MatchSet_TYPE_ANY}
	} else if r.Family != 0 {
		cond.AfiSafiIn = []*api.Family{r.Family.api()}
	}
	if r.Peers != nil {
		set := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, Name: name + "-peers"}
		for _, a := range r.Peers {
			set.List = append(set.List, netip.PrefixFrom(a, a.BitLen()).String())
		}
		sets = append(sets, set)
		cond.NeighborSet = &api.MatchSet{Name: set.Name, Type: api.MatchSet_TYPE_ANY}
	}
	sets = append(sets, r.carried(name, cond)...)
	if r.Loops != nil {
		set := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_AS_PATH, Name: name + "-path"}
		for _, l := range r.Loops {
			set.List = append(set.List, l.String())
		}
		sets = append(sets, set)
		cond.AsPathSet = &api.MatchSet{Name: set.Name, Type: api.MatchSet_TYPE_ANY}
	}
	if list := r.Path.expressions(); list != nil {
		set := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_AS_PATH, Name: name + "-path", List: list}
		sets = append(sets, set)
		cond.AsPathSet = &api.MatchSet{Name: set.Name, Type: api.MatchSet_TYPE_ALL}
	}
	if n := r.Path.MaxLength; n > 0 {
		cond.AsPathLength = &api.AsPathLength{Type: api.Comparison_COMPARISON_LE, Length: uint32(n)}
	}
	act := r.Set.actions()
	act.RouteAction = map[verdict]api.RouteAction{
		accept: api.RouteAction_ROUTE_ACTION_ACCEPT, reject: api.RouteAction_ROUTE_ACTION_REJECT,
	}[r.Verdict]
	return &api.Statement{Name: name, Conditions: cond, Actions: act}, sets
}

// carried are the sets of communities that a rule's condition refers to.
func (r rule) carried(name string, cond *api.Conditions) (sets []*api.DefinedSet) {
	small := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_COMMUNITY, Name: name + "-community"}
	large := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_LARGE_COMMUNITY, Name: name + "-large"}
	for _, c := range r.Carrying {
		if c.large {
			large.List = append(large.List, c.expression())
		} else {
			small.List = append(small.List, c.expression())
		}
	}
	if small.List != nil {
		sets = append(sets, small)
		cond.CommunitySet = &api.MatchSet{Name: small.Name, Type: api.MatchSet_TYPE_ALL}
	}
	if large.List != nil {
		sets = append(sets, large)
		cond.LargeCommunitySet = &api.MatchSet{Name: large.Name, Type: api.MatchSet_TYPE_ALL}
	}
	return sets
}

func (a attributes) actions() *api.Actions {
	out := &api.Actions{}
	switch {
	case a.NextHop.IsValid():
		out.Nexthop = &api.NexthopAction{Address: a.NextHop.String()}
	case a.Self:
		out.Nexthop = &api.NexthopAction{Self: true}
	case a.Unchanged:
		out.Nexthop = &api.NexthopAction{Unchanged: true}
	}
	if a.Communities != nil {
		out.Community = &api.CommunityAction{Type: api.CommunityAction_TYPE_ADD, Communities: a.Communities}
	}
	if a.Large != nil {
		out.LargeCommunity = &api.CommunityAction{Type: api.CommunityAction_TYPE_ADD, Communities: a.Large}
	}
	if a.LocalPref != nil {
		out.LocalPref = &api.LocalPrefAction{Value: *a.LocalPref}
	}
	if a.MED != nil {
		out.Med = &api.MedAction{Type: api.MedAction_TYPE_REPLACE, Value: int64(*a.MED)}
	}
	if a.Prepend > 0 {
		// The leftmost AS of a path of ours towards an external neighbour is the AS that it knows us by.
		out.AsPrepend = &api.AsPrependAction{UseLeftMost: true, Repeat: uint32(a.Prepend)}
	}
	return out
}
