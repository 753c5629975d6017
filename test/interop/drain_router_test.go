package interop

import (
	"fmt"
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

// TestDrainRouter: with podroute as the router, a drain and its end break no connection but those of the node itself. A
// router that is drained itself says what it still forwards.
func TestDrainRouter(t *testing.T) {
	t.Parallel()
	o := rackOptions{nodes: 3}
	r, tor := newPodrouteRack(t, o)
	l := startLoad(r.serve(t, o))
	n := r.nodes[0]
	nstest.Within(t, 10*time.Second, func() error {
		if a := l.Answers(); len(a) != 3 {
			return fmt.Errorf("answers come from %v", a)
		}
		return nil
	})
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
	t.Logf("new connections: %v", fresh)
	if fresh.Refused() > 0 || fresh.Sent < 500 {
		t.Errorf("over new connections: %v", fresh)
	}
	for who, o := range kept {
		t.Logf("connections kept with %s: %v", who, o)
		if who != n.name && (o.Failed > 0 || len(o.By) != 1) {
			t.Errorf("connections with %s, which stays: %v", who, o)
		}
	}
}

// TestDrainLetsFinish: where the router keeps what is under way, and the node has patience, requests that take their time
// come to their end on a node that is drained, and none is cut.
func TestDrainLetsFinish(t *testing.T) {
	t.Parallel()
	o := rackOptions{nodes: 3, config: "  drain: {withdrawAfter: 60s}\n  resilientHashing: {idleTimer: 1s}\n"}
	r, _ := newPodrouteRack(t, o)
	client, n := r.serve(t, o), r.nodes[0]
	l := httpload.StartNew("/", dialService(client))
	nstest.Within(t, 10*time.Second, func() error {
		if a := l.Answers(); len(a) != 3 {
			return fmt.Errorf("answers come from %v", a)
		}
		return nil
	})
	const slow = 40
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, slow)
	for range slow {
		go func() {
			text, err := l.Ask(httpload.Slow)
			answers <- answer{text, err}
		}()
	}
	time.Sleep(5 * httpload.SlowStep)
	report, code := n.drain(t, "--timeout", "90s")
	if code != 0 || report.Stage != "Faded" || len(report.Seconds) > 50 {
		t.Errorf("drain exits with %d: %+v", code, report)
	}
	var came []int
	for _, s := range report.Seconds {
		came = append(came, s.Services)
	}
	t.Logf("drained in %d s; packets by second: %v", len(report.Seconds), came)
	by := map[string]int{}
	for range slow {
		a := <-answers
		if a.err != nil || len(a.text) != httpload.SlowSteps {
			t.Errorf("a request that was under way: %q, %v", a.text, a.err)
			continue
		}
		by[a.text[:2]]++
	}
	t.Logf("requests that took %v: %v", httpload.SlowSteps*httpload.SlowStep, by)
	if by["n1"] == 0 {
		t.Error("none of them was with the node that was drained")
	}
	if fresh, _ := l.Stop(); fresh.Failed > 0 || fresh.Sent < 500 {
		t.Errorf("over new connections: %v", fresh)
	} else {
		t.Logf("over new connections: %v", fresh)
	}
}
