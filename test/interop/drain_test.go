package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/httpload"
	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// service is the address that all nodes of a rack serve, by load balancer.
var service = netip.MustParseAddr("203.0.113.7")

// serviceManifests are a Service with an endpoint on each of some nodes, and the Advertisement that names it.
func serviceManifests(nodes int) string {
	var endpoints []string
	for i := 1; i <= nodes; i++ {
		endpoints = append(endpoints, fmt.Sprintf("{addresses: [10.244.%[1]d.9], nodeName: n%[1]d, conditions: {ready: true, serving: true}}", i))
	}
	return fmt.Sprintf(`---
apiVersion: podroute.io/v1alpha1
kind: Advertisement
metadata: {name: services}
spec: {services: {addresses: [LoadBalancer]}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: %v}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [%s]
`, service, strings.Join(endpoints, ", "))
}

// drained is a node's report, as far as tests look at it.
type drained struct {
	Stage        string          `json:"stage"`
	Because      []string        `json:"because"`
	Withdrawn    []string        `json:"withdrawn"`
	Sessions     int             `json:"sessions"`
	SessionsTold int             `json:"sessions_told"`
	Seconds      []drainedSecond `json:"seconds"`
	Pods         int             `json:"pods"`
	Blocks       []string        `json:"blocks"`
}

// drainedSecond is what came in a second.
type drainedSecond struct {
	Second, Services, Forwarded, Received int
	Withdrawn                             bool
}

// drain runs podroute drain and returns its report, and the code that it exits with.
func (n *node) drain(t testing.TB, args ...string) (r drained, code int) {
	t.Helper()
	c := exec.Command(n.bin+"/podroute", append([]string{"drain", "--run-dir", n.dir + "/run", "-o", "json"}, args...)...)
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code, err = exit.ExitCode(), nil
	}
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		t.Fatalf("podroute drain: %v: %s", err, out)
	}
	return r, code
}

// undrain runs podroute undrain.
func (n *node) undrain() error {
	out, err := exec.Command(n.bin+"/podroute", "undrain", "--run-dir", n.dir+"/run").CombinedOutput()
	if err != nil {
		return fmt.Errorf("podroute undrain: %w: %s", err, out)
	}
	return nil
}

// drains is how far the node's status says that it is drained; nil: it is not.
func (n *node) drains() (*drained, error) {
	var s struct {
		Drain *drained `json:"drain"`
	}
	out, err := n.ask("status")
	if err != nil {
		return nil, err
	}
	return s.Drain, json.Unmarshal(out, &s)
}

// newServingRack is a rack whose nodes serve an address, and a client beyond the router.
func newServingRack(t *testing.T, o rackOptions) (*rack, *nstest.NS) {
	t.Helper()
	r := newRack(t, o)
	return r, r.serve(t, o)
}

// serve has the nodes serve an address, each by a pod of its own, and returns a client beyond the router. Destination NAT
// stands in for kube-proxy.
func (r *rack) serve(t *testing.T, o rackOptions) *nstest.NS {
	t.Helper()
	client := nstest.New(t)
	nstest.Veth(t, r.tor, "client", client, "eth0")
	r.tor.Run(t, "ip addr add 198.51.100.1/24 dev client", "sysctl -qw net.ipv4.fib_multipath_hash_policy=1")
	client.Run(t, "ip addr add 198.51.100.2/24 dev eth0", "ip route add default via 198.51.100.1")
	for i, n := range r.nodes {
		p := n.add(t, "web-"+n.name)
		serve(t, p.NS, n.name)
		nft := n.Command(t.Context(), "nft", "-f", "-")
		nft.Stdin = strings.NewReader(fmt.Sprintf("table ip proxy {\nchain services {\ntype nat hook prerouting priority dstnat;\n"+
			"ip daddr %v tcp dport 80 dnat to %v:8080\n}\n}\n", service, p.addrs[0]))
		if out, err := nft.CombinedOutput(); err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
		n.configure(t, "services.yaml", strings.ReplaceAll(serviceManifests(o.nodes), fmt.Sprintf("10.244.%d.9", i+1), p.addrs[0].String()))
	}
	r.served(t, o.nodes)
	return client
}

// serve answers HTTP in a namespace with a name, until the test ends.
func serve(t testing.TB, ns *nstest.NS, name string) {
	t.Helper()
	var l net.Listener
	err := ns.Do(func() (err error) {
		l, err = new(net.ListenConfig).Listen(context.Background(), "tcp", ":8080")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(httpload.Serve(l, name))
}

// startLoad asks for the service.
func startLoad(from *nstest.NS) *httpload.Load { return httpload.Start("/", dialService(from)) }

// dialService connects to the service.
func dialService(from *nstest.NS) func() (net.Conn, error) {
	return func() (c net.Conn, err error) {
		err = from.Do(func() (err error) {
			c, err = net.DialTimeout("tcp", netip.AddrPortFrom(service, 80).String(), 5*time.Second)
			return err
		})
		return c, err
	}
}

// served waits until the router's kernel leads to the service over so many nodes.
func (r *rack) served(t testing.TB, nodes int) {
	t.Helper()
	nstest.Within(t, waitRoute, func() error {
		out, err := r.tor.Try("ip -4 route show " + service.String())
		if err != nil {
			return err
		}
		if got := strings.Count(out, " dev "); got != nodes {
			return fmt.Errorf("%v is reached over %d nodes, want %d:\n%s", service, got, nodes, out)
		}
		return nil
	})
}

// TestInteropDrainUnderLoad: a node of three is drained under 200 HTTP requests a second to an address that they all serve, and
// undrained; the router is what changes. No request over a new connection fails, but for the few that are under way in the moments in
// which the router changes ways: plain multipath sends them to somebody else, where nobody knows them.
func TestInteropDrainUnderLoad(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "leaving: requests failed while a node is drained and comes back", Lacks: noFIB()}.Each(t, func(t *testing.T, kind routers.Kind) {
		r, client := newServingRack(t, rackOptions{kind: kind, nodes: 3, router: func(c *routers.Config) { c.HonourShutdown = true }})
		n := r.nodes[0]
		ways := r.watchWays(t)
		l := startLoad(client)
		answered(t, l, 3)
		checkDrain(t, n)
		r.served(t, 2)
		before := l.Answers()["n1"]
		time.Sleep(2 * httpload.Near)
		if after := l.Answers()["n1"]; after != before {
			t.Errorf("%d requests have come to a node that is drained", after-before)
		}
		if err := n.undrain(); err != nil {
			t.Error(err)
		}
		r.served(t, 3)
		nstest.Within(t, 5*time.Second, func() error {
			if l.Answers()["n1"] == before {
				return errors.New("nobody asks the node that is back")
			}
			return nil
		})
		time.Sleep(2 * httpload.Near)
		fresh, kept := l.Stop()
		routers.Measured(t, "%s", ways.judge(t, fresh, 2, fewCut))
		for who, o := range kept {
			t.Logf("connections kept with %s: %v", who, o)
		}
	})
}

// answered waits until so many nodes have answered.
func answered(t *testing.T, l *httpload.Load, nodes int) {
	t.Helper()
	nstest.Within(t, 10*time.Second, func() error {
		if a := l.Answers(); len(a) != nodes {
			return fmt.Errorf("answers come from %v", a)
		}
		return nil
	})
}

// ways notes when a router's kernel is told of other ways to the service.
type ways struct{ out nstest.Output }

func (r *rack) watchWays(t *testing.T) *ways {
	t.Helper()
	w := &ways{}
	p, err := r.tor.Launch(t.Context(), &w.out, "ip", "-ts", "-4", "monitor", "route")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	nstest.Within(t, 5*time.Second, func() error { // it listens
		r.tor.Run(t, "ip route add unreachable 192.0.2.1/32", "ip route del unreachable 192.0.2.1/32")
		if !strings.Contains(w.out.String(), "192.0.2.1") {
			return errors.New("the monitor says nothing")
		}
		return nil
	})
	return w
}

// switches are the moments.
func (w *ways) switches(t *testing.T) []time.Time {
	t.Helper()
	var all []time.Time
	for line := range strings.Lines(w.out.String()) {
		stamp, what, ok := strings.Cut(strings.TrimPrefix(line, "["), "]")
		if !ok || !strings.Contains(what, " "+service.String()+" ") {
			continue
		}
		at, err := time.ParseInLocation("2006-01-02T15:04:05.000000", stamp, time.Local)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, at)
	}
	return all
}

// fewCut is how many requests may be under way when a router changes ways: 200 begin a second, and are answered within some milliseconds.
const fewCut = 5

// judge fails the test for every request over a new connection that failed without having been under way at a switch, for more than
// so many at each that were, and where there were fewer switches than there must have been. It says what there was.
func (w *ways) judge(t *testing.T, fresh httpload.Outcome, switches, most int) string {
	t.Helper()
	moments := w.switches(t)
	for _, f := range fresh.Unexplained(moments) {
		t.Errorf("a request over a new connection failed, and not by a switch: %v", f)
	}
	together := 0 // changes within a second are one switch
	for i, at := range moments {
		if i == 0 || at.Sub(moments[i-1]) > httpload.Near {
			together++
		}
	}
	if fresh.Cut() > most*together || fresh.Sent < 500 || together < switches {
		t.Errorf("over new connections: %v; %d switches: %v", fresh, together, moments)
	}
	return fmt.Sprintf("new connections: %v; %d switches", fresh, together)
}

// checkDrain drains a node under load and reads the report. The router sends nothing any more as soon as it is asked not to,
// before the withdrawal.
func checkDrain(t *testing.T, n *node) {
	t.Helper()
	report, code := n.drain(t, "--timeout", "30s")
	if code != 0 || report.Stage != "Faded" {
		t.Errorf("drain exits with %d, %s: %+v", code, report.Stage, report)
	}
	if len(report.Withdrawn) != 1 || report.Withdrawn[0] != service.String()+"/32" {
		t.Errorf("withdrawn: %v", report.Withdrawn)
	}
	if report.Sessions != 1 || report.SessionsTold != 1 || report.Pods != 1 || len(report.Blocks) != 2 {
		t.Errorf("%d of %d sessions told, %d pods and %v left", report.SessionsTold, report.Sessions, report.Pods, report.Blocks)
	}
	asked, came := 0, 0
	for i, s := range report.Seconds {
		if !s.Withdrawn {
			asked, came = asked+1, s.Services
		}
		if i >= len(report.Seconds)-3 && (s.Services > 1 || !s.Withdrawn) {
			t.Errorf("it says that traffic has faded, and in second %d there are %d packets", s.Second, s.Services)
		}
	}
	if asked == 0 || came > 1 {
		t.Errorf("%d packets came in the last second before the withdrawal: %+v", came, report.Seconds)
	}
	t.Logf("%s drained in %d s; packets by second: %+v", n.name, len(report.Seconds), report.Seconds)
}

// TestDrainTimeout: where traffic does not end the report says so, and the node is drained all the same; it is still
// after a restart of the agent, until it is taken back.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	r, client := newServingRack(t, rackOptions{kind: routers.BIRD, nodes: 2, config: "  drain: {withdrawAfter: 2s}\n"})
	n := r.nodes[0]
	r.tor.Run(t, fmt.Sprintf("ip route add %v via 10.0.1.1 metric 1", service)) // nobody can withdraw it
	l := startLoad(client)
	report, code := n.drain(t, "--timeout", "6s")
	if code != 1 || report.Stage != "TimedOut" || report.Seconds[len(report.Seconds)-1].Services == 0 {
		t.Errorf("drain exits with %d: %+v", code, report)
	}
	if fresh, _ := l.Stop(); len(fresh.Failed) > 0 {
		t.Errorf("requests to a node that is drained: %v", fresh)
	}
	if report, code = n.drain(t, "--wait=false"); code != 0 || len(report.Because) != 1 || report.Because[0] != "podroute drain" {
		t.Errorf("drain --wait=false exits with %d: %+v", code, report)
	}
	n.signal(syscall.SIGTERM)
	n.start(t)
	n.ready(t)
	r.router.Established(waitSession)
	if d, err := n.drains(); err != nil || d == nil || d.Because[0] != "podroute drain" {
		t.Errorf("after a restart: %+v, %v", d, err)
	}
	r.tor.Run(t, fmt.Sprintf("ip route del %v via 10.0.1.1 metric 1", service))
	r.served(t, 1)
	if err := n.undrain(); err != nil {
		t.Error(err)
	}
	r.served(t, 2)
	if d, err := n.drains(); err != nil || d != nil {
		t.Errorf("after undrain: %+v, %v", d, err)
	}
	if report, code = n.drain(t, "--forwarded", "--timeout", "30s"); code != 0 || report.Stage != "Faded" {
		t.Errorf("drain of a node without traffic exits with %d: %+v", code, report)
	}
	if err := n.undrain(); err != nil {
		t.Error(err)
	}
	if left := n.Run(t, "nft list table inet podroute"); strings.Contains(left, "chain drain") {
		t.Errorf("undrain has left the counters:\n%s", left)
	}
}

// TestDrainOnCordon: a node is drained by an annotation, and where it is wanted by its cordon; undrain says that it is
// still wanted.
func TestDrainOnCordon(t *testing.T) {
	t.Parallel()
	o := rackOptions{kind: routers.BIRD, nodes: 2, config: "  drain: {onCordon: true}\n"}
	r, _ := newServingRack(t, o)
	n := r.nodes[0]
	plain := rackManifests(o, 1)
	for _, c := range []struct{ because, manifests string }{
		{"the node is cordoned", strings.Replace(plain, "spec: {podCIDR: 10.244.1.0/24,", "spec: {unschedulable: true, podCIDR: 10.244.1.0/24,", 1)},
		{"annotation podroute.io/drain", strings.Replace(plain, `podroute.io/as-number: "64601"`, `podroute.io/as-number: "64601", podroute.io/drain: "true"`, 1)},
	} {
		if c.manifests == plain {
			t.Fatal("no change")
		}
		n.configure(t, "rack.yaml", c.manifests)
		r.served(t, 1)
		d, err := n.drains()
		if err != nil || d == nil || len(d.Because) != 1 || d.Because[0] != c.because {
			t.Errorf("drained: %+v, %v; want because of %s", d, err, c.because)
		}
		if err := n.undrain(); err == nil || !strings.Contains(err.Error(), c.because) {
			t.Errorf("undrain of a node that is still to be drained: %v", err)
		}
		n.configure(t, "rack.yaml", plain)
		r.served(t, 2)
	}
}
