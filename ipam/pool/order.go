package pool

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"iter"
	"net/netip"
	"slices"

	"github.com/podroute/podroute/ipam"
)

// mostTries bounds a walk. A pool of more blocks, which only IPv6 ones are, is not seen whole; one in which a
// million tries at random find nothing is full.
const mostTries = 1 << 20

// blocks are the candidates for a node's next block, but for taken ones.
func (v Pool) blocks(node string, taken []netip.Prefix) iter.Seq[netip.Prefix] {
	within := v.CIDR
	if v.Range.IsValid() {
		within = v.Range
	}
	known := newIndex(taken)
	return func(yield func(netip.Prefix) bool) {
		for p := range walk(within, v.BlockSize, node+"\x00"+v.Name) {
			if known.overlaps(p) || v.empty(p) {
				continue
			}
			if !yield(p) {
				return
			}
		}
	}
}

// ranges are the candidates for a value's range. Other values' are found out by trying.
func (v Pool) ranges() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for p := range walk(v.CIDR, v.RangeSize, v.Value+"\x00"+v.Name) {
			if !v.empty(p) && !yield(p) {
				return
			}
		}
	}
}

// empty tells whether nothing of a prefix is given out to pods that do not ask for an address.
func (v Pool) empty(p netip.Prefix) bool {
	if len(v.Excluded) == 0 && len(v.Reserved) == 0 {
		return false
	}
	shut := slices.Concat(v.Excluded, v.Reserved)
	if slices.ContainsFunc(shut, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) }) {
		return true
	}
	return p.Bits() == v.BlockSize && ipam.Block{Prefix: p, Excluded: shut}.Size() == 0
}

// walk yields the prefixes of a length inside a wider one, each once, in an order of the seed's own: i-th is
// start + i*step modulo their number, which is a power of two, so that any odd step leads to all of
// them. Where there are more than 2^64, it is those at a distance of 2^n from one another.
func walk(within netip.Prefix, bits int, seed string) iter.Seq[netip.Prefix] {
	width := bits - within.Bits()
	index := min(width, 64)
	var mask uint64
	if index > 0 {
		mask = ^uint64(0) >> (64 - index)
	}
	start, step := hash("start\x00"+seed), hash("step\x00"+seed)|1
	shift := 128 - bits + width - index
	if within.Addr().Is4() {
		shift -= 96
	}
	return func(yield func(netip.Prefix) bool) {
		for i := range uint64(mostTries) {
			if i > mask || !yield(nth(within, bits, (start+i*step)&mask, shift)) {
				return
			}
		}
	}
}

// nth is the prefix of a length whose address is that of within with n, shifted to the left, put in.
func nth(within netip.Prefix, bits int, n uint64, shift int) netip.Prefix {
	a := within.Addr().As16()
	high, low := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	if shift < 64 {
		low |= n << shift
		high |= n >> (64 - shift) // nothing for a shift of 0
	} else {
		high |= n << (shift - 64)
	}
	binary.BigEndian.PutUint64(a[:8], high)
	binary.BigEndian.PutUint64(a[8:], low)
	addr := netip.AddrFrom16(a)
	if within.Addr().Is4() {
		addr = addr.Unmap()
	}
	return netip.PrefixFrom(addr, bits)
}

// hash is FNV-1a, mixed so that every bit of it depends on every bit of the text.
func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// index finds overlaps among prefixes.
type index []netip.Prefix // sorted, none inside another

func newIndex(ps []netip.Prefix) index {
	ps = slices.Clone(ps)
	slices.SortFunc(ps, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var x index
	for _, p := range ps {
		if n := len(x); n == 0 || !x[n-1].Overlaps(p) {
			x = append(x, p)
		}
	}
	return x
}

// overlaps looks at the two prefixes between which p belongs: the one before may hold p, the one after may
// lie inside it.
func (x index) overlaps(p netip.Prefix) bool {
	i, _ := slices.BinarySearchFunc(x, p.Addr(), func(q netip.Prefix, a netip.Addr) int { return q.Addr().Compare(a) })
	return i < len(x) && x[i].Overlaps(p) || i > 0 && x[i-1].Overlaps(p)
}
