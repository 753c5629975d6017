package routes

import (
	"errors"
	"fmt"

	"github.com/podroute/podroute/internal/failpoint"
	"golang.org/x/sys/unix"
)

// add puts routes beside what is there: NLM_F_APPEND goes behind a route of the same metric, ours or
// foreign, and replaces none.
func (t *turn) add() error {
	dead := t.f.plain(t.f.sets.unreachable())
	adds := make([]*entry, 0, len(t.work))
	targets := make([]*group, 0, len(t.work))
	for _, e := range t.work {
		switch {
		case e.right() && !t.merging: // its group became the set it wants
		case e.want == nil:
			t.take(e, nil)
		case e.want.unreachable:
			adds, targets = append(adds, e), append(targets, dead)
		case len(e.want.groups) > 0:
			adds, targets = append(adds, e), append(targets, e.want.groups[0])
		default:
			t.errs = append(t.errs, &RouteError{e.dst, t.failed[e.want]})
		}
	}
	refused := map[int]error{}
	err := t.f.conn.do(t.ctx, len(adds), func(w *writer, i int) {
		addRoute(w, unix.NLM_F_APPEND, adds[i].dst, targets[i])
	}, func(i int, err error) { refused[i] = err })
	if err != nil {
		return err
	}
	for i, e := range adds {
		if err := refused[i]; err != nil {
			t.refuse(e, err)
			continue
		}
		t.take(e, targets[i])
	}
	failpoint.Hit("routes.added")
	return nil
}

// addWrittenOut does the same without groups. IPv6 would join an appended route with a foreign one of
// the same metric to one route of two next hops. So a route goes in and is replaced only where no
// foreign one is known, and a new one must be the only one.
func (t *turn) addWrittenOut() error {
	var adds []addition
	for _, e := range t.work {
		switch {
		case e.right():
		case e.want == nil:
			t.take(e, nil)
		case t.f.image.alien[e.dst]:
			t.errs = append(t.errs, &RouteError{e.dst, errForeign})
		default:
			adds = append(adds, addition{e, t.f.plain(e.want)})
		}
	}
	refused, err := t.writeOut(adds)
	if err != nil {
		return err
	}
	// A next hop on a link that is down takes the others with it; leave it out.
	var lesser []addition
	for i, a := range adds {
		if refused[i] == nil {
			continue
		}
		s := t.withoutDown(a.entry.want)
		if s == nil {
			t.refuse(a.entry, refused[i])
		} else if g := t.f.plain(s); a.entry.have != g {
			lesser = append(lesser, addition{a.entry, g})
		}
	}
	refused, err = t.writeOut(lesser)
	for i, err := range refused {
		t.refuse(lesser[i].entry, err)
	}
	return err
}

// addition is an entry and what its route is to lead to.
type addition struct {
	entry *entry
	group *group
}

// writeOut sends routes with their next hops and notes those that the kernel takes.
func (t *turn) writeOut(adds []addition) (map[int]error, error) {
	refused := map[int]error{}
	err := t.f.conn.do(t.ctx, len(adds), func(w *writer, i int) {
		var flags uint16 = unix.NLM_F_EXCL
		if adds[i].entry.have != nil {
			flags = unix.NLM_F_REPLACE
		}
		addRoute(w, flags, adds[i].entry.dst, adds[i].group)
	}, func(i int, err error) { refused[i] = err })
	if err != nil {
		return nil, err
	}
	for i, a := range adds {
		if refused[i] == nil {
			a.entry.setHave(a.group)
		}
	}
	return refused, nil
}

// withoutDown is the set without the next hops on links that are down, each of which it reports; nil
// where that changes nothing or leaves nothing.
func (t *turn) withoutDown(s *set) *set {
	up := t.f.sets.members[:0]
	for _, m := range s.members {
		if t.f.seen.links[m.link].up {
			up = append(up, m)
		} else if t.refused[m.hopKey] == nil {
			e := &NextHopError{NextHop: m.nextHop(), LinkName: t.f.seen.links[m.link].name, Err: unix.ENETDOWN}
			t.refused[m.hopKey] = e
			t.errs = append(t.errs, e)
		}
	}
	t.f.sets.members = up
	if len(up) == 0 || len(up) == len(s.members) {
		return nil
	}
	return t.f.sets.intern(form{src: s.src})
}

// errForeign reports a foreign route where ours should be.
var errForeign = fmt.Errorf("a route of another program has this destination and metric %d: remove it, or give it another metric", metric)

// refuse notes that a route did not go in. The first time, the kernel may have changed in a way that
// it does not tell of.
func (t *turn) refuse(e *entry, err error) {
	if errors.Is(err, unix.EEXIST) {
		t.f.dirty = t.f.dirty || t.first
		err = fmt.Errorf("%w (%w)", errForeign, unix.EEXIST)
	}
	t.f.check = t.f.check || t.first
	t.errs = append(t.errs, &RouteError{e.dst, err})
}

// take notes that an entry has another route now, or none, and marks the one it had for removal.
func (t *turn) take(e *entry, g *group) {
	if old := e.have; old != nil {
		t.gone = append(t.gone, removal{e.dst, old})
		old.move.removed++
	}
	e.setHave(g)
	t.f.image.loose = true
	if e.want == nil && e.have == nil {
		t.f.table.drop(e)
	}
}

// remove takes away what add has replaced, what is not wanted, and strays.
func (t *turn) remove() error {
	gone := t.gone[:0]
	for _, r := range t.gone {
		if r.group.id != 0 && r.group.refs == 0 && r.group.move.removed >= few && !t.f.keep {
			continue // goes with its group, see sweep
		}
		gone = append(gone, r)
	}
	for _, r := range t.gone {
		r.group.move.removed = 0
	}
	err := t.f.conn.do(t.ctx, len(gone), func(w *writer, i int) { deleteRoute(w, gone[i].dst, gone[i].group) },
		func(i int, err error) { t.left(gone[i].dst.String(), err) })
	if err != nil {
		return err
	}
	failpoint.Hit("routes.removed")
	return t.strays()
}

// left notes that something could not be removed. That it is gone already is no fault.
func (t *turn) left(what string, err error) {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return
	}
	t.f.check = t.f.check || t.first
	if !errors.Is(err, unix.EINVAL) { // the group is gone, and so is the route
		t.f.dirty = true
		t.errs = append(t.errs, fmt.Errorf("%s is still there: %w", what, err))
	}
}

// strays removes routes that bear our marks beside the right ones.
func (t *turn) strays() error {
	var out, stay []stray
	for _, s := range t.f.image.strays {
		e := t.f.table.get(s.dst)
		unwanted := e == nil || e.want == nil
		if unwanted && t.f.keep || !unwanted && !e.right() {
			stay = append(stay, s)
			continue
		}
		out = append(out, s)
	}
	t.f.image.strays = stay
	if len(out) == 0 {
		return nil
	}
	// IPv6 finds the route to delete by its next hop, where there is one to go by, and so it may have
	// taken another one of ours: look again.
	t.f.dirty = t.f.dirty || t.first
	return t.f.conn.do(t.ctx, len(out), func(w *writer, i int) {
		if out[i].raw != nil {
			deleteFound(w, out[i].raw)
			return
		}
		deleteRoute(w, out[i].dst, out[i].group)
	}, func(i int, err error) { t.left(out[i].dst.String(), err) })
}

// sweep removes groups without routes, then nexthop objects without a group.
func (t *turn) sweep() error {
	m := &t.f.image
	if !m.loose || t.f.keep {
		return nil
	}
	var ids []uint32
	used := map[*hop]bool{}
	for id, g := range m.groups {
		if g.refs == 0 {
			ids = append(ids, id)
			delete(m.groups, id)
			delete(m.taken, id)
			if g.set != nil {
				g.set.leave(g)
			}
			continue
		}
		for _, s := range g.live {
			used[s.hop] = true
		}
	}
	for _, h := range m.byID {
		if !used[h] {
			ids = append(ids, h.id)
			m.dropHop(h)
		}
	}
	err := t.f.conn.do(t.ctx, len(ids), func(w *writer, i int) { deleteObject(w, ids[i]) },
		func(i int, err error) { t.left(fmt.Sprintf("nexthop object %d", ids[i]), err) })
	if err != nil {
		return err
	}
	m.loose = false
	failpoint.Hit("routes.swept")
	return nil
}
