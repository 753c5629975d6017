package bgp

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// What gobgp's log says of the sessions' routes, word for word. See docs/adr/0008 for why it is the log that is
// asked. The handler is called by the goroutine that reads from the neighbour, before it goes on: the order is that
// of the wire, and a neighbour that sends faster than we take in waits.
const (
	saysUp        = "Peer Up"
	saysDown      = "Peer Down"
	saysMalformed = "the received Update message was treated as withdraw"
	saysUpdate    = "received update"
	saysUnknown   = "Can't find configuration for a new passive connection"
	saysSent      = "sent update"
	saysStillborn = "failed to send keepalive on outgoing connection"
)

// voice is who speaks in gobgp's log: a neighbour, each time anew that it is added.
type voice struct {
	life int // of the table
	peer netip.Addr
	born time.Time
}

// hear takes in a message of gobgp's log about a neighbour, and says whether it was an UPDATE. Those of an
// earlier life are late, and so is what is said of a neighbour as it was before it was removed and added again:
// gobgp does not wait for the end of the session with one that it removes.
func (t *table) hear(v voice, r slog.Record) bool {
	switch r.Message {
	case saysUpdate, saysUp, saysDown, saysMalformed:
	default:
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.peers[v.peer]
	if n == nil || v.life != t.life || v.born.Before(n.from) {
		return r.Message == saysUpdate
	}
	switch r.Message {
	case saysUp:
		n.live, n.asWithdraw = true, false
		n.session++
	case saysDown:
		n.live = false
	case saysMalformed:
		n.asWithdraw = true
		n.malformed++
	case saysUpdate:
		u := updateOf(r)
		if n.asWithdraw {
			n.asWithdraw = false
			u = u.withdrawal()
		}
		if n.live {
			t.take(n, u)
			t.retell(n, u)
		}
	}
	return r.Message == saysUpdate
}

// received is an UPDATE (RFC 4271 section 4.3, RFC 4760).
type received struct {
	withdrawn, unreached, announced, reached []gobgp.PathNLRI
	attrs                                    []gobgp.PathAttributeInterface
}

// updateOf is the UPDATE that a log record carries.
func updateOf(r slog.Record) received {
	var u received
	r.Attrs(func(a slog.Attr) bool {
		switch v := a.Value.Any().(type) {
		case []gobgp.PathNLRI:
			if a.Key == "withdrawals" {
				u.withdrawn = v
			} else {
				u.announced = v
			}
		case []gobgp.PathAttributeInterface:
			u.attrs = v
		}
		return true
	})
	for _, a := range u.attrs {
		switch a := a.(type) {
		case *gobgp.PathAttributeMpReachNLRI:
			u.reached = a.Value
		case *gobgp.PathAttributeMpUnreachNLRI:
			u.unreached = a.Value
		}
	}
	return u
}

// withdrawal takes back all that u names.
func (u received) withdrawal() received {
	return received{withdrawn: slices.Concat(u.withdrawn, u.announced), unreached: slices.Concat(u.unreached, u.reached)}
}

// take brings an UPDATE into the table. A prefix that it both withdraws and announces is announced
// (RFC 4271 section 4.3).
func (t *table) take(n *neighbour, u received) {
	for _, list := range [][]gobgp.PathNLRI{u.withdrawn, u.unreached} {
		for _, x := range list {
			if p, ok := prefixOf(x); ok {
				t.update(n, p, x.ID, nil)
			}
		}
	}
	if len(u.announced)+len(u.reached) == 0 {
		return
	}
	o := n.read(u.attrs)
	if o.same(n.last) {
		o = n.last
	}
	n.last, n.said = o, nil
	if t.keep {
		n.said = saidOf(u, time.Now())
	}
	for _, list := range [][]gobgp.PathNLRI{u.announced, u.reached} {
		for _, x := range list {
			if p, ok := prefixOf(x); ok {
				t.update(n, p, x.ID, o)
			}
		}
	}
}

func prefixOf(x gobgp.PathNLRI) (netip.Prefix, bool) {
	n, ok := x.NLRI.(*gobgp.IPAddrPrefix)
	if !ok {
		return netip.Prefix{}, false
	}
	return n.Prefix.Masked(), true
}

// update notes what a neighbour says of a prefix; nothing: it takes it back. It may say several things at once, which it tells apart by
// path identifiers (RFC 7911); where that is not agreed on, they are 0.
func (t *table) update(n *neighbour, p netip.Prefix, id uint32, o *offer) {
	r := t.routes.Get(p)
	if r == nil {
		if o == nil {
			return
		}
		r = &route{prefix: p}
		r.paths = r.first[:0]
		t.routes.Put(p, r)
	}
	i := slices.IndexFunc(r.paths, func(c candidate) bool { return c.from == n && c.id == id })
	switch {
	case o == nil && i < 0:
		return
	case o == nil:
		t.count(n, p, -1)
		n.recount(p, r.paths[i].accepted, false)
		if r.paths[i].missed {
			n.missed--
		}
		r.paths = slices.Delete(r.paths, i, i+1)
		t.choose(r)
		return
	case i < 0:
		i = 0
		for i < len(r.paths) && r.paths[i].before(n, id) {
			i++
		}
		r.paths = slices.Insert(r.paths, i, candidate{from: n, id: id})
		t.count(n, p, 1)
	}
	c := &r.paths[i]
	was := c.accepted
	c.with, c.said, c.session, c.accepted, c.far, c.aged = o, n.said, n.session, n.accepts(p, o), t.far(n, o.hop), false
	n.recount(p, was, c.accepted)
	c.loops = !c.accepted && n.turnsAway(p, o)
	t.choose(r)
}

// choose works out anew which paths of a route are best, and queues it for the reader if others are.
func (t *table) choose(r *route) {
	t.tally(r)
	t.field = best(append(t.field[:0], r.paths...))
	t.field = append(t.field, lingering(r.paths, t.field)...)
	next := t.setOf(t.field)
	if next != r.now {
		if next != nil {
			next.routes++
		}
		t.release(r.now)
		r.now = next
		if !r.queued {
			r.queued = true
			t.dirty = append(t.dirty, r)
			signal(t.changed)
		}
	}
	if len(r.paths) == 0 && !r.queued {
		t.routes.Delete(r.prefix)
	}
}

// drop takes away what a neighbour said in the families that are not kept, and in sessions before this one.
func (t *table) drop(n *neighbour, before uint32, kept map[Family]bool) {
	if n.empty() {
		return
	}
	for r := range t.routes.All() {
		if kept[familyOf(r.prefix.Addr())] {
			continue
		}
		for i := len(r.paths) - 1; i >= 0; i-- {
			if c := r.paths[i]; c.from == n && c.session < before {
				t.update(n, r.prefix, c.id, nil)
			}
		}
	}
}

// ended takes away the routes of a session that has ended, but for the families that are kept (RFC 4724 section 4.2).
// Meanwhile the next one may have begun.
func (t *table) ended(peer netip.Addr, kept map[Family]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.peers[peer]; n != nil {
		before := n.session
		if !n.live {
			before++
		}
		t.drop(n, before, kept)
	}
}

// age makes what a neighbour's earlier sessions have left behind the last choice. What carries NO_LLGR goes, if strict (RFC 9494 section 4.2).
func (t *table) age(peer netip.Addr, strict bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.peers[peer]
	if n == nil || n.empty() {
		return
	}
	for r := range t.routes.All() {
		for i := len(r.paths) - 1; i >= 0; i-- {
			switch c := &r.paths[i]; {
			case c.from != n || n.live && c.session == n.session:
			case strict && c.with.short:
				t.update(n, r.prefix, c.id, nil)
			case !c.aged:
				c.aged = true
				t.choose(r)
			}
		}
	}
}

// confirmed takes away what a neighbour that has restarted did not say again.
func (t *table) confirmed(peer netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.peers[peer]; n != nil {
		t.drop(n, n.session, nil)
	}
}

// heed is for a neighbour that is added to gobgp or removed: only who is added after that is heard.
func (t *table) heed(peer netip.Addr, from time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.peers[peer]; n != nil {
		n.from, n.live = from, false
	}
}

// silence takes away all that a neighbour has said, and lets it say no more until its next session.
func (t *table) silence(peer netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.peers[peer]; n != nil {
		n.live = false
		t.drop(n, n.session+1, nil)
	}
}
