package prefixmap

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

// Map is a map from prefixes to values; make one with New.
type Map[V any] struct {
	four map[uint64]V
	six  map[netip.Prefix]V
}

// New is an empty map.
func New[V any]() Map[V] { return Map[V]{four: map[uint64]V{}, six: map[netip.Prefix]V{}} }

// word is an IPv4 prefix: its address and its length.
func word(p netip.Prefix) uint64 {
	a := p.Addr().As4()
	return uint64(binary.BigEndian.Uint32(a[:]))<<8 | uint64(p.Bits())
}

// Get returns the value of p, the zero value if there is none.
func (m Map[V]) Get(p netip.Prefix) V {
	if p.Addr().Is4() {
		return m.four[word(p)]
	}
	return m.six[p]
}

// Longest returns the value of the longest prefix that holds a, which has no zone; false if there is none. It takes a
// look at every length.
func (m Map[V]) Longest(a netip.Addr) (V, bool) {
	for bits := a.BitLen(); bits >= 0; bits-- {
		p, err := a.Prefix(bits)
		if err != nil {
			break
		}
		v, ok := m.six[p]
		if a.Is4() {
			v, ok = m.four[word(p)]
		}
		if ok {
			return v, true
		}
	}
	var none V
	return none, false
}

// Put sets the value of p.
func (m Map[V]) Put(p netip.Prefix, v V) {
	if p.Addr().Is4() {
		m.four[word(p)] = v
	} else {
		m.six[p] = v
	}
}

// Delete forgets p.
func (m Map[V]) Delete(p netip.Prefix) {
	if p.Addr().Is4() {
		delete(m.four, word(p))
	} else {
		delete(m.six, p)
	}
}

// Len is how many prefixes there are.
func (m Map[V]) Len() int { return len(m.four) + len(m.six) }

// All goes through the values in no order; the loop may put and delete some.
func (m Map[V]) All() iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, v := range m.four {
			if !yield(v) {
				return
			}
		}
		for _, v := range m.six {
			if !yield(v) {
				return
			}
		}
	}
}
