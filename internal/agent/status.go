package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/internal/agent/agentpb"
)

// Status tells the node at a glance, and whether it is ready: enough sessions established, own
// subnets in the kernel and advertised.
func (o *operator) Status(ctx context.Context, _ *agentpb.StatusRequest) (*agentpb.StatusResponse, error) {
	a := o.agent
	out := &agentpb.StatusResponse{
		Node: a.NodeName, Version: a.Version, Started: a.started.Format(time.RFC3339), Restarted: a.restarted,
		Pods: uint32(len(a.pods.Attachments())),
	}
	installed, err := a.installed(ctx)
	if err != nil {
		return nil, err
	}
	if out.Drain, err = a.drainReport(ctx, false); err != nil {
		return nil, err
	}
	out.RoutesInstalled = uint32(installed)
	out.Stations = a.stationList()
	peers, err := a.speaker.Peers(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the sessions: %w", err)
	}
	err = a.view(ctx, func(l *loop) {
		a.describe(l, out, peers)
		v := a.evidence(l, peers).judge(false)
		out.Reason, out.Ready = v.Message, v.holds()
	})
	for _, p := range peers {
		if p.State == config.SessionEstablished {
			out.SessionsEstablished++
		}
		if !p.HeldUntil.IsZero() {
			out.SessionsHeld++
		}
	}
	return out, err
}

// installed is the number of routes of ours that the kernel holds, pods' own not counted.
func (a *Agent) installed(ctx context.Context) (int32, error) {
	all, err := a.fib.Installed(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the kernel's routes: %w", err)
	}
	n := int32(0)
	for _, i := range all {
		if !i.Pod {
			n++
		}
	}
	return n, nil
}

// describe fills in what the loop knows of this node.
func (a *Agent) describe(l *loop, out *agentpb.StatusResponse, peers []bgp.PeerState) {
	d := &l.desired
	out.Role, out.As, out.RouterId = d.Role, d.AS, d.RouterID.String()
	out.SessionsConfigured = uint32(len(d.BGP.Peers))
	for _, addr := range d.Addresses {
		out.Addresses = append(out.Addresses, addr.String())
	}
	for _, b := range d.Blocks {
		out.Blocks = append(out.Blocks, b.String())
	}
	for _, p := range slices.Concat(a.problems(l), absent(peers, d.Called, time.Now()), warnings(peers)) {
		out.Problems = append(out.Problems, &agentpb.Problem{
			Source: p.Source, Object: p.Object, Field: p.Field, Message: p.Message, Mend: p.Mend,
		})
	}
}

// warnings are what is amiss with sessions that are up.
func warnings(peers []bgp.PeerState) []config.Problem {
	var out []config.Problem
	for _, p := range peers {
		for _, text := range p.Warnings {
			out = append(out, config.Problem{Object: sessionObject(p.Name), Message: text})
		}
	}
	return out
}

// evidence is what the readiness policy is judged by now. It is for use in the loop's goroutine.
func (a *Agent) evidence(l *loop, peers []bgp.PeerState) evidence {
	return evidence{Desired: &l.desired, Peers: peers, Refused: l.unresolved, Broken: l.broken, Synced: a.speaker.Synced(), Begun: l.begun, Unset: l.unset}
}
