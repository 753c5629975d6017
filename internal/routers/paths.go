package routers

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Paths are the next hops of all paths to a prefix that the router knows, used or not, sorted.
func (r *Router) Paths(p netip.Prefix) ([]netip.Addr, error) {
	var out []netip.Addr
	var err error
	switch d := r.d.(type) {
	case *bird:
		out, err = d.paths(p)
	case *frr:
		out, err = d.paths(p)
	case *gobgpd:
		out, err = d.paths(p)
	case *openbgpd:
		out, err = d.paths(p)
	default:
		err = fmt.Errorf("%s has no paths", r.kind)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out, err
}

func (b *bird) paths(p netip.Prefix) ([]netip.Addr, error) {
	text, err := b.show(fmt.Sprintf("show route for %v", p))
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "via" {
			if hop, err := netip.ParseAddr(f[1]); err == nil {
				out = append(out, hop)
			}
		}
	}
	return out, nil
}

func (f *frr) paths(p netip.Prefix) ([]netip.Addr, error) {
	family := "ipv4"
	if p.Addr().Is6() {
		family = "ipv6"
	}
	text, err := f.show(fmt.Sprintf("show bgp %s unicast %v json", family, p))
	if err != nil {
		return nil, err
	}
	var route struct {
		Paths []struct{ Nexthops []struct{ IP netip.Addr } }
	}
	if err := json.Unmarshal([]byte(text), &route); err != nil {
		return nil, fmt.Errorf("show bgp %v: %w: %s", p, err, text)
	}
	var out []netip.Addr
	for _, x := range route.Paths {
		if len(x.Nexthops) > 0 {
			out = append(out, x.Nexthops[0].IP)
		}
	}
	return out, nil
}

func (g *gobgpd) paths(p netip.Prefix) ([]netip.Addr, error) {
	table, err := g.rib(familyFlag(p)[1])
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, x := range table[p] {
		for _, a := range x.Attrs {
			if a.Nexthop.IsValid() {
				out = append(out, a.Nexthop)
			}
		}
	}
	return out, nil
}

func (o *openbgpd) paths(p netip.Prefix) ([]netip.Addr, error) {
	all, err := o.rib(p.String())
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, x := range all {
		out = append(out, x.NextHop)
	}
	return out, nil
}
