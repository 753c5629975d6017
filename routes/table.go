package routes

import (
	"net/netip"

	"github.com/podroute/podroute/internal/prefixmap"
)

// entry is one destination: what is desired there and what the kernel has there.
type entry struct {
	dst    netip.Prefix
	want   *set   // nil: no route of ours
	have   *group // nil: no route of ours
	round  uint32 // the Set that named it last
	queued bool   // already in the work list being made
}

// right reports whether there is nothing to do.
func (e *entry) right() bool {
	if e.want == nil || e.have == nil {
		return e.want == nil && e.have == nil
	}
	return e.have.set == e.want
}

// setHave notes what the kernel has, and keeps count.
func (e *entry) setHave(g *group) {
	if e.have != nil {
		e.have.refs--
	}
	if e.have = g; g != nil {
		g.refs++
	}
}

// setWant notes what is desired, and keeps count.
func (e *entry) setWant(s *set) {
	if e.want != nil {
		e.want.wanted--
	}
	if e.want = s; s != nil {
		s.wanted++
	}
}

// table holds the entries: in chunks, so that they cost few allocations and are walked in the order
// in which they came, which is mostly the order of the prefixes and the one the kernel likes best.
type table struct {
	index  prefixmap.Map[*entry]
	chunks [][]entry
	free   []*entry
}

const chunkSize = 512

func newTable() table { return table{index: prefixmap.New[*entry]()} }

func (t *table) get(dst netip.Prefix) *entry { return t.index.Get(dst) }

// add returns the entry of dst, which is new if need be.
func (t *table) add(dst netip.Prefix) *entry {
	if e := t.get(dst); e != nil {
		return e
	}
	var e *entry
	if n := len(t.free); n > 0 {
		e, t.free = t.free[n-1], t.free[:n-1]
	} else {
		if n := len(t.chunks); n == 0 || len(t.chunks[n-1]) == chunkSize {
			t.chunks = append(t.chunks, make([]entry, 0, chunkSize))
		}
		last := &t.chunks[len(t.chunks)-1]
		*last = (*last)[:len(*last)+1]
		e = &(*last)[len(*last)-1]
	}
	*e = entry{dst: dst}
	t.index.Put(dst, e)
	return e
}

// drop forgets an entry that is empty on both sides.
func (t *table) drop(e *entry) {
	t.index.Delete(e.dst)
	*e = entry{}
	if t.index.Len() == 0 {
		*t = newTable() // a map never gives its memory back
		return
	}
	t.free = append(t.free, e)
}

// each calls f with every entry; f may drop the one it is given.
func (t *table) each(f func(e *entry)) {
	for _, c := range t.chunks {
		for i := range c {
			if c[i].dst.IsValid() {
				f(&c[i])
			}
		}
	}
}
