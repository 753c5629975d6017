package ipam

import (
	"container/list"
	"iter"
	"net/netip"
	"time"
)

// cooling holds freed addresses in the order in which they were freed. All rest equally long, so that
// is also the order in which their rest ends.
type cooling struct {
	order *list.List // of rested
	at    map[netip.Addr]*list.Element
}

type rested struct {
	addr  netip.Addr
	until time.Time
}

func newCooling() cooling {
	return cooling{order: list.New(), at: map[netip.Addr]*list.Element{}}
}

func (c *cooling) add(a netip.Addr, until time.Time) {
	c.remove(a)
	c.at[a] = c.order.PushBack(rested{a, until})
}

// remove tells whether there was anything to remove.
func (c *cooling) remove(a netip.Addr) bool {
	e := c.at[a]
	if e == nil {
		return false
	}
	c.order.Remove(e)
	delete(c.at, a)
	return true
}

// all walks from the longest freed; the current one may be removed on the way.
func (c *cooling) all() iter.Seq[rested] {
	return func(yield func(rested) bool) {
		for e := c.order.Front(); e != nil; {
			next := e.Next()
			if !yield(e.Value.(rested)) {
				return
			}
			e = next
		}
	}
}
