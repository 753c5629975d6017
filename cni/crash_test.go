package cni_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/podroute/podroute/cni"
)

// Figures of the crash test.
const (
	crashPods   = 1000
	crashAtOnce = 8
	randomKills = 10
)

// TestCrashesLoseAndLeakNothing adds and deletes a thousand pods, eight at a time, while the server is
// killed: after every kind of netlink message, and at random moments. Callers repeat what failed, as
// kubelet does. Then no address was ever in two pods, and nothing is left.
func TestCrashesLoseAndLeakNothing(t *testing.T) {
	t.Parallel()
	serve := buildServe(t)
	c := &crashes{node: newBareNode(t), serve: serve, inUse: map[string]string{}}
	c.plan = append(c.plan, cni.Failpoints()...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		err := c.keepServing(ctx)
		if err != nil {
			t.Error(err)
			c.over.Store(true)
		}
		ended <- err
	}()

	work := make(chan int)
	var wg sync.WaitGroup
	for range crashAtOnce {
		wg.Go(func() {
			for i := range work {
				if err := c.life(i); err != nil {
					t.Errorf("pod %d: %v", i, err)
				}
			}
		})
	}
	for i := range crashPods {
		if i%(crashPods/randomKills) == crashPods/randomKills/2 {
			c.killAt.Store(time.Now().Add(rand.N(20 * time.Millisecond)).UnixNano())
		}
		work <- i
	}
	close(work)
	wg.Wait()
	cancel()
	if <-ended != nil {
		return
	}
	if len(c.plan) > 0 {
		t.Errorf("never reached: failpoints %v", c.plan)
	}
	if c.random.Load() < randomKills {
		t.Errorf("killed %d times at random, want %d", c.random.Load(), randomKills)
	}
	// A server over what is left finds nothing, and its quarantine removes what had no alias.
	c.start(dualStack...)
	c.wantNothingLeft()
	t.Logf("%d pods; killed at %d failpoints and %d times at random; %d calls repeated", crashPods, len(cni.Failpoints()), c.random.Load(), c.repeated.Load())
}

// buildServe builds the server with its failpoints.
func buildServe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "serve")
	if out, err := exec.Command("go", "build", "-tags", "failpoint", "-o", path, "./internal/serve").CombinedOutput(); err != nil {
		t.Fatalf("build the server: %v\n%s", err, out)
	}
	return path
}

type crashes struct {
	*node
	serve    string
	plan     []string     // failpoints to come
	killAt   atomic.Int64 // when to kill next, in Unix nanoseconds; 0: not planned
	random   atomic.Int64 // kills at random so far
	repeated atomic.Int64 // calls
	over     atomic.Bool  // there will be no further server

	mu    sync.Mutex
	inUse map[string]string // address, as the pod has it: container
}

// keepServing runs one server after the other: each dies at the next failpoint or, when all have had
// their turn, at random moments.
func (c *crashes) keepServing(ctx context.Context) error {
	for ctx.Err() == nil {
		point := ""
		if len(c.plan) > 0 {
			point = fmt.Sprintf("%s:%d", c.plan[0], 1+rand.IntN(20))
		}
		if err := c.serveOnce(ctx, point); err != nil {
			return err
		}
	}
	return nil
}

func (c *crashes) serveOnce(ctx context.Context, point string) error {
	cmd := c.Command(ctx, c.serve, c.socket, dualStack[0].String(), dualStack[1].String())
	cmd.Env = append(os.Environ(), "PODROUTE_FAILPOINT="+point)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	var ours atomic.Bool
	go func() { // kills it when that is due
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				if at := c.killAt.Load(); at != 0 && now.UnixNano() > at {
					c.killAt.Store(0)
					ours.Store(true)
					c.random.Add(1)
					_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				}
			}
		}
	}()
	_, _ = io.Copy(io.Discard, out) // until it is dead
	err = cmd.Wait()
	close(done)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil
	case !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL:
		return fmt.Errorf("the server ended by itself: %w\n%s", err, log.String())
	}
	c.t.Logf("the server has died: failpoint %q, killed at random: %v, %v", point, ours.Load(), err)
	if len(c.plan) > 0 && !ours.Load() {
		c.plan = c.plan[1:]
	}
	return nil
}

// life is a pod's: it is added, has its addresses for a while, and is deleted.
func (c *crashes) life(i int) error {
	p, err := c.openPod(fmt.Sprintf("c%04d", i))
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	var r *types100.Result
	if err := c.insist(func() error { r, err = c.tryAdd(p); return err }); err != nil {
		return fmt.Errorf("ADD: %w", err)
	}
	have, err := p.globals()
	if err != nil {
		return err
	}
	if want := strings.Join(addrs(r), " "); have != want {
		return fmt.Errorf("the pod has %s, the result says %s", have, want)
	}
	if err := c.claim(p.id, addrs(r)); err != nil {
		return err
	}
	c.release(addrs(r))
	if i%10 == 0 { // its namespace goes first
		if err := p.Close(); err != nil {
			return err
		}
		p.rt.NetNS = ""
	}
	if err := c.insist(func() error { return c.tryDel(p) }); err != nil {
		return fmt.Errorf("DEL: %w", err)
	}
	return nil
}

// claim notes a pod's addresses, and fails where another pod has one of them.
func (c *crashes) claim(id string, addrs []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range addrs {
		if other := c.inUse[a]; other != "" {
			return fmt.Errorf("address %s is in this pod and in %s", a, other)
		}
		c.inUse[a] = id
	}
	return nil
}

func (c *crashes) release(addrs []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range addrs {
		delete(c.inUse, a)
	}
}

// insist repeats a call as long as the server may just have been killed.
func (c *crashes) insist(call func() error) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := call()
		if err == nil || c.over.Load() || time.Now().After(deadline) {
			return err
		}
		c.repeated.Add(1)
		time.Sleep(10 * time.Millisecond)
	}
}
