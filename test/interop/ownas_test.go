package interop

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// TestInteropSharedASNumber: two nodes of one AS behind a router of another drop each other's routes, and say why and what to do,
// although the router's own routes are accepted; with allowOwnAS they say nothing.
func TestInteropSharedASNumber(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "topologies: nodes that drop one another's routes for their shared AS number say so", Lacks: map[routers.Kind]string{
		routers.GoBGP: "gobgpd sends no path to a neighbour whose AS is in it; what configuration.md has for that is replace-peer-as",
	}}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 2, as: 64601}
		r := newRack(t, o)
		n := r.nodes[0]
		nstest.Within(t, waitRoute, func() error {
			s := n.session(t, "tor")
			if s.received() == 0 || s.Families[0].Accepted == 0 {
				return fmt.Errorf("the router's own are not accepted: %+v", s)
			}
			if text := strings.Join(s.Warnings, "\n"); !strings.Contains(text, "AS number 64601") || !strings.Contains(text, "allowOwnAS: 1") {
				return fmt.Errorf("warnings of the session: %q", text)
			}
			out, err := n.ask("status")
			if err == nil && !strings.Contains(string(out), "their AS paths hold our own AS number 64601") {
				err = fmt.Errorf("status: %s", out)
			}
			return err
		})
		out, _ := exec.Command(n.bin+"/podroute", "doctor", "--run-dir", n.dir+"/run").CombinedOutput() // it exits with 1
		if !strings.Contains(string(out), "AS number 64601") {
			t.Errorf("doctor: %s", out)
		}
		o.peer = "  allowOwnAS: 1\n"
		for i, n := range r.nodes {
			n.configure(t, "rack.yaml", rackManifests(o, i+1))
		}
		nstest.Within(t, waitRoute, func() error {
			if s := n.session(t, "tor"); len(s.Warnings) > 0 {
				return fmt.Errorf("warnings of the session: %q", s.Warnings)
			}
			return nil
		})
		r.exchanged(t, 1)
	})
}
