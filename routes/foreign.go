package routes

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// A Way is a route of another protocol than ours or BGP in the main table that tells where an address that is on no
// link is to be found: next hops are resolved through these (RFC 4271 section 5.1.3).
type Way struct {
	Dst    netip.Prefix
	Metric uint32
	// NextHops are its routers, each a neighbour on its Link; one without Addr says that all of Dst are neighbours. There
	// are none where the route says that Dst cannot be reached, or wraps packets in others.
	NextHops []NextHop
}

// foreign is what others have in the main table.
type foreign struct {
	destinations []netip.Prefix
	ways         []Way
}

// Foreign lists the destinations of the main table's routes that are not of our protocol, sorted,
// each once; a default route is among them as 0.0.0.0/0 or ::/0. The list is remembered until
// something changes.
func (f *FIB) Foreign(ctx context.Context) ([]netip.Prefix, error) {
	all, err := f.others(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Clone(all.destinations), nil
}

// Ways lists the main table's routes that next hops may be resolved through, by destination and, of one destination, by
// metric, the lowest first: not ours, not BGP's (protocol bgp), no default route, and none that is for some packets only. The
// list is remembered with that of Foreign; the caller must not change it.
func (f *FIB) Ways(ctx context.Context) ([]Way, error) {
	all, err := f.others(ctx)
	if err != nil {
		return nil, err
	}
	return all.ways, nil
}

// others reads what others have in the main table, unless nothing has happened since it was read last.
func (f *FIB) others(ctx context.Context) (*foreign, error) {
	known, news := f.known()
	if known != nil {
		return known, nil
	}
	all, err := f.dumpForeign(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drain()
	if f.news == news { // nothing happened during the dump
		f.alien = all
	}
	return all, nil
}

// known is what is remembered of others, nil where it may be out of date, and how much had happened by then.
func (f *FIB) known() (*foreign, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drain()
	return f.alien, f.news
}

func (f *FIB) dumpForeign(ctx context.Context) (*foreign, error) {
	f.reading.Lock()
	defer f.reading.Unlock()
	var all []routeMessage
	objects := false
	err := dumpRoutes(ctx, f.reader, 0, true, func(r routeMessage, _ []byte) int {
		if r.protocol != protocol {
			all = append(all, r)
			objects = objects || r.id != 0
		}
		return len(all)
	}, func(n int) { all = all[:n] })
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	var byID map[uint32][]NextHop
	if objects { // where net.ipv4.nexthop_compat_mode is 0 the routes do not say where theirs lead
		found, err := dumpObjects(ctx, f.reader)
		if err != nil {
			return nil, fmt.Errorf("routes: %w", err)
		}
		byID = resolved(slices.DeleteFunc(found, func(o objectMessage) bool { return o.odd }))
	}
	out := foreign{destinations: make([]netip.Prefix, 0, len(all))}
	for _, r := range all {
		out.destinations = append(out.destinations, r.dst)
		if r.protocol == unix.RTPROT_BGP || r.dst.Bits() == 0 || r.partial {
			continue
		}
		w := Way{Dst: r.dst, Metric: r.metric, NextHops: r.hops}
		if r.id != 0 {
			w.NextHops = byID[r.id]
		}
		out.ways = append(out.ways, w)
	}
	slices.SortFunc(out.destinations, netip.Prefix.Compare)
	out.destinations = slices.Compact(out.destinations)
	slices.SortStableFunc(out.ways, func(a, b Way) int { return cmp.Or(a.Dst.Compare(b.Dst), cmp.Compare(a.Metric, b.Metric)) })
	return &out, nil
}
