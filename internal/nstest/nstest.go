// Package nstest gives tests and benchmarks network namespaces of their own.
//
// A namespace here has no name: it is held by a file descriptor of the test process, so that it and
// everything in it (links, routes, sockets) vanish with the process, however the test ends. Programs
// are started in it by path, /proc/PID/fd/N, which is also a valid CNI_NETNS.
//
// Tests that use it need CAP_NET_ADMIN: New fails, never skips, without it. What takes no testing.TB
// returns its error instead: Open, Join and Launch serve programs that measure.
package nstest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// NS is a network namespace with its loopback up.
type NS struct {
	file *os.File
}

// New makes a namespace that lasts until the test ends.
func New(t testing.TB) *NS {
	t.Helper()
	n, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// Open makes a namespace that lasts until Close, or as long as this process or one inside it.
func Open() (*NS, error) {
	n := &NS{}
	err := away(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare(CLONE_NEWNET), which needs CAP_SYS_ADMIN: %w", err)
		}
		return nil
	}, func() (err error) {
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := n.Try("ip link set lo up"); err != nil {
		_ = n.Close()
		return nil, err
	}
	return n, nil
}

// Close lets go of the namespace.
func (n *NS) Close() error { return n.file.Close() }

// Path names the namespace for other processes, for as long as this one lives.
func (n *NS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// Fd is the namespace's file descriptor in this process.
func (n *NS) Fd() int { return int(n.file.Fd()) }

// Do runs fn on a thread inside the namespace. Goroutines that fn starts are elsewhere: open sockets
// in fn itself.
func (n *NS) Do(fn func() error) error {
	return away(func() error {
		if err := unix.Setns(n.Fd(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
		return nil
	}, fn)
}

// away runs fn on a thread that enter has taken to another namespace, and brings the thread home
// again. It must not just end there: the kernel would kill the programs that the thread happens to
// have started before (PR_SET_PDEATHSIG, see Command).
func away(enter, fn func() error) error {
	ch := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			ch <- err
			return
		}
		defer func() { _ = home.Close() }()
		if err = enter(); err == nil {
			err = fn()
		}
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		ch <- err
	}()
	return <-ch
}

// Command prepares a program to be run in the namespace; it gets SIGKILL should this process die, or
// the thread that starts it, which a test must therefore not end (see runtime.LockOSThread).
func (n *NS) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + n.Path(), "--", name}, args...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 2 * time.Second
	return c
}

// Try runs a command line, split at spaces, and returns what it printed.
func (n *NS) Try(line string) (string, error) {
	f := strings.Fields(line)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := n.Command(ctx, f[0], f[1:]...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", line, err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// Run runs command lines, each split at spaces, ends the test at the first that fails, and returns
// what the last printed.
func (n *NS) Run(t testing.TB, lines ...string) string {
	t.Helper()
	var out string
	for _, l := range lines {
		var err error
		if out, err = n.Try(l); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// Start runs a program in the namespace until the test ends, when it is killed with all its
// children. What it prints goes to the test's log if the test fails.
func (n *NS) Start(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	var out bytes.Buffer
	p, err := n.Launch(context.Background(), &out, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s printed:\n%s", name, out.String())
		}
	})
	return p.Cmd
}

// Process is a program that runs in a namespace.
type Process struct {
	Cmd  *exec.Cmd
	done chan struct{}
	kill context.CancelFunc
}

// Launch runs a program in the namespace until Stop or the end of ctx; out gets what it prints.
func (n *NS) Launch(ctx context.Context, out io.Writer, name string, args ...string) (*Process, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &Process{Cmd: n.Command(ctx, name, args...), done: make(chan struct{}), kill: cancel}
	p.Cmd.Stdout, p.Cmd.Stderr = out, out
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // Pdeathsig is tied to the thread that starts the child
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := p.Cmd.Start()
		started <- err
		if err == nil {
			_ = p.Cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		cancel()
		return nil, err
	}
	return p, nil
}

// Done is closed when the program has ended, of itself too.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop kills the program with all its children, and waits for its end.
func (p *Process) Stop() {
	_ = syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
	p.kill()
	<-p.done
}

// Veth joins two namespaces with a pair of links, both up.
func Veth(t testing.TB, a *NS, aName string, b *NS, bName string) {
	t.Helper()
	if err := Join(a, aName, b, bName); err != nil {
		t.Fatal(err)
	}
}

// Join is Veth for programs that are no tests.
func Join(a *NS, aName string, b *NS, bName string) error {
	if _, err := a.Try(fmt.Sprintf("ip link add %s type veth peer name %s netns %s", aName, bName, b.Path())); err != nil {
		return err
	}
	if _, err := a.Try("ip link set " + aName + " up"); err != nil {
		return err
	}
	_, err := b.Try("ip link set " + bName + " up")
	return err
}

// Within polls cond until it returns nil, and fails the test with its last error after d.
func Within(t testing.TB, d time.Duration, cond func() error) {
	t.Helper()
	deadline := time.Now().Add(d)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", d, err)
		}
		<-tick.C
	}
}
