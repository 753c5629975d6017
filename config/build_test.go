package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	nodeText = "apiVersion: v1\nkind: Node\nmetadata: {name: %s}\nspec: {podCIDRs: [%s]}\n" +
		"status: {addresses: [{type: InternalIP, address: %s}]}\n---\n"
	peerText   = "apiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: %s}\nspec: {address: %s, asNumber: %s}\n---\n"
	routerText = "apiVersion: podroute.io/v1alpha1\nkind: RouterConfig\nmetadata: {name: default}\nspec: {%s}\n---\n"
	poolText   = "apiVersion: podroute.io/v1alpha1\nkind: AddressPool\nmetadata: {name: %s}\nspec: {cidr: %s}\n---\n"
)

// step is an edit: the whole text of a file, what is in force then, and the problem that is reported, ""
// for none.
type step struct{ text, inForce, problem string }

// TestEdits feeds edits of one file to a Builder and checks what is in force after each.
func TestEdits(t *testing.T) {
	t.Parallel()
	n1, n2 := fmt.Sprintf(nodeText, "n1", "10.1.1.0/24", "192.0.2.1"), fmt.Sprintf(nodeText, "n2", "10.1.2.0/24", "192.0.2.2")
	tor, spine := fmt.Sprintf(peerText, "tor", "192.0.2.8", "5"), fmt.Sprintf(peerText, "spine", "192.0.2.9", "6")
	as := fmt.Sprintf(routerText, "asNumber: 65000")
	for name, steps := range map[string][]step{
		"a bad object keeps its last good version, the good ones next to it change": {
			{tor + spine, "BGPPeer spine 192.0.2.9 AS 6; BGPPeer tor 192.0.2.8 AS 5", ""},
			{
				fmt.Sprintf(peerText, "tor", "192.0.2.8", "0") + fmt.Sprintf(peerText, "spine", "192.0.2.9", "7"),
				"BGPPeer spine 192.0.2.9 AS 7; BGPPeer tor 192.0.2.8 AS 5", "stays in force",
			},
			{tor, "BGPPeer tor 192.0.2.8 AS 5", ""},
		},
		"a bad new object is left out": {
			{tor, "BGPPeer tor 192.0.2.8 AS 5", ""},
			{tor + fmt.Sprintf(peerText, "spine", "nowhere", "6"), "BGPPeer tor 192.0.2.8 AS 5", "is no IP address"},
		},
		"broken syntax keeps the whole file": {
			{tor, "BGPPeer tor 192.0.2.8 AS 5", ""},
			{spine + "a: [", "BGPPeer tor 192.0.2.8 AS 5", "is no YAML"},
			{spine, "BGPPeer spine 192.0.2.9 AS 6", ""},
		},
		"an object that lost its name is not deleted": {
			{tor + spine, "BGPPeer spine 192.0.2.9 AS 6; BGPPeer tor 192.0.2.8 AS 5", ""},
			{spine + strings.Replace(tor, "name", "nmae", 1), "BGPPeer spine 192.0.2.9 AS 6; BGPPeer tor 192.0.2.8 AS 5", "did you mean name?"},
			{spine + "kind: nothing\n", "BGPPeer spine 192.0.2.9 AS 6; BGPPeer tor 192.0.2.8 AS 5", "has no apiVersion"},
			{spine, "BGPPeer spine 192.0.2.9 AS 6", ""},
		},
		"an object that lost its kind is not deleted, others of the file are": {
			{tor + spine, "BGPPeer spine 192.0.2.9 AS 6; BGPPeer tor 192.0.2.8 AS 5", ""},
			{strings.Replace(tor, "BGPPeer", "BGPPear", 1), "BGPPeer tor 192.0.2.8 AS 5", "BGPPear is not known"},
		},
		"the RouterConfig never falls back to defaults": {
			{as, "AS 65000", ""},
			{fmt.Sprintf(routerText, "asNumber: 0xffff"), "AS 65000", "RFC 7300"},
			{fmt.Sprintf(routerText, "asNumber: 65001"), "AS 65001", ""},
			{"", "AS 64512", ""},
		},
		"a service range over pods in force is refused": {
			{as + n1, "AS 65000; Node n1 [192.0.2.1] [10.1.1.0/24]", ""},
			{
				fmt.Sprintf(routerText, "serviceCIDRs: [10.1.0.0/16], asNumber: 65001") + n1,
				"AS 65000; Node n1 [192.0.2.1] [10.1.1.0/24]", "conflicts with Node/n1",
			},
		},
		"an edit that takes another's subnet is refused": {
			{n1 + n2, "Node n1 [192.0.2.1] [10.1.1.0/24]; Node n2 [192.0.2.2] [10.1.2.0/24]", ""},
			{
				fmt.Sprintf(nodeText, "n1", "10.1.0.0/16", "192.0.2.1") + n2,
				"Node n1 [192.0.2.1] [10.1.1.0/24]; Node n2 [192.0.2.2] [10.1.2.0/24]", "10.1.0.0/16 overlaps 10.1.2.0/24 of Node/n2",
			},
		},
		"two nodes exchange their subnets": {
			{n1 + n2, "Node n1 [192.0.2.1] [10.1.1.0/24]; Node n2 [192.0.2.2] [10.1.2.0/24]", ""},
			{
				fmt.Sprintf(nodeText, "n1", "10.1.2.0/24", "192.0.2.1") + fmt.Sprintf(nodeText, "n2", "10.1.1.0/24", "192.0.2.2"),
				"Node n1 [192.0.2.1] [10.1.2.0/24]; Node n2 [192.0.2.2] [10.1.1.0/24]", "",
			},
		},
		"what is in force comes before what is first in the file": {
			{n2, "Node n2 [192.0.2.2] [10.1.2.0/24]", ""},
			{fmt.Sprintf(nodeText, "n1", "10.1.2.0/24", "192.0.2.1") + n2, "Node n1 [192.0.2.1] []; Node n2 [192.0.2.2] [10.1.2.0/24]", "overlaps"},
			{
				fmt.Sprintf(nodeText, "n1", "10.1.2.0/24", "192.0.2.1") + n2 + tor,
				"Node n1 [192.0.2.1] []; Node n2 [192.0.2.2] [10.1.2.0/24]; BGPPeer tor 192.0.2.8 AS 5", "overlaps",
			},
			{fmt.Sprintf(nodeText, "n1", "10.1.2.0/24", "192.0.2.1"), "Node n1 [192.0.2.1] [10.1.2.0/24]", ""},
		},
		"a pool's range must not change": {
			{fmt.Sprintf(poolText, "p", "10.1.0.0/16"), "AddressPool p 10.1.0.0/16 /26", ""},
			{fmt.Sprintf(poolText, "p", "10.2.0.0/16"), "AddressPool p 10.1.0.0/16 /26", "10.2.0.0/16 was 10.1.0.0/16 and must not change"},
			{fmt.Sprintf(poolText, "p", "10.1.0.0/16, blockSize: 27"), "AddressPool p 10.1.0.0/16 /26", "27 was 26 and must not change"},
			{fmt.Sprintf(poolText, "p", "10.1.0.0/16, disabled: true"), "AddressPool p 10.1.0.0/16 /26", ""},
			{"", "", ""},
			{fmt.Sprintf(poolText, "p", "10.2.0.0/16"), "AddressPool p 10.2.0.0/16 /26", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b Builder
			var last []Object
			for i, step := range steps {
				f := Parse("f.yaml", []byte(step.text))
				last, _ = f.Over(last)
				s := b.Build(Input{Objects: last, Problems: f.Problems})
				if got := shown(s); got != step.inForce && got != "AS 64512; "+step.inForce && got != strings.TrimSuffix("AS 64512; "+step.inForce, "; ") {
					t.Errorf("step %d: in force:\n got %s\nwant %s", i, got, step.inForce)
				}
				var problems []string
				for _, p := range s.Problems {
					problems = append(problems, p.Error())
				}
				all := strings.Join(problems, "\n")
				if step.problem == "" && all != "" || !strings.Contains(all, step.problem) {
					t.Errorf("step %d: problems:\n got %s\nwant %s", i, all, step.problem)
				}
			}
		})
	}
}

func shown(s Snapshot) string {
	list := []string{fmt.Sprintf("AS %d", s.Router.Spec.ASNumber)}
	for _, n := range s.Nodes {
		list = append(list, fmt.Sprintf("Node %s %v %v", n.Name, n.Addresses, n.PodCIDRs))
	}
	for _, p := range s.Pools {
		list = append(list, fmt.Sprintf("AddressPool %s %s /%d", p.Name, p.Spec.CIDR, p.Spec.BlockSize))
	}
	for _, p := range s.Peers {
		list = append(list, fmt.Sprintf("BGPPeer %s %s AS %s", p.Name, p.Spec.Address, p.Spec.ASNumber))
	}
	return strings.Join(list, "; ")
}

// TestPeersOf: of two peers of one address the one in force first counts, however often the
// configuration is read, and a node is no peer of itself.
func TestPeersOf(t *testing.T) {
	t.Parallel()
	nodes := fmt.Sprintf(nodeText, "n1", "10.1.1.0/24", "192.0.2.1") + fmt.Sprintf(nodeText, "n2", "10.1.2.0/24", "192.0.2.9")
	tor, other, self := fmt.Sprintf(peerText, "tor", "192.0.2.8", "5"), fmt.Sprintf(peerText, "a", "192.0.2.8", "6"), fmt.Sprintf(peerText, "self", "192.0.2.9", "7")
	var b Builder
	for i, step := range []struct{ text, n1, n2 string }{
		{nodes + tor + self, "self tor", "tor"},
		{nodes + other + tor + self, "self tor", "tor"},
		{other + tor + self + nodes, "self tor", "tor"},
		{other + self + nodes, "a self", "a"},
	} {
		f := Parse("f.yaml", []byte(step.text))
		s := b.Build(Input{Objects: f.Objects, Problems: f.Problems})
		for name, want := range map[string]string{"n1": step.n1, "n2": step.n2} {
			n, _ := s.Node(name)
			var got []string
			for _, p := range s.PeersOf(n) {
				got = append(got, p.Name)
			}
			if strings.Join(got, " ") != want {
				t.Errorf("step %d: peers of %s: %v, want %s", i, name, got, want)
			}
		}
	}
}

// TestPasswordStays: a password that was known stays known when its source goes.
func TestPasswordStays(t *testing.T) {
	t.Parallel()
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: kube-system}\nstringData: {password: %s}\n---\n"
	peer := fmt.Sprintf(peerText, "tor", "192.0.2.8", "5, password: {secretRef: {name: s}}")
	var b Builder
	for i, step := range []struct{ text, password, problem string }{
		{fmt.Sprintf(secret, "one") + peer, "one", ""},
		{fmt.Sprintf(secret, "two") + peer, "two", ""},
		{peer, "two", "Secret kube-system/s is not there"},
		{fmt.Sprintf(secret, "three") + peer, "three", ""},
		{fmt.Sprintf(secret, "three") + fmt.Sprintf(peerText, "tor", "192.0.2.8", "5, password: {secretRef: {name: other}}"), "three", "kube-system/other is not there"},
	} {
		f := Parse("f.yaml", []byte(step.text))
		s := b.Build(Input{Objects: f.Objects})
		if len(s.Peers) != 1 {
			t.Fatalf("step %d: peers %v, problems %v", i, s.Peers, s.Problems)
		}
		password, err := s.Password(s.Peers[0])
		if err != nil || string(password) != step.password {
			t.Errorf("step %d: password %q, %v, want %q", i, string(password), err, step.password)
		}
		if step.problem == "" != (len(s.Problems) == 0) || len(s.Problems) > 0 && (!s.Problems[0].Kept || !strings.Contains(s.Problems[0].Error(), step.problem)) {
			t.Errorf("step %d: problems %v, want %q", i, s.Problems, step.problem)
		}
	}
}

// TestFatal: a problem of a node is fatal for that node's agent alone, one of the RouterConfig for all,
// unless a good one is there.
func TestFatal(t *testing.T) {
	t.Parallel()
	node := fmt.Sprintf(nodeText, "n1", "192.0.2.0/24", "192.0.2.1")
	bad := fmt.Sprintf(routerText, "asNumber: 23456")
	for _, c := range []struct {
		text   string
		n1, n2 bool
	}{
		{node, true, false},
		{node + bad, true, true},
		{node + "kind: RouterConfig\na: [", true, true},
		{node + fmt.Sprintf(routerText, "mesh: Full") + bad, true, false},
		{node + "a: [", true, false},
	} {
		f := Parse("f.yaml", []byte(c.text))
		var b Builder
		s := b.Build(Input{Objects: f.Objects, Problems: f.Problems})
		if n1, n2 := s.Fatal("n1") != nil, s.Fatal("n2") != nil; n1 != c.n1 || n2 != c.n2 {
			t.Errorf("%s\nfatal for n1 %v, n2 %v; want %v, %v", c.text, n1, n2, c.n1, c.n2)
		}
	}
}

// TestDefaults: an absent RouterConfig and an empty one are the same, and as documented.
func TestDefaults(t *testing.T) {
	t.Parallel()
	f := Parse("f.yaml", []byte(fmt.Sprintf(routerText, "")+fmt.Sprintf(peerText, "tor", "192.0.2.8", "internal")))
	var b Builder
	s := b.Build(Input{Objects: f.Objects, Problems: f.Problems})
	if len(s.Problems) > 0 {
		t.Fatal(s.Problems)
	}
	if got, want := s.Router, Default().Router; !reflect.DeepEqual(got, want) {
		t.Errorf("empty RouterConfig:\n got %+v\nwant %+v", got, want)
	}
	r := s.Router.Spec
	on, restart, deferral := r.Restart()
	low4, high4 := r.Lengths(FamilyIPv4)
	low6, high6 := r.Lengths(FamilyIPv6)
	p := s.Peers[0].Spec
	got := fmt.Sprintln(r.ASNumber, r.Mesh, r.PodSubnets, r.ListenPort, r.MaxPaths, on, restart, deferral, low4, high4, low6, high6,
		p.Port, p.Hold(), p.Keepalive(), p.Families, p.Carries(FamilyIPv4), p.Carries(FamilyIPv6), p.ASNumber.Resolve(7), p.PrefixLimit(false), p.PrefixLimit(true), p.Restarts(r))
	want := "64512 Full Node 179 64 true 2m0s 10s 16 32 32 128 179 1m30s 30s [] true true 7 10000 500000 true\n"
	if got != want {
		t.Errorf("defaults:\n got %s\nwant %s", got, want)
	}
}

// TestNode covers what the accessors of a Node say.
func TestNode(t *testing.T) {
	t.Parallel()
	router := Default().Router.Spec
	n := Node{Name: "n1", Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")}}
	if n.Address(FamilyIPv4).String() != "192.0.2.1" || n.Address(FamilyIPv6).String() != "2001:db8::1" || n.RouterID() != n.Addresses[1] {
		t.Errorf("addresses %v %v, router ID %v", n.Address(FamilyIPv4), n.Address(FamilyIPv6), n.RouterID())
	}
	n.Labels = map[string]string{AnnotationAS: "64600"}
	label := n.AS(router)
	n.Annotations = map[string]string{AnnotationAS: "64601", AnnotationRouterID: "9.9.9.9"}
	if label != 64600 || n.AS(router) != 64601 || n.RouterID().String() != "9.9.9.9" || (Node{}).AS(router) != 64512 {
		t.Errorf("AS %d, %d, router ID %v", label, n.AS(router), n.RouterID())
	}
	six := Node{Name: "n1", Addresses: n.Addresses[:1]}
	other := Node{Name: "n2", Addresses: n.Addresses[:1]}
	if id := six.RouterID(); !id.Is4() || id.IsUnspecified() || id != six.RouterID() || id == other.RouterID() {
		t.Errorf("router IDs by name: %v, %v", id, other.RouterID())
	}
}

// TestNewObject takes what the API delivers: typed objects with a creation time.
func TestNewObject(t *testing.T) {
	t.Parallel()
	node := func(name string, age time.Duration) *corev1.Node {
		n := &corev1.Node{}
		n.Name, n.CreationTimestamp = name, metav1.NewTime(time.Unix(1e9, 0).Add(-age))
		n.Spec.PodCIDRs = []string{"10.1.1.0/24"}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeInternalIP, Address: "2001:db8::" + name[1:]}}
		return n
	}
	var b Builder
	s := b.Build(Input{Objects: []Object{NewObject("", node("n1", time.Hour)), NewObject("", node("n2", 2*time.Hour)), NewObject("", &corev1.Pod{})}})
	if got, want := shown(s), "AS 64512; Node n1 [2001:db8::1] []; Node n2 [192.0.2.1 2001:db8::2] [10.1.1.0/24]"; got != want {
		t.Errorf("the older node wins:\n got %s\nwant %s", got, want)
	}
	if len(s.Problems) != 4 { // address and subnet of n1; Pod has no name and is no kind of ours
		t.Errorf("problems %v", s.Problems)
	}
}
