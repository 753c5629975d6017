package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Kubectl runs kubectl as the administrator and returns its standard output.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.kubectl(ctx, "", args...)
}

// Apply applies manifests.
func (c *Cluster) Apply(ctx context.Context, manifests string) error {
	_, err := c.kubectl(ctx, manifests, "apply", "-f", "-")
	return err
}

// Create creates objects that do not exist yet, with half the requests of Apply.
func (c *Cluster) Create(ctx context.Context, manifests string) error {
	_, err := c.kubectl(ctx, manifests, "create", "-f", "-")
	return err
}

// Get decodes what `kubectl get ARGS -o json` prints.
func (c *Cluster) Get(ctx context.Context, into any, args ...string) error {
	text, err := c.kubectl(ctx, "", append(append([]string{"get"}, args...), "-o", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("kubectl get %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// KubectlCommand prepares kubectl to run as the administrator, for a caller with streams of its own.
func (c *Cluster) KubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--kubeconfig", c.Kubeconfig()}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(c.o.Bin, "kubectl"), args...)
	cmd.WaitDelay = time.Second
	return cmd
}

func (c *Cluster) kubectl(ctx context.Context, input string, args ...string) (string, error) {
	cmd := c.KubectlCommand(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(stderr.String())
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, said)
	}
	return stdout.String(), nil
}

// Eventually tries until there is no error, and returns the last one when within has passed.
func Eventually(ctx context.Context, within time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // a try that the deadline cut short tells less than the one before
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("not within %v: %w", within, last)
			}
			return ctx.Err()
		}
	}
}
