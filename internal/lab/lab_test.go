package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const trio = `
  defaults: {kind: linux}
  nodes:
    a:
      cmd: sh -c 'echo to the log; exec sleep infinity'
      env: {GREETING: "hello there"}
      sysctls: {net.ipv4.ip_forward: 1, net.ipv6.conf.default.accept_dad: 0}
      exec:
        - ip address add 10.0.0.1/24 dev eth1
        - sh -c 'ip address show dev eth1 >/etc/frr/witness'
    b:
      exec: [ip address add 10.0.0.2/24 dev eth1]
    side:
      network-mode: container:b
    c:
      network-mode: none
      exec: [ip address add 10.0.0.3/24 dev eth0]
    br0: {kind: bridge}
  links:
    - endpoints: ["a:eth1", "br0:p1"]
    - endpoints: ["br0:p2", "b:eth1"]
    - endpoints: ["c:eth0", "br0:p3"]
      mtu: 1400
    - endpoints: ["a:eth2", "c:eth1"]
      mtu: 1300
`

func TestDeploy(t *testing.T) {
	t.Parallel()
	l := deployed(t, trio)
	for _, c := range []struct {
		node, want string
		argv       string
	}{
		{"a", "hello there", "printenv GREETING"},
		{"a", "a", "hostname"},
		{"a", "1", "cat /proc/sys/net/ipv4/ip_forward"},
		{"b", "0", "cat /proc/sys/net/ipv4/ip_forward"},
		{"a", "0", "cat /proc/sys/net/ipv6/conf/eth1/accept_dad"}, // a default, set before the link was made
		{"a", "9500", "cat /sys/class/net/eth1/mtu"},
		{"a", "1300", "cat /sys/class/net/eth2/mtu"},
		{"c", "1400", "cat /sys/class/net/eth0/mtu"},
		{"br0", "br0\nlo\np1\np2\np3", "ls -1 /sys/class/net"},
		{"side", "eth1\nlo", "ls -1 /sys/class/net"},
		{"b", "", "sh -c 'ls -A /etc/frr /etc/bird /etc/cni/net.d /opt/cni/bin | grep -v : | xargs'"},
		{"b", "2", "sh -c 'set -- /proc/[0-9]*; echo $#'"}, // init, and this shell
	} {
		argv, err := Split(c.argv)
		if err != nil {
			t.Fatal(err)
		}
		if got := output(t, l, c.node, argv...); got != c.want {
			t.Errorf("%s: %s: %q, want %q", c.node, c.argv, got, c.want)
		}
	}
	if got := output(t, l, "a", "cat", "/etc/frr/witness"); !strings.Contains(got, "10.0.0.1/24") {
		t.Errorf("exec lines did not run in order: %s", got)
	}
	for _, to := range []string{"10.0.0.2", "10.0.0.3"} {
		output(t, l, "a", "ping", "-c1", "-W2", to)
	}
	text, err := os.ReadFile(l.LogFile("a"))
	if err != nil || string(text) != "to the log\n" {
		t.Errorf("log %q, %v", text, err)
	}
}

// A node writes where it likes, and the host sees nothing of it; binds are the host's own.
func TestFileSystem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, f := range []string{"rw", "ro"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l := deployed(t, `
  nodes:
    n:
      kind: linux
      binds: ["`+dir+`/rw:/var/run/deep/down/rw", "`+dir+`/ro:/etc/podroute-lab-test:ro", "`+dir+`:/srv/all"]
`)
	output(t, l, "n", "sh", "-c", `set -e
		test "$(cat /run/deep/down/rw)" = rw
		test "$(cat /etc/podroute-lab-test)" = ro
		echo changed >/run/deep/down/rw
		! echo changed >/etc/podroute-lab-test
		echo new >/srv/all/new
		mkdir -p /usr/podroute-lab-x /var/lib/podroute-lab-x
		for f in /etc /tmp /root; do echo x >$f/podroute-lab-x; done
		test -w /dev/null`)
	for _, path := range []string{"/etc/podroute-lab-x", "/usr/podroute-lab-x", "/var/lib/podroute-lab-x", "/tmp/podroute-lab-x", "/root/podroute-lab-x", "/etc/podroute-lab-test"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("the node's %s is on the host", path)
		}
	}
	for name, want := range map[string]string{"rw": "changed\n", "ro": "ro", "new": "new\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q, want %q; %v", name, got, want, err)
		}
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	l := deployed(t, "\n  nodes: {n: {kind: linux}}\n")
	r, err := l.Exec(testContext(t), "n", "sh", "-c", "echo out; echo err >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Result{Code: 3, Stdout: "out\n", Stderr: "err\n"}, r); diff != "" {
		t.Error(diff)
	}
	if r, err := l.Exec(testContext(t), "n", "sh", "-c", "kill -9 $$"); err != nil || r.Code != 137 {
		t.Errorf("killed: %+v, %v", r, err)
	}
	if _, err := l.Exec(testContext(t), "n", "no-such-program"); err == nil {
		t.Error("a program that does not exist ran")
	}
	// A daemon left behind holds the output open; Exec returns all the same.
	if r, err := l.Exec(testContext(t), "n", "sh", "-c", "sleep 60 & echo left"); err != nil || r.Stdout != "left\n" {
		t.Errorf("daemon: %+v, %v", r, err)
	}
	if _, err := l.Exec(testContext(t), "other", "true"); err == nil {
		t.Error("a node that does not exist ran something")
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	l := deployed(t, "\n  nodes: {n: {kind: linux, env: {X: y}}}\n")
	c, err := l.Command(testContext(t), "n", "sh", "-c", "cat; pwd; printenv X; hostname; exit 5")
	if err != nil {
		t.Fatal(err)
	}
	c.Stdin = strings.NewReader("in\n")
	out, err := c.Output()
	if code := exitCode(t, err); code != 5 || string(out) != "in\n/\ny\nn\n" {
		t.Errorf("code %d, output %q", code, out)
	}
	// It dies with its context.
	ctx, cancel := context.WithCancel(testContext(t))
	c, err = l.Command(ctx, "n", "sleep", "4242")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, func() error {
		_, err := l.Run(testContext(t), "n", "pgrep", "-f", "^sleep 4242")
		return err
	})
	cancel()
	_ = c.Wait()
	within(t, 5*time.Second, func() error {
		if r, err := l.Exec(testContext(t), "n", "pgrep", "-f", "^sleep 4242"); err != nil || r.Code != 1 {
			return errors.New("it lives")
		}
		return nil
	})
}

func TestCmd(t *testing.T) {
	t.Parallel()
	l := deployed(t, "\n  nodes: {n: {kind: linux, cmd: sh -c 'sleep 777 & wait'}, idle: {kind: linux}}\n")
	ctx := testContext(t)
	st, err := l.Status(ctx, "n")
	if err != nil || !st.Running || st.PID == 0 {
		t.Fatalf("%+v, %v", st, err)
	}
	if err := l.Start(ctx, "n"); err == nil {
		t.Error("started twice")
	}
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		if err := l.Signal(ctx, "n", sig, true); err != nil {
			t.Fatal(err)
		}
		st, err = l.Status(ctx, "n")
		if want := "signal " + unix.SignalName(sig); err != nil || st.Running || st.Ended != want {
			t.Errorf("%+v, %v, want %s", st, err, want)
		}
		if r, err := l.Exec(ctx, "n", "pgrep", "-f", "^sleep 777"); err != nil || r.Code != 1 {
			t.Errorf("cmd's children live on: %+v, %v", r, err)
		}
		if err := l.Signal(ctx, "n", sig, true); err == nil {
			t.Error("signalled what does not run")
		}
		if err := l.Start(ctx, "n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Start(ctx, "idle"); err == nil {
		t.Error("started a node without cmd")
	}
}

// A cmd that ends does not end its node.
func TestCmdEnds(t *testing.T) {
	t.Parallel()
	l := deployed(t, "\n  nodes: {n: {kind: linux, cmd: sh -c 'exit 9'}}\n")
	within(t, 5*time.Second, func() error {
		st, err := l.Status(testContext(t), "n")
		if err == nil && st.Ended != "exit code 9" {
			err = errors.New(st.Ended)
		}
		return err
	})
	output(t, l, "n", "true")
}

func TestExists(t *testing.T) {
	t.Parallel()
	l := deployed(t, "\n  nodes: {n: {kind: linux}}\n")
	o := Options{StateDir: filepath.Dir(l.Dir())}
	if _, err := Deploy(testContext(t), l.Topology(), o); !errors.Is(err, ErrExists) {
		t.Errorf("error %v, want ErrExists", err)
	}
	before := l.record.Nodes[0]
	o.Reconfigure = true
	again, err := Deploy(testContext(t), l.Topology(), o)
	if err != nil {
		t.Fatal(err)
	}
	if before.alive() {
		t.Error("the old lab lives on")
	}
	l.record = again.record
	output(t, l, "n", "true")
}

// A lab that a process needs is not replaced while that process runs, but destroyed it can be.
func TestHolder(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	l := deployed(t, "\n  nodes: {n: {kind: linux}}\n")
	o := Options{StateDir: filepath.Dir(l.Dir()), Reconfigure: true}
	deploy := func(holder int, want error) {
		t.Helper()
		o.Holder = holder
		again, err := Deploy(ctx, l.Topology(), o)
		if !errors.Is(err, want) {
			t.Fatalf("error %v, want %v", err, want)
		}
		if err == nil {
			l.record = again.record
		}
	}
	holder := exec.CommandContext(ctx, "sleep", "infinity")
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	deploy(holder.Process.Pid, nil)
	deploy(0, ErrExists)
	deploy(os.Getpid(), ErrExists)
	deploy(holder.Process.Pid, nil)
	_ = holder.Process.Kill()
	_ = holder.Wait()
	deploy(os.Getpid(), nil)
	deploy(0, ErrExists)
	output(t, l, "n", "true")
}

func TestDestroyNothing(t *testing.T) {
	t.Parallel()
	existed, err := Destroy(testContext(t), t.TempDir(), "none")
	if existed || err != nil {
		t.Errorf("%v, %v", existed, err)
	}
	if _, err := Open(t.TempDir(), "none"); !errors.Is(err, ErrNoLab) {
		t.Errorf("error %v, want ErrNoLab", err)
	}
}

// What fails half-way leaves nothing, and says which node and what.
func TestRollback(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ body, want string }{
		"exec":   {"\n  nodes: {n: {kind: linux, exec: [sh -c 'echo so >&2; exit 4']}}\n", "node n: exec \"sh -c echo so >&2; exit 4\": exit code 4: so"},
		"cmd":    {"\n  nodes: {n: {kind: linux}, m: {kind: linux, cmd: no-such-program}}\n", "node m: cmd: exec: \"no-such-program\""},
		"sysctl": {"\n  nodes: {n: {kind: linux, sysctls: {net.ipv4.no_such_key: 1}}}\n", "node n: sysctl net.ipv4.no_such_key=1"},
	} {
		t.Run(name, func(t *testing.T) {
			state := t.TempDir()
			_, err := Deploy(testContext(t), topology(t, c.body), Options{StateDir: state})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %s", err, c.want)
			}
			nothingLeft(t, state, labName(t))
		})
	}
}

// Ctrl-C at any moment rolls back.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	top := topology(t, trio)
	state := t.TempDir()
	interrupted := 0
	for i := range 25 {
		ctx, cancel := context.WithCancel(testContext(t))
		timer := time.AfterFunc(time.Duration(i)*3*time.Millisecond, cancel)
		l, err := Deploy(ctx, top, Options{StateDir: state})
		timer.Stop()
		switch {
		case errors.Is(err, context.Canceled):
			interrupted++
		case err != nil:
			t.Fatal(err)
		default:
			if err := l.Destroy(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		nothingLeft(t, state, top.Name)
	}
	if interrupted == 0 {
		t.Error("every deployment was complete before it was interrupted")
	}
}

// Links are made without a name on the host, and no descriptor stays behind.
func TestNothingOnHost(t *testing.T) {
	before, descriptors := hostLinks(t), openFiles(t)
	l, err := Deploy(testContext(t), topology(t, trio), Options{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, hostLinks(t)); diff != "" {
		t.Errorf("links of the host (-before +now):\n%s", diff)
	}
	path, err := l.NetNS("a")
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = ns.Close()
	if err := l.Destroy(testContext(t)); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, func() error { // those who wait for the inits' end hold descriptors until then
		if now := openFiles(t); now > descriptors {
			return fmt.Errorf("%d open files, %d before", now, descriptors)
		}
		return nil
	})
}

func hostLinks(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, e := range entries {
		b.WriteString(e.Name() + "\n")
	}
	return b.String()
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
