package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	maxCommunities = 16  // of a filter's entry
	maxPathLength  = 255 // that a filter may ask for, in ASes
)

// filter checks a PrefixFilter, whose GE and LE are filled in where there is a CIDR.
func (r *report) filter(field string, f *PrefixFilter) {
	if f == nil {
		return
	}
	for _, list := range []struct {
		field   string
		entries []FilterEntry
	}{{field + ".accept", f.Accept}, {field + ".reject", f.Reject}} {
		r.atMost(list.field, len(list.entries))
		for i, e := range list.entries {
			r.filterEntry(indexed(list.field, i), e)
		}
	}
}

func (r *report) filterEntry(at string, e FilterEntry) {
	if e.CIDR == "" && e.Family == "" && len(e.Communities) == 0 && e.ASPath == nil {
		r.add(at, "names no routes", "set one of cidr, family, communities and asPath")
	}
	known := e.Family == "" || r.oneOf(at+".family", e.Family, FamilyIPv4, FamilyIPv6)
	switch {
	case e.CIDR != "":
		if p, ok := r.cidr(at+".cidr", e.CIDR); ok {
			r.filterLengths(at, e, p)
			if known && e.Family != "" && FamilyOf(p.Addr()) != e.Family {
				r.addf(at+".family", "remove one", "%s is not of family %s", p, e.Family)
			}
		}
	case e.GE != 0 || e.LE != 0:
		r.add(at+".cidr", "is missing: ge and le are lengths of prefixes inside it", "set it, to 0.0.0.0/0 or ::/0 for all")
	}
	if len(e.Communities) > maxCommunities {
		r.addf(at+".communities", "write fewer", "has %d items: at most %d", len(e.Communities), maxCommunities)
	}
	for i, c := range e.Communities {
		field := indexed(at+".communities", i)
		if !isCommunityPattern(c) {
			r.noCommunity(field, c)
		} else if slices.Contains(e.Communities[:i], c) {
			r.addf(field, "remove one", "%q is there twice", c)
		}
	}
	if m := e.ASPath; m != nil {
		r.between(at+".asPath.maxLength", int64(m.MaxLength), 0, maxPathLength)
		if *m == (ASPathMatch{}) {
			r.add(at+".asPath", "says nothing", "set one of neighbor, origin, contains and maxLength")
		}
	}
}

func (r *report) filterLengths(at string, e FilterEntry, p netip.Prefix) {
	bits, highest := int64(p.Bits()), int64(p.Addr().BitLen())
	low := r.between(at+".ge", int64(e.GE), bits, highest)
	if low && r.between(at+".le", int64(e.LE), bits, highest) && e.GE > e.LE {
		r.addf(at, "exchange them", "ge %d is larger than le %d", e.GE, e.LE)
	}
}

// isCommunityPattern tells communities with * in place of numbers, or without, from anything else.
func isCommunityPattern(s string) bool {
	parts := strings.Split(s, ":")
	for i, part := range parts {
		if part == "*" {
			parts[i] = "0"
		} else if n, err := strconv.ParseUint(part, 10, 32); err == nil && strconv.FormatUint(n, 10) != part {
			return false
		}
	}
	return isCommunity(strings.Join(parts, ":"))
}
