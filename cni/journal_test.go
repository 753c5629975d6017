package cni

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/podroute/podroute/cni/cnipb"
	"github.com/podroute/podroute/cni/hostlink"
)

func TestAliasText(t *testing.T) {
	t.Parallel()
	a := Attachment{
		ContainerID: "0f3b", IfName: "eth0", Network: "podroute", HostIf: hostlink.For("0f3b", "eth0").Name,
		Addresses:    []netip.Addr{netip.MustParseAddr("10.244.1.7"), netip.MustParseAddr("fd00:244:1::7")},
		PodNamespace: "default", PodName: "web-0", Since: time.Unix(1_700_000_000, 0),
	}
	want := "podroute/1 id=0f3b if=eth0 net=podroute ip=10.244.1.7,fd00:244:1::7 at=1700000000 pod=default/web-0"
	if got := a.alias(); got != want {
		t.Errorf("alias %q, want %q", got, want)
	}
}

func TestAliasRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,200}`).Draw(t, "container")
		ifName := rapid.StringMatching(`[a-z0-9@=,.\-]{1,15}`).Draw(t, "interface")
		a := Attachment{
			ContainerID: hostlink.ID(id), IfName: ifName, HostIf: hostlink.For(id, ifName).Name,
			Network:      hostlink.Network(rapid.StringMatching(`[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,100}`).Draw(t, "network")),
			PodNamespace: rapid.String().Draw(t, "namespace"),
			PodName:      rapid.StringMatching(`[a-z0-9.\-]{0,253}`).Draw(t, "pod"),
			Since:        time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "since"), 0),
		}
		for _, four := range rapid.SampledFrom([][]bool{{true}, {false}, {true, false}}).Draw(t, "families") {
			size := 16
			if four {
				size = 4
			}
			addr, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address"))
			a.Addresses = append(a.Addresses, addr)
		}
		text := a.alias()
		if len(text) > 255 {
			t.Fatalf("alias of %d bytes: %s", len(text), text)
		}
		got, err := parseAlias(a.HostIf, text)
		if err != nil {
			t.Fatal(err)
		}
		// The pod's name may be cut, and then says so; everything else must be there.
		name := plain(a.PodNamespace) + "/" + plain(a.PodName)
		have := got.PodNamespace + "/" + got.PodName
		if cut, ok := strings.CutSuffix(strings.TrimSuffix(have, "/"), "~"); have != name && !(ok && strings.HasPrefix(name, cut)) {
			t.Fatalf("pod %q, want %q or its beginning", have, name)
		}
		got.PodNamespace, got.PodName, a.PodNamespace, a.PodName = "", "", "", ""
		if d := cmp.Diff(a, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
			t.Fatalf("attachment (-written +read):\n%s", d)
		}
	})
}

func TestCorruptAliases(t *testing.T) {
	t.Parallel()
	link := hostlink.For("a", "eth0").Name
	good := "podroute/1 id=a if=eth0 net=n ip=10.0.0.1 at=1 pod=x/y"
	if _, err := parseAlias(link, good); err != nil {
		t.Fatal(err)
	}
	for i := range good { // cut short anywhere before the name
		if i >= len(good)-len("x/y") {
			break
		}
		if a, err := parseAlias(link, good[:i]); err == nil {
			t.Errorf("%q is taken for %+v", good[:i], a)
		}
	}
	for _, edit := range [][2]string{
		{"podroute/1", "podroute/2"},
		{"id=a", "id=b"},
		{"id=a", "if=a"},
		{"eth0", "eth1"},
		{"10.0.0.1", "10.0.0.256"},
		{"10.0.0.1", ""},
		{"10.0.0.1", "10.0.0.1,"},
		{"10.0.0.1", "fe80::1%eth0"},
		{"at=1", "at=soon"},
		{" net=n", ""},
		{"pod=", "pod=a b"},
		{" id", "  id"},
	} {
		bad := strings.Replace(good, edit[0], edit[1], 1)
		if a, err := parseAlias(link, bad); err == nil || !strings.Contains(err.Error(), link) {
			t.Errorf("%q is taken for %+v (%v), want an error that names the link", bad, a, err)
		}
	}
}

func TestHostLinkNames(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for i := range 1000 {
		for _, ifName := range []string{"eth0", "net1"} {
			l := hostlink.For(fmt.Sprint("container", i), ifName)
			key := fmt.Sprint(i, ifName)
			if other := seen[l.Name]; other != "" || !hostlink.Is(l.Name) || len(l.Name) > 15 {
				t.Fatalf("%s: name %s is not one of ours, or that of %s", key, l.Name, other)
			}
			seen[l.Name] = key
			for _, mac := range [][]byte{l.MAC, l.PodMAC} {
				if mac[0]&3 != 2 || len(mac) != 6 {
					t.Fatalf("%s: MAC address %x is not a locally administered unicast one", key, mac)
				}
			}
		}
	}
	for _, other := range []string{"", "pr", "eth0", "private", "pr0123456789a", "pr0123456789abc", "pr0123456789AB", "pr0123456789ag", "xr0123456789ab"} {
		if hostlink.Is(other) {
			t.Errorf("%q is taken for ours", other)
		}
	}
}

// Whatever a runtime says, it is refused, or it makes a request that fits the journal.
func FuzzJudge(f *testing.F) {
	f.Add(`{"cniVersion":"1.1.0","name":"podroute"}`, "0f3b", "eth0", "K8S_POD_NAME=web;IP=10.0.0.1")
	f.Add(`{"cniVersion":"0.3.1","name":"n","runtimeConfig":{"ips":["10.0.0.1/24"]},"args":{"cni":{"ips":[7]}}}`, "", "a b", ";;=")
	f.Fuzz(func(t *testing.T, config, id, ifName, args string) {
		q, bad := judge(verb{"ADD", "0.3.1", true}, &cnipb.Request{ContainerId: id, IfName: ifName, Args: args, Config: []byte(config)})
		if bad != nil {
			if bad.Msg == "" || bad.Code == 0 {
				t.Fatalf("refused without a reason: %+v", bad)
			}
			return
		}
		a := Attachment{
			ContainerID: hostlink.ID(q.containerID), IfName: q.ifName, Network: hostlink.Network(q.conf.Name),
			HostIf: hostlink.For(q.containerID, q.ifName).Name, Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666")},
			PodNamespace: q.podNamespace, PodName: q.podName,
		}
		text := a.alias()
		if got, err := parseAlias(a.HostIf, text); err != nil || len(text) > maxAlias || got.ContainerID != a.ContainerID || got.IfName != a.IfName {
			t.Fatalf("alias of %d bytes %q is read as %+v, %v", len(text), text, got, err)
		}
	})
}
