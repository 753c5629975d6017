package interop

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// TestInteropListener: a node that listens on no port, and calls; one that listens on another, where the router calls it.
func TestInteropListener(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		feature, config, peer string
		port                  int
		listens               string
	}{
		{"sessions: without a listener of ours", "  listenPort: -1\n", "", 0, ""},
		{"sessions: we listen on another port, and are called there", "  listenPort: 1790\n", "  passive: true\n", 1790, ":1790 "},
	} {
		t.Run(fmt.Sprint(x.port), func(t *testing.T) {
			t.Parallel()
			routers.Feature{Name: x.feature}.Each(t, func(t *testing.T, kind routers.Kind) {
				r := newRack(t, rackOptions{kind: kind, nodes: 1, config: x.config, peer: x.peer, router: func(c *routers.Config) {
					for i := range c.Neighbors {
						c.Neighbors[i].Port = x.port
					}
				}})
				r.exchanged(t, 1)
				out := r.nodes[0].Run(t, "ss -Hltn")
				if strings.Contains(out, ":179 ") || !strings.Contains(out, x.listens) {
					t.Errorf("the node listens at\n%s", out)
				}
			})
		})
	}
}

// TestInteropLongAS: AS numbers that do not fit into two bytes, at both ends, in AS paths, filters and communities.
func TestInteropLongAS(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: AS numbers of four bytes at both ends, in AS paths, filters and communities (RFC 6793)"}.Each(t, func(t *testing.T, kind routers.Kind) {
		const node, tor = 4200000000, 4294967294
		o := rackOptions{
			kind: kind, nodes: 1, as: node,
			rewrite: func(m string) string { return strings.ReplaceAll(m, "asNumber: 65001", fmt.Sprint("asNumber: ", tor)) },
			router: func(c *routers.Config) {
				c.AS, c.Tags = tor, routers.Tags{Large: []string{"4200000000:4294967295:1"}, Prepend: 1}
			},
		}
		r := newRack(t, o)
		n := r.nodes[0]
		r.exchanged(t, 1)
		before := n.snapshot(t)
		n.configure(t, "pods.yaml", "apiVersion: podroute.io/v1alpha1\nkind: Advertisement\nmetadata: {name: pods}\nspec: {podSubnets: true, communities: [\"4200000000:1:2\"], prepend: 1}\n")
		r.told(t, func(a routers.Attributes) error {
			if !slices.Equal(a.ASPath, []uint32{node, node}) || !slices.Equal(a.Large, []string{"4200000000:1:2"}) {
				return errors.New("want 4200000000 twice, and in a large community")
			}
			return nil
		})
		for _, x := range []struct {
			filter string
			links  int
		}{
			{`{reject: [{asPath: {neighbor: 4294967294, origin: 4294967294, maxLength: 2}}]}`, 0},
			{`{reject: [{asPath: {contains: 4294967293}}]}`, 1},
			{`{reject: [{communities: ["4200000000:4294967295:*"]}]}`, 0},
			{`{only: true, accept: [{asPath: {origin: 4294967294}}]}`, 1},
		} {
			o.peer = "  import: " + x.filter + "\n"
			n.configure(t, "rack.yaml", rackManifests(o, 1))
			inKernel(t, n, outside[0], x.links)
			inKernel(t, n, outside[1], x.links)
		}
		n.unmoved(t, before)
		// A community with such a number is refused, with the way to say it; what was in force stays.
		n.configure(t, "pods.yaml", "apiVersion: podroute.io/v1alpha1\nkind: Advertisement\nmetadata: {name: pods}\nspec: {podSubnets: true, communities: [\"4200000000:1\"]}\n")
		nstest.Within(t, waitRoute, func() error {
			out, err := n.ask("status")
			if err == nil && !strings.Contains(string(out), "4200000000:0:1") {
				err = fmt.Errorf("the community is not refused: %s", out)
			}
			return err
		})
		r.exchanged(t, 1)
	})
}
