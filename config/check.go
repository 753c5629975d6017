package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The checks of single values. Each reports under the given field, and where it returns ok, the
// value is fit for use.

func indexed(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// FamilyOf returns FamilyIPv4 or FamilyIPv6.
func FamilyOf(a netip.Addr) string {
	if a.Is4() {
		return FamilyIPv4
	}
	return FamilyIPv6
}

// cidr reads a prefix without host bits.
func (r *report) cidr(field, s string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s)
	switch {
	case s == "":
		r.add(field, "is missing", "write a CIDR, such as 10.244.0.0/16")
	case err != nil || p.Addr().Is4In6():
		r.addf(field, "write a CIDR, such as 10.244.0.0/16 or fd00:10:244::/56", "%q is no CIDR", s)
	case p != p.Masked():
		r.addf(field, "write "+p.Masked().String(), "%s has host bits set", s)
	default:
		return p, true
	}
	return netip.Prefix{}, false
}

// cidrs reads prefixes of which none is there twice or overlaps another. Each good one is given to
// also, if that is not nil.
func (r *report) cidrs(field string, list []string, also func(field string, p netip.Prefix) bool) []netip.Prefix {
	var ps []netip.Prefix
	r.atMost(field, len(list))
	for i, s := range list {
		p, ok := r.cidr(indexed(field, i), s)
		if !ok {
			continue
		}
		if j := slices.IndexFunc(ps, p.Overlaps); j >= 0 {
			if ps[j] == p {
				r.addf(indexed(field, i), "remove one", "%s is there twice", p)
			} else {
				r.addf(indexed(field, i), "keep the wider one", "%s overlaps %s", p, ps[j])
			}
			continue
		}
		if also == nil || also(indexed(field, i), p) {
			ps = append(ps, p)
		}
	}
	return ps
}

// mostItems is how long a list may be: the API server bounds the cost of checking an object.
const mostItems = 256

// atMost reports a list that is too long.
func (r *report) atMost(field string, items int) {
	if items > mostItems {
		r.addf(field, fmt.Sprintf("list at most %d, in several objects if need be", mostItems), "holds %d items", items)
	}
}

// apart reports prefixes of one list that overlap those of another.
func (r *report) apart(field string, ps []netip.Prefix, otherField string, others []netip.Prefix) {
	for _, p := range ps {
		for _, o := range others {
			if p.Overlaps(o) {
				r.addf(field, "make the ranges disjoint", "%s overlaps %s of %s", p, o, otherField)
			}
		}
	}
}

// podRange reports ranges that pods cannot have addresses of.
func (r *report) podRange(field string, p netip.Prefix) bool {
	for _, reserved := range []struct{ cidr, what string }{
		{"0.0.0.0/8", "this network"},
		{"127.0.0.0/8", "loopback"},
		{"169.254.0.0/16", "link-local"},
		{"224.0.0.0/4", "multicast"},
		{"::/64", "loopback and IPv4-mapped"},
		{"fe80::/10", "link-local"},
		{"ff00::/8", "multicast"},
	} {
		if o := netip.MustParsePrefix(reserved.cidr); p.Overlaps(o) {
			r.addf(field, "use a unicast range", "%s overlaps %s (%s)", p, o, reserved.what)
			return false
		}
	}
	return true
}

// address reads an address, with a zone where it is a link-local one of IPv6.
func (r *report) address(field, s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || a.Is4In6():
		r.addf(field, "write one, such as 192.0.2.1 or 2001:db8::1", "%q is no IP address", s)
	case a.Zone() != "" && !a.IsLinkLocalUnicast():
		r.addf(field, "write "+a.WithZone("").String(), "%s has a zone and is not link-local", s)
	default:
		return a, true
	}
	return netip.Addr{}, false
}

// unicast reports addresses that no interface that routers reach can have.
func (r *report) unicast(field string, a netip.Addr) bool {
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		r.addf(field, "use an address that other nodes reach", "%s is no address of a node", a)
		return false
	}
	return true
}

// dotted reads a 32-bit number written as an IPv4 address: a router ID or cluster ID, never zero.
func (r *report) dotted(field, s string) {
	if a, err := netip.ParseAddr(s); err != nil || !a.Is4() || a.IsUnspecified() {
		r.addf(field, "write it in dotted form, such as 192.0.2.1", "%q is no 32-bit number that is not zero", s)
	}
}

func (r *report) between(field string, n, lowest, highest int64) bool {
	if n < lowest || n > highest {
		r.addf(field, fmt.Sprintf("use %d to %d", lowest, highest), "%d is out of range", n)
		return false
	}
	return true
}

func (r *report) oneOf(field, s string, allowed ...string) bool {
	if !slices.Contains(allowed, s) {
		r.addf(field, "use "+strings.Join(allowed, ", "), "%q is not known", s)
		return false
	}
	return true
}

// seconds checks a duration of whole seconds, if there is one. The bounds are in seconds.
func (r *report) seconds(field string, d *metav1.Duration, lowest, highest int64) {
	if d == nil {
		return
	}
	switch n := d.Duration; {
	case n%time.Second != 0:
		r.addf(field, "BGP counts in seconds: write one such as 90s", "%s is no whole number of seconds", n)
	case n < time.Duration(lowest)*time.Second || n > time.Duration(highest)*time.Second:
		r.addf(field, fmt.Sprintf("use %ds to %ds", lowest, highest), "%s is out of range", n)
	}
}

func (r *report) selector(field string, s *metav1.LabelSelector) {
	if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
		why, _, _ := strings.Cut(err.Error(), " (e.g.") // examples and a regular expression follow
		r.addf(field, "use matchLabels and matchExpressions as Kubernetes does", "is no label selector: %s", why)
	}
}

// asNumber checks a number that a speaker is to have.
func (r *report) asNumber(field string, n uint32) {
	if why := reservedAS(n); why != "" {
		r.add(field, why, "use another number from 1 to 4294967294")
	}
}
