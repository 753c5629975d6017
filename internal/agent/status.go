package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/internal/agent/agentpb"
)

// established is the state of a session that carries routes (RFC 4271 section 8.2.2).
const established = "Established"

// Status tells the node at a glance, and whether it is ready: enough sessions established, own
// subnets in the kernel and advertised.
func (o *operator) Status(ctx context.Context, _ *agentpb.StatusRequest) (*agentpb.StatusResponse, error) {
	a := o.agent
	out := &agentpb.StatusResponse{
		Node: a.NodeName, Version: a.Version, Started: a.started.Format(time.RFC3339), Restarted: a.restarted,
		Pods: uint32(len(a.pods.Attachments())),
	}
	installed, err := a.fib.Installed(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's routes: %w", err)
	}
	for _, i := range installed {
		if !i.Pod {
			out.RoutesInstalled++
		}
	}
	peers, err := a.speaker.Peers(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the sessions: %w", err)
	}
	err = a.view(ctx, func(l *loop) {
		a.describe(l, out)
		out.Reason = a.notReady(l, peers)
		out.Ready = out.GetReason() == ""
	})
	for _, p := range peers {
		if p.State == established {
			out.SessionsEstablished++
		}
	}
	return out, err
}

// describe fills in what the loop knows of this node.
func (a *Agent) describe(l *loop, out *agentpb.StatusResponse) {
	d := &l.desired
	out.Role, out.As, out.RouterId = d.Role, d.AS, d.RouterID.String()
	out.SessionsConfigured = uint32(len(d.BGP.Peers))
	for _, addr := range d.Addresses {
		out.Addresses = append(out.Addresses, addr.String())
	}
	for _, b := range d.Blocks {
		out.Blocks = append(out.Blocks, b.String())
	}
	for _, p := range a.problems(l) {
		out.Problems = append(out.Problems, &agentpb.Problem{
			Source: p.Source, Object: p.Object, Field: p.Field, Message: p.Message, Mend: p.Mend,
		})
	}
}

// notReady says why the readiness policy does not hold; empty when it does.
func (a *Agent) notReady(l *loop, peers []bgp.PeerState) string {
	up, telling := 0, 0
	for _, p := range peers {
		if p.State != established {
			continue
		}
		up++
		told := 0
		for _, n := range p.Advertised {
			told += n
		}
		if told > 0 || len(l.desired.BGP.Paths) == 0 {
			telling++
		}
	}
	d := &l.desired
	switch {
	case len(d.BGP.Peers) == 0 && d.MinSessions > 0:
		return "no BGP peer is configured for this node"
	case up < d.MinSessions:
		return fmt.Sprintf("%d of %d sessions are established, %d are needed", up, len(d.BGP.Peers), d.MinSessions)
	case telling < d.MinSessions:
		return fmt.Sprintf("%d of %d peers have been told this node's routes, %d are needed", telling, len(d.BGP.Peers), d.MinSessions)
	case d.Role == roleNode && d.CNI.NotReady != nil:
		return d.CNI.NotReady.Error()
	}
	for _, b := range d.Blocks {
		if err := l.unresolved[b]; err != nil {
			return fmt.Sprintf("block %v is not advertised: %v", b, err)
		}
	}
	return ""
}
