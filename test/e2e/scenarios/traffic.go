package scenarios

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/podroute/podroute/test/e2e/traffic"
)

// InPod prepares a program of the node's to run in a pod's network namespace. It needs neither the API
// nor, once it runs, anything else of the cluster.
func (t *T) InPod(ctx context.Context, p Pod, argv ...string) (*exec.Cmd, error) {
	pid, err := t.containerPID(ctx, p)
	if err != nil {
		return nil, err
	}
	return t.Lab().Command(ctx, p.Node, append([]string{"nsenter", "--target", pid, "--net", "--"}, argv...)...)
}

// containerPID is the first process of a pod's container, as its node numbers it.
func (t *T) containerPID(ctx context.Context, p Pod) (string, error) {
	text, err := t.On(ctx, p.Node, "ctr", "-n", "k8s.io", "task", "ls")
	if err != nil {
		return "", err
	}
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) >= 2 && f[0] == p.container {
			return f[1], nil
		}
	}
	return "", fmt.Errorf("node %s does not run the container of pod %s", p.Node, p.Name)
}

// StartPing pings an address from a pod, every 10 ms. It returns when the first answer has come.
func (t *T) StartPing(ctx context.Context, from Pod, to netip.Addr) (*traffic.Stream, error) {
	return t.startTraffic(ctx, from, traffic.Ping, to.String())
}

// StartLoad gets a URL from a pod, every 10 ms over a new connection. It returns when the first answer
// has come.
func (t *T) StartLoad(ctx context.Context, from Pod, url string) (*traffic.Stream, error) {
	return t.startTraffic(ctx, from, traffic.HTTP, url)
}

func (t *T) startTraffic(ctx context.Context, from Pod, kind, to string) (*traffic.Stream, error) {
	cmd, err := t.InPod(ctx, from, t.bin, traffic.Command, kind, to)
	if err != nil {
		return nil, err
	}
	s, err := traffic.Start(ctx, cmd)
	if err != nil {
		return nil, fmt.Errorf("%s from pod %s to %s: %w", kind, from.Name, to, err)
	}
	return s, nil
}
