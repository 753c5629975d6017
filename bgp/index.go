package bgp

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

// index finds routes by their prefixes. IPv4 prefixes fit a word, and a map of words takes half the time.
type index struct {
	four map[uint64]*route
	six  map[netip.Prefix]*route
}

func newIndex() index { return index{four: map[uint64]*route{}, six: map[netip.Prefix]*route{}} }

// word is an IPv4 prefix: its address and its length.
func word(p netip.Prefix) uint64 {
	a := p.Addr().As4()
	return uint64(binary.BigEndian.Uint32(a[:]))<<8 | uint64(p.Bits())
}

func (x index) get(p netip.Prefix) *route {
	if p.Addr().Is4() {
		return x.four[word(p)]
	}
	return x.six[p]
}

func (x index) put(r *route) {
	if r.prefix.Addr().Is4() {
		x.four[word(r.prefix)] = r
	} else {
		x.six[r.prefix] = r
	}
}

func (x index) remove(p netip.Prefix) {
	if p.Addr().Is4() {
		delete(x.four, word(p))
	} else {
		delete(x.six, p)
	}
}

func (x index) size() int { return len(x.four) + len(x.six) }

// all goes through the routes in no order; the loop may put and remove some.
func (x index) all() iter.Seq[*route] {
	return func(yield func(*route) bool) {
		for _, r := range x.four {
			if !yield(r) {
				return
			}
		}
		for _, r := range x.six {
			if !yield(r) {
				return
			}
		}
	}
}
