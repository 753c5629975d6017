package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace without a name: it goes with this process, however that ends.
type namespace struct{ file *os.File }

func newNamespace() (*namespace, error) {
	type made struct {
		file *os.File
		err  error
	}
	ch := make(chan made)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			ch <- made{err: fmt.Errorf("unshare(CLONE_NEWNET), for which one must be root: %w", err)}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		ch <- made{f, err}
	}()
	m := <-ch
	if m.err != nil {
		return nil, m.err
	}
	return &namespace{m.file}, nil
}

func (n *namespace) close() { _ = n.file.Close() }

// path names the namespace for any process, while this one lives.
func (n *namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// worker runs functions on a thread inside the namespace until its channel is closed.
func (n *namespace) worker(work <-chan func()) error {
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for good
		err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET)
		if err != nil {
			ready <- os.NewSyscallError("setns", err)
			return
		}
		ready <- nil
		for f := range work {
			f()
		}
	}()
	return <-ready
}

// references builds reference plugins, named as in their module's folder plugins, unless the cache has
// them in the version that go.mod pins.
func references(ctx context.Context, cache string, plugins ...string) (dir string, err error) {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", "github.com/containernetworking/plugins")
	out, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("%v, which must run in the benchmark's module: %w", list, err)
	}
	dir, err = filepath.Abs(filepath.Join(cache, "cni-plugins-"+strings.TrimSpace(string(out))))
	if err != nil {
		return "", err
	}
	for _, p := range plugins {
		to := filepath.Join(dir, filepath.Base(p))
		if _, err := os.Stat(to); err == nil {
			continue
		}
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, "github.com/containernetworking/plugins/plugins/"+p)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", build, err, out)
		}
	}
	return dir, nil
}

func socketIn(scratch string) string { return filepath.Join(scratch, "run", "cni.sock") }

func confDirIn(scratch string) string { return filepath.Join(scratch, "net.d") }

// manifests are a node with room for all pods, and no peers.
const manifests = `apiVersion: v1
kind: Node
metadata:
  name: bench
spec:
  podCIDRs: [10.88.0.0/20]
status:
  addresses:
  - {type: InternalIP, address: 192.0.2.1}
`

// startAgent runs a real agent in the node's namespace, and returns once it serves the plugin.
func startAgent(ctx context.Context, agent, binDir, scratch, manifests string, node *namespace) (stop func(), err error) {
	config := filepath.Join(scratch, "config")
	if err := os.Mkdir(config, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(config, "node.yaml"), []byte(manifests), 0o644); err != nil {
		return nil, err
	}
	netd := confDirIn(scratch)
	c := exec.CommandContext(context.WithoutCancel(ctx), "nsenter", "--net="+node.path(), "--", "sh", "-c",
		`ip link set lo up && ip addr add 192.0.2.1/32 dev lo && exec "$@"`, "sh",
		agent, "agent", "--config", config, "--node-name", "bench", "--run-dir", filepath.Join(scratch, "run"),
		"--cni-conf-dir", netd, "--cni-bin-dir", binDir)
	var log strings.Builder
	c.Stdout, c.Stderr = &log, &log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is about this thread
	if err := c.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	stop = func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			_ = err // it was told to end
		case <-time.After(10 * time.Second):
			_ = c.Process.Kill()
		}
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for {
		// The network configuration appears once ADD can be served.
		if _, err := os.Stat(filepath.Join(netd, "10-podroute.conflist")); err == nil {
			return stop, dial(ctx, socketIn(scratch))
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("the agent ended: %w\n%s", err, log.String())
		case <-late:
			stop()
			return nil, fmt.Errorf("the agent does not serve the plugin\n%s", log.String())
		case <-ctx.Done():
			stop()
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

func dial(ctx context.Context, socket string) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	return c.Close()
}
