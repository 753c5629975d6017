package routers

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Identity is who a neighbour says that it is in its OPEN message.
type Identity struct {
	AS uint32
	ID netip.Addr
}

// Identity is who a neighbour whose session is up says that it is.
func (r *Router) Identity(neighbor netip.Addr) (Identity, error) {
	i := slices.IndexFunc(r.conf.Neighbors, func(n Neighbor) bool { return n.Address == neighbor })
	if i < 0 {
		return Identity{}, fmt.Errorf("%s has no neighbour %v", r.kind, neighbor)
	}
	return r.d.identity(r.conf.Neighbors[i])
}

func (b *bird) identity(n Neighbor) (Identity, error) {
	out, err := b.show("show protocols all " + b.protocol(n))
	if err != nil {
		return Identity{}, err
	}
	var who Identity
	for line := range strings.Lines(out) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), ":"); key {
		case "Neighbor AS":
			who.AS = number(value)
		case "Neighbor ID":
			who.ID, err = netip.ParseAddr(strings.TrimSpace(value))
		}
	}
	return who, err
}

func (f *frr) identity(n Neighbor) (Identity, error) {
	out, err := f.show("show bgp neighbors json")
	if err != nil {
		return Identity{}, err
	}
	var all map[string]struct {
		RemoteAS       uint32
		RemoteRouterID netip.Addr
	}
	var odd *json.UnmarshalTypeError // beside the neighbours there are things of other shapes
	if err := json.Unmarshal([]byte(out), &all); err != nil && !errors.As(err, &odd) {
		return Identity{}, err
	}
	one := all[zoneless(n)]
	return Identity{AS: one.RemoteAS, ID: one.RemoteRouterID}, nil
}

func (g *gobgpd) identity(n Neighbor) (Identity, error) {
	out, err := g.gobgp("neighbor", n.Address.String())
	if err != nil {
		return Identity{}, err
	}
	var who Identity
	if m := regexp.MustCompile(`remote AS (\d+)`).FindStringSubmatch(out); m != nil {
		who.AS = number(m[1])
	}
	if m := regexp.MustCompile(`remote router ID ([\d.]+)`).FindStringSubmatch(out); m != nil {
		who.ID, err = netip.ParseAddr(m[1])
	}
	return who, err
}

func (o *openbgpd) identity(n Neighbor) (Identity, error) {
	out, err := o.bgpctl("show", "neighbor", n.Address.String())
	if err != nil {
		return Identity{}, err
	}
	var all struct {
		Neighbors []struct {
			AS string     `json:"remote_as"`
			ID netip.Addr `json:"bgpid"`
		} `json:"neighbors"`
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all.Neighbors) != 1 {
		return Identity{}, fmt.Errorf("bgpctl show neighbor: %w: %s", err, out)
	}
	return Identity{AS: number(all.Neighbors[0].AS), ID: all.Neighbors[0].ID}, nil
}

// addresses reads those that are any.
func addresses(words []string) []netip.Addr {
	var out []netip.Addr
	for _, w := range words {
		if a, err := netip.ParseAddr(w); err == nil {
			out = append(out, a)
		}
	}
	return out
}
