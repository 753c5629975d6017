package bgp

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/podroute/podroute/bgp/bmp"
	"github.com/podroute/podroute/internal/prefixmap"
)

// table is what the neighbours have said of every prefix, and which of it is best. It hands out what has
// changed since the last time.
//
// What the import policy rejects is kept, too: when filters change, it is judged again, and nobody has to be
// asked for it. Routes are many and sets of best paths few, so sets are interned: a route holds a pointer, two
// routes with the same paths hold the same one, and what a set means to the reader is worked out once.
type table struct {
	changed chan struct{}
	agenda  *agenda

	mu     sync.Mutex
	life   int // counts the speakers that have fed it
	routes prefixmap.Map[*route]
	sets   map[string]*pathSet
	dirty  []*route // changed since the last drain; a route stands in it once
	all    bool     // the next drain is of the whole table
	peers  map[netip.Addr]*neighbour
	own    map[netip.Prefix]bool // paths of ours
	ours   *offer
	max    int // paths a route
	// stations are told what neighbours say; keep: there are some, or may be when they are back.
	stations *bmp.Exporter
	keep     bool
	near     vicinity
	key      []byte      // scratch
	field    []candidate // scratch
}

// route is a prefix: what is said of it, by whom, which of that is best, and what the reader was told.
type route struct {
	prefix    netip.Prefix
	paths     []candidate // in the order of the neighbours' addresses, ours first
	now, told *pathSet
	queued    bool
	first     [1]candidate // where paths begins: mostly there is one
}

// member is one path of a set: a neighbour and a next hop. A path of ours has neither.
type member struct {
	peer netip.Addr
	hop  netip.Addr
	// lingers: see lingering.
	lingers bool
}

// pathSet is a set of paths in the order of their neighbours. Its members never change.
type pathSet struct {
	key     string
	members []member
	routes  int // that hold it; at zero it is forgotten
	via     []Via
}

func newTable(changed chan struct{}, a *agenda) *table {
	t := &table{
		changed: changed, agenda: a, routes: prefixmap.New[*route](), sets: map[string]*pathSet{},
		all: true, peers: map[netip.Addr]*neighbour{}, own: map[netip.Prefix]bool{}, ours: ourOffer(), max: 1,
	}
	t.stations = bmp.New(bmp.Options{Source: t})
	return t
}

// signal makes an empty, coalescing event.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// release lets go of a set.
func (t *table) release(s *pathSet) {
	if s == nil {
		return
	}
	if s.routes--; s.routes == 0 {
		delete(t.sets, s.key)
	}
}

// setOf is the set of these paths; nil where there are none. It mostly exists already.
func (t *table) setOf(cs []candidate) *pathSet {
	if len(cs) == 0 {
		return nil
	}
	if s := cs[0].with.alone; len(cs) == 1 && s != nil && s.routes > 0 {
		return s
	}
	cs = canonical(cs)
	t.key = t.key[:0]
	for _, c := range cs {
		t.key = c.member().append(t.key)
	}
	s := t.sets[string(t.key)]
	if s == nil {
		s = &pathSet{key: string(t.key)}
		for _, c := range cs {
			s.members = append(s.members, c.member())
		}
		s.via = t.viaOf(s.members)
		t.sets[s.key] = s
	}
	if len(cs) == 1 {
		cs[0].with.alone = s
	}
	return s
}

func (c candidate) member() member {
	if c.from == nil {
		return member{}
	}
	return member{peer: c.from.addr, hop: c.with.hop, lingers: c.lingers}
}

// append writes a member in a form of its own, as a part of a set's key.
func (m member) append(b []byte) []byte {
	if m.lingers {
		b = append(b, '~')
	}
	for _, a := range []netip.Addr{m.peer, m.hop} {
		raw, zone := a.AsSlice(), a.Zone()
		b = append(b, byte(len(raw)), byte(len(zone)))
		b = append(b, raw...)
		b = append(b, zone...)
	}
	return b
}

// viaOf is what a set means to the reader: nothing where a path of ours is in it, because that is better
// than all that neighbours say.
func (t *table) viaOf(members []member) []Via {
	var out []Via
	members = slices.Clone(members)
	slices.SortStableFunc(members, func(a, b member) int { return int(boolTo1(a.lingers)) - int(boolTo1(b.lingers)) })
	for _, m := range members {
		if !m.peer.IsValid() {
			return nil
		}
		via := Via{Addr: m.hop, Leaving: m.lingers}
		if n := t.peers[m.peer]; n != nil {
			via.Peer = n.name
		}
		if len(out) < t.max && !slices.ContainsFunc(out, func(v Via) bool { return v.Addr == m.hop }) {
			out = append(out, via)
		}
	}
	return out
}

func (s *pathSet) vias() []Via {
	if s == nil {
		return nil
	}
	return s.via
}

// drain returns what has changed since the last drain.
func (t *table) drain() (changes []Learned, all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all {
		t.all = false
		for r := range t.routes.All() {
			if !r.queued { // the queued ones follow below
				r.queued = true
				t.dirty = append(t.dirty, r)
			}
			r.told = nil
		}
		all = true
	}
	changes = make([]Learned, 0, len(t.dirty))
	for _, r := range t.dirty {
		r.queued = false
		if len(r.paths) == 0 {
			t.routes.Delete(r.prefix)
		}
		if now, told := r.now.vias(), r.told.vias(); !slices.Equal(now, told) {
			changes = append(changes, Learned{Prefix: r.prefix, Via: now})
		}
		r.told = r.now
	}
	clear(t.dirty)
	t.dirty = t.dirty[:0]
	return changes, all
}

// size is how many routes there are.
func (t *table) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.routes.Len()
}

// counts are how many prefixes a neighbour has sent, and how many of them are accepted, by family.
func (t *table) counts(peer netip.Addr) (received, accepted map[Family]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	received, accepted = map[Family]int{}, map[Family]int{}
	if n := t.peers[peer]; n != nil {
		for i, fam := range []Family{IPv4, IPv6} {
			received[fam], accepted[fam] = n.received[i], n.accepted[i]
		}
	}
	return received, accepted
}

// forget empties the table, for a speaker that starts anew, and returns the number of its life.
func (t *table) forget() (life int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.peers {
		t.takeLeave(n, bmp.ReasonDeconfigured, nil)
	}
	t.routes, t.sets, t.dirty, t.all = prefixmap.New[*route](), map[string]*pathSet{}, nil, true
	t.peers, t.own = map[netip.Addr]*neighbour{}, map[netip.Prefix]bool{}
	t.life++
	signal(t.changed)
	return t.life
}
