package ipam

import (
	"net/netip"
	"slices"
)

// choose picks one address a family that the blocks have, and changes nothing.
func (a *Allocator) choose(want []netip.Addr) ([]netip.Addr, error) {
	if len(a.blocks) == 0 {
		return nil, ErrNoBlocks
	}
	var chosen []netip.Addr
	asked := map[bool]bool{}
	for _, w := range want {
		if err := a.grantable(w); err != nil {
			return nil, err
		}
		if asked[w.Is4()] {
			return nil, &RequestError{w, "is the second of its family: a pod has one address a family"}
		}
		asked[w.Is4()] = true
		chosen = append(chosen, w)
	}
	for _, four := range []bool{true, false} {
		of := func(b *block) bool { return b.prefix.Addr().Is4() == four }
		if asked[four] || !slices.ContainsFunc(a.blocks, of) {
			continue
		}
		addr, ok := a.free(of)
		if !ok {
			family := "IPv6"
			if four {
				family = "IPv4"
			}
			return nil, &ExhaustedError{Family: family, Blocks: a.usage(of)}
		}
		chosen = append(chosen, addr)
	}
	slices.SortFunc(chosen, netip.Addr.Compare) // IPv4 sorts before IPv6
	return chosen, nil
}

// grantable judges a request for one address.
func (a *Allocator) grantable(w netip.Addr) error {
	b := a.blockOf(w)
	switch {
	case b == nil:
		return &RequestError{w, "is in none of the node's pod subnets"}
	case !b.has(w):
		return &RequestError{w, "is not one for pods in " + b.prefix.String()}
	case a.count[w] > 0:
		return &RequestError{w, "is in use by another pod"}
	}
	return nil
}

// free finds a free address in the blocks that of selects: a rested one or, where there is none, the
// one that was freed longest ago.
func (a *Allocator) free(of func(*block) bool) (netip.Addr, bool) {
	for _, b := range a.blocks {
		if !of(b) {
			continue
		}
		if addr, ok := b.free(); ok {
			return addr, true
		}
	}
	for r := range a.rest.all() {
		if of(a.blockOf(r.addr)) {
			return r.addr, true
		}
	}
	return netip.Addr{}, false
}

// blockOf finds the block that an address is in, the first where blocks overlap.
func (a *Allocator) blockOf(addr netip.Addr) *block {
	for _, b := range a.blocks {
		if b.prefix.Contains(addr) {
			return b
		}
	}
	return nil
}
