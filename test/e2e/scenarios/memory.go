package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// memory runs out.
func memory() []Scenario {
	return []Scenario{
		{
			Name: "agent-oom", Shows: "the kernel ends agents that reach their limit of memory, and no packet is lost", Disturbs: true,
			Timeout: 3 * time.Minute, Run: agentOOM,
		},
	}
}

// agentOOM lowers the limit of the agents' containers to what they use, in both racks at once, and asks them things
// until the kernel has ended them.
func agentOOM(ctx context.Context, t *T) error {
	nodes := []string{"n2", "n3"}
	return t.underTraffic(ctx, func(ctx context.Context, _ bed) error {
		before := map[string]int{}
		limits := map[string]int64{}
		for _, node := range nodes {
			pid, err := t.agentPID(node)
			if err != nil {
				return err
			}
			group, err := memoryGroupOf(pid)
			if err != nil {
				return err
			}
			if before[node], limits[node] = pid, group.limit; group.limit > 1<<40 {
				return fmt.Errorf("the agent of %s has no limit", node)
			}
			t.Note("%s: the agent uses %.1f MB of %.0f MB", node, float64(group.usage)/1e6, float64(group.limit)/1e6)
			if err := group.lower(group.usage); err != nil {
				return err
			}
		}
		began := time.Now()
		for _, node := range nodes {
			if err := t.endedByKernel(ctx, node, before[node]); err != nil {
				return err
			}
		}
		for _, node := range nodes {
			if err := t.nextAgent(ctx, node, before[node]); err != nil {
				return err
			}
			if err := t.toldOOM(ctx, node); err != nil {
				return err
			}
			pid, err := t.agentPID(node)
			if err != nil {
				return err
			}
			if now, err := memoryGroupOf(pid); err != nil || now.limit != limits[node] {
				return fmt.Errorf("the next agent of %s has the limit %d, not %d: %w", node, now.limit, limits[node], err)
			}
		}
		t.Note("both are back after %.1f s", time.Since(began).Seconds())
		return t.pause(ctx, 2*time.Second)
	})
}

// memoryGroup is a control group's limit of memory and what is used of it, in bytes.
type memoryGroup struct {
	limitFile    string
	limit, usage int64
}

// memoryGroupOf finds a process's group in either version of control groups.
func memoryGroupOf(pid int) (g memoryGroup, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return g, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		var usage string
		switch {
		case f[1] == "memory":
			dir := filepath.Join("/sys/fs/cgroup/memory", f[2])
			g.limitFile, usage = filepath.Join(dir, "memory.limit_in_bytes"), filepath.Join(dir, "memory.usage_in_bytes")
		case f[0] == "0":
			dir := filepath.Join("/sys/fs/cgroup", f[2])
			g.limitFile, usage = filepath.Join(dir, "memory.max"), filepath.Join(dir, "memory.current")
		default:
			continue
		}
		if _, err := os.Stat(g.limitFile); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if g.limit, err = readNumber(g.limitFile); err == nil {
			g.usage, err = readNumber(usage)
		}
		return g, err
	}
	return g, fmt.Errorf("process %d is in no group that counts memory: %q", pid, text)
}

func readNumber(file string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

func (g memoryGroup) lower(limit int64) error {
	return os.WriteFile(g.limitFile, []byte(strconv.FormatInt(limit, 10)), 0o644)
}

// endedByKernel makes an agent use memory until it is gone, and looks for what the kernel says of that.
func (t *T) endedByKernel(ctx context.Context, node string, pid int) error {
	err := cluster.Eventually(ctx, 20*time.Second, func(ctx context.Context) error {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, _ = t.sessions(short, node) // an answer takes memory
		if now, err := t.agentPID(node); err == nil && now == pid {
			return fmt.Errorf("the agent of %s lives on with all its memory used", node)
		}
		return nil
	})
	if err != nil {
		return err
	}
	log, err := exec.CommandContext(ctx, "dmesg").Output()
	if err != nil {
		return fmt.Errorf("dmesg: %w", err)
	}
	for line := range strings.Lines(string(log)) {
		if _, said, ok := strings.Cut(line, "Memory cgroup out of memory: "); ok && strings.HasPrefix(said, fmt.Sprintf("Killed process %d (podroute)", pid)) {
			said, _, _ = strings.Cut(said, ", UID")
			t.Note("%s: the kernel: %s", node, said)
			return nil
		}
	}
	return fmt.Errorf("the agent of %s, process %d, is gone, and the kernel does not say that it was out of memory", node, pid)
}

// toldOOM waits until the API says why an agent was restarted.
func (t *T) toldOOM(ctx context.Context, node string) error {
	return cluster.Eventually(ctx, 20*time.Second, func(ctx context.Context) error {
		var list corev1.PodList
		err := t.Get(ctx, &list, "pods", "-n", "kube-system", "-l", "app.kubernetes.io/name=podroute", "--field-selector", "spec.nodeName="+node)
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			for _, c := range p.Status.ContainerStatuses {
				if was := c.LastTerminationState.Terminated; was != nil && was.Reason == "OOMKilled" {
					return nil
				}
			}
		}
		return fmt.Errorf("the agent's pod on %s does not tell OOMKilled", node)
	})
}
