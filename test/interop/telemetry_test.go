package interop

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// table is what podroute peers says to people.
func (n *node) table(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(n.bin+"/podroute", "peers", "--run-dir", n.dir+"/run").CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	return string(out)
}

// TestInteropTelemetry: what a session has come to is told as it is: prefixes received, accepted and advertised,
// losses, and the last one by the name of its NOTIFICATION with the message of the router's administrator.
func TestInteropTelemetry(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "telemetry: prefixes, flaps, and the NOTIFICATION with its name in the RFCs and its message (RFC 9003)"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1, peer: "  import: {reject: [{cidr: 10.244.78.0/24}]}\n"}
		r := newRack(t, o)
		n := r.nodes[0]
		r.router.Announce(append([]netip.Prefix{netip.MustParsePrefix("10.244.78.0/24"), netip.MustParsePrefix("10.244.79.0/24")}, outside...)...)
		r.exchanged(t, 1)
		inKernel(t, n, netip.MustParsePrefix("10.244.79.0/24"), 1)
		nstest.Within(t, waitRoute, func() error {
			f := n.session(t, "tor").Families[0]
			if f.Accepted < 2 || f.Received <= f.Accepted || f.Advertised != 1 {
				return fmt.Errorf("counts of IPv4 are %+v", f)
			}
			return nil
		})
		const message = "back at noon"
		r.router.Shutdown(netip.MustParseAddr("10.0.1.1"), message)
		want := `Cease, Administrative Shutdown: "` + message + `"`
		if kind == routers.FRR {
			want = "Cease, Hard Reset: " + want // it has RFC 8538, and means that its routes shall go
		}
		want = "the neighbour sent NOTIFICATION: " + want
		nstest.Within(t, waitRoute, func() error {
			if s := n.session(t, "tor"); s.LastDown != want || s.Flaps != 1 {
				return fmt.Errorf("want %s, have %+v", want, s)
			}
			return nil
		})
		if text := n.table(t); !strings.Contains(text, "FLAPS") {
			t.Errorf("podroute peers says\n%s", text)
		}
	})
}

// TestInteropBadAS: the two ends disagree about an AS number; who says so first is named, and what it says.
func TestInteropBadAS(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, feature  string
		asNumber, ours uint32 // of the router as we have it, and of us as the router has it
		want           string
	}{
		{"router", "telemetry: a router with another AS number than configured is named (Bad Peer AS)", 65009, 64601, "OPEN Message Error, Bad Peer AS"},
		{"node", "telemetry: a router that takes us for another AS refuses our OPEN, and is named", torAS, 64609, "the neighbour refused our OPEN: it may have another AS number for us"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			routers.Feature{Name: x.feature}.Each(t, func(t *testing.T, kind routers.Kind) {
				tor, n := nstest.New(t), newNode(t, "n1")
				nstest.Veth(t, tor, "port", n.NS, "eth0")
				tor.Run(t, "ip addr add 10.0.1.0/31 dev port")
				n.Run(t, "ip addr add 10.0.1.1/31 dev eth0")
				routers.Start(t, tor, kind, routers.Config{
					AS: torAS, RouterID: netip.MustParseAddr("10.255.0.1"),
					Neighbors: []routers.Neighbor{{Address: netip.MustParseAddr("10.0.1.1"), AS: x.ours, OwnFamily: true}},
				})
				n.configure(t, "as.yaml", fmt.Sprintf(`
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec: {asNumber: 64601, mesh: None, clusterCIDRs: [10.244.0.0/16], nodeCIDRs: [10.0.0.0/16]}
---
apiVersion: podroute.io/v1alpha1
kind: BGPPeer
metadata: {name: tor}
spec: {address: 10.0.1.0, asNumber: %d, families: [IPv4]}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 10.0.1.1}]}
`, x.asNumber))
				n.start(t)
				nstest.Within(t, waitSession, func() error {
					all, err := n.sessions()
					if err == nil && (len(all) != 1 || all[0].State == "Established" || !strings.Contains(all[0].LastError, x.want)) {
						err = fmt.Errorf("want %s, have %+v", x.want, all)
					}
					return err
				})
			})
		})
	}
}
