package lab

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A deployer that is killed at any moment leaves nothing that Destroy does not remove, and nothing
// that keeps the lab from being deployed again.
func TestCrash(t *testing.T) {
	t.Parallel()
	file := topologyFileOf(t, trio)
	name, state := labName(t), t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]int{}
	for i := range 40 {
		c := exec.Command(exe, "deploy-and-exit", file, state)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Int64N(int64(120 * time.Millisecond))))
		_ = c.Process.Signal(unix.SIGKILL)
		err := c.Wait()
		_, openErr := Open(state, name)
		switch {
		case openErr == nil && err == nil:
			outcomes["complete"]++
		case openErr == nil:
			outcomes["killed in the end"]++
		default:
			outcomes["half done"]++
		}
		if i%2 == 0 {
			l, err := Deploy(testContext(t), topologyAt(t, file), Options{StateDir: state, Reconfigure: true})
			if err != nil {
				t.Fatal(err)
			}
			output(t, l, "a", "ping", "-c1", "-W2", "10.0.0.3")
		}
		if _, err := Destroy(testContext(t), state, name); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, state, name)
	}
	t.Log(outcomes)
	if outcomes["half done"] == 0 {
		t.Error("no deployer was killed half-way")
	}
}

func topologyAt(t *testing.T, file string) *Topology {
	t.Helper()
	top, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// The debris of a crash is no lab: it cannot be opened, and is replaced without being asked.
func TestDebris(t *testing.T) {
	t.Parallel()
	top, state := topology(t, "\n  nodes: {n: {kind: linux}}\n"), t.TempDir()
	f, err := lockFolder(testContext(t), filepath.Join(state, top.Name), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.write(&record{Topology: *top, Phase: phaseDeploying, Nodes: []nodeRecord{{"n", process{1, 12345}}}}); err != nil {
		t.Fatal(err)
	}
	f.unlock()
	if _, err := Open(state, top.Name); err == nil {
		t.Error("opened debris")
	}
	l, err := Deploy(testContext(t), top, Options{StateDir: state})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Destroy(testContext(t)); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, state, top.Name)
}

// A plain user has the same lab, in a user namespace.
func TestPlainUser(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "podroute-lab-test") // not below t.TempDir, which others may not enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	const uid = 65534
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	exe, file, state := filepath.Join(dir, "lab.test"), filepath.Join(dir, "lab.clab.yml"), filepath.Join(dir, "state")
	copyFile(t, "/proc/self/exe", exe, 0o755)
	text, err := os.ReadFile(topologyFileOf(t, trio))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(state, uid, uid); err != nil {
		t.Fatal(err)
	}
	asUser := func(args ...string) *exec.Cmd {
		c := exec.Command(args[0], args[1:]...)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return c
	}
	if out, err := asUser(exe, "deploy-and-exit", file, state).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := Open(state, labName(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Destroy(testContext(t)); err != nil {
			t.Error(err)
		}
		nothingLeft(t, state, l.Name())
	})
	output(t, l, "a", "ping", "-c1", "-W2", "10.0.0.2")
	if got := output(t, l, "a", "sh", "-c", "id -u; cat /proc/sys/net/ipv4/ip_forward; touch /etc/x /run/x /root/x && echo written"); got != "0\n1\nwritten" {
		t.Errorf("as root of its user namespace: %q", got)
	}
	if got := output(t, l, "a", "sh", "-c", "touch /usr/x 2>&1 || true"); !strings.Contains(got, "Read-only") {
		t.Errorf("wrote to the host's /usr: %q", got)
	}
	line, env, err := l.CommandLine("b", []string{"sh", "-c", "id -u; hostname; pwd"})
	if err != nil {
		t.Fatal(err)
	}
	c := asUser(line...)
	c.Env = env
	if out, err := c.CombinedOutput(); err != nil || string(out) != "0\nb\n/\n" {
		t.Errorf("entering as that user: %v, %q", err, out)
	}
}

// Where the host gives a user no namespaces, the error says what to do.
func TestPlainUserRefused(t *testing.T) {
	t.Parallel()
	for _, errno := range []unix.Errno{unix.EPERM, unix.ENOSPC} {
		err := explainClone(fmt.Errorf("fork/exec: %w", errno))
		if !bytes.Contains([]byte(err.Error()), []byte("run as root")) {
			t.Errorf("%v", err)
		}
	}
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, mode)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
