package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/httpload"
	"github.com/podroute/podroute/internal/nstest"
)

// newPodrouteRack is a rack whose router is podroute itself.
func newPodrouteRack(t *testing.T, o rackOptions) (*rack, *node) {
	t.Helper()
	tor := newNode(t, "tor")
	r := &rack{tor: tor.NS}
	tor.Run(t, "ip addr add 10.255.0.1/32 dev lo")
	manifests := fmt.Sprintf(`
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec:
  asNumber: %d
  mesh: None
  routerSelector: {matchLabels: {role: router}}
  clusterCIDRs: [10.244.0.0/16, "fd00:244::/32"]
  nodeCIDRs: [10.0.0.0/16, 10.255.0.0/16, "fd00::/48"]
%s---
apiVersion: v1
kind: Node
metadata: {name: tor, labels: {role: router}}
status: {addresses: [{type: InternalIP, address: 10.255.0.1}]}
`, torAS, o.config)
	for i := 1; i <= o.nodes; i++ {
		n := newNode(t, fmt.Sprintf("n%d", i))
		r.nodes = append(r.nodes, n)
		nstest.Veth(t, r.tor, fmt.Sprintf("port%d", i), n.NS, "eth0")
		r.tor.Run(t, fmt.Sprintf("ip addr add 10.0.%d.0/31 dev port%d", i, i), fmt.Sprintf("ip addr add fd00:0:0:%d::/127 dev port%d nodad", i, i))
		n.Run(t, fmt.Sprintf("ip addr add 10.0.%d.1/31 dev eth0", i), fmt.Sprintf("ip addr add fd00:0:0:%d::1/127 dev eth0 nodad", i),
			fmt.Sprintf("ip route add default via 10.0.%d.0", i))
		manifests += fmt.Sprintf("---\napiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: n%d}\nspec: {address: 10.0.%d.1, asNumber: %d, "+
			"import: {accept: [{cidr: 203.0.113.0/24, ge: 32, le: 32}]}}\n", i, i, o.nodeAS(i))
	}
	tor.configure(t, "tor.yaml", manifests)
	tor.start(t)
	for i, n := range r.nodes {
		n.configure(t, "rack.yaml", rackManifests(o, i+1))
		n.start(t)
	}
	for _, n := range append([]*node{tor}, r.nodes...) {
		n.ready(t)
	}
	return r, tor
}

// TestDrainRouter: with podroute as the router, a drain and its end break no connection but those of the node itself that never pause:
// these are cut at the withdrawal. A router that is drained itself says what it still forwards.
func TestDrainRouter(t *testing.T) {
	t.Parallel()
	o := rackOptions{nodes: 3, config: "  drain: {withdrawAfter: 4s}\n"}
	r, tor := newPodrouteRack(t, o)
	client := r.serve(t, o)
	ways := r.watchWays(t)
	l := startLoad(client)
	n := r.nodes[0]
	answered(t, l, 3)
	if out := r.tor.Run(t, "ip nexthop show"); !strings.Contains(out, "type resilient buckets 512 idle_timer 20 unbalanced_timer 600") {
		t.Errorf("the router's next hops:\n%s", out)
	}
	if report, code := n.drain(t, "--timeout", "30s"); code != 0 || report.Stage != "Faded" {
		t.Errorf("drain exits with %d: %+v", code, report)
	}
	r.served(t, 2)
	if err := n.undrain(); err != nil {
		t.Error(err)
	}
	r.served(t, 3)
	report, code := tor.drain(t, "--forwarded", "--timeout", "4s")
	if last := report.Seconds[len(report.Seconds)-1]; code != 1 || report.Stage != "TimedOut" || last.Forwarded == 0 || last.Services != 0 {
		t.Errorf("drain of the only router exits with %d: %+v", code, report)
	}
	if err := tor.undrain(); err != nil {
		t.Error(err)
	}
	fresh, kept := l.Stop()
	t.Log(ways.judge(t, fresh, 2, fewCut))
	for who, o := range kept {
		t.Logf("connections kept with %s: %v", who, o)
		if who != n.name && (len(o.Failed) > 0 || len(o.By) != 1) {
			t.Errorf("connections with %s, which stays: %v", who, o)
		}
	}
}

// TestDrainLetsFinish: where podroute is the router requests that take their time come to their end on a node that is drained, and
// none is cut, of those that begin meanwhile neither: by default, and with a minute of patience and buckets that are idle early
// everywhere.
func TestDrainLetsFinish(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config string
		idle   int // seconds, of the router's buckets
	}{
		"default": {"", 20},
		"patient": {"  drain: {withdrawAfter: 60s}\n  resilientHashing: {idleTimer: 1s}\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			letsFinish(t, c.config, c.idle)
		})
	}
}

func letsFinish(t *testing.T, config string, idle int) {
	t.Helper()
	o := rackOptions{nodes: 3, config: config}
	r, _ := newPodrouteRack(t, o)
	client, n := r.serve(t, o), r.nodes[0]
	l := httpload.StartNew("/", dialService(client))
	answered(t, l, 3)
	r.idles(t, idle)
	const slow = 40
	answers := make(chan answer, slow)
	for range slow {
		go func() {
			text, err := l.Ask(httpload.Slow)
			answers <- answer{text, err}
		}()
	}
	time.Sleep(5 * httpload.SlowStep)
	began := time.Now()
	drained := make(chan drained, 1)
	go func() {
		report, code := n.drain(t, "--timeout", "90s")
		if code != 0 || report.Stage != "Faded" {
			t.Errorf("drain exits with %d: %+v", code, report)
		}
		drained <- report
	}()
	r.idles(t, 1) // while a node is drained
	by := map[string]int{}
	for range slow {
		a := <-answers
		if a.err != nil || len(a.text) != httpload.SlowSteps {
			t.Errorf("a request that was under way: %q, %v", a.text, a.err)
			continue
		}
		by[a.text[:2]]++
	}
	if by["n1"] == 0 {
		t.Error("none of them was with the node that was drained")
	}
	report := <-drained
	r.idles(t, idle)
	var came []int
	for _, s := range report.Seconds {
		came = append(came, s.Services)
	}
	fresh, _ := l.Stop()
	t.Logf("drained in %v; packets by second: %v; requests that took %v: %v; over new connections: %v",
		time.Since(began).Round(time.Second), came, httpload.SlowSteps*httpload.SlowStep, by, fresh)
	if len(fresh.Failed) > 0 || fresh.Sent < 500 {
		t.Errorf("over new connections: %v", fresh)
	}
	if i := slices.IndexFunc(report.Seconds, func(s drainedSecond) bool { return s.Withdrawn }); i < 3 || came[i-1] > 30 {
		t.Errorf("when the address was withdrawn more than a bucket's traffic still came: %+v", report.Seconds)
	}
}

// answer is what became of a request that takes its time.
type answer struct {
	text string
	err  error
}

// idles waits until the router's buckets are idle after so many seconds.
func (r *rack) idles(t *testing.T, seconds int) {
	t.Helper()
	nstest.Within(t, waitRoute, func() error {
		out, err := r.tor.Try("ip nexthop show")
		if want := fmt.Sprintf(" idle_timer %d ", seconds); err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("no%sin the router's next hops:\n%s", want, out)
		}
		return err
	})
}
