package interop

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

const (
	flapsBefore = 100 // after these an agent has all that it needs
	flapsAll    = 500
	flapRoutes  = 100
)

// TestManyFlaps: a neighbour that comes and goes 500 times, half of them with a NOTIFICATION, with a hundred routes each time, watched by BFD. Of
// none of them anything is left: neither in the kernel nor in the agent, nor in the process that keeps its BFD sessions.
func TestManyFlaps(t *testing.T) {
	t.Parallel()
	f := newFlapping(t)
	var first, last use
	began := time.Now()
	for i := range flapsAll {
		f.flap(t, i)
		if i+1 == flapsBefore {
			first = f.use(t)
		}
	}
	nstest.Within(t, 10*time.Second, func() error {
		last = f.use(t)
		switch {
		case last.routes != first.routes || last.nextHops != first.nextHops:
			return fmt.Errorf("in the kernel: %+v, after %d flaps it was %+v", last, flapsBefore, first)
		case last.agent.files > first.agent.files || last.bfd.files > first.bfd.files:
			return fmt.Errorf("file descriptors: %+v, after %d flaps it was %+v", last, flapsBefore, first)
		case last.agent.threads > first.agent.threads+8 || last.bfd.threads > first.bfd.threads+2:
			return fmt.Errorf("threads: %+v, after %d flaps it was %+v", last, flapsBefore, first)
		case last.agent.kilobytes > first.agent.kilobytes+16<<10 || last.bfd.kilobytes > first.bfd.kilobytes+4<<10:
			return fmt.Errorf("memory: %+v, after %d flaps it was %+v", last, flapsBefore, first)
		}
		return nil
	})
	running, left := f.goroutines(t)
	t.Logf("%v: after %d flaps %+v, after %d %+v, %d goroutines and %d that gobgp has left", time.Since(began).Round(time.Second), flapsBefore, first, flapsAll, last, running, left)
	if running > 120 { // one for each flap would be 500 more
		t.Errorf("%d goroutines", running)
	}
	if left > flapsAll*8/10 { // docs/adr/0019
		t.Errorf("gobgp has left %d goroutines", left)
	}
}

// flapping is a node with one neighbour, by hand.
type flapping struct {
	*node
	tor    *nstest.NS
	routes [][]byte
}

func newFlapping(t *testing.T) *flapping {
	t.Helper()
	f := &flapping{node: newNode(t, "n1"), tor: nstest.New(t)}
	// Where both ends of a pair have the same number the kernel takes them for one, and tells of it only once a second.
	f.tor.Run(t, "ip link add spare type veth peer name spare2")
	nstest.Veth(t, f.tor, "port", f.NS, "eth0")
	// What is sent while a link comes up is lost, and asked for again after a second.
	f.tor.Run(t, "ip addr add 10.0.1.0/31 dev port", "sysctl -qw net.ipv4.neigh.port.retrans_time_ms=50")
	f.Run(t, "ip addr add 10.0.1.1/31 dev eth0")
	f.configure(t, "flaps.yaml", `
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec:
  asNumber: 64601
  mesh: None
  clusterCIDRs: [10.128.0.0/9]
  nodeCIDRs: [10.0.0.0/16]
`+undamped+`
---
apiVersion: podroute.io/v1alpha1
kind: BGPPeer
metadata: {name: tor}
spec: {address: 10.0.1.0, asNumber: 65001, passive: true, families: [IPv4], bfd: {transmitInterval: 100ms, receiveInterval: 100ms}}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 10.0.1.1}]}
`)
	f.start(t)
	f.routes = [][]byte{rawbgp.Announce([]uint32{65001}, netip.MustParseAddr("10.0.1.0"), prefixes(0, flapRoutes)), rawbgp.EndOfRIB(false)}

	// The neighbour's end of BFD.
	file := filepath.Join(f.dir, "bird.conf")
	conf := `router id 10.0.1.0; protocol device {}
protocol bfd { interface "port" { interval 100 ms; multiplier 3; }; neighbor 10.0.1.1 dev "port"; }
`
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	f.tor.Start(t, "bird", "-f", "-c", file, "-s", filepath.Join(f.dir, "bird.ctl"))
	return f
}

// flap is one coming and going.
func (f *flapping) flap(t *testing.T, i int) {
	t.Helper()
	s := f.call(t)
	defer func() { _ = s.Close() }()
	if err := s.Send(f.routes...); err != nil {
		t.Fatal(err)
	}
	f.inKernel(t, flapRoutes)
	if i%50 == 0 { // BFD takes its time to come up
		f.shows(t, fmt.Sprintf("flap %d", i), func(s session) bool { return s.received() == flapRoutes && s.BFD.State == "Up" })
	}
	if i%2 == 0 {
		if err := s.Send(rawbgp.Notification(6, 2)); err != nil {
			t.Fatal(err)
		}
	}
	// gobgp rests for seconds after a loss. A link that goes down and comes back makes it forget.
	f.tor.Run(t, "ip link set port down")
	f.shows(t, fmt.Sprintf("the end of flap %d", i), func(s session) bool {
		return s.State != "Established" && strings.Contains(s.LastError, "link")
	})
	f.inKernel(t, 0)
	f.tor.Run(t, "ip link set port up")
}

// call brings the session up, once the agent has seen the link.
func (f *flapping) call(t *testing.T) (s *rawbgp.Session) {
	t.Helper()
	deadline := time.Now().Add(waitSession)
	for {
		err := f.tor.Do(func() error {
			conn, err := (&net.Dialer{Timeout: 100 * time.Millisecond}).DialContext(t.Context(), "tcp", "10.0.1.1:179")
			if err != nil {
				return err
			}
			s, err = rawbgp.Handshake(conn, rawbgp.Open{AS: 65001, ID: netip.MustParseAddr("10.0.1.0"), Hold: 90, IPv4: true}, 3*time.Second)
			return err
		})
		if err == nil {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// shows waits until the agent says so of the neighbour.
func (f *flapping) shows(t *testing.T, when string, cond func(session) bool) {
	t.Helper()
	deadline := time.Now().Add(waitSession)
	for {
		s := f.session(t, "tor")
		if cond(s) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %+v", when, s)
		}
	}
}

// inKernel waits until the kernel has so many routes that were learned.
func (f *flapping) inKernel(t *testing.T, want int) {
	t.Helper()
	deadline := time.Now().Add(waitRoute)
	for {
		n := strings.Count(f.Run(t, "ip -4 route show proto 179"), "10.0.1.0")
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d routes in the kernel, want %d", n, want)
		}
	}
}

// use is what the kernel, the agent and its BFD process hold.
type use struct {
	routes, nextHops int
	agent, bfd       held
}

type held struct{ files, threads, kilobytes int }

// use is what is held while the link is there and the neighbour is not.
func (f *flapping) use(t *testing.T) use {
	t.Helper()
	lines := func(out string) int { return strings.Count(out, "\n") }
	pid := f.cmd.Process.Pid
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	child := 0
	for _, file := range threads { // whichever of them has started it
		if out, err := os.ReadFile(file); err == nil && child == 0 {
			_, _ = fmt.Sscan(string(out), &child)
		}
	}
	if child == 0 {
		t.Fatal("the agent has no process for BFD")
	}
	return use{
		routes: lines(f.Run(t, "ip -4 route show table all proto 179")), nextHops: lines(f.Run(t, "ip nexthop show proto 179")),
		agent: holds(t, pid), bfd: holds(t, child),
	}
}

func holds(t *testing.T, pid int) (h held) {
	t.Helper()
	for dir, n := range map[string]*int{"fd": &h.files, "task": &h.threads} {
		all, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, dir))
		if err != nil {
			t.Fatal(err)
		}
		*n = len(all)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	_, _ = fmt.Sscan(rest, &h.kilobytes)
	return h
}

// goroutines ends the agent and counts those that it had, and apart from them those that gobgp leaves behind (docs/adr/0019).
func (f *flapping) goroutines(t *testing.T) (running, left int) {
	t.Helper()
	dump := &nstest.Output{}
	f.trip.mu.Lock()
	f.trip.Writer = dump
	f.trip.mu.Unlock()
	if err := syscall.Kill(f.cmd.Process.Pid, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	f.await(t, waitSession)
	for _, g := range strings.Split(dump.String(), "\n\n") {
		switch {
		case !strings.HasPrefix(g, "goroutine "):
		case strings.Contains(g, "infiniteBuffer"):
			left++
		default:
			running++
		}
	}
	if running < 10 {
		t.Fatalf("%d goroutines in\n%s", running, dump)
	}
	return running, left
}
