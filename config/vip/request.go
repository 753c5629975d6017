package vip

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podroute/podroute/config"
)

// Request is what a Service asks for.
type Request struct {
	// IPs by family.
	IPs map[string]netip.Addr
	// Pools by name.
	Pools []string
	// Key to share an address by; empty: none.
	Key string
	// Problem with it, and the mend; empty where it can be understood.
	Problem string
}

// ParseRequest reads what annotations and spec.loadBalancerIP ask for.
func ParseRequest(annotations map[string]string, loadBalancerIP string) Request {
	r := Request{Key: annotations[config.AnnotationSharingKey], Pools: split(annotations[config.AnnotationLoadBalancerPool])}
	texts := split(annotations[config.AnnotationLoadBalancerIPs])
	if loadBalancerIP != "" {
		texts = append(texts, loadBalancerIP)
	}
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Is4In6() || a.Zone() != "" {
			r.Problem = fmt.Sprintf("%q is no address: write one such as 192.0.2.1 or 2001:db8::1", text)
			return r
		}
		family := config.FamilyOf(a)
		if other, twice := r.IPs[family]; twice && other != a {
			r.Problem = fmt.Sprintf("%s and %s are both asked for: ask for one %s address, in the annotation %s or in spec.loadBalancerIP",
				other, a, family, config.AnnotationLoadBalancerIPs)
			return r
		}
		if r.IPs == nil {
			r.IPs = map[string]netip.Addr{}
		}
		r.IPs[family] = a
	}
	return r
}

func split(text string) []string {
	parts := strings.Split(text, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return slices.DeleteFunc(parts, func(s string) bool { return s == "" })
}

// ParseAddresses reads a list of addresses and leaves out what is none.
func ParseAddresses(text string) []netip.Addr {
	var all []netip.Addr
	for _, part := range split(text) {
		if a, err := netip.ParseAddr(part); err == nil {
			all = append(all, a)
		}
	}
	return all
}
