package routes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/podroute/podroute/internal/failpoint"
	"golang.org/x/sys/unix"
)

// few is a number of messages not worth a trick: fewer routes than this are moved or removed one by
// one, where a message about their group would do the same but leave two groups of one set, or leave
// other listeners without a word (the kernel does not announce IPv4 routes that go with their group).
const few = 64

// movement counts, in one turn, what becomes of the routes of a group.
type movement struct {
	leaving int  // routes that get another set or go
	moving  int  // of those, routes that get another set
	to      *set // which, if it is the same for all
	mixed   bool // it is not
	six     bool // an IPv6 route goes: while it is there the group cannot have IPv4 next hops
	removed int  // routes to take away one by one, unless the group takes them along
}

// turn brings the kernel closer to what is desired, once.
type turn struct {
	f       *FIB
	ctx     context.Context // lives as long as one call
	first   bool            // a surprise is a reason to look at the kernel again
	full    bool            // the work is all there is to do, not only what an Update asks for
	merging bool            // the work is right, but in a group too many
	work    []*entry
	refused map[hopKey]error // next hops that the kernel would not have
	failed  map[*set]error   // sets that have nothing to carry them
	gone    []removal
	errs    []error
}

// removal is a route to take away.
type removal struct {
	dst   netip.Prefix
	group *group
}

// run works through entries that are not right. An error means that the state of the kernel is
// unknown; errors of single objects are in t.errs.
func (t *turn) run() error {
	t.refused, t.failed = map[hopKey]error{}, map[*set]error{}
	steps := []func() error{t.objects, t.add, t.remove, t.sweep}
	if t.f.inline {
		steps = []func() error{t.addWrittenOut, t.remove}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			t.f.dirty = true
			return err
		}
	}
	return nil
}

// place decides which groups become another set where they are, so that their routes need no message.
//
// After a surprise no group does: whatever is in the way then, single routes can be moved.
func (t *turn) place() map[*group]*set {
	if !t.first {
		return nil
	}
	var touched []*group
	for _, e := range t.work {
		g := e.have
		if g == nil || g.id == 0 || g.set == e.want {
			continue
		}
		m := &g.move
		if m.leaving == 0 {
			touched = append(touched, g)
		}
		m.leaving++
		if e.want == nil {
			m.six = m.six || e.dst.Addr().Is6()
			continue
		}
		if m.moving++; m.moving == 1 {
			m.to = e.want
		}
		m.mixed = m.mixed || m.to != e.want
	}
	placed := map[*group]*set{}
	claimed := map[*set]bool{}
	for _, g := range touched {
		m := &g.move
		if g.set == nil || m.moving == 0 || m.mixed || m.leaving < g.refs || m.six && m.to.four() || m.to.unreachable || m.to.src != g.set.src || m.to.hashing.Buckets != g.hash.Buckets {
			continue // the source is in the routes, not in the group; and the kernel changes no group's kind or buckets
		}
		if m.moving >= few || !claimed[m.to] && len(m.to.groups) == 0 {
			placed[g] = m.to
			claimed[m.to] = true
		}
	}
	for _, g := range touched {
		g.move = movement{}
	}
	return placed
}

// objects makes the nexthop objects and groups that the work needs.
func (t *turn) objects() error {
	placed := t.place()
	groupless, served := map[*set]bool{}, map[*set]bool{}
	for _, s := range placed {
		served[s] = true
	}
	var last *set
	for _, e := range t.work {
		s := e.want
		if s == nil || s == last || s.unreachable || served[s] || groupless[s] {
			continue
		}
		last = s
		if !slices.ContainsFunc(s.groups, func(g *group) bool { return placed[g] == nil }) {
			groupless[s] = true
		}
	}
	var short []*group
	for _, g := range t.f.image.groups {
		if t.full && g.short() && g.set.wanted > 0 && placed[g] == nil {
			short = append(short, g) // its next hop may be there by now
		}
	}
	if err := t.hops(placed, groupless, short); err != nil {
		return err
	}
	failpoint.Hit("routes.nexthops")
	if err := t.groups(placed, groupless, short); err != nil {
		return err
	}
	failpoint.Hit("routes.groups")
	return nil
}

// hops makes the missing nexthop objects of sets.
func (t *turn) hops(placed map[*group]*set, groupless map[*set]bool, short []*group) error {
	m := &t.f.image
	var made []*hop
	need := func(s *set) {
		for _, x := range s.members {
			if m.hops[x.hopKey] == nil {
				h := &hop{m.nextID(), x.hopKey}
				m.addHop(h)
				made = append(made, h)
			}
		}
	}
	for _, s := range placed {
		need(s)
	}
	for s := range groupless {
		need(s)
	}
	for _, g := range short {
		need(g.set)
	}
	return t.f.conn.do(t.ctx, len(made), func(w *writer, i int) { addHop(w, made[i]) }, func(i int, err error) {
		h := made[i]
		m.dropHop(h)
		if errors.Is(err, unix.EEXIST) { // someone else took the id meanwhile
			m.taken[h.id] = true
			t.f.dirty = t.f.dirty || t.first
		}
		e := &NextHopError{NextHop: h.key.nextHop(), LinkName: t.f.seen.links[h.key.link].name, Err: err}
		t.refused[h.key] = e
		t.errs = append(t.errs, e)
	})
}

// change is a message about a group.
type change struct {
	group *group
	set   *set
	live  []share
	flags uint16
}

// groups makes, moves and completes groups.
func (t *turn) groups(placed map[*group]*set, groupless map[*set]bool, short []*group) error {
	var changes []change
	for g, s := range placed {
		changes = t.plan(changes, g, s)
	}
	for s := range groupless {
		changes = t.plan(changes, nil, s)
	}
	for _, g := range short {
		changes = t.plan(changes, g, g.set)
	}
	refused := map[int]error{}
	err := t.f.conn.do(t.ctx, len(changes), func(w *writer, i int) {
		c := &changes[i]
		if c.group == nil {
			c.group = &group{id: t.f.image.nextID()}
			c.flags = unix.NLM_F_CREATE | unix.NLM_F_EXCL
		}
		putGroup(w, c)
	}, func(i int, err error) { refused[i] = err })
	if err != nil {
		return err
	}
	for i, c := range changes {
		if err := refused[i]; err != nil {
			t.failed[c.set] = fmt.Errorf("next hop group: %w", err)
			t.f.dirty = t.f.dirty || t.first
			continue
		}
		t.become(c.group, c.set, c.live)
	}
	return nil
}

// plan adds the message that makes a group carry a set, if it takes one; nil asks for a new group.
func (t *turn) plan(changes []change, g *group, s *set) []change {
	var live []share
	for _, x := range s.members {
		if h := t.f.image.hops[x.hopKey]; h != nil {
			live = append(live, share{h, x.weight})
		}
	}
	if len(live) == 0 {
		t.failed[s] = t.refused[s.members[0].hopKey]
		return changes
	}
	if g != nil && slices.Equal(g.live, live) && g.hash == s.hashing {
		t.become(g, s, live)
		return changes
	}
	return append(changes, change{group: g, set: s, live: live, flags: unix.NLM_F_REPLACE})
}

// become notes that a group carries a set.
func (t *turn) become(g *group, s *set, live []share) {
	g.live, g.hash = live, s.hashing
	t.f.image.groups[g.id] = g
	t.f.image.loose = true
	if g.set == s {
		return
	}
	if g.set != nil {
		g.set.leave(g)
	}
	g.set = s
	s.groups = append(s.groups, g)
}
