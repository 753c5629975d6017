package routes

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// maxWeight is the kernel's largest weight of a next hop.
const maxWeight = 256

// hopKey is what a nexthop object leads to. The family is the router's, or without one that of the
// destinations.
type hopKey struct {
	addr   netip.Addr
	link   int
	family byte
	onlink bool
}

func (k hopKey) nextHop() NextHop { return NextHop{Addr: k.addr, Link: k.link, OnLink: k.onlink} }

// flags are those of the kernel's next hop.
func (k hopKey) flags() byte {
	if k.onlink {
		return unix.RTNH_F_ONLINK
	}
	return 0
}

// member is a next hop in a set.
type member struct {
	hopKey
	weight int
}

func compareMembers(a, b member) int {
	return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.link, b.link), cmp.Compare(a.family, b.family), cmp.Compare(a.flags(), b.flags()))
}

// set is what a route leads to: next hops and a source, or nothing. Equal sets are one *set. The
// source is part of it because IPv6 knows two routes apart by their nexthop object alone.
type set struct {
	key         string
	unreachable bool
	src         netip.Addr
	hashing     Hashing
	dst         netip.Prefix // of the one route that has it; where there is hashing
	members     []member     // sorted, no two to one next hop
	wanted      int          // entries that want it
	groups      []*group     // what carries it in the kernel; the first gets new routes
}

// used reports whether any entry or group refers to the set.
func (s *set) used() bool {
	return s.wanted > 0 || slices.ContainsFunc(s.groups, func(g *group) bool { return g.id != 0 || g.refs > 0 })
}

// four reports whether there is an IPv4 next hop in the set.
func (s *set) four() bool {
	return slices.ContainsFunc(s.members, func(m member) bool { return m.family == unix.AF_INET })
}

// leave takes a group off the set.
func (s *set) leave(g *group) {
	s.groups = slices.DeleteFunc(s.groups, func(x *group) bool { return x == g })
}

// sets finds the one *set for every combination of next hops.
type sets struct {
	all     map[string]*set
	members []member // scratch
	key     []byte   // scratch
	prune   int      // how many sets are too many
	plain   bool     // the kernel has no resilient groups
}

func newSets() sets { return sets{all: map[string]*set{}} }

// recent remembers the sets of the slices seen in one call: callers share a slice among the routes
// of a set. It does not outlive the call, because the caller may then change the slice.
type recent map[recentKey]*set

type recentKey struct {
	first *NextHop
	n     int
	v4    bool
	src   netip.Addr
}

// of returns the set of a route, or says what is wrong with the route.
func (s *sets) of(r *Route, seen recent) (*set, error) {
	if r.Unreachable {
		return s.unreachable(), nil
	}
	if len(r.NextHops) == 0 {
		return nil, errors.New("has no next hops and is not unreachable")
	}
	v4 := r.Dst.Addr().Is4()
	f := form{src: r.Src}
	if r.Hashing.Buckets > 0 && !s.plain {
		f.hashing, f.dst = r.Hashing, r.Dst.Masked()
	}
	k := recentKey{&r.NextHops[0], len(r.NextHops), v4, r.Src}
	if found := seen[k]; found != nil && f.dst == found.dst {
		return found, nil
	}
	if r.Src.IsValid() && r.Src.Is4() != v4 {
		return nil, fmt.Errorf("source %s is of another address family", r.Src)
	}
	s.members = s.members[:0]
	for _, n := range r.NextHops {
		m, err := newMember(n, v4)
		if err != nil {
			return nil, err
		}
		s.members = append(s.members, m)
	}
	found := s.intern(f)
	seen[k] = found
	return found, nil
}

func newMember(n NextHop, v4 bool) (member, error) {
	m := member{hopKey{n.Addr.Unmap().WithZone(""), n.Link, unix.AF_INET6, n.OnLink && n.Addr.IsValid()}, max(n.Weight, 1)}
	if !m.addr.IsValid() && v4 || m.addr.Is4() {
		m.family = unix.AF_INET
	}
	switch {
	case n.Link <= 0:
		return m, fmt.Errorf("next hop %s names no link", n.Addr)
	case n.Weight < 0 || n.Weight > maxWeight:
		return m, fmt.Errorf("next hop %s has weight %d, not one of 1 to %d", n.Addr, n.Weight, maxWeight)
	case m.addr.Is4() && !v4:
		return m, fmt.Errorf("next hop %s is IPv4 and cannot carry IPv6", n.Addr)
	}
	return m, nil
}

// form is what a set has besides its members.
type form struct {
	unreachable bool
	src         netip.Addr
	hashing     Hashing
	dst         netip.Prefix
}

// intern returns the set of the members in s.members, which it sorts and merges.
func (s *sets) intern(f form) *set {
	if f.unreachable {
		s.members = s.members[:0]
	}
	slices.SortFunc(s.members, compareMembers)
	merged := s.members[:0]
	for _, m := range s.members {
		if n := len(merged); n > 0 && merged[n-1].hopKey == m.hopKey {
			merged[n-1].weight = min(merged[n-1].weight+m.weight, maxWeight)
			continue
		}
		merged = append(merged, m)
	}
	if len(merged) == 1 {
		merged[0].weight = 1 // a share of all is all
	}
	s.members = merged
	s.key = s.key[:0]
	if f.unreachable {
		s.key = append(s.key, 'u')
	}
	if h := f.hashing; h.Buckets > 0 {
		s.key = native.AppendUint32(append(s.key, 'h'), uint32(h.Buckets))
		s.key = native.AppendUint64(native.AppendUint64(s.key, uint64(h.Idle)), uint64(h.Unbalanced))
		s.key = append(appendAddr(s.key, f.dst.Addr()), byte(f.dst.Bits()))
	}
	s.key = appendAddr(s.key, f.src)
	for _, m := range s.members {
		s.key = appendAddr(append(s.key, m.family, m.flags()), m.addr)
		s.key = native.AppendUint32(s.key, uint32(m.link))
		s.key = native.AppendUint16(s.key, uint16(m.weight))
	}
	if found := s.all[string(s.key)]; found != nil {
		return found
	}
	made := &set{
		key: string(s.key), unreachable: f.unreachable, src: f.src, hashing: f.hashing, dst: f.dst, members: slices.Clone(s.members),
	}
	s.all[made.key] = made
	return made
}

// unreachable is the one set that leads nowhere.
func (s *sets) unreachable() *set { return s.intern(form{unreachable: true}) }

// forget drops the sets that nothing uses, once they are many.
func (s *sets) forget() {
	if len(s.all) <= s.prune {
		return
	}
	for k, v := range s.all {
		if !v.used() {
			delete(s.all, k)
		}
	}
	s.prune = 2*len(s.all) + chunkSize
}

// appendAddr writes an address so that different ones never look alike.
func appendAddr(b []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return append(b, 0)
	}
	x := a.AsSlice()
	return append(append(b, byte(len(x))), x...)
}
