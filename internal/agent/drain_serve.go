package agent

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/internal/agent/agentpb"
)

// Drain takes this node's traffic away and tells once a second how that goes.
func (o *operator) Drain(req *agentpb.DrainRequest, out grpc.ServerStreamingServer[agentpb.DrainReport]) error {
	ctx, a := out.Context(), o.agent
	if _, err := a.wish(ctx, true); err != nil {
		return err
	}
	timeout := a.Source.Snapshot().Router.Spec.DrainTimeout()
	if s := req.GetTimeoutSeconds(); s > 0 {
		timeout = time.Duration(s) * time.Second
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	late := false
	for {
		report, err := a.drainReport(ctx, true)
		if err != nil {
			return err
		}
		if report == nil {
			return errors.New("the drain was taken back meanwhile")
		}
		report.Stage = stageFor(report, req.GetForwarded(), late)
		if err := out.Send(report); err != nil {
			return fmt.Errorf("send a report: %w", err)
		}
		if !req.GetWait() || report.GetStage() == stageFaded || late {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			late = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stageFor is the stage for a caller who has a patience, and an idea of what has to fade, of his own.
func stageFor(r *agentpb.DrainReport, forwarded, late bool) string {
	if r.GetStage() == stageAsking && !late {
		return stageAsking
	}
	seconds := make([]second, 0, len(r.GetSeconds()))
	for _, s := range r.GetSeconds() {
		seconds = append(seconds, second{Withdrawn: s.GetWithdrawn(), Services: uint64(s.GetServices()), Forwarded: uint64(s.GetForwarded())})
	}
	switch {
	case faded(seconds, forwarded):
		return stageFaded
	case late:
		return stageTimedOut
	}
	return stageWithdrawn
}

// Undrain takes back what Drain was asked for, and tells who else wants this node drained.
func (o *operator) Undrain(ctx context.Context, _ *agentpb.UndrainRequest) (*agentpb.UndrainResponse, error) {
	because, err := o.agent.wish(ctx, false)
	return &agentpb.UndrainResponse{Because: because}, err
}

// drainReport is how far the draining is; nil: this node is not drained.
func (a *Agent) drainReport(ctx context.Context, whole bool) (*agentpb.DrainReport, error) {
	of, stage, seconds, problem := a.vigil.look()
	if of.Since.IsZero() {
		return nil, nil //nolint:nilnil // no drain, no report
	}
	out := &agentpb.DrainReport{
		Node: a.NodeName, Since: of.Since.Format(time.RFC3339), Because: of.Because, Stage: stage, Pods: uint32(len(a.pods.Attachments())),
	}
	for _, p := range of.Services {
		out.Withdrawn = append(out.Withdrawn, p.String())
	}
	if problem != nil {
		out.Problem = problem.Error()
	}
	for _, b := range a.blocks.Usage() {
		out.Blocks = append(out.Blocks, b.Prefix.String())
	}
	if !whole {
		return out, nil
	}
	for _, s := range seconds {
		out.Seconds = append(out.Seconds, &agentpb.DrainSecond{
			Second: uint32(s.Number), Services: counted(s.Services), Forwarded: counted(s.Forwarded), Received: counted(s.Received), Withdrawn: s.Withdrawn,
		})
	}
	peers, err := a.speaker.Peers(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the sessions: %w", err)
	}
	said, err := a.speaker.Advertised(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what is advertised: %w", err)
	}
	untold := untold(said, of.Services, !of.Withdrawn.IsZero())
	for _, p := range peers {
		if p.State != config.SessionEstablished {
			continue
		}
		if out.Sessions++; !untold[p.Name] {
			out.SessionsTold++
		}
	}
	return out, nil
}

func counted(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }

// untold are the peers that have not been told all: of a route without GRACEFUL_SHUTDOWN, or of a service address after
// its withdrawal.
func untold(said []bgp.AdvertisedRoute, services []netip.Prefix, withdrawn bool) map[string]bool {
	out := map[string]bool{}
	for _, r := range said {
		if !slices.Contains(r.Communities, bgp.GracefulShutdown) || withdrawn && slices.Contains(services, r.Prefix) {
			out[r.Peer] = true
		}
	}
	return out
}

// draining is what the cluster is told of a drain; nil: there is none.
func (a *Agent) draining() *config.Draining {
	of, stage, _, _ := a.vigil.look()
	if of.Since.IsZero() {
		return nil
	}
	text := map[string]string{
		stageAsking:    "routers are asked to use other ways",
		stageWithdrawn: "service addresses are withdrawn; traffic to them is waited for to fade",
		stageFaded:     "service addresses are withdrawn, and no traffic comes for them any more",
		stageTimedOut:  fmt.Sprintf("service addresses are withdrawn, and traffic still comes for them after %v: podroute drain on the node tells how much", of.Timeout),
	}[stage]
	for i, why := range of.Because {
		if i == 0 {
			text += " (because of "
		} else {
			text += ", "
		}
		text += why
	}
	return &config.Draining{Since: of.Since, Reason: stage, Message: text + ")"}
}
