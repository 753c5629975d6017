package routers

import (
	"fmt"
	"net/netip"
	"slices"
)

// Reset ends the session with a neighbour by a NOTIFICATION: a Hard Reset (RFC 8538; FRR only), or one over which routes are kept (gobgpd, too).
func (r *Router) Reset(neighbor netip.Addr, hard bool) {
	r.t.Helper()
	i := slices.IndexFunc(r.conf.Neighbors, func(n Neighbor) bool { return n.Address == neighbor })
	n := r.conf.Neighbors[i]
	var err error
	switch d := r.d.(type) {
	case *frr:
		err = d.reset(r.conf, n, hard)
	case *gobgpd:
		err = d.bounce(n)
	default:
		err = fmt.Errorf("cannot reset %v", neighbor)
	}
	if err != nil {
		r.t.Fatalf("%s: %v", r.kind, err)
	}
}

func (f *frr) reset(c Config, n Neighbor, hard bool) error {
	no := "no "
	if hard {
		no = ""
	}
	if _, err := f.vtysh("bgpd", "configure terminal", fmt.Sprintf("router bgp %d", c.AS), no+"bgp hard-administrative-reset"); err != nil {
		return err
	}
	_, err := f.show("clear bgp " + zoneless(n))
	return err
}

// bounce disables and enables a neighbour: after a reset gobgpd refuses all connections.
func (g *gobgpd) bounce(n Neighbor) error {
	if _, err := g.gobgp("neighbor", n.Address.String(), "disable"); err != nil {
		return err
	}
	_, err := g.gobgp("neighbor", n.Address.String(), "enable")
	return err
}

// longLived is the time for which routes of a neighbour are kept that is back late (RFC 9494), as each daemon wants it said.
func (f *frr) longLived(c Config) string {
	for _, n := range c.Neighbors {
		if n.LongLived > 0 {
			return fmt.Sprintf(" bgp long-lived-graceful-restart stale-time %d\n", n.LongLived)
		}
	}
	return ""
}

func (b *bird) longLived(n Neighbor) string {
	if n.LongLived == 0 {
		return ""
	}
	return fmt.Sprintf("  long lived graceful restart on;\n  long lived stale time %d;\n", n.LongLived)
}

func (g *gobgpd) longLived(n Neighbor) (neighbor, family string) {
	if n.LongLived == 0 {
		return "", ""
	}
	return "    long-lived-enabled = true\n", fmt.Sprintf("    [neighbors.afi-safis.long-lived-graceful-restart.config]\n      enabled = true\n      restart-time = %d\n", n.LongLived)
}
