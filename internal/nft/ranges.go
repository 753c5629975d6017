package nft

import (
	"encoding/hex"
	"hash/fnv"
	"net/netip"
	"slices"
)

// span is a range of addresses of one family, both ends included.
type span struct{ first, last netip.Addr }

// spans returns the ranges of a family that prefixes cover: sorted, apart from one another, with
// neighbours joined. An interval set takes nothing else.
func spans(prefixes []netip.Prefix, is4 bool) []span {
	var all []span
	for _, p := range prefixes {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.Addr().Is4() == is4 {
			all = append(all, span{p.Masked().Addr(), last(p)})
		}
	}
	slices.SortFunc(all, func(a, b span) int { return a.first.Compare(b.first) })
	var joined []span
	for _, s := range all {
		if n := len(joined); n > 0 && !joined[n-1].before(s) {
			if joined[n-1].last.Less(s.last) {
				joined[n-1].last = s.last
			}
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// before reports whether s ends before o begins, with at least one address between them.
func (s span) before(o span) bool {
	next := s.last.Next()
	return next.IsValid() && next.Less(o.first)
}

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// digest is a short name for a content: eight hexadecimal digits.
func digest(s []span) string {
	h := fnv.New32a()
	for _, r := range s {
		_, _ = h.Write(r.first.AsSlice())
		_, _ = h.Write(r.last.AsSlice())
	}
	return hex.EncodeToString(h.Sum(nil))
}
