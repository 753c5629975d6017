package vip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/config"
)

// world is a cluster whose Services and pools change at random, and whose Plans are written, though not always whole.
type world struct {
	*rand.Rand
	state State
	made  int
}

func pick[T any](w *world, all ...T) T { return all[w.IntN(len(all))] }

// step changes something, and tells which Service's own doing it was, if it was one's.
func (w *world) step() (whose string) {
	switch n := len(w.state.Services); {
	case n < 3 || n < 40 && w.IntN(3) == 0:
		w.made++
		w.state.Services = append(w.state.Services, service(w.made, func(s *Service) {
			s.Namespace, s.Created = pick(w, "a", "b"), time.Unix(int64(w.IntN(5)), 0)
			s.Families = pick(w, []string{v4}, []string{v6}, []string{v4, v6}, []string{v6, v4})
			s.Required = len(s.Families) > 1 && w.IntN(2) == 0
			s.Unclassed = w.IntN(3) == 0
			w.ask(s)
		}))
	case w.IntN(4) == 0:
		i := w.IntN(n)
		w.state.Services = slices.Delete(w.state.Services, i, i+1)
	case w.IntN(4) == 0: // a pool
		spec := &w.state.Pools[w.IntN(len(w.state.Pools))].Spec
		spec.Disabled = w.IntN(4) == 0
		if spec.Exclusions = nil; config.FamilyOf(spec.Prefix().Addr()) == v4 {
			spec.Exclusions = pick(w, nil, []string{spec.Prefix().Addr().String() + "/30"})
		}
	default:
		s := &w.state.Services[w.IntN(n)]
		switch w.IntN(5) {
		case 0:
			s.Served = !s.Served
		case 1:
			s.Families = pick(w, []string{v4}, []string{v6}, []string{v4, v6})
			s.Required = false
		case 2: // somebody meddles with the status
			s.Held = append(slices.Clone(s.Held), w.address())
		case 3:
			s.Held = nil
		default:
			w.ask(s)
		}
		return s.Key()
	}
	return ""
}

func (w *world) ask(s *Service) {
	s.Request = Request{Key: pick(w, "", "", "k", "l")}
	s.Ports = []Port{{"TCP", int32(80 + w.IntN(3))}}
	s.Local, s.Selector = w.IntN(3) == 0, pick(w, "x", "y")
	switch w.IntN(4) {
	case 0:
		a := w.address()
		s.Request.IPs = map[string]netip.Addr{config.FamilyOf(a): a}
	case 1:
		s.Request.Pools = []string{pick(w, "p0", "p1", "p2", "p3")}
	}
}

func (w *world) address() netip.Addr {
	return mixed(pick(w, w.state.Pools...).Spec.Prefix(), []byte{15: byte(w.IntN(256))})
}

// write writes a Plan, or some of it, in any order.
func (w *world) write(p Plan, whole bool) {
	for _, i := range w.Perm(len(p.Verdicts)) {
		v := p.Verdicts[i]
		if !whole && w.IntN(3) == 0 {
			continue
		}
		s := w.find(v.Service)
		if v.Release {
			s.Held = slices.DeleteFunc(slices.Clone(s.Held), func(a netip.Addr) bool { return slices.Contains(s.Given, a) })
			s.Given, s.Noted = nil, false
			continue
		}
		s.Held, s.Given, s.Noted = v.Addresses, v.Addresses, true
	}
}

func (w *world) find(key string) *Service {
	i := slices.IndexFunc(w.state.Services, func(s Service) bool { return s.Key() == key })
	return &w.state.Services[i]
}

// clashes are addresses that two Services hold without a right to share them.
func clashes(services []Service) (out []string) {
	by := map[netip.Addr][]*Service{}
	for i := range services {
		for _, a := range services[i].Held {
			if o := rival(&services[i], by[a]); o != nil {
				out = append(out, fmt.Sprintf("%s of %s and %s", a, services[i].Key(), o.Key()))
			}
			by[a] = append(by[a], &services[i])
		}
	}
	return out
}

// TestProperties: whatever happens, in whatever order Plans are written and however much of them: no address is two
// Services' without a right; nobody loses one but by its own doing or a clash; refusals say why and what to do; a Plan does not
// depend on the order of what goes in, and what is written in whole changes nothing any more.
func TestProperties(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		w := &world{Rand: rand.New(rand.NewPCG(seed, 1))}
		w.state.Pools = []config.AddressPool{
			pool("p0", "10.0.0.0/28", nil), pool("p1", "10.0.1.0/29", nil), pool("p2", "fd00::/124", nil), pool("p3", "fd01::/64", nil),
		}
		for range 80 {
			own := w.step()
			before := slices.Clone(w.state.Services)
			clashed := clashes(before)
			p := Make(w.state)
			w.shuffled(t, p)
			w.judged(t, p)
			w.write(p, false)
			w.kept(t, before, own, len(clashed) > 0)
			if len(clashed) == 0 {
				if now := clashes(w.state.Services); len(now) > 0 {
					t.Fatalf("seed %d: a plan made clashes: %v", seed, now)
				}
			}
			for range 4 { // what is taken in one Plan is given in the next, and may have others move
				w.write(Make(w.state), true)
			}
			if now := clashes(w.served()); len(now) > 0 {
				t.Fatalf("seed %d: clashes stay: %v", seed, now)
			}
			again := Make(w.state)
			w.write(again, true)
			if diff := cmp.Diff(whole(again), whole(Make(w.state))); diff != "" {
				t.Fatalf("seed %d: a Plan that is written changes the next: %s", seed, diff)
			}
		}
	}
}

// served are the Services whose status podroute sees to.
func (w *world) served() []Service {
	p := Make(w.state)
	return slices.DeleteFunc(slices.Clone(w.state.Services), func(s Service) bool {
		return !slices.ContainsFunc(p.Verdicts, func(v Verdict) bool { return v.Service == s.Key() })
	})
}

func (w *world) shuffled(t *testing.T, p Plan) {
	t.Helper()
	s := w.state
	s.Services, s.Pools = slices.Clone(s.Services), slices.Clone(s.Pools)
	w.Shuffle(len(s.Services), func(i, j int) { s.Services[i], s.Services[j] = s.Services[j], s.Services[i] })
	w.Shuffle(len(s.Pools), func(i, j int) { s.Pools[i], s.Pools[j] = s.Pools[j], s.Pools[i] })
	if diff := cmp.Diff(whole(p), whole(Make(s))); diff != "" {
		t.Fatalf("the order counts: %s", diff)
	}
}

// judged: each Service that is served has all it wants, or a reason why not.
func (w *world) judged(t *testing.T, p Plan) {
	t.Helper()
	for _, v := range p.Verdicts {
		s := w.find(v.Service)
		if v.Release {
			continue
		}
		if r := v.Refusal; r != nil && (r.Reason == "" || !strings.Contains(r.Message, ": ")) {
			t.Fatalf("%s is refused without a reason or a mend: %v", v.Service, r)
		}
		if len(v.Addresses) < len(s.Families) && v.Refusal == nil && (s.Required || len(v.Addresses) == 0) {
			t.Fatalf("%s lacks addresses without a word: %v of %v", v.Service, v.Addresses, s.Families)
		}
		for _, a := range v.Addresses {
			if !slices.Contains(s.Families, config.FamilyOf(a)) {
				t.Fatalf("%s is given %v for %v", v.Service, a, s.Families)
			}
			if slices.Contains(s.Held, a) || !within(excluded(w.state, a), a) {
				continue
			}
			t.Fatalf("%s is given %v, which is excluded", v.Service, a)
		}
	}
}

// kept: who has done nothing himself, and has no clash, has what he had.
func (w *world) kept(t *testing.T, before []Service, own string, clashed bool) {
	t.Helper()
	for _, s := range before {
		now := w.find(s.Key())
		if clashed || s.Key() == own || !slices.Equal(s.Given, s.Held) || s.Request.IPs != nil || s.Request.Pools != nil || len(s.Held) > len(s.Families) {
			continue
		}
		for _, a := range s.Held {
			if slices.Contains(s.Families, config.FamilyOf(a)) && s.Served && !slices.Contains(now.Held, a) {
				t.Fatalf("%s lost %v without cause: %v, then %v", s.Key(), a, s, now)
			}
		}
	}
}

// excluded are the excluded parts of the pool that an address lies in.
func excluded(s State, a netip.Addr) []netip.Prefix {
	for _, p := range s.Pools {
		if p.Spec.Prefix().Contains(a) {
			return p.Spec.Excluded()
		}
	}
	return nil
}

// whole is all that a Plan says, as text.
func whole(p Plan) string { return say(p) + fmt.Sprint(p.Pools) }
