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
		want := `the neighbour sent NOTIFICATION: Cease, Administrative Shutdown: "` + message + `"`
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
