package ipam

import (
	"fmt"
	"net/netip"
	"slices"
)

// Names of the families, as elsewhere in this project.
const (
	familyIPv4 = "IPv4"
	familyIPv6 = "IPv6"
)

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return familyIPv4
	}
	return familyIPv6
}

// choose picks one address a family, and changes nothing.
func (a *Allocator) choose(r Request) ([]netip.Addr, error) {
	if len(a.blocks) == 0 && len(r.Families) == 0 {
		return nil, ErrNoBlocks
	}
	var chosen []netip.Addr
	asked := map[string]bool{}
	for _, w := range r.Want {
		if err := a.grantable(r, w); err != nil {
			return nil, err
		}
		if asked[familyOf(w)] {
			return nil, &RequestError{w, "is the second of its family: a pod has one address a family"}
		}
		asked[familyOf(w)] = true
		chosen = append(chosen, w)
	}
	for _, family := range []string{familyIPv4, familyIPv6} {
		if asked[family] {
			continue
		}
		of := func(b *block) bool { return familyOf(b.prefix.Addr()) == family && r.serves(b) }
		if !slices.ContainsFunc(a.blocks, of) {
			if slices.Contains(r.Families, family) {
				return nil, fmt.Errorf("%s: %w", family, ErrNoBlocks)
			}
			continue
		}
		addr, ok := a.free(of)
		if !ok {
			return nil, &ExhaustedError{Family: family, Blocks: a.usage(of)}
		}
		chosen = append(chosen, addr)
	}
	if len(chosen) == 0 {
		return nil, ErrNoBlocks
	}
	slices.SortFunc(chosen, netip.Addr.Compare) // IPv4 sorts before IPv6
	return chosen, nil
}

// serves tells whether a block is of a pool that may serve the request.
func (r Request) serves(b *block) bool {
	return !b.retired && (r.Pools == nil || slices.Contains(r.Pools, b.pool))
}

// grantable judges a request for one address.
func (a *Allocator) grantable(r Request, w netip.Addr) error {
	b := a.blockOf(w)
	switch {
	case b == nil || b.retired:
		return &RequestError{w, "is in none of the node's pod subnets"}
	case !r.serves(b):
		return &RequestError{w, "is of the pool " + b.pool + ", which is not for pods of this namespace"}
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
		if addr, ok := b.find(); ok {
			return addr, true
		}
	}
	for r := range a.rest.all() {
		if b := a.blockOf(r.addr); of(b) && b.gives(r.addr) {
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
