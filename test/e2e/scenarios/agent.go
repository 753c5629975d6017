package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// block is a pod subnet of a node, as its agent tells.
type block struct {
	Prefix netip.Prefix `json:"prefix"`
	Used   int          `json:"used"`
}

// session of a node's agent.
type session struct {
	Name, State, Since string
	Flaps              int
}

// tell decodes what the command line of a node's agent prints, into a field of the answer.
func (t *T) tell(ctx context.Context, node string, into any, argv ...string) error {
	argv = append(append([]string{filepath.Join(t.Options().Root, "build", "podroute")}, argv...), "-o", "json")
	text, err := t.On(ctx, node, argv...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("node %s: podroute %s: %w", node, argv[1], err)
	}
	return nil
}

func (t *T) blocks(ctx context.Context, node string) ([]block, error) {
	var out struct{ Blocks []block }
	err := t.tell(ctx, node, &out, "blocks")
	return out.Blocks, err
}

// wired is a pod that an agent knows.
type wired struct {
	Namespace, Name string
	Addresses       []netip.Addr
}

func (t *T) wired(ctx context.Context, node string) ([]wired, error) {
	var out struct{ Pods []wired }
	err := t.tell(ctx, node, &out, "pods")
	return out.Pods, err
}

func (t *T) sessions(ctx context.Context, node string) ([]session, error) {
	var out struct{ Peers []session }
	err := t.tell(ctx, node, &out, "peers")
	return out.Peers, err
}

// agentReady waits until a node's agent says that it is ready.
func (t *T) agentReady(ctx context.Context, node string, within time.Duration) error {
	return cluster.Eventually(ctx, within, func(ctx context.Context) error {
		var status struct {
			Ready  bool
			Reason string
		}
		if err := t.tell(ctx, node, &status, "status"); err != nil {
			return err
		}
		if !status.Ready {
			return fmt.Errorf("the agent of %s is not ready: %s", node, status.Reason)
		}
		return nil
	})
}

// agentPID is the agent's process, on this host.
func (t *T) agentPID(node string) (int, error) {
	machine, err := t.Lab().PID(node)
	if err != nil {
		return 0, err
	}
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", machine))
	if err != nil {
		return 0, err
	}
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		argv := strings.Split(string(text), "\x00")
		if err != nil || len(argv) < 2 || filepath.Base(argv[0]) != "podroute" || argv[1] != "agent" {
			continue
		}
		if of, err := os.Readlink(filepath.Join(filepath.Dir(f), "ns/net")); err == nil && of == ns {
			return strconv.Atoi(filepath.Base(filepath.Dir(f)))
		}
	}
	return 0, errors.New("node " + node + " runs no agent")
}

// nextAgent waits for an agent that is another process than before, and ready.
func (t *T) nextAgent(ctx context.Context, node string, before int) error {
	err := cluster.Eventually(ctx, time.Minute, func(context.Context) error {
		pid, err := t.agentPID(node)
		if err == nil && pid == before {
			err = fmt.Errorf("the agent of %s is still process %d", node, pid)
		}
		return err
	})
	if err != nil {
		return err
	}
	return t.agentReady(ctx, node, time.Minute)
}

// awaitRestart waits until a pod is ready with another container.
func (t *T) awaitRestart(ctx context.Context, before Pod) (after Pod, err error) {
	err = cluster.Eventually(ctx, 45*time.Second, func(ctx context.Context) error {
		var p corev1.Pod
		if err := t.Get(ctx, &p, "pod", before.Name, "-n", t.Namespace); err != nil {
			return err
		}
		if after, err = running(&p); err == nil && after.container == before.container {
			err = fmt.Errorf("pod %s still runs its first container", p.Name)
		}
		return err
	})
	return after, err
}
