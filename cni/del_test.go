package cni_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/podroute/podroute/cni"
	"github.com/podroute/podroute/internal/nstest"
)

func TestDelRemovesAndIsRepeatable(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	p := n.newPod("a")
	n.add(p)
	n.del(p)
	if out := p.Run(t, "ip -o link show"); strings.Contains(out, "eth0") {
		t.Errorf("the pod has its interface after DEL:\n%s", out)
	}
	if err := n.leftovers(); err != nil { // at once, not a moment later
		t.Error(err)
	}
	n.del(p)
	n.del(n.newPod("never added"[:5]))
}

func TestDelWithoutNamespace(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	p := n.newPod("a")
	n.add(p)
	for _, netns := range []string{"", "/run/netns/gone", p.rt.NetNS} {
		p.rt.NetNS = netns
		n.del(p)
	}
	n.wantNothingLeft()
}

func TestNamespaceThatVanishesFreesItsAddress(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	p := n.newPod("a")
	n.add(p)
	drain(n.server.Changed())
	p.Close()
	n.wantNothingLeft()
	select {
	case <-n.server.Changed():
	default:
		t.Error("no signal that the attachments changed")
	}
	n.del(p)
}

func drain(ch <-chan struct{}) {
	select {
	case <-ch:
	default:
	}
}

// With the agent down, the plugin removes the link itself; the agent, down or up again, learns it from
// the kernel.
func TestDelWhileTheAgentIsDown(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	a, b := n.newPod("a"), n.newPod("b")
	n.add(a)
	n.add(b)
	n.stop()
	for range 2 {
		n.del(a)
	}
	if out := a.Run(t, "ip -o link show"); strings.Contains(out, "eth0") {
		t.Errorf("the pod has its interface after DEL:\n%s", out)
	}
	if _, err := n.tryAdd(n.newPod("c")); cniCode(err) != types.ErrTryAgainLater {
		t.Errorf("ADD with the agent down: %v, want code 11", err)
	}
	if err := n.inside(func(ctx context.Context) error { return n.lib.GetStatusNetworkList(ctx, n.list) }); cniCode(err) != types.ErrPluginNotAvailable {
		t.Errorf("STATUS with the agent down: %v, want code 50", err)
	}
	n.start(dualStack...)
	if got := n.server.Attachments(); len(got) != 1 || got[0].ContainerID != "b" {
		t.Errorf("attachments after the restart: %+v, want b's only", got)
	}
	n.del(b)
	n.wantNothingLeft()
}

func cniCode(err error) uint {
	var e *types.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func TestGCRemovesWhatIsNotValid(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	kept, stale := n.newPod("kept"), n.newPod("stale")
	n.add(kept)
	n.add(stale)
	// Another network over the same agent, of which this GC says nothing.
	own := n.list
	var err error
	if n.list, err = libcni.NetworkConfFromBytes(fmt.Appendf(nil,
		`{"cniVersion":"1.1.0","name":"other","plugins":[{"type":"podroute-cni","socket":%q}]}`, n.socket)); err != nil {
		t.Fatal(err)
	}
	other := n.newPod("other")
	n.add(other)
	n.list = own

	n.lib = libcni.NewCNIConfigWithCacheDir([]string{binDir}, t.TempDir(), libcniExec()) // a runtime that has forgotten all
	gc := func(valid ...types.GCAttachment) error {
		return n.inside(func(ctx context.Context) error {
			return n.lib.GCNetworkList(ctx, n.list, &libcni.GCArgs{ValidAttachments: valid})
		})
	}
	if err := gc(types.GCAttachment{ContainerID: "kept", IfName: "eth0"}, types.GCAttachment{ContainerID: "stale", IfName: "eth1"}); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, a := range n.server.Attachments() {
		left = append(left, a.ContainerID)
	}
	if len(left) != 2 || n.attachment("kept").IfName != "eth0" || n.attachment("other").Network != "other" {
		t.Errorf("after GC: %v, want kept and other", left)
	}
	kept.Run(t, "ip link show eth0")
	if out := stale.Run(t, "ip -o link show"); strings.Contains(out, "eth0") {
		t.Errorf("GC left the interface:\n%s", out)
	}
	// Without the list of valid attachments nothing may go.
	err = n.inside(func(ctx context.Context) error { return n.lib.GCNetworkList(ctx, n.list, nil) })
	if err == nil || len(n.server.Attachments()) != 2 {
		t.Errorf("GC without valid attachments: %v; %d attachments left, want an error and 2", err, len(n.server.Attachments()))
	}
	if err := gc([]types.GCAttachment{}...); err == nil && len(n.server.Attachments()) == 2 {
		t.Error("GC of an empty set removed nothing")
	}
}

func TestStatusAndReadiness(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	status := func() error {
		return n.inside(func(ctx context.Context) error { return n.lib.GetStatusNetworkList(ctx, n.list) })
	}
	if err := status(); err != nil {
		t.Errorf("STATUS of a ready agent: %v", err)
	}
	p := n.newPod("a")
	n.add(p)
	if err := n.server.Set(t.Context(), cni.Settings{NotReady: errors.New("no pod subnet yet")}); err != nil {
		t.Fatal(err)
	}
	if err := status(); cniCode(err) != types.ErrPluginNotAvailable || !strings.Contains(err.Error(), "no pod subnet yet") {
		t.Errorf("STATUS of an agent that is not ready: %v, want code 50 and the reason", err)
	}
	if _, err := n.tryAdd(n.newPod("b")); cniCode(err) != types.ErrTryAgainLater || !strings.Contains(err.Error(), "no pod subnet yet") {
		t.Errorf("ADD to an agent that is not ready: %v, want code 11 and the reason", err)
	}
	if err := n.check(p); err != nil {
		t.Errorf("CHECK by an agent that is not ready: %v", err)
	}
	n.del(p)
}

func TestCheckFindsWhatIsMissing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		side string
		do   string // HOST, A4, A6 stand for the host link and the addresses
		want string
	}{
		{"pod", "ip addr del A4/32 dev eth0", "address A4/32 is missing"},
		{"pod", "ip addr del A6/128 dev eth0", "address A6/128 is missing"},
		{"pod", "ip route del default", "route 0.0.0.0/0 is missing"},
		{"pod", "ip -6 route del default", "route ::/0 is missing"},
		{"pod", "ip neigh del 169.254.1.1 dev eth0", "permanent neighbour 169.254.1.1"},
		{"pod", "ip neigh del fe80::1 dev eth0", "permanent neighbour fe80::1"},
		{"pod", "ip link set eth0 down", "not up at both ends"},
		{"pod", "ip link set eth0 address 02:00:00:00:00:01", "not the other end"},
		{"pod", "ip link set eth0 name eth9", "interface eth0"},
		{"host", "ip neigh del A4 dev HOST", "permanent neighbour A4"},
		{"host", "ip neigh del A6 dev HOST", "permanent neighbour A6"},
		{"host", "ip link set HOST down", "not up at both ends"},
		{"host", "ip link set HOST alias nonsense", "alias"},
		{"host", "ip link del HOST", "no interface eth0"},
	} {
		t.Run(tt.side+" "+tt.do, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, dualStack...)
			p := n.newPod("a")
			r := n.add(p)
			if err := n.check(p); err != nil {
				t.Fatalf("CHECK of a healthy pod: %v", err)
			}
			fill := strings.NewReplacer("HOST", r.Interfaces[0].Name, "A4", addrs(r)[0], "A6", addrs(r)[1])
			side := p.NS
			if tt.side == "host" {
				side = n.NS
			}
			if strings.Contains(tt.do, " name ") {
				side.Run(t, "ip link set eth0 down") // the kernel renames only what is down
			}
			side.Run(t, fill.Replace(tt.do))
			nstest.Within(t, time.Second, func() error {
				err := n.check(p)
				if err == nil {
					return fmt.Errorf("CHECK passes, want %q", fill.Replace(tt.want))
				}
				if !strings.Contains(err.Error(), fill.Replace(tt.want)) {
					return fmt.Errorf("CHECK: %w; want %q", err, fill.Replace(tt.want))
				}
				return nil
			})
			n.add(p) // mends it
			if err := n.check(p); err != nil {
				t.Errorf("CHECK after ADD: %v", err)
			}
			n.del(p)
			n.wantNothingLeft()
		})
	}
}

func TestCheckComparesThePreviousResult(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	p := n.newPod("a")
	r := n.add(p)
	for _, tt := range []struct {
		prev string
		want uint // 0: passes
	}{
		{fmt.Sprintf(`,"prevResult":{"cniVersion":"1.0.0","ips":[{"address":"%s/32"},{"address":"%s/128"},{"address":"192.0.2.7/24"}]}`, addrs(r)[0], addrs(r)[1]), 0},
		{`,"prevResult":{"cniVersion":"1.0.0","ips":[{"address":"10.244.1.254/32"}]}`, types.ErrInvalidNetworkConfig},
		{`,"prevResult":{"cniVersion":"1.0.0","ips":"none"}`, types.ErrInvalidNetworkConfig},
		{``, types.ErrInvalidNetworkConfig},
	} {
		out, err := n.exec(fmt.Sprintf(`{"cniVersion":"1.0.0","name":"podroute","type":"podroute-cni","socket":%q%s}`, n.socket, tt.prev),
			"CNI_COMMAND=CHECK", "CNI_CONTAINERID=a", "CNI_IFNAME=eth0", "CNI_NETNS="+p.rt.NetNS)
		switch {
		case tt.want == 0 && err != nil:
			t.Errorf("CHECK with %q: %v: %s", tt.prev, err, out)
		case tt.want != 0 && (err == nil || code(t, out) != tt.want):
			t.Errorf("CHECK with %q: %v: %s, want code %d", tt.prev, err, out, tt.want)
		}
	}
}
