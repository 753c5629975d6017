package vip

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podroute/podroute/config"
)

// choose finds an address of a family for a Service, or says why there is none.
func (m *maker) choose(s *Service, family string) (netip.Addr, *Refusal) {
	serving := m.serving(s, family)
	if a, asked := s.Request.IPs[family]; asked {
		if r := m.refuse(s, a, serving); r != nil {
			return netip.Addr{}, r
		}
		return a, nil
	}
	if named := m.named(s, family); len(named) > 0 {
		for _, v := range named {
			if !slices.Contains(serving, v) {
				return netip.Addr{}, &Refusal{NotInPool, fmt.Sprintf("AddressPool/%s does not serve the Service: mend its selectors, or name another", v.name)}
			}
		}
		serving = named
	}
	for _, a := range m.familiar(s, family) {
		if m.refuse(s, a, serving) == nil {
			return a, nil
		}
	}
	for _, avoid := range []func(netip.Addr) bool{
		func(a netip.Addr) bool { return m.asked[a] || m.cooling[a] },
		func(a netip.Addr) bool { return m.asked[a] },
		func(netip.Addr) bool { return false },
	} {
		for _, v := range serving {
			if v.spec.Disabled || v.left == 0 {
				continue
			}
			busy := func(a netip.Addr) bool { return len(m.users[a]) > 0 || avoid(a) }
			if a, ok := v.find(s.UID, busy, len(m.users)+len(m.asked)+len(m.cooling)); ok {
				return a, nil
			}
		}
	}
	return netip.Addr{}, exhausted(family, serving)
}

func exhausted(family string, serving []*space) *Refusal {
	if len(serving) == 0 {
		return &Refusal{NoPool, fmt.Sprintf("no AddressPool with use loadBalancers serves the Service with %s addresses: write one, or mend the selectors of one", family)}
	}
	var names []string
	for _, v := range serving {
		name := "AddressPool/" + v.name
		if v.spec.Disabled {
			name += " (disabled)"
		}
		names = append(names, name)
	}
	return &Refusal{PoolExhausted, fmt.Sprintf("no %s address is free in %s: add a pool, or free some", family, strings.Join(names, ", "))}
}

// familiar are the addresses that a Service has lost from its status, and those that others with its key have.
func (m *maker) familiar(s *Service, family string) []netip.Addr {
	var all []netip.Addr
	for _, a := range s.Given {
		v := m.around(a)
		if config.FamilyOf(a) == family && v != nil && !within(v.shut, a) && !slices.Contains(s.Held, a) { // else it was taken, with reason
			all = append(all, a)
		}
	}
	if s.Request.Key == "" {
		return all
	}
	for _, o := range m.keyed[groupOf(s)] {
		if a := m.has[o][family]; o != s && a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}

// refuse says why a Service cannot have an address, nil if it can.
func (m *maker) refuse(s *Service, a netip.Addr, serving []*space) *Refusal {
	v := m.around(a)
	switch {
	case v == nil:
		return &Refusal{NotInPool, fmt.Sprintf("%s is in no AddressPool with use loadBalancers: ask for another, or write a pool with it", a)}
	case !slices.Contains(serving, v):
		return &Refusal{NotInPool, fmt.Sprintf("%s is of AddressPool/%s, which does not serve the Service: mend its selectors, or ask for another", a, v.name)}
	case v.spec.Disabled:
		return &Refusal{NotInPool, fmt.Sprintf("%s is of AddressPool/%s, which is disabled: enable it, or ask for another", a, v.name)}
	case within(v.excluded, a):
		return &Refusal{NotInPool, fmt.Sprintf("%s is excluded from AddressPool/%s: ask for another", a, v.name)}
	}
	if named := m.named(s, v.family()); len(named) > 0 && !slices.Contains(named, v) {
		return &Refusal{BadRequest, fmt.Sprintf("%s is of AddressPool/%s, and the annotation %s names others: make them agree", a, v.name, config.AnnotationLoadBalancerPool)}
	}
	if o := rival(s, m.users[a]); o != nil {
		return &Refusal{AddressTaken, fmt.Sprintf("%s is in use by Service %s: %s", a, o.Key(), apart(s, o))}
	}
	return nil
}

// named are the pools of a family that a Service asks for.
func (m *maker) named(s *Service, family string) []*space {
	var all []*space
	for _, v := range m.spaces {
		if v.family() == family && slices.Contains(s.Request.Pools, v.name) {
			all = append(all, v)
		}
	}
	return all
}

// serving are the pools of a family that serve a Service: those that select it, if any of these is enabled, else those
// without a selector.
func (m *maker) serving(s *Service, family string) []*space {
	var selecting, general []*space
	enabled := false
	for _, v := range m.spaces {
		switch {
		case v.family() != family:
		case v.spec.NamespaceSelector == nil && v.spec.ServiceSelector == nil:
			general = append(general, v)
		case m.selects(v, s):
			selecting = append(selecting, v)
			enabled = enabled || !v.spec.Disabled
		}
	}
	if enabled {
		return selecting
	}
	return append(general, selecting...)
}

func (m *maker) selects(v *space, s *Service) bool {
	return config.Selects(v.spec.NamespaceSelector, m.labels[s.Namespace]) && config.Selects(v.spec.ServiceSelector, s.Labels)
}
