package cni_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/podroute/podroute/cni"
	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/ipam"
)

// binDir holds the plugin.
var binDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "podroute-cni")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		binDir = dir
		build := exec.Command("go", "build", "-o", filepath.Join(dir, "podroute-cni"), "github.com/podroute/podroute/cmd/podroute-cni")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v: %v\n%s", build, err, out)
			return 1
		}
		return m.Run()
	}())
}

// addresses are an allocator's, as a server wants them; a pod of the namespace "nowhere" gets none.
type addresses struct{ *ipam.Allocator }

func (a addresses) Allocate(r cni.AddressRequest) ([]netip.Addr, error) {
	if r.Namespace == "nowhere" {
		return nil, fmt.Errorf("no pool is for pod %s of namespace %s", r.Pod, r.Namespace)
	}
	return a.Allocator.Allocate(ipam.Request{Key: r.Key, Want: r.Want})
}

// node is a node's namespace with a server in it.
type node struct {
	*nstest.NS
	t      *testing.T
	dir    string
	socket string
	ipam   *ipam.Allocator
	server *cni.Server
	stop   func() // ends the server and waits for it
	list   *libcni.NetworkConfigList
	lib    *libcni.CNIConfig
	log    nstest.Output // the server's
}

var dualStack = []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:244:1::/64")}

// newNode starts a server over the blocks.
func newNode(t *testing.T, blocks ...netip.Prefix) *node {
	t.Helper()
	n := newBareNode(t)
	n.start(blocks...)
	return n
}

// newBareNode is a node without a server.
func newBareNode(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{NS: nstest.New(t), t: t, dir: dir, socket: filepath.Join(dir, "run", "cni.sock")}
	n.Run(t, "sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv6.conf.all.forwarding=1",
		"ip addr add 192.0.2.1/32 dev lo", "ip addr add 2001:db8::1/128 dev lo nodad")
	nstest.Within(t, 2*time.Second, func() error { // the kernel takes a moment to make it local
		if out, err := n.Try("ip -6 route get 2001:db8::1"); err != nil || !strings.Contains(out, "local") {
			return fmt.Errorf("%s %w", out, err)
		}
		return nil
	})
	n.lib = libcni.NewCNIConfigWithCacheDir([]string{binDir}, filepath.Join(dir, "cache"), libcniExec())
	n.setList("1.1.0")
	return n
}

// libcniExec is libcni's own way of running plugins, which it would set up lazily, and racily.
func libcniExec() invoke.Exec {
	return &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}}
}

func (n *node) setList(version string) {
	n.t.Helper()
	var err error
	n.list, err = libcni.NetworkConfFromBytes(fmt.Appendf(nil,
		`{"cniVersion":%q,"name":"podroute","plugins":[{"type":"podroute-cni","socket":%q,"capabilities":{"ips":true,"io.kubernetes.cri.pod-annotations":true},"dns":{"nameservers":["10.96.0.10"]}}]}`,
		version, n.socket))
	if err != nil {
		n.t.Fatal(err)
	}
}

// start starts a server over what the kernel holds.
func (n *node) start(blocks ...netip.Prefix) {
	n.t.Helper()
	if err := n.tryStart(blocks...); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) tryStart(blocks ...netip.Prefix) error {
	if err := n.restore(blocks...); err != nil {
		return err
	}
	n.serve()
	return nil
}

// restore makes a server, and has it read the kernel.
func (n *node) restore(blocks ...netip.Prefix) error {
	n.ipam = ipam.New(ipam.Options{})
	var subnets []ipam.Block
	for _, p := range blocks {
		subnets = append(subnets, ipam.Block{Prefix: p})
	}
	n.ipam.Set(subnets)
	log := slog.New(slog.NewTextHandler(&testWriter{t: n.t, log: &n.log}, nil))
	if err := n.Do(func() (err error) {
		n.server, err = cni.New(cni.Options{Log: log, Socket: n.socket, Allocator: addresses{n.ipam}, Quarantine: 200 * time.Millisecond})
		return err
	}); err != nil {
		return err
	}
	return n.server.Restore(context.Background())
}

// serve runs the server until stop, or the test's end.
func (n *node) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.server.Run(ctx) }()
	stopped := false
	n.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			n.t.Errorf("server: %v", err)
		}
	}
	n.t.Cleanup(n.stop)
}

// testWriter sends a log to the test's, and keeps it.
type testWriter struct {
	t   *testing.T
	log *nstest.Output
}

func (w *testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(b))
	return w.log.Write(b)
}

// pod is what a runtime knows of one.
type pod struct {
	*nstest.NS
	id string
	rt *libcni.RuntimeConf
}

func (n *node) newPod(id string) *pod {
	n.t.Helper()
	p, err := n.openPod(id)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = p.Close() })
	return p
}

// openPod is newPod for a pod that does not last until the test's end.
func (n *node) openPod(id string) (*pod, error) {
	ns, err := nstest.Open()
	if err != nil {
		return nil, err
	}
	return &pod{NS: ns, id: id, rt: &libcni.RuntimeConf{
		ContainerID: id, NetNS: ns.Path(), IfName: "eth0",
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", "pod-" + id}},
	}}, nil
}

// globals are the pod's addresses, as seen from inside.
func (p *pod) globals() (string, error) {
	out, err := p.Try("ip -o addr show scope global")
	if err != nil {
		return "", err
	}
	var have []string
	for line := range strings.Lines(out) {
		a, _, _ := strings.Cut(strings.Fields(line)[3], "/")
		have = append(have, a)
	}
	return strings.Join(have, " "), nil
}

// inside runs a libcni call in the node's namespace, as a runtime would.
func (n *node) inside(call func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return n.Do(func() error { return call(ctx) })
}

func (n *node) tryAdd(p *pod) (*types100.Result, error) {
	var r *types100.Result
	err := n.inside(func(ctx context.Context) error {
		res, err := n.lib.AddNetworkList(ctx, n.list, p.rt)
		if err != nil {
			return err
		}
		r, err = types100.NewResultFromResult(res)
		return err
	})
	return r, err
}

func (n *node) add(p *pod) *types100.Result {
	n.t.Helper()
	r, err := n.tryAdd(p)
	if err != nil {
		n.t.Fatalf("ADD %s: %v", p.id, err)
	}
	return r
}

func (n *node) tryDel(p *pod) error {
	return n.inside(func(ctx context.Context) error { return n.lib.DelNetworkList(ctx, n.list, p.rt) })
}

func (n *node) del(p *pod) {
	n.t.Helper()
	if err := n.tryDel(p); err != nil {
		n.t.Fatalf("DEL %s: %v", p.id, err)
	}
}

func (n *node) check(p *pod) error {
	return n.inside(func(ctx context.Context) error { return n.lib.CheckNetworkList(ctx, n.list, p.rt) })
}

// addrs are a result's addresses, as strings.
func addrs(r *types100.Result) []string {
	var a []string
	for _, ip := range r.IPs {
		a = append(a, ip.Address.IP.String())
	}
	return a
}

// parse reads a result of any version.
func parse(t *testing.T, version, out string) *types100.Result {
	t.Helper()
	r, err := create.Create(version, []byte(out))
	if err != nil {
		t.Fatalf("%s: %v: %s", version, err, out)
	}
	n, err := types100.NewResultFromResult(r)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// attachment finds a container's in the server's list.
func (n *node) attachment(id string) cni.Attachment {
	n.t.Helper()
	for _, a := range n.server.Attachments() {
		if a.ContainerID == id {
			return a
		}
	}
	n.t.Fatalf("the server has no attachment of %s", id)
	return cni.Attachment{}
}

// leftovers describes everything of ours in the node's kernel and allocator: nothing, when all is gone.
func (n *node) leftovers() error {
	var bad []string
	links, err := n.Try("ip -o link show type veth")
	if err != nil {
		return err
	}
	for l := range strings.Lines(links) {
		if strings.Contains(l, ": pr") {
			bad = append(bad, strings.TrimSpace(l))
		}
	}
	for _, family := range []string{"-4", "-6"} {
		routes, err := n.Try("ip " + family + " route show proto 179")
		if err != nil {
			return err
		}
		if routes != "" {
			bad = append(bad, routes)
		}
	}
	for _, u := range n.ipam.Usage() {
		if u.Used != 0 {
			bad = append(bad, fmt.Sprintf("%d addresses of %v in use", u.Used, u.Prefix))
		}
	}
	if a := n.server.Attachments(); len(a) > 0 {
		bad = append(bad, fmt.Sprintf("attachments %v", a))
	}
	if len(bad) > 0 {
		return fmt.Errorf("left behind: %s", strings.Join(bad, "; "))
	}
	return nil
}

func (n *node) wantNothingLeft() {
	n.t.Helper()
	nstest.Within(n.t, 2*time.Second, n.leftovers)
}

// exec runs the plugin by itself, with any environment and input, and returns what it printed.
func (n *node) exec(stdin string, env ...string) (out string, err error) {
	cmd := n.Command(context.Background(), filepath.Join(binDir, "podroute-cni"))
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	b, err := cmd.Output()
	return string(b), err
}

// code is the code of a CNI error as the plugin prints it.
func code(t *testing.T, out string) uint {
	t.Helper()
	var e struct {
		CNIVersion string
		Code       uint
		Msg        string
	}
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		t.Fatalf("not a CNI error: %v: %q", err, out)
	}
	if e.CNIVersion == "" || e.Msg == "" {
		t.Errorf("CNI error without version or message: %q", out)
	}
	return e.Code
}
