package agent

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/podroute/podroute/internal/agent/agentpb"
)

// serve answers the operator's command line over a unix socket that only root can open.
func (a *Agent) serve(ctx context.Context) error {
	ln, err := listenUnix(filepath.Join(a.RunDir, "agent.sock"))
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	agentpb.RegisterAgentServer(s, &operator{agent: a})
	stop := context.AfterFunc(ctx, func() { // answers under way are finished, within reason
		defer time.AfterFunc(time.Second, s.Stop).Stop()
		s.GracefulStop()
	})
	defer stop()
	if err := s.Serve(ln); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve the operator's socket: %w", err)
	}
	return ctx.Err()
}

// listenUnix listens on a socket of mode 0600 and takes the place of one that nobody serves.
func listenUnix(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil { //nolint:noctx // a local connect does not wait
		_ = c.Close()
		return nil, fmt.Errorf("another agent serves %s: stop it first", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	old := syscall.Umask(0o177) // the socket must never be open to others, not even for a moment
	defer syscall.Umask(old)
	ln, err := net.Listen("unix", path) //nolint:noctx // as above
	if err != nil {
		return nil, fmt.Errorf("listen for the operator: %w", err)
	}
	return ln, nil
}

// operator serves agentpb from the last report and, where that would be stale, from the owners.
type operator struct {
	agentpb.UnimplementedAgentServer
	agent *Agent
}

// established is the state of a session that carries routes (RFC 4271 section 8.2.2).
const established = "Established"

var errStarting = errors.New("the agent is still starting")

// Status tells the node at a glance, and whether it is ready: enough sessions established, own
// subnets in the kernel and advertised, and nothing left undone.
func (o *operator) Status(ctx context.Context, _ *agentpb.StatusRequest) (*agentpb.StatusResponse, error) {
	r := o.agent.report.Load()
	if r == nil {
		return nil, errStarting
	}
	d := &r.desired
	out := &agentpb.StatusResponse{
		Node: o.agent.NodeName, Role: d.Role, Version: o.agent.Version, As: d.AS, RouterId: d.RouterID.String(),
		Started: o.agent.started.Format(time.RFC3339), Restarted: o.agent.restarted,
		Pods: uint32(len(o.agent.pods.Attachments())),
	}
	for _, a := range d.Addresses {
		out.Addresses = append(out.Addresses, a.String())
	}
	for _, b := range d.Blocks {
		out.Blocks = append(out.Blocks, b.String())
	}
	for _, p := range r.problems() {
		out.Problems = append(out.Problems, &agentpb.Problem{
			Source: p.Source, Object: p.Object, Field: p.Field, Message: p.Message, Mend: p.Mend,
		})
	}
	installed, err := o.agent.fib.Installed(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's routes: %w", err)
	}
	for _, i := range installed {
		if !i.Pod {
			out.RoutesInstalled++
		}
	}
	peers, err := o.agent.speaker.Peers(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the sessions: %w", err)
	}
	out.SessionsConfigured = uint32(len(d.BGP.Peers))
	telling := 0
	for _, p := range peers {
		if p.State != established {
			continue
		}
		out.SessionsEstablished++
		told := 0
		for _, n := range p.Advertised {
			told += n
		}
		if told > 0 || len(d.BGP.Paths) == 0 {
			telling++
		}
	}
	out.Reason = notReady(r, int(out.GetSessionsEstablished()), telling)
	out.Ready = out.GetReason() == ""
	return out, nil
}

// notReady says why the readiness policy does not hold; empty when it does.
func notReady(r *report, up, telling int) string {
	d := &r.desired
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
		if err := r.unresolved[b]; err != nil {
			return fmt.Sprintf("block %v is not advertised: %v", b, err)
		}
	}
	return ""
}

// Peers tells of every session.
func (o *operator) Peers(ctx context.Context, _ *agentpb.PeersRequest) (*agentpb.PeersResponse, error) {
	peers, err := o.agent.speaker.Peers(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the sessions: %w", err)
	}
	out := &agentpb.PeersResponse{}
	for _, p := range peers {
		q := &agentpb.Peer{
			Name: p.Name, Address: p.Address.String(), As: p.AS, State: p.State, GracefulRestart: p.GracefulRestart,
			HoldSeconds: uint32(p.HoldTime.Seconds()), Flaps: uint32(p.Flaps), LastError: p.LastError,
		}
		if !p.Since.IsZero() {
			q.Since = p.Since.Format(time.RFC3339)
		}
		for _, f := range p.Families {
			q.Families = append(q.Families, &agentpb.FamilyCount{
				Family: f.String(), Received: uint32(p.Received[f]), Accepted: uint32(p.Accepted[f]), Advertised: uint32(p.Advertised[f]),
			})
		}
		out.Peers = append(out.Peers, q)
	}
	return out, nil
}

// Pods tells of every attachment.
func (o *operator) Pods(context.Context, *agentpb.PodsRequest) (*agentpb.PodsResponse, error) {
	out := &agentpb.PodsResponse{}
	for _, p := range o.agent.pods.Attachments() {
		q := &agentpb.Pod{Namespace: p.PodNamespace, Name: p.PodName, Link: p.HostIf, ContainerId: p.ContainerID, Interface: p.IfName}
		for _, a := range p.Addresses {
			q.Addresses = append(q.Addresses, a.String())
		}
		out.Pods = append(out.Pods, q)
	}
	return out, nil
}

// Blocks tells of every pod subnet and how full it is.
func (o *operator) Blocks(context.Context, *agentpb.BlocksRequest) (*agentpb.BlocksResponse, error) {
	out := &agentpb.BlocksResponse{}
	for _, b := range o.agent.blocks.Usage() {
		out.Blocks = append(out.Blocks, &agentpb.Block{
			Prefix: b.Prefix.String(), Used: uint32(b.Used), CoolingDown: uint32(b.CoolingDown), Size: uint32(min(b.Size, math.MaxUint32)),
		})
	}
	return out, nil
}

// Leave withdraws everything, removes what is ours and ends the agent.
func (o *operator) Leave(ctx context.Context, _ *agentpb.LeaveRequest) (*agentpb.LeaveResponse, error) {
	done := make(chan error, 1)
	select {
	case o.agent.leave <- done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case err := <-done:
		return &agentpb.LeaveResponse{}, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Routes streams routes in the order of their prefixes.
func (o *operator) Routes(req *agentpb.RoutesRequest, out grpc.ServerStreamingServer[agentpb.Route]) error {
	r := o.agent.report.Load()
	if r == nil {
		return errStarting
	}
	var all []*agentpb.Route
	var err error
	switch req.GetKind() {
	case agentpb.RoutesRequest_LEARNED:
		all = r.learnedRoutes()
	case agentpb.RoutesRequest_ADVERTISED:
		all, err = o.advertised(out.Context())
	default:
		all, err = o.installed(out.Context(), r)
	}
	if err != nil {
		return err
	}
	for route := range slices.Values(all) {
		if err := out.Send(route); err != nil {
			return fmt.Errorf("send routes: %w", err)
		}
	}
	return nil
}
