package routers

import (
	"fmt"
	"net/netip"
	"slices"
)

// Shutdown ends the session with a neighbour as an administrator does, with a message for the other one (RFC 9003).
func (r *Router) Shutdown(neighbor netip.Addr, message string) {
	r.t.Helper()
	i := slices.IndexFunc(r.conf.Neighbors, func(n Neighbor) bool { return n.Address == neighbor })
	if err := r.d.shutdown(r.conf.Neighbors[i], message); err != nil {
		r.t.Fatalf("%s: %v", r.kind, err)
	}
}

func (b *bird) shutdown(n Neighbor, message string) error {
	_, err := b.show(fmt.Sprintf("disable %s %q", b.protocol(n), message))
	return err
}

func (f *frr) shutdown(n Neighbor, message string) error {
	_, err := f.vtysh("bgpd", "configure terminal", fmt.Sprintf("router bgp %d", f.conf.AS), fmt.Sprintf("neighbor %v shutdown message %s", zoneless(n), message))
	return err
}

func (g *gobgpd) shutdown(n Neighbor, message string) error {
	_, err := g.gobgp("neighbor", n.Address.String(), "shutdown", "--reason", message)
	return err
}

func (o *openbgpd) shutdown(n Neighbor, message string) error {
	_, err := o.output("bgpctl", "-s", o.path("ctl"), "neighbor", n.Address.String(), "down", message)
	return err
}
