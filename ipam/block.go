package ipam

import (
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
)

// block is one prefix of the node's. Its addresses are counted by their offset from the prefix; of an
// IPv6 prefix shorter than /64, only the first /64 is given out.
type block struct {
	prefix        netip.Prefix
	base          uint64 // the last 64 bits of the prefix's own address
	first, last   uint64 // offsets of the addresses for pods
	next          uint64 // offset at which the search for a free one begins
	used, cooling uint64
	busy          map[uint64]uint64 // offset/64: a bit for each of 64 addresses that is in use or cooling
}

func newBlock(p netip.Prefix, rng *rand.Rand) *block {
	b := &block{prefix: p.Masked(), busy: map[uint64]uint64{}}
	b.base = low(b.prefix.Addr())
	host := min(p.Addr().BitLen()-p.Bits(), 64)
	b.last = math.MaxUint64 >> (64 - host)
	if host > 1 {
		b.first = 1
		if p.Addr().Is4() {
			b.last--
		}
	}
	b.next = b.first + rng.Uint64()%b.size()
	return b
}

// size counts the addresses for pods.
func (b *block) size() uint64 { return b.last - b.first + 1 }

// low is an address's last 64 bits.
func low(a netip.Addr) uint64 {
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}

// offset finds an address in the block; false if it is not among those that are given out.
func (b *block) offset(a netip.Addr) (uint64, bool) {
	o := low(a) - b.base
	return o, b.prefix.Contains(a) && b.at(o) == a && o >= b.first && o <= b.last
}

// has tells whether an address is among those that are given out.
func (b *block) has(a netip.Addr) bool {
	_, ok := b.offset(a)
	return ok
}

// at is the address at an offset.
func (b *block) at(o uint64) netip.Addr {
	a := b.prefix.Addr().As16()
	binary.BigEndian.PutUint64(a[8:], b.base+o)
	if b.prefix.Addr().Is4() {
		return netip.AddrFrom16(a).Unmap()
	}
	return netip.AddrFrom16(a)
}

// mark notes whether an address is in use or cooling, or neither.
func (b *block) mark(a netip.Addr, busy bool) {
	o, ok := b.offset(a)
	if !ok {
		return
	}
	word, bit := o/64, uint64(1)<<(o%64)
	if busy {
		b.busy[word] |= bit
	} else if b.busy[word] &^= bit; b.busy[word] == 0 {
		delete(b.busy, word)
	}
}

// free finds the next address that is neither in use nor cooling, going round.
func (b *block) free() (netip.Addr, bool) {
	o, ok := b.clear(b.next)
	if !ok {
		o, ok = b.clear(b.first)
	}
	return b.at(o), ok
}

// clear finds the first clear bit at or after an offset.
func (b *block) clear(from uint64) (uint64, bool) {
	skip := uint64(1)<<(from%64) - 1
	for word := from / 64; ; word++ {
		if v := b.busy[word] | skip; v != math.MaxUint64 {
			o := word*64 + uint64(bits.TrailingZeros64(^v))
			return o, o <= b.last
		}
		if word == b.last/64 {
			return 0, false
		}
		skip = 0
	}
}

// pass moves the cursor behind an address that was given out.
func (b *block) pass(a netip.Addr) {
	o, ok := b.offset(a)
	switch {
	case !ok:
	case o == b.last:
		b.next = b.first
	default:
		b.next = o + 1
	}
}
