package agent

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
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

// operator serves agentpb.
type operator struct {
	agentpb.UnimplementedAgentServer
	agent *Agent
}

// Peers tells of every session.
func (o *operator) Peers(ctx context.Context, _ *agentpb.PeersRequest) (*agentpb.PeersResponse, error) {
	peers, err := o.agent.speaker.Peers(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the sessions: %w", err)
	}
	out, states := &agentpb.PeersResponse{}, o.agent.bfdStates()
	for _, p := range peers {
		q := peerMessage(p)
		q.Bfd = states[p.Name]
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
	if o.agent.left.Load() {
		return &agentpb.LeaveResponse{}, nil
	}
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
	list := o.installed
	switch req.GetKind() {
	case agentpb.RoutesRequest_LEARNED:
		list = o.learned
	case agentpb.RoutesRequest_ADVERTISED:
		list = o.advertised
	}
	all, err := list(out.Context())
	if err != nil {
		return err
	}
	for route := range all {
		if err := out.Send(route); err != nil {
			return fmt.Errorf("send routes: %w", err)
		}
	}
	return nil
}
