package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os/exec"
)

// Client is the controlling end of a probe.
type Client struct {
	rpc *rpc.Client
	cmd *exec.Cmd
	in  io.Closer
}

// Start runs a prepared command that calls Serve.
func Start(cmd *exec.Cmd) (*Client, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	return &Client{rpc: jsonrpc.NewClient(stream{out, in}), cmd: cmd, in: in}, nil
}

// Close ends the probe.
func (c *Client) Close() error {
	err := c.rpc.Close()
	_ = c.in.Close()
	return errors.Join(err, c.cmd.Wait())
}

func call[Out any](ctx context.Context, c *Client, method string, args any) (Out, error) {
	out := new(Out)
	done := c.rpc.Go("Probe."+method, args, out, make(chan *rpc.Call, 1)).Done
	select {
	case r := <-done:
		return *out, r.Error
	case <-ctx.Done():
		var none Out // *out may yet be written to
		return none, ctx.Err()
	}
}

// Routes lists the destinations in the node's main routing table.
func (c *Client) Routes(ctx context.Context) ([]netip.Prefix, error) {
	return call[[]netip.Prefix](ctx, c, "Routes", struct{}{})
}

// DeleteRoutes deletes the node's routes of a protocol (rtnetlink(7)), IPv4 first, and counts them.
func (c *Client) DeleteRoutes(ctx context.Context, protocol int) (int, error) {
	return call[int](ctx, c, "DeleteRoutes", protocol)
}

// Wire wires pods and starts echo servers in them and on the node. It waits for the agent's network
// list, some seconds at most.
func (c *Client) Wire(ctx context.Context, args WireArgs) ([]Pod, error) {
	return call[[]Pod](ctx, c, "Wire", args)
}

// Dials asks echo servers; the answers are in the order of the questions.
func (c *Client) Dials(ctx context.Context, questions []Dial) ([]Answer, error) {
	return call[[]Answer](ctx, c, "Dials", questions)
}

// CaptureStart begins to listen on links of the node.
func (c *Client) CaptureStart(ctx context.Context, links []string) error {
	_, err := call[struct{}](ctx, c, "CaptureStart", links)
	return err
}

// CaptureStop ends listening; see Capture.
func (c *Client) CaptureStop(ctx context.Context) (Capture, error) {
	return call[Capture](ctx, c, "CaptureStop", struct{}{})
}

// PingStart starts a ping.
func (c *Client) PingStart(ctx context.Context, f Flow) error {
	_, err := call[struct{}](ctx, c, "PingStart", f)
	return err
}

// PingStop ends a ping and counts.
func (c *Client) PingStop(ctx context.Context, id string) (Tally, error) {
	return call[Tally](ctx, c, "PingStop", id)
}
