package api

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/test/e2e/api/apiserver"
)

// TestMesh: three agents with a real API, and no word of configuration. Pods reach each other; a SIGTERM is a restart
// that nobody notices; but where the machine shuts down, or the Node is deleted, the same SIGTERM is the end: the
// routes are withdrawn at once, and nothing of podroute is left.
func TestMesh(t *testing.T) {
	t.Parallel()
	s := apiserver.Start(t)
	nodes := newLAN(t, s, 3)
	l := &life{Server: s, t: t}
	for i, m := range nodes {
		s.Eventually(m.name+" is ready", time.Minute, func() bool {
			n := read[corev1.Node](l, "node", m.name)
			return len(n.Spec.Taints) == 1 && n.Spec.Taints[0].Key == corev1.TaintNodeNotReady && networkOf(n) == corev1.ConditionFalse
		})
		for other := 1; other <= 3; other++ {
			want := fmt.Sprintf("10.244.%d.0/24", other)
			if other == i+1 {
				want = "unreachable " + want
			}
			s.Eventually(m.name+" has the route "+want, within, func() bool { return has(m.routes(), want) })
		}
	}
	var pods []*pod
	for i, m := range nodes {
		pods = append(pods, m.add(fmt.Sprintf("pod%d", i+1)))
	}
	for _, from := range pods {
		for _, to := range pods {
			for _, a := range to.addrs {
				from.Run(t, fmt.Sprintf("ping -c 1 -W 3 %s", a))
			}
		}
	}

	n1, n2, n3 := nodes[0], nodes[1], nodes[2]
	n3.terminate()
	if r := n3.routes(); !has(r, "10.244.1.0/24") || !has(r, "unreachable 10.244.3.0/24") {
		t.Errorf("a restart took routes away:\n%s", r)
	}
	if r := n1.routes(); !has(r, "10.244.3.0/24") {
		t.Errorf("a restart was noticed:\n%s", r)
	}
	n3.start()
	s.Eventually("n3 has its sessions again", time.Minute, func() bool { return strings.Count(n3.says("peers"), "Established") == 2 })

	s.Kubectl("patch", "node", "n2", "--subresource=status", "-p",
		`{"status":{"conditions":[{"type":"Ready","status":"False","reason":"KubeletNotReady","message":"node is shutting down"}]}}`)
	s.Kubectl("delete", "node", "n3")
	// What is in force stays until the SIGTERM. The API tells each agent of its own Node within moments; that n1 has
	// heard of n3's end is the sign that it has told.
	s.Eventually("n1 has heard that n3 is gone", within, func() bool { return !has(n1.routes(), "10.244.3.0/24") })
	s.Eventually("n3 has heard it", within, func() bool { return strings.Contains(n3.says("status"), "the Node object was deleted") })
	if r := n3.routes(); !has(r, "unreachable 10.244.3.0/24") {
		t.Errorf("a Node that is deleted changes its machine at once:\n%s", r)
	}
	if r := n1.routes(); !has(r, "10.244.2.0/24") {
		t.Errorf("a machine that is about to shut down is not reached any more:\n%s", r)
	}
	n2.left(t, n1, "10.244.2.0/24", pods[1])
	n3.left(t, n1, "10.244.3.0/24", pods[2])
}

// left: a SIGTERM is the end. The neighbour drops the routes at once, and of podroute only the pod's own link is left.
func (m *machine) left(t *testing.T, neighbour *machine, subnet string, p *pod) {
	t.Helper()
	m.terminate()
	nstest.Within(t, 2*time.Second, func() error {
		if r := neighbour.routes(); has(r, subnet) {
			return fmt.Errorf("%s keeps the route of %s:\n%s", neighbour.name, m.name, r)
		}
		return nil
	})
	for line := range strings.Lines(m.routes()) {
		if !strings.HasPrefix(line, p.addrs[0].String()) && !strings.HasPrefix(line, p.addrs[1].String()) {
			t.Errorf("%s has left and has the route %s", m.name, line)
		}
	}
	if out := m.Run(t, "nft list tables"); out != "" {
		t.Errorf("%s has left and has %s", m.name, out)
	}
	if files, err := os.ReadDir(filepath.Join(m.dir, "net.d")); err != nil || len(files) > 0 {
		t.Errorf("%s has left and has CNI configurations: %v %v", m.name, files, err)
	}
	if !strings.Contains(m.log.String(), "leaving; withdrawing this node's routes") {
		t.Errorf("%s does not say that it leaves", m.name)
	}
}

func networkOf(n corev1.Node) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}
