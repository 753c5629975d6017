package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/bgp/bfd"
	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/internal/agent/agentpb"
)

// watch settles what BFD has to do with a peer. One that is no longer to be watched is still named: to end its BFD
// session would end BGP at the other end.
func (d *draft) watch(o config.BGPPeer, p bgp.Peer) {
	s := o.Spec
	w := bfd.Peer{Name: p.Name, Address: p.Address, Local: p.Local, Off: s.BFD == nil}
	if !w.Off {
		w.Multihop, w.MaxHops = s.OverHops()
		w.MinTX, w.MinRX = s.BFD.Intervals()
		if a := s.BFD.Authentication; a != nil {
			key, _ := d.Snapshot.BFDKey(o) // or there would be no peer
			w.Auth = bfd.Auth{Type: bfd.AuthType(s.BFD.AuthType()), KeyID: uint8(a.KeyID), Key: string(key)}
		}
		w.Multiplier, w.Passive = int(s.BFD.DetectMultiplier), s.BFD.Passive
	}
	d.BFD.Peers = append(d.BFD.Peers, w)
}

// watchNode settles what BFD has to do with another node of the mesh, which is always on a link.
func (d *draft) watchNode(p bgp.Peer) {
	w := bfd.Peer{Name: p.Name, Address: p.Address, Off: d.spec.MeshBFD == nil}
	if !w.Off {
		w.MinTX, w.MinRX = d.spec.MeshBFD.Intervals()
		w.Multiplier = int(d.spec.MeshBFD.DetectMultiplier)
	}
	d.BFD.Peers = append(d.BFD.Peers, w)
}

// losses are when BFD last lost peers, by name.
func (a *Agent) losses() map[string]time.Time {
	out := map[string]time.Time{}
	for _, st := range a.bfd.States() {
		if !st.Off && !st.Lost.IsZero() {
			out[st.Name] = st.Lost
		}
	}
	return out
}

// forsake ends the sessions with peers that BFD has lost and takes their routes out of the kernel, before anything
// else is done.
func (a *Agent) forsake(ctx context.Context) {
	cfg, lost := &a.loop.desired.BGP, a.losses()
	peers := slices.Clone(cfg.Peers)
	for i := range peers {
		if at, ok := lost[peers[i].Name]; ok {
			peers[i].Lost = at
		}
	}
	same := func(p, q bgp.Peer) bool { return p.Lost.Equal(q.Lost) }
	if slices.EqualFunc(peers, cfg.Peers, same) {
		return
	}
	cfg.Peers = peers
	err := a.speaker.Set(ctx, a.advertisable())
	a.stream(ctx)
	if err != nil {
		a.fail(errors.Join(a.loop.failed, fmt.Errorf("end the sessions with peers that are lost: %w", err)))
	}
	a.stir()
}

// bfdStates are the states of BFD, by the names of the peers.
func (a *Agent) bfdStates() map[string]*agentpb.Bfd {
	out := map[string]*agentpb.Bfd{}
	for _, st := range a.bfd.States() {
		b := &agentpb.Bfd{
			State: st.State.String(), Losses: uint32(st.Losses), Off: st.Off, Problem: st.Problem, Ignored: uint32(st.Ignored),
			Authenticated: st.Authenticated, Multihop: st.Multihop,
			TransmitMilliseconds: milliseconds(st.TX), ReceiveMilliseconds: milliseconds(st.RX), DetectMilliseconds: milliseconds(st.Detect),
		}
		if st.Ignored > 0 {
			b.IgnoredReason = st.Why
		}
		if st.State != bfd.Up && st.Diag != bfd.DiagNone {
			b.Diagnostic = st.Diag.String()
		}
		if st.RemoteDiag != bfd.DiagNone {
			b.RemoteDiagnostic = st.RemoteDiag.String()
		}
		if !st.Since.IsZero() {
			b.Since = st.Since.Format(time.RFC3339)
		}
		if !st.Lost.IsZero() {
			b.Lost = st.Lost.Format(time.RFC3339)
		}
		out[st.Name] = b
	}
	return out
}

func milliseconds(d time.Duration) uint32 {
	return uint32(d.Round(time.Millisecond) / time.Millisecond)
}
