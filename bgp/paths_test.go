package bgp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// TestManyPaths: of five thousand paths one comes or goes. The neighbour is told of that one, and of no other.
func TestManyPaths(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	const count = 5000
	var all []Path
	for i := range count {
		all = append(all, Path{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32), Peers: []string{"tor"}, Communities: []string{"65002:7"},
		})
	}
	p, c := speak(t, us, func(c *Config) { c.Paths = all }, passive())
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	p.established("tor")
	hasAll := func(n int) {
		t.Helper()
		nstest.Within(t, 20*time.Second, func() error {
			if got := len(r.told()); got != n {
				return fmt.Errorf("told %d, want %d", got, n)
			}
			return nil
		})
	}
	hasAll(count)
	for _, change := range []struct {
		name  string
		paths []Path
	}{{"one is gone", all[:count-1]}, {"nothing", all[:count-1]}, {"one is back", all}} {
		r.heard()
		c.Paths = change.paths
		start := time.Now()
		p.set(c)
		took := time.Since(start)
		hasAll(len(change.paths))
		t.Logf("%s: set in %v", change.name, took)
		time.Sleep(time.Second)
		if n := r.heard(); n > 1 {
			t.Errorf("%s: the neighbour heard of %d prefixes", change.name, n)
		}
	}
}
