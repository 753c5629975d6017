package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/podroute/podroute/internal/agent/agentpb"
)

// runDir is where an agent's sockets lie, unless it was told otherwise.
const runDir = "/run/podroute"

// askTimeout bounds every question but drain.
const askTimeout = 15 * time.Second

// ask calls fn with a client of the agent on this host, for askTimeout at most.
func ask(ctx context.Context, dir string, fn func(context.Context, agentpb.AgentClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return converse(ctx, dir, fn)
}

// converse calls fn with a client of the agent on this host, and puts what goes wrong in words.
func converse(ctx context.Context, dir string, fn func(context.Context, agentpb.AgentClient) error) error {
	path := filepath.Join(dir, "agent.sock")
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("%s: only root can talk to the agent", path)
		}
		return fmt.Errorf("no agent runs on this host (%s is missing): start it with podroute agent", path)
	}
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32))) // a thousand sessions with long filters are more than the usual 4 MB
	if err != nil {
		return fmt.Errorf("connect to the agent: %w", err)
	}
	defer func() { _ = conn.Close() }()
	err = fn(ctx, agentpb.NewAgentClient(conn))
	switch s, _ := status.FromError(err); {
	case err == nil:
		return nil
	case s.Code() == codes.Unavailable:
		return fmt.Errorf("the agent does not answer on %s: it has stopped or this is not root", path)
	case s.Message() != "":
		return fmt.Errorf("the agent says: %s", s.Message())
	default:
		return err
	}
}
