package cni

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/podroute/podroute/cni/hostlink"
	"github.com/podroute/podroute/cni/internal/rtnl"
)

// check serves CHECK: it compares kernel, journal and the result that the runtime kept.
func (s *Server) check(ctx context.Context, q *request) (*types100.Result, error) {
	if len(q.conf.PrevResult) == 0 {
		return nil, fail(types.ErrInvalidNetworkConfig, "CHECK needs the prevResult of the ADD")
	}
	ns, err := openNetNS(q.netns)
	if err != nil {
		return nil, fail(types.ErrInvalidNetNS, "CNI_NETNS: %w", err)
	}
	defer ns.close()
	link := hostlink.For(q.containerID, q.ifName)
	unlock, err := s.locks.lock(ctx, link.Name)
	if err != nil {
		return nil, fail(types.ErrTryAgainLater, "another call for this attachment is not done: %w", err)
	}
	defer unlock()
	e, ok := s.table.get(link.Name)
	if !ok {
		return nil, fail(types.ErrUnknownContainer, "container %s has no interface %s of podroute", q.containerID, q.ifName)
	}
	if err := q.agrees(e); err != nil {
		return nil, fail(types.ErrInvalidNetworkConfig, "%w", err)
	}
	conn, err := s.conns.get()
	if err != nil {
		return nil, err
	}
	defer s.conns.put(conn)
	if err := s.verify(conn, e, link, ns); err != nil {
		return nil, fail(types.ErrInternal, "interface %s of container %s: %w", q.ifName, q.containerID, err)
	}
	return nil, nil
}

// agrees compares the attachment with the interface's addresses in prevResult, to which plugins that
// came later may have added interfaces of their own.
func (q *request) agrees(e entry) error {
	r, err := create.Create(q.conf.CNIVersion, q.conf.PrevResult)
	if err != nil {
		return fmt.Errorf("prevResult: %w", err)
	}
	prev, err := types100.NewResultFromResult(r)
	if err != nil {
		return fmt.Errorf("prevResult: %w", err)
	}
	var told []netip.Addr
	for _, ip := range prev.IPs {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		told = append(told, a.Unmap())
	}
	for _, a := range e.Addresses {
		if !slices.Contains(told, a) {
			return fmt.Errorf("the interface has the address %v, of which prevResult says nothing", a)
		}
	}
	return nil
}

// verify compares the kernel with an attachment, both ends of it.
func (s *Server) verify(conn *rtnl.Conn, e entry, link hostlink.Link, ns *netNS) error {
	l, err := conn.LinkByIndex(e.index)
	if err != nil {
		return fmt.Errorf("host link %s: %w", link.Name, err)
	}
	if !l.Up || !l.Running {
		return fmt.Errorf("host link %s is not up at both ends", link.Name)
	}
	if a, err := parseAlias(l.Name, l.Alias); err != nil || !slices.Equal(a.Addresses, e.Addresses) {
		return fmt.Errorf("host link %s: its alias %q is not that of the attachment", link.Name, l.Alias)
	}
	want := expected{}
	for _, a := range e.Addresses {
		want.neighbours = append(want.neighbours, rtnl.Neighbour{Addr: a, MAC: link.PodMAC})
		want.routes = append(want.routes, rtnl.Route{Dst: host(a), Link: e.index, Metric: routeMetric, Protocol: routeProtocol})
	}
	if err := want.compare(conn, e.index); err != nil {
		return fmt.Errorf("host link %s: %w", link.Name, err)
	}
	if err := verifyPod(l.Peer, e, link, ns); err != nil {
		return fmt.Errorf("in the pod: %w", err)
	}
	return nil
}

func verifyPod(index int, e entry, link hostlink.Link, ns *netNS) error {
	conn, err := rtnl.DialAt(ns.fd())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	l, err := conn.LinkByName(e.IfName)
	switch {
	case err != nil:
		return fmt.Errorf("interface %s: %w", e.IfName, err)
	case l.Index != index || !bytes.Equal(l.MAC, link.PodMAC):
		return fmt.Errorf("interface %s is not the other end of %s", e.IfName, e.HostIf)
	case !l.Up:
		return fmt.Errorf("interface %s is down", e.IfName)
	}
	want := expected{}
	for _, a := range e.Addresses {
		want.addresses = append(want.addresses, host(a))
		want.neighbours = append(want.neighbours, rtnl.Neighbour{Addr: gateway(a), MAC: link.MAC})
		want.routes = append(want.routes, rtnl.Route{Dst: defaultRoute(a), Gateway: gateway(a), Link: index})
	}
	return want.compare(conn, index)
}

// expected is what must be on a link; more may be.
type expected struct {
	addresses  []netip.Prefix
	neighbours []rtnl.Neighbour
	routes     []rtnl.Route
}

func (x expected) compare(conn *rtnl.Conn, index int) error {
	addresses, aerr := conn.Addresses(index)
	neighbours, nerr := conn.Neighbours(index)
	routes, rerr := conn.Routes(index)
	errs := []error{aerr, nerr, rerr}
	for _, a := range x.addresses {
		if !slices.Contains(addresses, a) {
			errs = append(errs, fmt.Errorf("address %v is missing", a))
		}
	}
	for _, n := range x.neighbours {
		same := func(o rtnl.Neighbour) bool { return o.Addr == n.Addr && bytes.Equal(o.MAC, n.MAC) }
		if !slices.ContainsFunc(neighbours, same) {
			errs = append(errs, fmt.Errorf("permanent neighbour %v at %v is missing", n.Addr, n.MAC))
		}
	}
	for _, r := range x.routes {
		same := func(o rtnl.Route) bool {
			return o.Dst == r.Dst && o.Gateway == r.Gateway && (r.Metric == 0 || o.Metric == r.Metric && o.Protocol == r.Protocol)
		}
		if !slices.ContainsFunc(routes, same) {
			errs = append(errs, fmt.Errorf("route %v is missing", r.Dst))
		}
	}
	return errors.Join(errs...)
}
