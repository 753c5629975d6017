package cni_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/cni"
	"github.com/podroute/podroute/internal/nstest"
)

func TestAddWiresWhatTheBlocksHave(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		blocks []netip.Prefix
		node   []string // addresses of the node that pods must reach
	}{
		{"IPv4", dualStack[:1], []string{"192.0.2.1"}},
		{"IPv6", dualStack[1:], []string{"2001:db8::1"}},
		{"both", dualStack, []string{"192.0.2.1", "2001:db8::1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, tt.blocks...)
			a, b := n.newPod("a"), n.newPod("b")
			ra, rb := n.add(a), n.add(b)
			if len(ra.IPs) != len(tt.blocks) || len(rb.IPs) != len(tt.blocks) {
				t.Fatalf("want %d addresses a pod, have %v and %v", len(tt.blocks), ra.IPs, rb.IPs)
			}
			for _, dst := range append(addrs(rb), tt.node...) {
				a.Run(t, "ping -c1 -W1 "+dst)
			}
			for _, dst := range addrs(ra) {
				n.Run(t, "ping -c1 -W1 "+dst)
				b.Run(t, "ping -c1 -W1 "+dst)
			}
			if err := n.check(a); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			n.del(a)
			n.del(b)
			n.wantNothingLeft()
		})
	}
}

// There is nothing to resolve and nothing to wait for: permanent neighbours, no duplicate address
// detection, on either side.
func TestPodLooksAsDesigned(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	if err := n.server.Set(t.Context(), cni.Settings{MTU: 1400}); err != nil {
		t.Fatal(err)
	}
	p := n.newPod("a")
	r := n.add(p)
	host, a4, a6 := r.Interfaces[0].Name, addrs(r)[0], addrs(r)[1]
	hostMAC, podMAC := r.Interfaces[0].Mac, r.Interfaces[1].Mac
	for _, tt := range []struct {
		ns   *nstest.NS
		cmd  string
		want []string
	}{
		{p.NS, "ip -o link show dev eth0", []string{"mtu 1400", "state UP", podMAC}},
		{p.NS, "ip -4 -o addr show dev eth0", []string{a4 + "/32"}},
		{p.NS, "ip -6 -o addr show dev eth0", []string{a6 + "/128", "nodad"}},
		{p.NS, "ip neigh show dev eth0 nud permanent", []string{"169.254.1.1 lladdr " + hostMAC, "fe80::1 lladdr " + hostMAC}},
		{p.NS, "ip -4 route", []string{"default via 169.254.1.1 dev eth0"}},
		{p.NS, "ip -6 route", []string{"default via fe80::1 dev eth0"}},
		{n.NS, "ip -o link show dev " + host, []string{"mtu 1400", "state UP", hostMAC, "alias podroute/1 id=a if=eth0 net=podroute ip=" + a4 + "," + a6, "pod=default/pod-a"}},
		{n.NS, "ip neigh show dev " + host + " nud permanent", []string{a4 + " lladdr " + podMAC, a6 + " lladdr " + podMAC}},
		{n.NS, "ip -4 route show " + a4, []string{"dev " + host, "proto 179", "scope link", "metric 100"}},
		{n.NS, "ip -6 route show " + a6, []string{"dev " + host, "proto 179", "metric 100"}},
	} {
		out := tt.ns.Run(t, tt.cmd)
		for _, w := range tt.want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: %q is missing in\n%s", tt.cmd, w, out)
			}
		}
		if strings.Contains(out, "tentative") || strings.Contains(out, " src ") {
			t.Errorf("%s:\n%s", tt.cmd, out)
		}
	}
	if out := n.Run(t, "ip -o addr show dev "+host); out != "" {
		t.Errorf("the host side has addresses:\n%s", out)
	}
}

func TestResultInEveryVersion(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	if err := n.server.Set(t.Context(), cni.Settings{MTU: 1450}); err != nil {
		t.Fatal(err)
	}
	for _, version := range cni.Versions() {
		p := n.newPod("v" + version)
		out, err := n.exec(fmt.Sprintf(`{"cniVersion":%q,"name":"podroute","type":"podroute-cni","socket":%q,
			"dns":{"nameservers":["10.96.0.10"],"search":["cluster.local"]}}`, version, n.socket),
			"CNI_COMMAND=ADD", "CNI_CONTAINERID="+p.id, "CNI_IFNAME=net1", "CNI_NETNS="+p.rt.NetNS)
		if err != nil {
			t.Fatalf("%s: %v: %s", version, err, out)
		}
		var raw struct {
			CNIVersion string
			IPs        []struct{ Version string }
		}
		if err := json.Unmarshal([]byte(out), &raw); err != nil || raw.CNIVersion != version {
			t.Errorf("%s: result is of version %q (%v)", version, raw.CNIVersion, err)
		}
		if old := strings.HasPrefix(version, "0."); old != (raw.IPs[0].Version == "4") || old != (raw.IPs[1].Version == "6") {
			t.Errorf("%s: addresses name their versions: %+v", version, raw.IPs)
		}
		r := parse(t, version, out)
		in1 := 1
		want := &types100.Result{
			CNIVersion: "1.1.0",
			Interfaces: r.Interfaces,
			DNS:        types.DNS{Nameservers: []string{"10.96.0.10"}, Search: []string{"cluster.local"}},
		}
		for _, a := range n.attachment(p.id).Addresses {
			gw, dst := net.ParseIP("169.254.1.1"), "0.0.0.0/0"
			if a.Is6() {
				gw, dst = net.ParseIP("fe80::1"), "::/0"
			}
			_, def, _ := net.ParseCIDR(dst)
			want.IPs = append(want.IPs, &types100.IPConfig{
				Interface: &in1, Gateway: gw,
				Address: net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())},
			})
			want.Routes = append(want.Routes, &types.Route{Dst: *def, GW: gw})
		}
		if d := cmp.Diff(want, r); d != "" {
			t.Errorf("%s: result (-want +got):\n%s", version, d)
		}
		if len(r.Interfaces) != 2 || r.Interfaces[0].Sandbox != "" || r.Interfaces[1].Sandbox != p.rt.NetNS || r.Interfaces[1].Name != "net1" {
			t.Errorf("%s: interfaces %+v", version, r.Interfaces)
		}
		if version == "1.1.0" && r.Interfaces[1].Mtu != 1450 {
			t.Errorf("%s: MTU %d, want 1450", version, r.Interfaces[1].Mtu)
		}
	}
}

func TestAddAgainGivesTheSame(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	p := n.newPod("a")
	first := n.add(p)
	index := n.Run(t, "ip -o link show dev "+first.Interfaces[0].Name)
	if d := cmp.Diff(first, n.add(p)); d != "" {
		t.Errorf("second ADD (-first +second):\n%s", d)
	}
	if again := n.Run(t, "ip -o link show dev "+first.Interfaces[0].Name); again != index {
		t.Errorf("the second ADD made another link: %s, was %s", again, index)
	}
	n.stop()
	n.start(dualStack...)
	if d := cmp.Diff(first, n.add(p)); d != "" {
		t.Errorf("ADD after a restart (-first +third):\n%s", d)
	}
	// What is broken is made anew, with the same addresses.
	p.Run(t, "ip addr flush dev eth0")
	if d := cmp.Diff(addrs(first), addrs(n.add(p))); d != "" {
		t.Errorf("ADD of a broken pod (-first +fourth):\n%s", d)
	}
	if err := n.check(p); err != nil {
		t.Errorf("CHECK after ADD of a broken pod: %v", err)
	}
	// Another namespace is another pod.
	other := n.newPod("a")
	if _, err := n.tryAdd(other); err == nil || !strings.Contains(err.Error(), "in another network namespace") {
		t.Errorf("ADD of the same container in another namespace: %v", err)
	}
	if out := other.Run(t, "ip -o link show"); strings.Contains(out, "eth0") {
		t.Errorf("the refused ADD left an interface:\n%s", out)
	}
	if err := n.check(p); err != nil {
		t.Errorf("CHECK of the first pod afterwards: %v", err)
	}
	n.del(p)
	n.wantNothingLeft()
}

func TestAddsOfOneAttachmentAtOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	p := n.newPod("a")
	results := make([]*types100.Result, 6)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			var err error
			if results[i], err = n.tryAdd(p); err != nil {
				t.Errorf("ADD %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i := range results {
		if d := cmp.Diff(results[0], results[i]); d != "" {
			t.Errorf("result %d (-first +it):\n%s", i, d)
		}
	}
	if u := n.ipam.Usage(); u[0].Used != 1 || u[1].Used != 1 {
		t.Errorf("usage %+v, want one address each", u)
	}
	n.del(p)
	n.wantNothingLeft()
}

func TestAddThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t, netip.MustParsePrefix("10.244.9.1/32"), netip.MustParsePrefix("fd00:9::1/128"))
	for _, tt := range []struct {
		name      string
		node, pod string // what spoils it
		mend      string // on the node
		want      string // in the error
		code      uint
	}{
		{"interface exists", "", "ip link add eth0 type veth peer name other", "", "has an interface eth0 already", types.ErrInvalidEnvironmentVariables},
		{"IPv4 route exists", "ip route add unreachable 10.244.9.1/32 metric 100", "", "ip route del unreachable 10.244.9.1/32 metric 100", `ip route show 10.244.9.1/32`, types.ErrInternal},
		{"IPv6 route exists", "ip route add blackhole fd00:9::1/128 metric 100", "", "ip route del blackhole fd00:9::1/128 metric 100", `ip route show fd00:9::1/128`, types.ErrInternal},
		{"no IPv6 on the node", "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1", "", "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0", "net.ipv6.conf.all.disable_ipv6=0", types.ErrInternal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := n.newPod("a")
			if tt.node != "" {
				n.Run(t, tt.node)
			}
			if tt.pod != "" {
				p.Run(t, tt.pod)
			}
			before := p.Run(t, "ip -o link show")
			_, err := n.tryAdd(p)
			var e *types.Error
			if !errors.As(err, &e) || e.Code != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ADD: %v, want code %d and %q", err, tt.code, tt.want)
			}
			if after := p.Run(t, "ip -o link show"); after != before {
				t.Errorf("links in the pod:\n%swere\n%s", after, before)
			}
			n.wantNothingLeft()
			if tt.mend != "" {
				n.Run(t, tt.mend)
				n.add(p) // the only address is free again
				n.del(p)
			}
			n.wantNothingLeft()
		})
	}
}

// Runtimes without IPv6 switch it off in the namespaces they make.
func TestIPv6IsSwitchedOnInThePod(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	p := n.newPod("a")
	p.Run(t, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1", "sysctl -qw net.ipv6.conf.default.disable_ipv6=1")
	r := n.add(p)
	n.Run(t, "ping -c1 -W1 "+addrs(r)[1])
}

func TestRequestedAddress(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	a, b, c := n.newPod("a"), n.newPod("b"), n.newPod("c")
	a.rt.CapabilityArgs = map[string]any{"ips": []string{"10.244.1.77/24"}}
	b.rt.Args = append(b.rt.Args, [2]string{"IP", "10.244.1.77"})
	c.rt.Args = append(c.rt.Args, [2]string{"IP", "fd00:244:1::beef"})
	if got := addrs(n.add(a)); got[0] != "10.244.1.77" || len(got) != 2 {
		t.Errorf("ADD that asks for 10.244.1.77: %v", got)
	}
	if _, err := n.tryAdd(b); err == nil || !strings.Contains(err.Error(), "10.244.1.77 is in use by another pod") {
		t.Errorf("ADD that asks for an address in use: %v", err)
	}
	if got := addrs(n.add(c)); got[1] != "fd00:244:1::beef" {
		t.Errorf("ADD that asks for fd00:244:1::beef: %v", got)
	}
	annotated := func(s string) map[string]any {
		return map[string]any{"io.kubernetes.cri.pod-annotations": map[string]string{"podroute.io/addresses": s, "other": "x"}}
	}
	d, e := n.newPod("d"), n.newPod("e")
	d.rt.CapabilityArgs = annotated("10.244.1.88, fd00:244:1::88")
	if got := addrs(n.add(d)); got[0] != "10.244.1.88" || got[1] != "fd00:244:1::88" {
		t.Errorf("ADD of a pod annotated with two addresses: %v", got)
	}
	e.rt.CapabilityArgs = annotated("the first")
	if _, err := n.tryAdd(e); err == nil || !strings.Contains(err.Error(), "annotation podroute.io/addresses") {
		t.Errorf("ADD of a pod annotated with no address: %v", err)
	}
	n.del(e)
}

// The pod's namespace and name reach the allocator, and its refusal the runtime, as one to try again.
func TestAllocatorRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	p := n.newPod("a")
	for i, kv := range p.rt.Args {
		if kv[0] == "K8S_POD_NAMESPACE" {
			p.rt.Args[i][1] = "nowhere"
		}
	}
	_, err := n.tryAdd(p)
	var e *types.Error
	if !errors.As(err, &e) || e.Code != types.ErrTryAgainLater || !strings.Contains(err.Error(), "no pool is for pod pod-a of namespace nowhere") {
		t.Errorf("ADD that the allocator refuses: %v, want code 11 and its reason", err)
	}
}

func TestExhaustedSubnet(t *testing.T) {
	t.Parallel()
	n := newNode(t, netip.MustParsePrefix("10.244.1.0/30"), netip.MustParsePrefix("fd00:244:1::/64"))
	n.add(n.newPod("a"))
	b := n.newPod("b")
	n.add(b)
	_, err := n.tryAdd(n.newPod("c"))
	var e *types.Error
	if !errors.As(err, &e) || e.Code != types.ErrTryAgainLater || !strings.Contains(err.Error(), "10.244.1.0/30 (2 of 2 in use)") {
		t.Errorf("ADD to a full subnet: %v, want code 11 and the block", err)
	}
	n.del(b)
	n.add(n.newPod("d")) // cooling down, but better than none
}

// The alias has room for 255 bytes. What must be in it always fits; the pod's name gives way.
func TestFullLinkAlias(t *testing.T) {
	t.Parallel()
	n := newNode(t, netip.MustParsePrefix("203.113.213.0/24"), netip.MustParsePrefix("fd12:3456:789a:bcde:f012:3456:789a:bc00/120"))
	long := strings.Repeat("0123456789abcdef", 8)
	var err error
	n.list, err = libcni.NetworkConfFromBytes(fmt.Appendf(nil,
		`{"cniVersion":"1.1.0","name":%q,"plugins":[{"type":"podroute-cni","socket":%q}]}`, "net-"+long[:60], n.socket)) // libcni makes file names
	if err != nil {
		t.Fatal(err)
	}
	p := n.newPod(long)
	p.rt.IfName = "fifteen-letters"
	p.rt.Args = [][2]string{{"K8S_POD_NAMESPACE", strings.Repeat("n", 63)}, {"K8S_POD_NAME", strings.Repeat("p", 253)}}
	r := n.add(p)
	_, alias, _ := strings.Cut(n.Run(t, "ip link show dev "+r.Interfaces[0].Name), " alias ")
	if got := len(strings.TrimSpace(alias)); got != 255 {
		t.Errorf("alias of %d bytes, want 255: %s", got, alias)
	}
	before := n.server.Attachments()
	n.stop()
	n.start(netip.MustParsePrefix("203.113.213.0/24"), netip.MustParsePrefix("fd12:3456:789a:bcde:f012:3456:789a:bc00/120"))
	after := n.server.Attachments()
	if len(after) != 1 || !slices.Equal(before[0].Addresses, after[0].Addresses) || before[0].ContainerID != after[0].ContainerID ||
		!strings.HasPrefix(before[0].PodNamespace+"/"+before[0].PodName, strings.TrimRight(after[0].PodNamespace+"/"+after[0].PodName, "~/")) {
		t.Errorf("after a restart %+v, was %+v", after, before)
	}
	if d := cmp.Diff(r, n.add(p)); d != "" {
		t.Errorf("ADD again (-first +second):\n%s", d)
	}
	// An ID that differs only where it was cut off is another container's.
	q := n.newPod(long[:len(long)-1] + "0")
	q.rt.IfName = p.rt.IfName
	if got := addrs(n.add(q)); got[0] == addrs(r)[0] {
		t.Errorf("two containers with long IDs share %v", got)
	}
	n.del(p)
	n.del(q)
	n.wantNothingLeft()
}
