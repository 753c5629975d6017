package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/podroute/podroute/internal/nstest"
)

// binaries builds the agent and the plugin, as users get them, once for all tests.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "podroute-interop-")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"podroute", "podroute-cni"} {
		c := exec.Command("go", "build", "-o", dir+"/", "../../cmd/"+name)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("6") // they mostly wait for sessions
	}
	code := m.Run()
	if dir, _ := binaries(); dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// node is a network namespace with an agent.
type node struct {
	*nstest.NS
	name string
	dir  string // holds config/, run/, net.d/
	bin  string
	cmd  *exec.Cmd
	done chan struct{}
	log  *nstest.Output
	trip tripwire
}

// newNode makes a node; its agent is started with start.
func newNode(t testing.TB, name string) *node {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{NS: nstest.New(t), name: name, dir: t.TempDir(), bin: bin, log: &nstest.Output{}}

	for _, d := range []string{"config", "net.d"} {
		if err := os.Mkdir(filepath.Join(n.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		n.signal(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("agent of %s:\n%s", name, n.log)
		}
	})
	return n
}

// configure writes a manifest file.
func (n *node) configure(t testing.TB, file, manifests string) {
	t.Helper()
	tmp := filepath.Join(n.dir, "."+file)
	if err := os.WriteFile(tmp, []byte(manifests), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(n.dir, "config", file)); err != nil {
		t.Fatal(err)
	}
}

// remove takes a manifest file away.
func (n *node) remove(t testing.TB, file string) {
	t.Helper()
	if err := os.Remove(filepath.Join(n.dir, "config", file)); err != nil {
		t.Fatal(err)
	}
}

// start starts the agent and waits until it answers.
func (n *node) start(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n.cmd = n.Command(ctx, n.bin+"/podroute", "agent", "--config", n.dir+"/config", "--node-name", n.name,
		"--run-dir", n.dir+"/run", "--cni-conf-dir", n.dir+"/net.d", "--cni-bin-dir", n.bin, "--log-level", "debug")
	n.cmd.SysProcAttr.Pdeathsig = 0 // the thread that starts it does not last
	n.trip.Writer = n.log
	n.cmd.Stdout, n.cmd.Stderr = &n.trip, &n.trip
	if err := n.cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	done, cmd := make(chan struct{}), n.cmd
	n.done = done
	go func() {
		defer cancel()
		_ = cmd.Wait()
		close(done)
	}()
	nstest.Within(t, 10*time.Second, func() error {
		select {
		case <-done:
			return fmt.Errorf("the agent ended: %s", n.log)
		default:
		}
		_, err := n.ask("peers")
		return err
	})
}

// signal sends the agent a signal and waits for its end.
func (n *node) signal(s syscall.Signal) {
	if n.cmd == nil {
		return
	}
	_ = syscall.Kill(-n.cmd.Process.Pid, s)
	<-n.done
	n.cmd = nil
}

// ask runs a podroute subcommand with -o json; a status that is not ready is no error.
func (n *node) ask(args ...string) ([]byte, error) {
	c := exec.Command(n.bin+"/podroute", append(args, "--run-dir", n.dir+"/run", "-o", "json")...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil && len(out) == 0 {
		return nil, fmt.Errorf("podroute %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

// leave takes the node out for good; the agent ends.
func (n *node) leave() (string, error) {
	out, err := exec.Command(n.bin+"/podroute", "leave", "--run-dir", n.dir+"/run").CombinedOutput()
	return string(out), err
}

// status as far as tests look at it.
type status struct {
	Ready               bool   `json:"ready"`
	Reason              string `json:"reason"`
	Restarted           bool   `json:"restarted"`
	SessionsEstablished int    `json:"sessions_established"`
	Pods                int    `json:"pods"`
	Problems            []struct {
		Object  string `json:"object"`
		Message string `json:"message"`
		Mend    string `json:"mend"`
	} `json:"problems"`
}

// names checks that status has a problem of an object, with a text in its message and with a mend.
func (n *node) names(object, text string) error {
	s, err := n.status()
	if err != nil {
		return err
	}
	for _, p := range s.Problems {
		if p.Object == object && strings.Contains(p.Message, text) && p.Mend != "" {
			return nil
		}
	}
	return fmt.Errorf("status does not say of %s that %q: %+v", object, text, s.Problems)
}

func (n *node) status() (status, error) {
	var s status
	out, err := n.ask("status")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// session as far as tests look at it.
type session struct {
	Name      string   `json:"name"`
	State     string   `json:"state"`
	Since     string   `json:"since"`
	Flaps     int      `json:"flaps"`
	Hold      int      `json:"hold_seconds"`
	LastError string   `json:"last_error"`
	Stale     bool     `json:"stale"`
	LongLived int      `json:"long_lived_seconds"`
	Notifies  bool     `json:"notifications"`
	Receives  bool     `json:"receives_paths"`
	LastDown  string   `json:"last_down"`
	Warnings  []string `json:"warnings"`
	BFD       struct {
		State  string `json:"state"`
		Off    bool   `json:"off"`
		Losses int    `json:"losses"`
		Detect int    `json:"detect_milliseconds"`
		Signed bool   `json:"authenticated"`
	} `json:"bfd"`

	Families []struct {
		Received   int `json:"received"`
		Accepted   int `json:"accepted"`
		Advertised int `json:"advertised"`
	} `json:"families"`
}

func (s session) received() (sum int) {
	for _, f := range s.Families {
		sum += f.Received
	}
	return sum
}

func (n *node) sessions() ([]session, error) {
	var p struct {
		Peers []session `json:"peers"`
	}
	out, err := n.ask("peers")
	if err != nil {
		return nil, err
	}
	return p.Peers, json.Unmarshal(out, &p)
}

func (n *node) session(t testing.TB, name string) session {
	t.Helper()
	all, err := n.sessions()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("%s has no session %s: %v", n.name, name, all)
	return session{}
}

// hasPeers checks that these are the peers, in the order of their names.
func (n *node) hasPeers(names ...string) error {
	all, err := n.sessions()
	if err != nil {
		return err
	}
	var got []string
	for _, s := range all {
		got = append(got, s.Name)
	}
	if !slices.Equal(got, names) {
		return fmt.Errorf("peers of %s are %v, want %v", n.name, got, names)
	}
	return nil
}

// podLink is the host's end of a pod's link.
func (n *node) podLink(t testing.TB, id string) string {
	t.Helper()
	var p struct {
		Pods []struct {
			Link        string `json:"link"`
			ContainerID string `json:"container_id"`
		} `json:"pods"`
	}
	out, err := n.ask("pods")
	if err == nil {
		err = json.Unmarshal(out, &p)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range p.Pods {
		if q.ContainerID == id {
			return q.Link
		}
	}
	t.Fatalf("no pod %s: %s", id, out)
	return ""
}

// ready waits until the agent says that it is.
func (n *node) ready(t testing.TB) {
	t.Helper()
	nstest.Within(t, 20*time.Second, func() error {
		s, err := n.status()
		if err == nil && !s.Ready {
			err = fmt.Errorf("%s is not ready: %s", n.name, s.Reason)
		}
		return err
	})
}

// pod is a network namespace that the plugin wired.
type pod struct {
	*nstest.NS
	id    string
	addrs []netip.Addr
}

// add wires a pod with libcni and the plugin, as a container runtime does.
func (n *node) add(t testing.TB, id string) *pod {
	t.Helper()
	p := &pod{NS: nstest.New(t), id: id}
	var res *types100.Result
	err := n.Do(func() error {
		c, list, err := n.cni()
		if err != nil {
			return err
		}
		r, err := c.AddNetworkList(context.Background(), list, n.runtime(p))
		if err != nil {
			return err
		}
		res, err = types100.GetResult(r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range res.IPs {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		p.addrs = append(p.addrs, a.Unmap())
	}
	return p
}

// del takes a pod away again.
func (n *node) del(p *pod) error {
	return n.Do(func() error {
		c, list, err := n.cni()
		if err != nil {
			return err
		}
		return c.DelNetworkList(context.Background(), list, n.runtime(p))
	})
}

func (n *node) cni() (*libcni.CNIConfig, *libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(n.dir+"/net.d", []string{".conflist"})
	if err != nil || len(files) != 1 {
		return nil, nil, fmt.Errorf("conflists %v: %w", files, err)
	}
	list, err := libcni.ConfListFromFile(files[0])
	return libcni.NewCNIConfigWithCacheDir([]string{n.bin}, n.dir+"/cache", nil), list, err
}

func (n *node) runtime(p *pod) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID: p.id, NetNS: p.Path(), IfName: "eth0",
		Args: [][2]string{{"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", p.id}},
	}
}
