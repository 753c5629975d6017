package ipam

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
)

// span is a run of offsets in a block, both ends included.
type span struct{ first, last uint64 }

// spans are the parts of a block that lie in any of the prefixes: apart, and in order.
func (b *block) spans(parts []netip.Prefix) []span {
	var all []span
	for _, p := range parts {
		switch {
		case !p.IsValid() || !p.Overlaps(b.prefix):
		case p.Bits() <= b.prefix.Bits():
			all = append(all, span{b.first, b.last})
		default:
			first := low(p.Masked().Addr()) - b.base
			if b.at(first) != p.Masked().Addr() {
				continue // beyond the first /64, where nothing is given
			}
			s := span{first, first + math.MaxUint64>>(64-min(p.Addr().BitLen()-p.Bits(), 64))}
			if s = (span{max(s.first, b.first), min(s.last, b.last)}); s.first <= s.last {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	var apart []span
	for _, s := range all {
		if n := len(apart); n > 0 && s.first <= apart[n-1].last {
			apart[n-1].last = max(apart[n-1].last, s.last)
			continue
		}
		apart = append(apart, s)
	}
	return apart
}

// total counts the offsets in spans that are apart.
func total(spans []span) uint64 {
	var n uint64
	for _, s := range spans {
		n += s.last - s.first + 1
	}
	return n
}

// holding returns the span that an offset lies in.
func holding(spans []span, o uint64) (span, bool) {
	i, _ := slices.BinarySearchFunc(spans, o, func(s span, o uint64) int { return cmp.Compare(s.last, o) })
	if i < len(spans) && spans[i].first <= o {
		return spans[i], true
	}
	return span{}, false
}

func within(spans []span, o uint64) bool {
	_, ok := holding(spans, o)
	return ok
}
