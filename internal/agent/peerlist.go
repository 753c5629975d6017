package agent

import (
	"net/netip"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/internal/agent/agentpb"
)

// peerMessage is what there is to tell of a session but for BFD.
func peerMessage(p bgp.PeerState) *agentpb.Peer {
	q := &agentpb.Peer{
		Name: p.Name, Address: p.Address.String(), As: p.AS, State: p.State, GracefulRestart: p.GracefulRestart,
		HoldSeconds: seconds(p.HoldTime), Flaps: uint32(p.Flaps), LastError: p.LastError,
		Warnings: p.Warnings, LastDown: p.LastDown,
		Stale: p.Stale, Notifications: p.Notifications, LongLivedSeconds: seconds(p.LongLived),
		ReceivesPaths: p.ReceivesPaths, SendsPaths: p.SendsPaths,
		Since: stamp(p.Since), HeldUntil: stamp(p.HeldUntil), LastDownAt: stamp(p.LastDownAt),
		LocalAddress: addrText(p.Local), RouterId: addrText(p.RouterID), RestartSeconds: seconds(p.Restart), KeepaliveSeconds: seconds(p.Keepalive),
		Settings: settingsMessage(p),
	}
	if p.State == "Established" {
		q.LocalAs = p.Settings.LocalAS
	}
	for _, f := range p.Families {
		q.Families = append(q.Families, &agentpb.FamilyCount{
			Family: f.String(), Received: uint32(p.Received[f]), Accepted: uint32(p.Accepted[f]), Advertised: uint32(p.Advertised[f]),
		})
	}
	return q
}

// settingsMessage is what is configured of a session. A password is not told.
func settingsMessage(p bgp.PeerState) *agentpb.PeerSettings {
	s := p.Settings
	out := &agentpb.PeerSettings{
		Internal: !s.External && s.AS == s.LocalAS, LocalAs: s.LocalAS, SourceAddress: addrText(s.Local), Port: uint32(s.Port), Passive: s.Passive, Password: p.Signed,
		MultihopTtl: uint32(s.MultihopTTL), TtlSecurity: uint32(s.TTLSecurity), HoldSeconds: seconds(s.Hold), KeepaliveSeconds: seconds(s.Keepalive),
		MaxPrefixes: uint32(s.MaxPrefixes), MaxPrefixesWarn: s.WarnOnly,
		GracefulRestart: s.GracefulRestart, LongLivedSeconds: seconds(s.LongLived),
		AllowOwnAs: uint32(s.AllowOwnAS), OverrideAs: s.OverrideAS, ReflectorClient: s.ReflectorClient,
		ReceivePaths: s.ReceivePaths, SendPaths: s.SendPaths, Damped: !s.Undamped,
		External: s.External, Import: s.Import.Texts(), Export: s.Export.Texts(), Recursive: s.Recursive,
		NextHop: map[bgp.PassOn]string{bgp.PassOnSelf: "Self", bgp.PassOnUnchanged: "Unchanged"}[s.PassOn],
	}
	if s.MaxPrefixes > 0 {
		out.MaxPrefixesWarnPercent, out.MaxPrefixesRetrySeconds = uint32(s.WarnAt), seconds(s.Retry)
	}
	if s.GracefulRestart {
		out.RestartSeconds = seconds(s.RestartTime)
	}
	for _, f := range s.Families {
		out.Families = append(out.Families, f.String())
	}
	return out
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

// stamp is a time by RFC 3339; empty: there is none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// addrText is an address; empty: there is none.
func addrText(a netip.Addr) string {
	if !a.IsValid() || a.IsUnspecified() {
		return ""
	}
	return a.String()
}
