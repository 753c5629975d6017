package routes

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// A NextHop is one way out for a route.
type NextHop struct {
	Addr   netip.Addr // the router; the zero Addr where the destination itself is on the link. A zone is ignored: Link says it
	Link   int        // interface index
	Weight int        // share of the flows among the next hops of a set, 1 to 256; 0 means 1
	OnLink bool       // Addr is a neighbour on the link although none of the link's subnets holds it
}

// A Route leads to a prefix through a set of next hops, or says that the prefix cannot be reached.
//
// An IPv4 route may have IPv6 next hops (RFC 8950), an IPv6 route IPv6 next hops only.
type Route struct {
	Dst         netip.Prefix
	Unreachable bool       // answer with an ICMP error; NextHops and Src are ignored
	NextHops    []NextHop  // in any order; routes that share a slice are compared fastest
	Src         netip.Addr // preferred source of packets from this node; the zero Addr leaves it to the kernel
	Hashing     Hashing    // how flows are spread over the next hops
}

// Desired is the whole state of our routes. Where two routes have one destination, the later counts.
type Desired struct {
	Routes []Route
	Keep   bool // add and change, but remove nothing: what else is ours may yet turn out to be wanted
}

// A Link is a network interface.
type Link struct {
	Index    int
	Name     string
	Up       bool // administratively up and with carrier
	Loopback bool
	MTU      int            // bytes
	Prefixes []netip.Prefix // its addresses with their prefix lengths, host bits kept
}

// Installed is a route of ours as the kernel has it.
type Installed struct {
	Route
	Metric int
	Pod    bool // leads to a pod of this node; owned by package cni
}

// A RouteError says why a route is not in the kernel as desired.
type RouteError struct {
	Dst netip.Prefix
	Err error
}

func (e *RouteError) Error() string { return fmt.Sprintf("route %s: %v", e.Dst, e.Err) }

// Unwrap returns the cause.
func (e *RouteError) Unwrap() error { return e.Err }

// A NextHopError says why a next hop carries nothing. The routes that have no other next hop are
// reported as well, each by a RouteError that wraps this error.
type NextHopError struct {
	NextHop  NextHop
	LinkName string // empty where the link is not known
	Err      error
}

func (e *NextHopError) Error() string {
	where, mend := e.LinkName, ""
	switch {
	case where == "":
		where = fmt.Sprintf("link %d", e.NextHop.Link)
	case errors.Is(e.Err, unix.ENETDOWN):
		mend = "; it is tried again when the link is up"
	case errors.Is(e.Err, unix.EINVAL), errors.Is(e.Err, unix.EHOSTUNREACH), errors.Is(e.Err, unix.ENETUNREACH):
		mend = "; a next hop must be in a subnet of its link: check the link's addresses and the peer's next hops"
	}
	if e.NextHop.Addr.IsValid() {
		where = fmt.Sprintf("%s on %s", e.NextHop.Addr, where)
	}
	return fmt.Sprintf("next hop %s: %v%s", where, e.Err, mend)
}

// Unwrap returns the cause.
func (e *NextHopError) Unwrap() error { return e.Err }

// Errors are the errors of one Set or Update; the routes it does not name are in the kernel. Its text
// names the first few, errors.As and Unwrap give all.
type Errors []error

// shown is how many errors the text of Errors names.
const shown = 5

func (e Errors) Error() string {
	var b strings.Builder
	for i, err := range e {
		if i == shown {
			fmt.Fprintf(&b, "; and %d more", len(e)-shown)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	return b.String()
}

// Unwrap returns all errors.
func (e Errors) Unwrap() []error { return e }

// join makes an error of a list that may be empty.
func join(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return Errors(errs)
}
