package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const dualStackNode = `apiVersion: v1
kind: Node
metadata:
  name: bench
spec:
  podCIDRs: [10.88.0.0/24, "fd00:88::/64"]
status:
  addresses:
  - {type: InternalIP, address: 192.0.2.1}
`

// world is a node with a real agent, and with every program that a container runtime's host has.
type world struct {
	t             *testing.T
	scratch, bin  string
	node, outside *namespace
}

// inside runs a command line in a namespace, with /var/lib replaced by a folder of the test's: that is
// where CNI keeps its results.
func (w *world) inside(ns *namespace, env []string, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	args := append([]string{
		"--net=" + ns.path(), "--", "unshare", "--mount", "sh", "-c", `mount --bind "$0" /var/lib && exec "$@"`,
		filepath.Join(w.scratch, "var"),
	}, command...)
	c := exec.CommandContext(ctx, "nsenter", args...)
	c.Env = append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
	}
	return string(out), nil
}

func (w *world) run(ns *namespace, line string) string {
	w.t.Helper()
	out, err := w.inside(ns, nil, strings.Fields(line)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func namespaceFor(t *testing.T) *namespace {
	t.Helper()
	ns, err := newNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.close)
	return ns
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, scratch: t.TempDir(), node: namespaceFor(t), outside: namespaceFor(t)}
	w.bin = filepath.Join(w.scratch, "bin")
	for _, dir := range []string{w.bin, filepath.Join(w.scratch, "var")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	plugins, err := references(t.Context(), "../../.cache", "meta/portmap", "meta/bandwidth")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"portmap", "bandwidth"} {
		if err := os.Link(filepath.Join(plugins, p), filepath.Join(w.bin, p)); err != nil {
			if out, err := exec.Command("cp", filepath.Join(plugins, p), w.bin).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	for dir, what := range map[string]string{
		"../..": "./cmd/podroute-cni ./cmd/podroute", ".": "github.com/containernetworking/cni/cnitool",
	} {
		c := exec.Command("go", append([]string{"build", "-o", w.bin + "/"}, strings.Fields(what)...)...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
	}
	stop, err := startAgent(t.Context(), filepath.Join(w.bin, "podroute"), w.bin, w.scratch, dualStackNode, w.node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	// An outside host, on the node's uplink.
	w.run(w.node, "ip link add up0 up type veth peer name eth0 netns "+w.outside.path())
	w.run(w.node, "ip addr add 198.51.100.1/24 dev up0")
	w.run(w.outside, "ip link set eth0 up")
	w.run(w.outside, "ip addr add 198.51.100.2/24 dev eth0")
	return w
}

// cnitool runs it on the network that the agent has configured.
func (w *world) cnitool(verb string, pod *namespace) (string, error) {
	return w.inside(w.node, []string{
		"CNI_PATH=" + w.bin, "NETCONFPATH=" + confDirIn(w.scratch),
		`CAP_ARGS={"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}],"bandwidth":{"ingressRate":800000000,"ingressBurst":80000000}}`,
	}, filepath.Join(w.bin, "cnitool"), verb, "podroute", pod.path())
}

// serve answers TCP connections in a namespace with a word, until the test ends.
func (w *world) serve(ns *namespace, address, word string) {
	w.t.Helper()
	work := make(chan func())
	if err := ns.worker(work); err != nil {
		w.t.Fatal(err)
	}
	listening := make(chan error)
	var l net.Listener
	work <- func() {
		var err error
		l, err = net.Listen("tcp", address)
		listening <- err
	}
	close(work)
	if err := <-listening; err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, word)
			_ = c.Close()
		}
	}()
}

// ask connects from a namespace and returns what the other side says.
func (w *world) ask(ns *namespace, address string) (string, error) {
	work := make(chan func())
	if err := ns.worker(work); err != nil {
		return "", err
	}
	type answer struct {
		said []byte
		err  error
	}
	got := make(chan answer)
	work <- func() {
		c, err := net.DialTimeout("tcp", address, 3*time.Second)
		if err != nil {
			got <- answer{err: err}
			return
		}
		defer func() { _ = c.Close() }()
		said, err := io.ReadAll(c)
		got <- answer{said, err}
	}
	close(work)
	a := <-got
	return string(a.said), a.err
}

// The configuration that the agent writes works as it is, with every verb, in cnitool, and chained with
// the reference portmap and bandwidth plugins.
func TestCnitoolAndChainedPlugins(t *testing.T) {
	w := newWorld(t)
	pod := namespaceFor(t)
	out, err := w.cnitool("add", pod)
	if err != nil {
		t.Fatal(err)
	}
	var result struct {
		CNIVersion string
		IPs        []struct{ Address string }
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil || result.CNIVersion != "1.1.0" || len(result.IPs) != 2 {
		t.Fatalf("ADD: %v: %s", err, out)
	}
	for _, verb := range []string{"check", "status"} {
		if out, err := w.cnitool(verb, pod); err != nil {
			t.Errorf("%s: %v: %s", verb, err, out)
		}
	}
	address, _, _ := strings.Cut(result.IPs[0].Address, "/")
	w.serve(pod, address+":80", "the pod")
	if said, err := w.ask(w.outside, "198.51.100.1:8080"); err != nil || said != "the pod" {
		t.Errorf("the mapped port from outside: %q, %v; want an answer of the pod", said, err)
	}
	if said, err := w.ask(w.node, address+":80"); err != nil || said != "the pod" {
		t.Errorf("the pod from its node: %q, %v", said, err)
	}
	for range 2 {
		if out, err := w.cnitool("del", pod); err != nil {
			t.Errorf("DEL: %v: %s", err, out)
		}
	}
	if said, err := w.ask(w.outside, "198.51.100.1:8080"); err == nil {
		t.Errorf("the mapped port answers after DEL: %q", said)
	}
	if out := w.run(w.node, "ip -o link show type veth"); strings.Contains(out, ": pr") {
		t.Errorf("links after DEL:\n%s", out)
	}
}
