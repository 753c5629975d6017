package routes

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// stranger is another program with a socket of its own.
type stranger struct {
	*conn
	reader *FIB
}

// tell sends one message; the kernel may refuse it.
func (s *stranger) tell(t *rapid.T, encode func(w *writer)) {
	err := s.do(t.Context(), 1, func(w *writer, _ int) { encode(w) }, func(int, error) {})
	if err != nil {
		t.Fatal(err)
	}
}

// TestProperty: whatever is desired in turn, and whatever a stranger deletes, adds and replaces in
// between, after every Set or Update the kernel has what is desired, once, foreign routes are as the
// stranger left them, and another Set sends nothing.
func TestProperty(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		s := &stranger{reader: w.open(t, Options{})}
		err := w.Do(func() (err error) {
			s.conn, err = dial()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		rapid.Check(t, func(t *rapid.T) {
			p := &property{w: w, s: s, desired: map[netip.Prefix]Route{}, foreign: map[netip.Prefix]bool{}}
			p.clear(t) // what a run that failed has left
			t.Repeat(map[string]func(*rapid.T){
				"set": p.set, "update": p.update, "restart": p.restart, "delete": p.delete, "foreign": p.addForeign,
				"forge": p.forge, "": func(*rapid.T) {}, "object": p.object,
				"merge": func(t *rapid.T) { p.w.fib.merge(t.Context()) },
			})
			p.settle(t)
		})
	})
}

type property struct {
	w       *world
	s       *stranger
	desired map[netip.Prefix]Route
	foreign map[netip.Prefix]bool // with our metric
}

func (p *property) dst(t *rapid.T) netip.Prefix {
	i := rapid.IntRange(0, 5).Draw(t, "dst")
	if rapid.Bool().Draw(t, "IPv6") {
		return netip.MustParsePrefix(fmt.Sprintf("fd09:%d::/64", i))
	}
	return netip.MustParsePrefix(fmt.Sprintf("10.9.%d.0/24", i))
}

func (p *property) route(t *rapid.T) Route {
	r := Route{Dst: p.dst(t)}
	n := rapid.IntRange(0, 3).Draw(t, "next hops")
	for range n {
		link, host := rapid.IntRange(0, 1).Draw(t, "link"), rapid.IntRange(2, 3).Draw(t, "host")
		h := p.w.via(link, fmt.Sprintf("10.0.%d.%d", link, host))
		if r.Dst.Addr().Is6() || rapid.IntRange(0, 4).Draw(t, "IPv6 next hop") == 0 {
			h = p.w.via(link, fmt.Sprintf("fd00:%d::%d", link, host))
		}
		h.Weight = rapid.IntRange(1, 2).Draw(t, "weight")
		if !slices.ContainsFunc(r.NextHops, func(x NextHop) bool { return x.Addr == h.Addr }) {
			r.NextHops = append(r.NextHops, h)
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "buckets") == 0 {
		r.Hashing = Hashing{Buckets: rapid.IntRange(2, 3).Draw(t, "how many"), Idle: time.Duration(rapid.IntRange(1, 2).Draw(t, "idle")) * time.Second}
	}
	if r.Unreachable = n == 0; n > 0 && rapid.IntRange(0, 3).Draw(t, "source") == 0 {
		r.Src = addr("10.0.1.1")
		if r.Dst.Addr().Is6() {
			r.Src = addr("fd00:1::1")
		}
	}
	return r
}

func (p *property) routes(t *rapid.T, most int) []Route {
	var all []Route
	for range rapid.IntRange(0, most).Draw(t, "routes") {
		all = append(all, p.route(t))
	}
	return all
}

func (p *property) set(t *rapid.T) {
	clear(p.desired)
	all := p.routes(t, 8)
	for _, r := range all {
		p.desired[r.Dst] = r
	}
	p.verify(t, p.w.fib.Set(t.Context(), Desired{Routes: all}))
}

func (p *property) update(t *rapid.T) {
	changed := p.routes(t, 3)
	var gone []netip.Prefix
	for range rapid.IntRange(0, 3).Draw(t, "gone") {
		gone = append(gone, p.dst(t))
	}
	for _, d := range gone {
		delete(p.desired, d)
	}
	for _, r := range changed {
		p.desired[r.Dst] = r
	}
	// An Update answers for its own routes only; what it makes good besides is seen by the check.
	err := p.w.fib.Update(t.Context(), changed, gone)
	if len(p.foreign) > 0 && p.w.fib.inline {
		p.settle(t)
		return
	}
	p.verify(t, err)
}

// restart is a new process, which hears what is desired from others before it removes anything.
func (p *property) restart(t *rapid.T) {
	p.w.fib.mu.Lock()
	p.w.fib.table, p.w.fib.sets, p.w.fib.image, p.w.fib.dirty, p.w.fib.keep = newTable(), newSets(), newImage(0), true, true
	p.w.fib.round, p.w.fib.lost = 0, nil
	p.w.fib.mu.Unlock()
	for _, r := range p.all() {
		err := p.w.fib.Update(t.Context(), []Route{r}, nil)
		if err != nil && !errors.Is(err, errForeign) {
			t.Fatal(err)
		}
	}
	p.settle(t)
}

func (p *property) settle(t *rapid.T) {
	p.verify(t, p.w.fib.Set(t.Context(), Desired{Routes: p.all()}))
}

func (p *property) all() []Route {
	var all []Route
	for _, r := range p.desired {
		all = append(all, r)
	}
	return all
}

// delete removes a route of ours by hand.
func (p *property) delete(t *rapid.T) {
	d := p.dst(t)
	p.s.tell(t, func(w *writer) {
		routeHead(w, unix.RTM_DELROUTE, 0, d, unix.RTN_UNSPEC, unix.RT_SCOPE_NOWHERE)
		w.end()
	})
}

// forge adds a route with our marks that is none of ours, or puts it in place of ours.
func (p *property) forge(t *rapid.T) {
	flags := rapid.SampledFrom([]uint16{unix.NLM_F_APPEND, unix.NLM_F_REPLACE, 0}).Draw(t, "flags")
	r := p.route(t)
	if len(p.foreign) > 0 {
		return // a replacement could hit those
	}
	members := []member{}
	for _, h := range r.NextHops {
		m, err := newMember(h, r.Dst.Addr().Is4())
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, m)
	}
	p.s.tell(t, func(w *writer) {
		addRoute(w, flags, r.Dst, &group{set: &set{unreachable: r.Unreachable, members: members}})
	})
}

// addForeign adds a route of another protocol with our metric, beside ours or in its place.
func (p *property) addForeign(t *rapid.T) {
	d := p.dst(t)
	if p.foreign[d] {
		return
	}
	flags := rapid.SampledFrom([]uint16{unix.NLM_F_APPEND, unix.NLM_F_REPLACE, unix.NLM_F_EXCL}).Draw(t, "flags")
	ok := true
	err := p.s.do(t.Context(), 1, func(w *writer, _ int) {
		w.begin(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|flags)
		w.raw(familyOf(d.Addr()), byte(d.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_LINK, unix.RTN_UNICAST, 0, 0, 0, 0)
		w.addr(unix.RTA_DST, d.Addr())
		w.u32(unix.RTA_PRIORITY, metric)
		w.u32(unix.RTA_OIF, uint32(p.w.link["up0"])) // no gateway: IPv6 would join it with a forged route to one
		w.end()
	}, func(int, error) { ok = false })
	if err != nil {
		t.Fatal(err)
	}
	if ok {
		p.foreign[d] = true
	}
}

// object deletes a nexthop object or a group of ours.
func (p *property) object(t *rapid.T) {
	objects, err := dumpObjects(t.Context(), p.s.conn)
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) > 0 {
		o := rapid.SampledFrom(objects).Draw(t, "object")
		p.s.tell(t, func(w *writer) { deleteObject(w, o.id) })
	}
}

// verify compares the kernel with what is desired.
func (p *property) verify(t *rapid.T, err error) {
	t.Helper()
	refused := map[netip.Prefix]bool{}
	var errs Errors
	if err != nil && !errors.As(err, &errs) {
		t.Fatal(err)
	}
	for _, e := range errs {
		var r *RouteError
		if !errors.As(e, &r) || !errors.Is(e, errForeign) || !p.foreign[r.Dst] || !p.w.fib.inline {
			t.Fatalf("error %v", e)
		}
		refused[r.Dst] = true
	}
	var want, got []string
	for _, r := range p.desired {
		if !refused[r.Dst] {
			want = append(want, p.w.text(r))
		}
	}
	installed, err := p.s.reader.Installed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range installed {
		if !refused[r.Dst] {
			got = append(got, p.w.text(r.Route))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := gocmp.Diff(strings.Join(want, "\n"), strings.Join(got, "\n")); diff != "" {
		t.Fatalf("routes in the kernel (-want +got):\n%s", diff)
	}
	p.survivors(t)
	before := p.w.sent()
	again := p.w.fib.Set(t.Context(), Desired{Routes: p.all()})
	if n := p.w.sent() - before; n > len(refused) || (again == nil) != (len(refused) == 0) {
		t.Fatalf("the second Set sends %d messages and returns %v", n, again)
	}
}

// survivors compares the foreign routes with what the stranger made.
func (p *property) survivors(t *rapid.T) {
	t.Helper()
	if diff := gocmp.Diff(names(p.foreign), names(p.strange(t))); diff != "" {
		t.Fatalf("foreign routes (-want +got):\n%s", diff)
	}
}

// strange lists the stranger's routes in the kernel.
func (p *property) strange(t *rapid.T) map[netip.Prefix]bool {
	left := map[netip.Prefix]bool{}
	err := dumpRoutes(t.Context(), p.s.conn, unix.RTPROT_STATIC, false, func(r routeMessage, _ []byte) int {
		left[r.dst] = true
		return 0
	}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func names(m map[netip.Prefix]bool) []string {
	var all []string
	for p := range m {
		all = append(all, p.String())
	}
	slices.Sort(all)
	return all
}

// clear removes all routes, foreign ones too.
func (p *property) clear(t *rapid.T) {
	for d := range p.strange(t) {
		p.s.tell(t, func(w *writer) {
			w.begin(unix.RTM_DELROUTE, 0)
			w.raw(familyOf(d.Addr()), byte(d.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_NOWHERE, 0, 0, 0, 0, 0)
			w.addr(unix.RTA_DST, d.Addr())
			w.u32(unix.RTA_PRIORITY, metric)
			w.end()
		})
	}
	if err := p.w.fib.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
}
