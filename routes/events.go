package routes

import (
	"context"
	"maps"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// surroundings is what is remembered of links and addresses, to tell news from repetition.
type surroundings struct {
	links map[int]linkState
	addrs map[linkAddr]bool
}

type linkState struct {
	name string
	up   bool
	mtu  int
}

type linkAddr struct {
	link   int
	prefix netip.Prefix
	flags  uint32 // tentative, for example
}

func newSurroundings() surroundings {
	return surroundings{links: map[int]linkState{}, addrs: map[linkAddr]bool{}}
}

// forget drops an address, whatever its flags were.
func (s *surroundings) forget(a linkAddr) {
	maps.DeleteFunc(s.addrs, func(b linkAddr, _ bool) bool { return a.link == b.link && a.prefix == b.prefix })
}

// look learns what links and addresses there are.
func (f *FIB) look(ctx context.Context) error {
	links, addrs, err := f.dumpLinks(ctx)
	for _, l := range links {
		f.seen.links[l.Index] = linkState{l.Name, l.Up, l.MTU}
	}
	for _, a := range addrs {
		f.seen.addrs[a] = true
	}
	return err
}

// drain takes in what others have done since the last time, and returns the number of datagrams.
func (f *FIB) drain() int {
	news := false
	n, lost := f.monitor.drain(func(h header, body []byte) {
		switch h.typ {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			news = f.linkEvent(h, body) || news
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			news = f.addrEvent(h, body) || news
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			news = f.routeEvent(h, body) || news
		case unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
			news = f.objectEvent(body) || news
		}
	})
	if lost {
		f.dirty, news = true, true
		f.seen = newSurroundings()
	}
	if news {
		f.news++
		f.alien = nil
		f.signal()
	}
	return n
}

// linkEvent takes in a change of a link and reports whether it is news.
func (f *FIB) linkEvent(h header, body []byte) bool {
	l, ok := parseLink(body)
	if !ok {
		return false
	}
	pod := podLink(l.Name)
	if f.image.links[l.Index] > 0 || f.inline && !pod {
		f.check = true // carrier may have come and gone unseen between two events
	}
	if l.Loopback {
		f.dirty = true // IPv6 unreachable routes are on it
	}
	was, known := f.seen.links[l.Index]
	if h.typ == unix.RTM_DELLINK {
		delete(f.seen.links, l.Index)
		f.readers.forget(l.Index)
		return !pod
	}
	is := linkState{l.Name, l.Up, l.MTU}
	f.seen.links[l.Index] = is
	differs := !pod && f.readers.hear(l.Index, is)
	f.again = f.again || is.up && (!was.up || differs)
	return !pod && (!known || was != is || differs)
}

// podLink reports whether this is what package cni names a pod's link: it is of no interest here.
func podLink(name string) bool {
	digits, ok := strings.CutPrefix(name, "pr")
	return ok && len(digits) == 12 && strings.Trim(digits, "0123456789abcdef") == ""
}

// addrEvent takes in a change of an address and reports whether it is news.
func (f *FIB) addrEvent(h header, body []byte) bool {
	a, ok := parseAddr(body)
	if !ok || podLink(f.seen.links[a.link].name) {
		return false
	}
	if h.typ == unix.RTM_NEWADDR {
		if f.seen.addrs[a] {
			return false // a router advertisement repeats them
		}
		f.seen.forget(a)
		f.seen.addrs[a] = true
		f.again = true
		return true
	}
	f.seen.forget(a)
	f.dirty = f.dirty || f.inline // such routes go with the last address of their link
	for _, s := range f.sets.all {
		if s.src == a.prefix.Addr() {
			f.dirty = true // the kernel takes such routes away (IPv4) or their source (IPv6)
		}
	}
	return true
}

// routeEvent takes in a change of a route by someone else and reports whether it is news.
func (f *FIB) routeEvent(h header, body []byte) bool {
	r, ok := parseRoute(body, false)
	if !ok {
		return false
	}
	e := f.table.get(r.dst)
	switch {
	case r.protocol == protocol && r.metric != metric:
		return false // a pod's
	case !r.ours():
		// It may have replaced ours, which the kernel does not mention.
		if r.metric == metric && (e != nil || f.inline) {
			f.dirty = true
		}
		return !podLink(f.seen.links[r.link].name)
	case h.typ == unix.RTM_NEWROUTE:
		f.dirty = true // someone else uses our marks
		return true
	case e == nil || e.have == nil:
		return false // we have removed it as well
	}
	switch g := e.have; {
	case g.id != r.id:
		return false // it had been replaced by then
	case g.id == 0:
		f.dirty = true
	default:
		e.setHave(nil)
		f.image.loose = true
		f.lost = append(f.lost, r.dst)
	}
	return true
}

// objectEvent takes in a change of a nexthop object by someone else and reports whether it is news.
func (f *FIB) objectEvent(body []byte) bool {
	o, ok := parseObject(body)
	if !ok {
		return false
	}
	if !inRange(o.id) {
		return true // routes of others lead elsewhere, or nowhere, and nothing more is told of them
	}
	f.dirty = true // routes go with it unannounced
	return true
}
