package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// newLAN joins nodes n1, n2, ... to one bridge: 192.0.2.N/24 and 2001:db8::N/64.
func newLAN(t *testing.T, count int) []*node {
	t.Helper()
	lan := nstest.New(t)
	lan.Run(t, "ip link add br0 type bridge", "ip link set br0 up")
	var nodes []*node
	for i := 1; i <= count; i++ {
		n := newNode(t, fmt.Sprintf("n%d", i))
		nstest.Veth(t, lan, fmt.Sprintf("port%d", i), n.NS, "eth0")
		lan.Run(t, fmt.Sprintf("ip link set port%d master br0", i))
		n.Run(t, fmt.Sprintf("ip addr add 192.0.2.%d/24 dev eth0", i), fmt.Sprintf("ip addr add 2001:db8::%d/64 dev eth0 nodad", i))
		nodes = append(nodes, n)
	}
	return nodes
}

// lanManifests are the Nodes of a LAN; every node whose number is in reflectors has the label for it.
func lanManifests(count int, reflectors ...int) string {
	var w strings.Builder
	for i := 1; i <= count; i++ {
		label := "no"
		for _, r := range reflectors {
			if r == i {
				label = "yes"
			}
		}
		fmt.Fprintf(&w, `---
apiVersion: v1
kind: Node
metadata: {name: n%[1]d, labels: {reflector: "%[2]s"}}
spec: {podCIDR: 10.244.%[1]d.0/24, podCIDRs: [10.244.%[1]d.0/24, "fd00:244:0:%[1]d::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.%[1]d}, {type: InternalIP, address: "2001:db8::%[1]d"}]}
`, i, label)
	}
	return w.String()
}

// TestFullMesh is the zero-configuration case: nodes on one link and their Node objects, nothing else.
func TestFullMesh(t *testing.T) {
	t.Parallel()
	lanWorks(t, newLAN(t, 3), lanManifests(3))
}

// TestReflectors: two reflectors of one cluster and two clients, one of the reflectors stopped afterwards.
func TestReflectors(t *testing.T) {
	t.Parallel()
	nodes := newLAN(t, 4)
	pods := lanWorks(t, nodes, lanManifests(4, 1, 2)+`---
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec:
  mesh: Reflectors
  reflectorSelector: {matchLabels: {reflector: "yes"}}
  clusterID: 192.0.2.100
  clusterCIDRs: [10.244.0.0/16, "fd00:244::/32"]
`)
	for i, want := range []int{3, 3, 2, 2} {
		s, err := nodes[i].status()
		if err != nil || s.SessionsEstablished != want {
			t.Errorf("n%d has %d sessions, want %d (%v)", i+1, s.SessionsEstablished, want, err)
		}
	}
	if out, err := nodes[0].leave(); err != nil {
		t.Fatal(err, out)
	}
	reach(t, pods[2:])
}

// TestMeshChange: a mesh becomes one with reflectors and a full one again, under pings between all nodes; nothing is lost.
func TestMeshChange(t *testing.T) {
	t.Parallel()
	const count = 4
	nodes := newLAN(t, count)
	manifests := func(mesh string) string {
		return lanManifests(count, 1, 2) + `---
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec:
  clusterCIDRs: [10.244.0.0/16, "fd00:244::/32"]
` + mesh
	}
	full, reflectors := "  mesh: Full\n", "  mesh: Reflectors\n  reflectorSelector: {matchLabels: {reflector: \"yes\"}}\n"
	pods := lanWorks(t, nodes, manifests(full))
	for _, change := range []struct {
		mesh     string
		sessions []int
	}{{reflectors, []int{3, 3, 2, 2}}, {full, []int{3, 3, 3, 3}}} {
		var watches []*watch
		for i := range pods { // to a client from a client, to a reflector from a client, and so on
			watches = append(watches, startPing(t, pods[i], pods[(i+1)%count].addrs[i%2]), startPing(t, pods[i], pods[(i+2)%count].addrs[1-i%2]))
		}
		for _, n := range nodes {
			n.configure(t, "cluster.yaml", manifests(change.mesh))
		}
		time.Sleep(25 * time.Second) // the sessions of both stay for twenty seconds, and then some are taken anew
		for i, want := range change.sessions {
			nstest.Within(t, waitSession, func() error {
				s, err := nodes[i].status()
				if err == nil && s.SessionsEstablished != want {
					err = fmt.Errorf("n%d has %d sessions, want %d", i+1, s.SessionsEstablished, want)
				}
				return err
			})
		}
		for _, w := range watches {
			if sent, lost := w.end(t); lost > 0 {
				t.Errorf("%v: %d of %d packets lost", w.to, lost, sent)
			} else {
				t.Logf("%v: %d packets, none lost", w.to, sent)
			}
		}
	}
}

// lanWorks starts the nodes, wires a pod on each, and proves that every pod reaches every other.
func lanWorks(t *testing.T, nodes []*node, manifests string) []*pod {
	t.Helper()
	for _, n := range nodes {
		n.configure(t, "cluster.yaml", manifests)
		n.start(t)
	}
	var pods []*pod
	for _, n := range nodes {
		n.ready(t)
		pods = append(pods, n.add(t, "pod-"+n.name))
	}
	reach(t, pods)
	return pods
}

// reach proves that every pod reaches every other over all its addresses.
func reach(t *testing.T, pods []*pod) {
	t.Helper()
	for _, from := range pods {
		for _, to := range pods {
			for _, addr := range to.addrs {
				nstest.Within(t, 15*time.Second, func() error {
					_, err := from.Try("ping -c 1 -W 1 " + addr.String())
					return err
				})
			}
		}
	}
}
