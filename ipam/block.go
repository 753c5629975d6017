package ipam

import (
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// Block is one of the node's pod subnets, and what of it is given out to whom.
type Block struct {
	Prefix netip.Prefix
	// Pool that it is of, empty where there is none.
	Pool string
	// Excluded parts are given to nobody, Reserved ones only to pods that ask for their addresses.
	Excluded, Reserved []netip.Prefix
}

// block is one prefix of the node's. Its addresses are counted by their offset from the prefix; of an
// IPv6 prefix shorter than /64, only the first /64 is given out.
type block struct {
	prefix      netip.Prefix
	pool        string
	base        uint64 // the last 64 bits of the prefix's own address
	first, last uint64 // offsets of the addresses for pods
	next        uint64 // offset at which the search for a free one begins
	// excluded and shut, which are the excluded and the reserved together, are apart and sorted.
	excluded, shut []span
	// used, of which open are not shut; and cooling ones.
	used, open, cooling uint64
	retired             bool
	busy                map[uint64]uint64 // offset/64: a bit for each of 64 addresses that is in use or cooling
}

func newBlock(p netip.Prefix, rng *rand.Rand) *block {
	b := emptyBlock(p)
	b.next = b.first + rng.Uint64()%(b.last-b.first+1)
	return b
}

func emptyBlock(p netip.Prefix) *block {
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
	return b
}

// set states what of the block is given out to whom.
func (b *block) set(s Block) {
	b.pool = s.Pool
	b.excluded = b.spans(s.Excluded)
	b.shut = b.spans(slices.Concat(s.Excluded, s.Reserved))
}

// size counts the addresses for pods, reserved ones included.
func (b *block) size() uint64 { return b.last - b.first + 1 - total(b.excluded) }

// free counts those that a pod can get without asking for them.
func (b *block) free() uint64 {
	if b.retired {
		return 0
	}
	return b.last - b.first + 1 - total(b.shut) - b.open
}

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

// has tells whether an address is among those that are given out, if only to who asks.
func (b *block) has(a netip.Addr) bool {
	o, ok := b.offset(a)
	return ok && !within(b.excluded, o)
}

// gives tells whether an address is given to pods that do not ask for it.
func (b *block) gives(a netip.Addr) bool {
	o, ok := b.offset(a)
	return ok && !b.retired && !within(b.shut, o)
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

// take notes that an address is in use, or with -1 that it is not any more.
func (b *block) take(a netip.Addr, n int) {
	b.used += uint64(n)
	if o, ok := b.offset(a); ok && !within(b.shut, o) {
		b.open += uint64(n)
	}
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

// find finds the next address that is neither in use nor cooling nor shut, going round.
func (b *block) find() (netip.Addr, bool) {
	if b.retired {
		return netip.Addr{}, false
	}
	o, ok := b.clear(b.next)
	if !ok {
		o, ok = b.clear(b.first)
	}
	return b.at(o), ok
}

// clear finds the first address at or after an offset that is not busy and not shut.
func (b *block) clear(from uint64) (uint64, bool) {
	for {
		o, ok := b.idle(from)
		if !ok {
			return 0, false
		}
		s, shut := holding(b.shut, o)
		if !shut {
			return o, true
		}
		if s.last >= b.last {
			return 0, false
		}
		from = s.last + 1
	}
}

// idle finds the first clear bit at or after an offset.
func (b *block) idle(from uint64) (uint64, bool) {
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

// Size counts the addresses of a block that pods may have, reserved ones included; math.MaxUint64 stands for
// that many or more.
func (s Block) Size() uint64 {
	b := emptyBlock(s.Prefix)
	b.set(s)
	return b.size()
}
