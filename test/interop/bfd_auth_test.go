package interop

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// TestInteropBFDAuthentication: with the router's method and key BFD comes up, and a silent router is lost; with another key
// it does not, and BGP goes on without.
func TestInteropBFDAuthentication(t *testing.T) {
	t.Parallel()
	f := liveness("BFD with keyed MD5 and SHA1, meticulous and not")
	f.Lacks = maps.Clone(f.Lacks)
	f.Lacks[routers.FRR] = "bfdd, docs.frrouting.org, BFD: its peer and profile configuration has no authentication"
	f.Each(t, func(t *testing.T, kind routers.Kind) {
		for method, bird := range map[string]string{
			"KeyedMD5": "keyed md5", "MeticulousKeyedMD5": "meticulous keyed md5", "KeyedSHA1": "keyed sha1", "MeticulousKeyedSHA1": "meticulous keyed sha1",
		} {
			t.Run(method, func(t *testing.T) {
				t.Parallel()
				const secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: bfd, namespace: kube-system}\nstringData: {right: a shared key, wrong: another key}\n"
				spec := "  bfd: {transmitInterval: 50ms, receiveInterval: 50ms, detectMultiplier: 3, authentication: {method: " + method + ", keyID: 7, key: {secretRef: {name: bfd, key: %s}}}}\n"
				o := rackOptions{kind: kind, nodes: 1, spared: true}
				o.router = func(c *routers.Config) {
					for i := range c.Neighbors {
						c.Neighbors[i].BFD = &routers.BFD{Interval: 50, Multiplier: 3, Method: bird, Key: "a shared key", KeyID: 7}
					}
				}
				r := newRack(t, o)
				n := r.nodes[0]
				set := func(key string) {
					t.Helper()
					o.peer = fmt.Sprintf(spec, key)
					n.configure(t, "rack.yaml", rackManifests(o, 1)+secret)
				}
				set("wrong")
				nstest.Within(t, waitSession, func() error {
					s := n.session(t, "tor")
					if s.BFD.State != "Down" || !strings.Contains(n.table(t), "does not match our key") {
						return fmt.Errorf("BFD with another key: %+v\n%s", s, n.table(t))
					}
					return nil
				})
				r.exchanged(t, 1)
				set("right")
				r.alive(t)
				if s := n.session(t, "tor"); !s.BFD.Signed {
					t.Errorf("podroute peers does not say that BFD is authenticated: %+v", s.BFD)
				}
				end := silence(t, r.tor)
				inKernel(t, n, outside[0], 0)
				end()
				r.router.Established(waitSession)
				r.alive(t)
				isUp(t, r.router, netip.MustParseAddr("10.0.1.1"))
				r.exchanged(t, 1)
			})
		}
	})
}
