package ipam

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
)

// block is one prefix of the node's, and where the search for its next free address begins.
type block struct {
	prefix  netip.Prefix
	size    uint64 // addresses for pods; math.MaxUint64 where there are more
	next    netip.Addr
	used    uint64
	cooling uint64
}

func newBlock(p netip.Prefix, rng *rand.Rand) *block {
	p = p.Masked()
	return &block{prefix: p, size: size(p), next: randomIn(p, rng)}
}

// size counts a prefix's addresses for pods.
func size(p netip.Prefix) uint64 {
	host := p.Addr().BitLen() - p.Bits()
	switch {
	case host <= 1:
		return 1 << host
	case host >= 64:
		return math.MaxUint64
	case p.Addr().Is4():
		return 1<<host - 2
	}
	return 1<<host - 1
}

// reserved tells whether an address of the block is not for pods.
func (b *block) reserved(a netip.Addr) bool {
	if b.prefix.Addr().BitLen()-b.prefix.Bits() <= 1 {
		return false
	}
	return a == b.prefix.Addr() || a.Is4() && !b.prefix.Contains(a.Next())
}

// after is the address after a, going round at the block's end.
func (b *block) after(a netip.Addr) netip.Addr {
	if n := a.Next(); n.IsValid() && b.prefix.Contains(n) {
		return n
	}
	return b.prefix.Addr()
}

// randomIn picks any address of a prefix.
func randomIn(p netip.Prefix, rng *rand.Rand) netip.Addr {
	a := p.Addr().As16()
	var r [16]byte
	binary.BigEndian.PutUint64(r[:8], rng.Uint64())
	binary.BigEndian.PutUint64(r[8:], rng.Uint64())
	fixed := p.Bits() + 128 - p.Addr().BitLen()
	for i := range a {
		keep := min(max(fixed-8*i, 0), 8) // leading bits of this byte that belong to the prefix
		a[i] |= r[i] & byte(0xff>>keep)
	}
	if p.Addr().Is4() {
		return netip.AddrFrom16(a).Unmap()
	}
	return netip.AddrFrom16(a)
}
