package routes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// hop is a nexthop object of ours.
type hop struct {
	id  uint32
	key hopKey
}

// share is a member of a group in the kernel.
type share struct {
	hop    *hop
	weight int
}

// group is a nexthop group of ours, or with id 0 the form that is written out in each route.
type group struct {
	id   uint32
	hash Hashing // as the kernel has it
	set  *set    // nil where it cannot be understood: it is left as soon as possible
	live []share // its members, sorted as in the set; fewer than the set's while a next hop is refused
	refs int     // entries that have it

	move movement
}

// short reports whether the group lacks members of its set.
func (g *group) short() bool { return g.id != 0 && g.set != nil && len(g.live) < len(g.set.members) }

// stray is a route with our marks that no entry has: a second one for a destination, or one in a
// form that we never ask for.
type stray struct {
	dst   netip.Prefix
	group *group
	raw   []byte // the message that tells of it, where the group does not say it all
}

// image is the kernel's state as far as it is ours; what each destination has is in the table.
type image struct {
	hops   map[hopKey]*hop
	byID   map[uint32]*hop   // all of ours, also a second one with the same key
	groups map[uint32]*group // all of ours
	taken  map[uint32]bool   // ids of our range in use, whoever uses them
	links  map[int]int       // links our next hops use, and how many do
	strays []stray
	alien  map[netip.Prefix]bool // destinations of foreign routes with our metric; known where routes are written out
	last   uint32                // id given out last
	loose  bool                  // some object may have lost its last user
}

func newImage(last uint32) image {
	return image{
		hops: map[hopKey]*hop{}, byID: map[uint32]*hop{}, groups: map[uint32]*group{}, taken: map[uint32]bool{},
		links: map[int]int{}, alien: map[netip.Prefix]bool{}, last: max(last, idBase), loose: true,
	}
}

// nextID finds an id that nobody uses. It is not used again soon: an event about the object that had
// it before may still be on its way.
func (m *image) nextID() uint32 {
	for {
		m.last++
		if m.last >= idEnd {
			m.last = idBase + 1
		}
		if !m.taken[m.last] {
			m.taken[m.last] = true
			return m.last
		}
	}
}

func (m *image) addHop(h *hop) {
	m.byID[h.id] = h
	m.links[h.key.link]++
	if m.hops[h.key] == nil {
		m.hops[h.key] = h
	}
}

func (m *image) dropHop(h *hop) {
	delete(m.byID, h.id)
	delete(m.taken, h.id)
	if m.links[h.key.link]--; m.links[h.key.link] == 0 {
		delete(m.links, h.key.link)
	}
	if m.hops[h.key] == h {
		delete(m.hops, h.key)
	}
}

// rebuild makes the image anew from dumps. What is desired is known by then, so that of two routes to
// one destination the right one is kept.
func (f *FIB) rebuild(ctx context.Context) error {
	f.dirty = true // until all has been read
	if len(f.seen.links) == 0 {
		if err := f.look(ctx); err != nil {
			return err
		}
	}
	var objects []objectMessage
	if !f.inline {
		var err error
		if objects, err = dumpObjects(ctx, f.conn); err != nil {
			return err
		}
	}
	var proto byte = protocol
	if f.inline {
		proto = 0
	}
	found, err := f.dumpOurs(ctx, proto)
	if err != nil {
		return err
	}
	f.image = newImage(f.image.last)
	for _, s := range f.sets.all {
		s.groups = nil
	}
	f.table.each(func(e *entry) { e.have = nil })
	f.adoptObjects(objects)
	for i := range found {
		f.adoptRoute(&found[i])
	}
	for _, g := range f.image.groups {
		f.bind(g, form{}) // those without routes
	}
	f.dirty, f.check, f.lost = false, false, nil
	return nil
}

// dumpObjects reads all nexthop objects.
func dumpObjects(ctx context.Context, c *conn) ([]objectMessage, error) {
	var all []objectMessage
	err := c.dump(ctx, getObjects, func() { all = all[:0] }, func(typ uint16, body []byte) {
		if o, ok := parseObject(body); ok && typ == unix.RTM_NEWNEXTHOP {
			all = append(all, o)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("dump of nexthop objects: %w", err)
	}
	return all, nil
}

// found is a route as a dump has it.
type found struct {
	routeMessage
	raw []byte // set where it may take all of the message to delete the route
}

// dumpOurs reads the routes that matter to the image.
func (f *FIB) dumpOurs(ctx context.Context, proto byte) ([]found, error) {
	var all []found
	err := dumpRoutes(ctx, f.conn, proto, f.inline, func(r routeMessage, body []byte) int {
		if r.metric != metric {
			return len(all)
		}
		x := found{routeMessage: r}
		x.odd = r.odd || (r.id == 0) != (f.inline || r.kind == unix.RTN_UNREACHABLE)
		if x.odd || f.inline {
			x.raw = slices.Clone(body)
		}
		all = append(all, x)
		return len(all)
	}, func(n int) { all = all[:n] })
	return all, err
}

// dumpRoutes reads the main table of both families: one protocol's routes, or all for 0. It gives
// each, which returns how many it has, and calls back to a number of them when a dump starts again.
func dumpRoutes(ctx context.Context, c *conn, proto byte, withHops bool, each func(r routeMessage, body []byte) int, back func(n int)) error {
	n := 0
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		before := n
		err := c.dump(ctx, func(w *writer) { getRoutes(w, family, proto) }, func() { back(before) },
			func(typ uint16, body []byte) {
				if typ != unix.RTM_NEWROUTE || len(body) == 0 || body[0] != family {
					return
				}
				r, ok := parseRoute(body, withHops)
				if ok && (proto == 0 || r.protocol == proto) {
					n = each(r, body)
				}
			})
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EAFNOSUPPORT) { // no table yet; no IPv6
			return fmt.Errorf("dump of routes: %w", err)
		}
	}
	return nil
}

// adoptObjects takes over the nexthop objects of ours that an earlier process left, with their ids.
func (f *FIB) adoptObjects(objects []objectMessage) {
	m := &f.image
	for _, o := range objects {
		if !inRange(o.id) {
			continue
		}
		m.taken[o.id] = true
		m.last = max(m.last, o.id)
		if o.ours() && o.group == nil && !o.odd {
			m.addHop(&hop{o.id, o.key})
		}
	}
	for _, o := range objects {
		if !o.ours() || o.group == nil && !o.odd {
			continue
		}
		g := &group{id: o.id, hash: o.hashing}
		m.groups[o.id] = g // what is odd and no group is kept here too: it is to be left and removed
		for _, x := range o.group {
			if h := m.byID[x.id]; h != nil {
				g.live = append(g.live, share{h, x.weight})
			}
		}
		if o.odd || len(g.live) < len(o.group) {
			g.live = nil // not understood
		}
		slices.SortFunc(g.live, func(a, b share) int { return compareMembers(member{a.hop.key, 0}, member{b.hop.key, 0}) })
	}
}

// bind tells an adopted group its set, which the first route that has it completes with the source and, where there is
// hashing, itself.
func (f *FIB) bind(g *group, of form) {
	if g.set != nil || len(g.live) == 0 {
		return
	}
	f.sets.members = f.sets.members[:0]
	for _, s := range g.live {
		f.sets.members = append(f.sets.members, member{s.hop.key, s.weight})
	}
	if of.hashing = g.hash; of.hashing.Buckets == 0 {
		of.dst = netip.Prefix{}
	}
	s := f.sets.intern(of)
	if len(s.members) < len(g.live) {
		g.live = nil // one next hop twice: not of our making
		return
	}
	g.set = s
	s.groups = append(s.groups, g)
}

// adoptRoute takes a route that a dump has found into the image.
func (f *FIB) adoptRoute(r *found) {
	if !r.ours() {
		f.image.alien[r.dst] = true
		return
	}
	g := f.groupOf(r)
	if g == nil {
		x := stray{dst: r.dst, raw: r.raw}
		if x.raw == nil {
			x.group = &group{id: r.id} // not one of ours, or not with this source
		}
		f.image.strays = append(f.image.strays, x)
		return
	}
	e := f.table.add(r.dst)
	switch {
	case e.have == nil:
		e.setHave(g)
	case e.want != nil && g.set == e.want && !e.right():
		f.image.strays = append(f.image.strays, stray{dst: r.dst, group: e.have})
		e.setHave(g)
	default:
		f.image.strays = append(f.image.strays, stray{dst: r.dst, group: g, raw: r.raw})
	}
}

// groupOf finds what a route of ours leads to; nil where it is in a form that we do not ask for.
func (f *FIB) groupOf(r *found) *group {
	switch {
	case r.odd && r.id == 0:
		return nil
	case r.kind == unix.RTN_UNREACHABLE:
		return f.plain(f.sets.unreachable())
	case r.kind != unix.RTN_UNICAST:
		return nil
	case f.inline:
		return f.writtenOut(r)
	}
	g := f.image.groups[r.id]
	if g == nil || r.odd {
		return nil
	}
	f.bind(g, form{src: r.src, dst: r.dst})
	if g.set != nil && (g.set.src != r.src || g.set.dst.IsValid() && g.set.dst != r.dst) {
		return nil
	}
	return g
}

// writtenOut finds the set of a route that has its next hops in itself.
func (f *FIB) writtenOut(r *found) *group {
	f.sets.members = f.sets.members[:0]
	for _, n := range r.hops {
		m, err := newMember(n, r.dst.Addr().Is4())
		if err != nil {
			return nil
		}
		f.sets.members = append(f.sets.members, m)
		f.image.links[m.link]++
	}
	if len(r.hops) == 0 {
		return nil
	}
	return f.plain(f.sets.intern(form{src: r.src}))
}

// plain is the group of a set that is written out in each route.
func (f *FIB) plain(s *set) *group {
	for _, g := range s.groups {
		if g.id == 0 {
			return g
		}
	}
	g := &group{set: s}
	s.groups = append(s.groups, g)
	return g
}

// verify compares the nexthop objects with the image, and condemns the image where they differ.
func (f *FIB) verify(ctx context.Context) error {
	if f.inline {
		f.check, f.dirty = false, true
		return nil
	}
	objects, err := dumpObjects(ctx, f.conn)
	if err != nil {
		return err
	}
	f.check = false
	known := 0
	for _, o := range objects {
		if !o.ours() {
			continue
		}
		if !f.image.has(&o) {
			f.dirty = true
			return nil
		}
		known++
	}
	f.dirty = known != len(f.image.byID)+len(f.image.groups)
	return nil
}

// has reports whether an object is as the image has it.
func (m *image) has(o *objectMessage) bool {
	if g := m.groups[o.id]; g != nil && g.set == nil {
		return true // not understood in the first place
	}
	if o.group == nil {
		h := m.byID[o.id]
		return h != nil && h.key == o.key && !o.odd
	}
	g := m.groups[o.id]
	if g == nil || len(g.live) != len(o.group) || g.hash != o.hashing {
		return false
	}
	for _, x := range o.group {
		if !slices.ContainsFunc(g.live, func(s share) bool { return s.hop.id == x.id && s.weight == x.weight }) {
			return false
		}
	}
	return true
}
