package routes

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Links lists the network interfaces and their addresses, by index.
func (f *FIB) Links(ctx context.Context) ([]Link, error) {
	before := f.readers.count()
	links, addrs, err := f.dumpLinks(ctx)
	if err != nil {
		return nil, err
	}
	if f.readers.tell(links, before) {
		f.signal()
	}
	slices.SortFunc(links, func(a, b Link) int { return a.Index - b.Index })
	for _, a := range addrs {
		i, ok := slices.BinarySearchFunc(links, a.link, func(l Link, index int) int { return l.Index - index })
		if ok {
			links[i].Prefixes = append(links[i].Prefixes, a.prefix)
		}
	}
	return links, nil
}

// dumpLinks reads links and addresses, both in the kernel's order, the primary address of a link first.
func (f *FIB) dumpLinks(ctx context.Context) ([]Link, []linkAddr, error) {
	f.reading.Lock()
	defer f.reading.Unlock()
	var links []Link
	err := f.reader.dump(ctx, func(w *writer) {
		w.begin(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		w.raw(make([]byte, unix.SizeofIfInfomsg)...)
		w.end()
	}, func() { links = nil }, func(typ uint16, body []byte) {
		if l, ok := parseLink(body); ok && typ == unix.RTM_NEWLINK {
			links = append(links, l)
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("routes: dump of links: %w", err)
	}
	var addrs []linkAddr
	err = f.reader.dump(ctx, func(w *writer) {
		w.begin(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		w.raw(make([]byte, unix.SizeofIfAddrmsg)...)
		w.end()
	}, func() { addrs = nil }, func(typ uint16, body []byte) {
		if a, ok := parseAddr(body); ok && typ == unix.RTM_NEWADDR {
			addrs = append(addrs, a)
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("routes: dump of addresses: %w", err)
	}
	return links, addrs, nil
}

// Installed lists the routes of our protocol that the kernel has, with their next hops, in the order
// of the kernel's table.
func (f *FIB) Installed(ctx context.Context) ([]Installed, error) {
	f.reading.Lock()
	defer f.reading.Unlock()
	byID := map[uint32][]NextHop{}
	if !f.inline {
		objects, err := dumpObjects(ctx, f.reader)
		if err != nil {
			return nil, fmt.Errorf("routes: %w", err)
		}
		byID = resolved(objects)
	}
	var all []Installed
	err := dumpRoutes(ctx, f.reader, protocol, true, func(r routeMessage, _ []byte) int {
		if r.metric != metric && r.metric != podMetric {
			return len(all)
		}
		if r.id != 0 {
			r.hops = byID[r.id] // shared, and there also where net.ipv4.nexthop_compat_mode is 0
		}
		all = append(all, Installed{
			Route:  Route{Dst: r.dst, Unreachable: r.kind == unix.RTN_UNREACHABLE, NextHops: r.hops, Src: r.src},
			Metric: int(r.metric), Pod: r.metric == podMetric,
		})
		return len(all)
	}, func(n int) { all = all[:n] })
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	return all, nil
}

// resolved tells what nexthop objects and groups lead to.
func resolved(objects []objectMessage) map[uint32][]NextHop {
	byID := map[uint32][]NextHop{}
	for _, o := range objects {
		if o.group == nil {
			byID[o.id] = []NextHop{{Addr: o.key.addr, Link: o.key.link, Weight: 1, OnLink: o.key.onlink}}
		}
	}
	for _, o := range objects {
		for _, m := range o.group {
			for _, h := range byID[m.id] {
				h.Weight = m.weight
				byID[o.id] = append(byID[o.id], h)
			}
		}
	}
	return byID
}

// parseLink reads a message about a link; false where it is about something on the link, a bridge's
// port for example.
func parseLink(body []byte) (Link, bool) {
	if len(body) < unix.SizeofIfInfomsg || body[0] != unix.AF_UNSPEC {
		return Link{}, false
	}
	flags := u32(body[8:])
	const up = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	l := Link{Index: int(u32(body[4:])), Up: flags&up == up, Loopback: flags&unix.IFF_LOOPBACK != 0}
	for typ, val := range attrs(body[unix.SizeofIfInfomsg:]) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.Name = text(val)
		case unix.IFLA_MTU:
			l.MTU = int(u32(val))
		}
	}
	return l, true
}

// parseAddr reads a message about an address.
func parseAddr(body []byte) (linkAddr, bool) {
	if len(body) < unix.SizeofIfAddrmsg {
		return linkAddr{}, false
	}
	bits, flags, link := int(body[1]), uint32(body[2]), int(u32(body[4:]))
	var addr, local netip.Addr
	for typ, val := range attrs(body[unix.SizeofIfAddrmsg:]) {
		switch typ {
		case unix.IFA_ADDRESS: // the other end's, where there are two ends (IPv4)
			addr = address(val)
		case unix.IFA_LOCAL:
			local = address(val)
		case unix.IFA_FLAGS:
			flags = u32(val)
		}
	}
	if local.IsValid() {
		addr = local
	}
	a := linkAddr{link, netip.PrefixFrom(addr, bits), flags}
	return a, a.prefix.IsValid()
}
