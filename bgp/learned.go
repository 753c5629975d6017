package bgp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// table is what the neighbours have taught us: for every prefix the set of its best paths. gobgp tells of
// differences, one prefix an event; table adds them up, and hands out what has changed since the last time.
//
// Routes are many and sets of best paths few, so sets are interned: a route holds a pointer, two routes
// with the same paths hold the same one, and what a set means to the reader is worked out once.
type table struct {
	changed chan struct{}

	mu     sync.Mutex
	life   int // counts the speakers that have fed it
	routes map[netip.Prefix]*route
	sets   map[string]*pathSet
	dirty  []*route // changed since the last drain; a route stands in it once
	all    bool     // the next drain is of the whole table
	names  map[netip.Addr]string
	max    int // paths a route
	tally  tally
	key    []byte // scratch
}

// route is a prefix and its paths: what gobgp says, and what the reader was told.
type route struct {
	prefix    netip.Prefix
	now, told *pathSet
	queued    bool
}

// member is one path. Neighbour and path identifier (RFC 7911) name it; a path of ours has no neighbour.
type member struct {
	peer netip.Addr
	id   uint32
	hop  netip.Addr
}

// pathSet is a set of paths sorted by neighbour and identifier. It never changes.
type pathSet struct {
	key     string
	members []member
	routes  int // that hold it; at zero it is forgotten
	via     []Via
}

func newTable(changed chan struct{}, a *agenda) *table {
	return &table{
		tally:   newTally(a),
		changed: changed, routes: map[netip.Prefix]*route{}, sets: map[string]*pathSet{},
		all: true, names: map[netip.Addr]string{}, max: 1,
	}
}

// signal makes an empty, coalescing event.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// note takes in one event of gobgp's: the paths that joined, changed or left the best of a prefix. Events of an
// earlier life are late and are dropped.
func (t *table) note(life int, paths []*apiutil.Path) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if life != t.life {
		return
	}
	for _, p := range paths {
		if p == nil {
			continue
		}
		nlri, ok := p.Nlri.(*gobgp.IPAddrPrefix)
		if !ok {
			continue
		}
		t.update(nlri.Prefix, member{peer: p.PeerAddress, id: p.RemoteID, hop: nextHop(p)}, p.Withdrawal)
	}
}

func (t *table) update(prefix netip.Prefix, m member, gone bool) {
	r := t.routes[prefix]
	if r == nil {
		if gone {
			return
		}
		r = &route{prefix: prefix}
		t.routes[prefix] = r
	}
	next := t.changedSet(r.now, m, gone)
	if next == r.now {
		return
	}
	if by := len(next.all()) - len(r.now.all()); by != 0 {
		t.tally.add(m, prefix, by)
	}
	t.release(r.now)
	if next != nil {
		next.routes++
	}
	r.now = next
	if !r.queued {
		r.queued = true
		t.dirty = append(t.dirty, r)
		signal(t.changed)
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

// changedSet is s with one path put in, replaced or taken out; nil is the empty set.
func (t *table) changedSet(s *pathSet, m member, gone bool) *pathSet {
	var old []member
	if s != nil {
		old = s.members
	}
	i, found := slices.BinarySearchFunc(old, m, func(a, b member) int {
		if c := a.peer.Compare(b.peer); c != 0 {
			return c
		}
		return int(int64(a.id) - int64(b.id))
	})
	switch {
	case gone && !found, !gone && found && old[i] == m:
		return s
	case gone && len(old) == 1:
		return nil
	}
	// The key is built before the set, because the set mostly exists already.
	key := t.key[:0]
	for j, x := range old {
		if j == i {
			if !gone {
				key = m.append(key)
			}
			if found {
				continue
			}
		}
		key = x.append(key)
	}
	if i == len(old) {
		key = m.append(key)
	}
	t.key = key
	if known := t.sets[string(key)]; known != nil {
		return known
	}
	made := &pathSet{key: string(key)}
	switch {
	case gone:
		made.members = slices.Delete(slices.Clone(old), i, i+1)
	case found:
		made.members = slices.Clone(old)
		made.members[i] = m
	default:
		made.members = slices.Insert(slices.Clone(old), i, m)
	}
	made.via = t.viaOf(made.members)
	t.sets[made.key] = made
	return made
}

// append writes a member in a form of its own, as a part of a set's key.
func (m member) append(b []byte) []byte {
	for _, a := range []netip.Addr{m.peer, m.hop} {
		raw, zone := a.AsSlice(), a.Zone()
		b = append(b, byte(len(raw)), byte(len(zone)))
		b = append(b, raw...)
		b = append(b, zone...)
	}
	return binary.BigEndian.AppendUint32(b, m.id)
}

// viaOf is what a set means to the reader: nothing where a path of ours is in it, because that is better
// than all that neighbours say.
func (t *table) viaOf(members []member) []Via {
	var out []Via
	for _, m := range members {
		if !m.peer.IsValid() {
			return nil
		}
		via := Via{Addr: m.hop, Peer: t.names[m.peer]}
		if len(out) < t.max && !slices.ContainsFunc(out, func(v Via) bool { return v.Addr == m.hop }) {
			out = append(out, via)
		}
	}
	return out
}

func (s *pathSet) all() []member {
	if s == nil {
		return nil
	}
	return s.members
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
		for _, r := range t.routes {
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
		if r.now == nil {
			delete(t.routes, r.prefix)
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

// settings changes how sets are read, the names of the neighbours and the bound on paths, and the bounds on
// what neighbours may send. If a set now
// reads otherwise, the next drain is of the whole table.
func (t *table) settings(names map[netip.Addr]string, maxPaths int, peers []Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tally.bounds(peers)
	t.names, t.max = names, maxPaths
	for _, s := range t.sets {
		if via := t.viaOf(s.members); !slices.Equal(via, s.via) {
			s.via = via
			t.all = true
		}
	}
	if t.all {
		signal(t.changed)
	}
}

// size is how many routes there are.
func (t *table) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.routes)
}

// forget empties the table, for a speaker that starts anew, and returns the number of its life.
func (t *table) forget() (life int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.routes, t.sets, t.dirty, t.all = map[netip.Prefix]*route{}, map[string]*pathSet{}, nil, true
	clear(t.tally.held)
	t.life++
	signal(t.changed)
	return t.life
}

// nextHop is where a path leads. A link-local next hop gets the zone of the neighbour that named it, as
// RFC 2545 section 3 means it.
func nextHop(p *apiutil.Path) netip.Addr {
	for _, a := range p.Attrs {
		switch a := a.(type) {
		case *gobgp.PathAttributeNextHop:
			return a.Value
		case *gobgp.PathAttributeMpReachNLRI:
			hop := a.Nexthop
			if (!hop.IsValid() || hop.IsUnspecified()) && a.LinkLocalNexthop.IsValid() {
				hop = a.LinkLocalNexthop
			}
			if hop.IsLinkLocalUnicast() && hop.Is6() {
				return hop.WithZone(p.PeerAddress.Zone())
			}
			return hop
		}
	}
	return netip.Addr{}
}
