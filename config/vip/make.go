package vip

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/podroute/podroute/config"
)

// maker makes one Plan.
type maker struct {
	spaces   []*space
	services []*Service // the oldest first
	labels   map[string]map[string]string
	cooling  map[netip.Addr]bool
	// users are the Services that hold an address now, or shall; asked, the addresses that somebody asks for.
	users map[netip.Addr][]*Service
	asked map[netip.Addr]bool
	has   map[*Service]map[string]netip.Addr // by family: what it keeps, then what it is to have
	keyed map[group][]*Service
}

// group is the Services that may share addresses.
type group struct{ namespace, key string }

func groupOf(s *Service) group { return group{s.Namespace, s.Request.Key} }

// Make plans who is to have which address.
func Make(s State) Plan {
	m := &maker{
		labels: s.Namespaces, cooling: s.Cooling,
		users: map[netip.Addr][]*Service{}, asked: map[netip.Addr]bool{}, has: map[*Service]map[string]netip.Addr{},
		keyed: map[group][]*Service{},
	}
	for _, p := range s.Pools {
		m.spaces = append(m.spaces, newSpace(p, s.Blocks))
	}
	slices.SortFunc(m.spaces, func(a, b *space) int { return cmp.Compare(a.name, b.name) })
	for i := range s.Services {
		m.services = append(m.services, &s.Services[i])
	}
	slices.SortFunc(m.services, func(a, b *Service) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Key(), b.Key()))
	})
	return m.plan()
}

func (m *maker) plan() Plan {
	p := Plan{Pools: map[string]Fill{}}
	var mine []*Service
	for _, s := range m.services {
		m.keep(s)
		m.keyed[groupOf(s)] = append(m.keyed[groupOf(s)], s)
		for _, a := range s.Request.IPs {
			m.asked[a] = true
		}
		if m.serves(s) {
			if m.known(s) {
				mine = append(mine, s)
			}
		} else if s.Noted && !s.Leaving {
			p.Verdicts = append(p.Verdicts, Verdict{Service: s.Key(), Release: true})
		}
	}
	m.lost()
	for _, v := range m.spaces {
		v.left = m.fill(v).Free
	}
	for _, asking := range []bool{true, false} {
		for _, s := range mine {
			if (len(s.Request.IPs) > 0) == asking {
				p.Verdicts = append(p.Verdicts, m.judge(s))
			}
		}
	}
	slices.SortFunc(p.Verdicts, func(a, b Verdict) int { return cmp.Compare(a.Service, b.Service) })
	for _, v := range m.spaces {
		p.Pools[v.name] = m.fill(v)
	}
	return p
}

// serves tells whether a Service is to have addresses of ours: it wants some, and nobody else sees to it.
func (m *maker) serves(s *Service) bool {
	return s.Served && !s.Leaving && !(s.Unclassed && (s.Strange || slices.ContainsFunc(s.Held, func(a netip.Addr) bool { return !m.ours(s, a) })))
}

// known tells whether it can be said which pools select a Service. A namespace is heard of later than its Services at times.
func (m *maker) known(s *Service) bool {
	_, known := m.labels[s.Namespace]
	return known || !slices.ContainsFunc(m.spaces, func(v *space) bool { return v.spec.NamespaceSelector != nil })
}

// ours tells whether an address that a Service holds is of ours.
func (m *maker) ours(s *Service, a netip.Addr) bool {
	return slices.Contains(s.Given, a) || m.around(a) != nil
}

// around is the pool that an address lies in, nil where there is none.
func (m *maker) around(a netip.Addr) *space {
	i := slices.IndexFunc(m.spaces, func(v *space) bool { return v.cidr.Contains(a) })
	if i < 0 {
		return nil
	}
	return m.spaces[i]
}

// keep settles what a Service keeps of what it holds, after all older ones.
func (m *maker) keep(s *Service) {
	m.has[s] = map[string]netip.Addr{}
	for _, a := range s.Held {
		family := config.FamilyOf(a)
		if m.serves(s) {
			if m.has[s][family].IsValid() || !slices.Contains(s.Families, family) || !m.ours(s, a) || rival(s, m.users[a]) != nil {
				continue
			}
			m.has[s][family] = a
		}
		m.users[a] = append(m.users[a], s)
	}
}

// lost notes the addresses that a Plan takes from their holders: these are used until that is written.
func (m *maker) lost() {
	for _, s := range m.services {
		for _, a := range s.Held {
			if !slices.Contains(m.users[a], s) {
				m.users[a] = append(m.users[a], &Service{Namespace: s.Namespace, Name: s.Name})
			}
		}
		for _, a := range s.External {
			if !slices.Contains(m.users[a], s) {
				m.users[a] = append(m.users[a], &Service{Namespace: s.Namespace, Name: s.Name})
			}
		}
	}
}

// judge settles what a Service is to have.
func (m *maker) judge(s *Service) Verdict {
	v := Verdict{Service: s.Key()}
	chosen, refusals := map[string]netip.Addr{}, map[string]*Refusal{}
	v.Refusal = m.misfit(s)
	if v.Refusal == nil {
		for _, family := range s.Families {
			if !m.content(s, family) {
				chosen[family], refusals[family] = m.choose(s, family)
			}
		}
	}
	missing := slices.ContainsFunc(s.Families, func(f string) bool { return !m.has[s][f].IsValid() && !chosen[f].IsValid() })
	for _, family := range s.Families {
		if a := chosen[family]; a.IsValid() && !(s.Required && missing) {
			m.has[s][family] = a
			m.use(s, a)
		}
		if a := m.has[s][family]; a.IsValid() {
			v.Addresses = append(v.Addresses, a)
			v.Pools = append(v.Pools, m.poolOf(a))
		}
	}
	for _, family := range s.Families {
		_, asked := s.Request.IPs[family]
		optional := !s.Required && len(v.Addresses) > 0 && !asked && len(m.named(s, family)) == 0
		if r := refusals[family]; r != nil && v.Refusal == nil && !optional {
			v.Refusal = r
		}
	}
	if v.Refusal != nil && len(v.Addresses) > 0 {
		v.Refusal.Message += fmt.Sprintf(" (it has %s)", texts(v.Addresses))
	}
	return v
}

func texts(all []netip.Addr) string {
	var out []string
	for _, a := range all {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

func (m *maker) poolOf(a netip.Addr) string {
	if v := m.around(a); v != nil {
		return v.name
	}
	return ""
}

// misfit refuses a request that cannot be met whatever the pools hold.
func (m *maker) misfit(s *Service) *Refusal {
	if s.Request.Problem != "" {
		return &Refusal{BadRequest, s.Request.Problem}
	}
	for _, family := range []string{config.FamilyIPv4, config.FamilyIPv6} {
		if a, asked := s.Request.IPs[family]; asked && !slices.Contains(s.Families, family) {
			return &Refusal{BadRequest, fmt.Sprintf("%s is asked for, and the Service has no %s in its ipFamilies: add it, or ask for another", a, family)}
		}
	}
	for _, name := range s.Request.Pools {
		if !slices.ContainsFunc(m.spaces, func(v *space) bool { return v.name == name }) {
			return &Refusal{BadRequest, fmt.Sprintf("AddressPool/%s is not in force, or not for load balancers: name another in the annotation %s",
				name, config.AnnotationLoadBalancerPool)}
		}
	}
	return nil
}

// use notes that a Service is to have an address.
func (m *maker) use(s *Service, a netip.Addr) {
	if v := m.around(a); len(m.users[a]) == 0 && !within(v.shut, a) && v.left < math.MaxInt32 {
		v.left--
	}
	m.users[a] = append(m.users[a], s)
}

// content tells whether what a Service has in a family is what it asks for.
func (m *maker) content(s *Service, family string) bool {
	a := m.has[s][family]
	if want, asked := s.Request.IPs[family]; asked {
		return a == want
	}
	named := m.named(s, family)
	return a.IsValid() && (len(named) == 0 || slices.Contains(named, m.around(a)))
}

// fill counts.
func (m *maker) fill(v *space) Fill {
	f := Fill{Disabled: v.spec.Disabled}
	shut := 0
	for a, users := range m.users {
		if !v.cidr.Contains(a) {
			continue
		}
		f.Given++
		if within(v.shut, a) {
			shut++
		}
		if within(v.excluded, a) {
			f.Strays = append(f.Strays, a.String()+" of "+users[0].Key())
		}
	}
	slices.Sort(f.Strays)
	f.Free = v.free(int(f.Given) - shut)
	return f
}
