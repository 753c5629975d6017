package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/test/e2e/api/apiserver"
)

// machine is a namespace in which the agent of a node runs, the program itself; the API server is on its loopback.
type machine struct {
	*nstest.NS
	t         *testing.T
	s         *apiserver.Server
	name, dir string
	agent     *nstest.Process
	log       nstest.Output
}

func newMachine(t *testing.T, s *apiserver.Server, name string) *machine {
	t.Helper()
	m := &machine{NS: nstest.New(t), t: t, s: s, name: name, dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(m.dir, "net.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	var ln net.Listener
	if err := m.Do(func() (err error) {
		ln, err = net.Listen("tcp", s.Address())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = ln.Close()
		if m.agent != nil {
			m.agent.Stop()
		}
		if t.Failed() {
			t.Logf("the agent of %s said:\n%s", name, m.log.String())
		}
	})
	go m.forward(ln)
	return m
}

// forward brings connections to the API server.
func (m *machine) forward(ln net.Listener) {
	for {
		near, err := ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", m.s.Address())
		if err != nil {
			_ = near.Close()
			continue
		}
		for from, to := range map[net.Conn]net.Conn{near: far, far: near} {
			go func() {
				_, _ = io.Copy(to, from)
				_ = to.Close()
			}()
		}
	}
}

// start starts the agent, with more in its environment.
func (m *machine) start(environment ...string) {
	m.t.Helper()
	command := append(environment, filepath.Join(m.s.Root(), "build/podroute"), "agent", "--kubeconfig", m.s.Agent(m.name), "--node-name", m.name,
		"--run-dir", filepath.Join(m.dir, "run"), "--cni-conf-dir", filepath.Join(m.dir, "net.d"), "--cni-bin-dir", filepath.Join(m.s.Root(), "build"),
		"--health-address", "")
	var err error
	if m.agent, err = m.Launch(context.Background(), &m.log, "env", command...); err != nil {
		m.t.Fatal(err)
	}
}

// terminate sends SIGTERM and waits for the end.
func (m *machine) terminate() {
	m.t.Helper()
	if err := syscall.Kill(m.agent.Cmd.Process.Pid, syscall.SIGTERM); err != nil {
		m.t.Fatal(err)
	}
	select {
	case <-m.agent.Done():
	case <-time.After(within):
		m.t.Fatalf("the agent of %s has not ended after %v", m.name, within)
	}
}

// says is the answer of the agent's command line.
func (m *machine) says(command string) string {
	out, err := m.Try(filepath.Join(m.s.Root(), "build/podroute") + " " + command + " --run-dir " + filepath.Join(m.dir, "run"))
	if err != nil {
		return err.Error() // exit code 1 tells that something is wrong, and what
	}
	return out
}

// routes are the kernel's of podroute's, one a line, as ip(8) has them.
func (m *machine) routes() string {
	m.t.Helper()
	return m.Run(m.t, "ip -4 route show proto 179") + m.Run(m.t, "ip -6 route show proto 179")
}

// pod is a namespace that the plugin has wired.
type pod struct {
	*nstest.NS
	id    string
	addrs []netip.Addr
}

// try wires a pod with libcni and the plugin, as a container runtime does.
func (m *machine) try(id string) (*pod, error) {
	p := &pod{NS: nstest.New(m.t), id: id}
	return p, m.Do(func() error {
		c, list, err := m.cni()
		if err != nil {
			return err
		}
		r, err := c.AddNetworkList(context.Background(), list, m.runtime(p))
		if err != nil {
			return err
		}
		res, err := types100.GetResult(r)
		if err != nil {
			return err
		}
		for _, ip := range res.IPs {
			a, _ := netip.AddrFromSlice(ip.Address.IP)
			p.addrs = append(p.addrs, a.Unmap())
		}
		return nil
	})
}

// add is try until it succeeds, as kubelet does.
func (m *machine) add(id string) *pod {
	m.t.Helper()
	var p *pod
	nstest.Within(m.t, within, func() (err error) {
		p, err = m.try(id)
		return err
	})
	return p
}

func (m *machine) del(p *pod) {
	m.t.Helper()
	if err := m.Do(func() error {
		c, list, err := m.cni()
		if err != nil {
			return err
		}
		return c.DelNetworkList(context.Background(), list, m.runtime(p))
	}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) cni() (*libcni.CNIConfig, *libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(filepath.Join(m.dir, "net.d"), []string{".conflist"})
	if err != nil || len(files) != 1 {
		return nil, nil, fmt.Errorf("conflists %v, want one: %w", files, err)
	}
	list, err := libcni.ConfListFromFile(files[0])
	return libcni.NewCNIConfigWithCacheDir([]string{filepath.Join(m.s.Root(), "build")}, filepath.Join(m.dir, "cache"), nil), list, err
}

func (m *machine) runtime(p *pod) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID: p.id, NetNS: p.Path(), IfName: "eth0",
		Args: [][2]string{{"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", p.id}},
	}
}

// newLAN joins the machines of nodes n1, n2, … to one bridge, 192.0.2.N/24 and 2001:db8::N/64, registers their Nodes as
// kubelets do, and starts their agents.
func newLAN(t *testing.T, s *apiserver.Server, count int) []*machine {
	t.Helper()
	lan := nstest.New(t)
	lan.Run(t, "ip link add br0 type bridge", "ip link set br0 up")
	var all []*machine
	for i := 1; i <= count; i++ {
		m := newMachine(t, s, fmt.Sprintf("n%d", i))
		nstest.Veth(t, lan, fmt.Sprintf("port%d", i), m.NS, "eth0")
		lan.Run(t, fmt.Sprintf("ip link set port%d master br0", i))
		m.Run(t, fmt.Sprintf("ip addr add 192.0.2.%d/24 dev eth0", i), fmt.Sprintf("ip addr add 2001:db8::%d/64 dev eth0 nodad", i))
		m.register(i)
		m.start()
		all = append(all, m)
	}
	return all
}

// register creates the machine's Node, the i-th.
func (m *machine) register(i int) {
	m.t.Helper()
	m.s.Apply(fmt.Sprintf(`
apiVersion: v1
kind: Node
metadata: {name: %s}
spec:
  podCIDR: 10.244.%[2]d.0/24
  podCIDRs: [10.244.%[2]d.0/24, "fd00:244:0:%[2]d::/64"]
  taints: [{key: podroute.io/not-ready, effect: NoSchedule}]
`, m.name, i))
	m.s.Kubectl("patch", "node", m.name, "--subresource=status", "-p", fmt.Sprintf(`{"status":{
		"addresses":[{"type":"InternalIP","address":"192.0.2.%[1]d"},{"type":"InternalIP","address":"2001:db8::%[1]d"}],
		"conditions":[{"type":"Ready","status":"True","message":"kubelet is posting ready status"}]}}`, i))
}

// has tells whether a line of ip(8)'s begins with a text.
func has(lines, text string) bool {
	for line := range strings.Lines(lines) {
		if strings.HasPrefix(line, text+" ") {
			return true
		}
	}
	return false
}
