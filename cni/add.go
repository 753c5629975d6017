package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/cni/hostlink"
	"github.com/podroute/podroute/cni/internal/rtnl"
)

// undoTime is how long a failed ADD may take to remove what it made, whatever its caller's deadline.
const undoTime = 5 * time.Second

// add serves ADD. The same attachment again (same container ID, interface and namespace) gets the same
// result, after whatever of its wiring is missing has been made anew.
func (s *Server) add(ctx context.Context, q *request) (*types100.Result, error) {
	set := s.current()
	switch {
	case set.NotReady != nil:
		return nil, fail(types.ErrTryAgainLater, "pods cannot be added: %w", set.NotReady)
	case len(q.conf.PrevResult) > 0 && string(q.conf.PrevResult) != "null":
		return nil, fail(types.ErrInvalidNetworkConfig, "podroute makes the interface and must come first in the plugin list, but was given a prevResult")
	case q.netns == "":
		return nil, fail(types.ErrInvalidEnvironmentVariables, "CNI_NETNS is missing")
	}
	ns, err := openNetNS(q.netns)
	if err != nil {
		return nil, fail(types.ErrInvalidNetNS, "CNI_NETNS: %w", err)
	}
	defer ns.close()
	if ns.id == s.home.id {
		return nil, fail(types.ErrInvalidNetNS, "CNI_NETNS: %s is the node's own network namespace", q.netns)
	}
	link := hostlink.For(q.containerID, q.ifName)
	unlock, err := s.locks.lock(ctx, link.Name)
	if err != nil {
		return nil, fail(types.ErrTryAgainLater, "another call for this attachment is not done: %w", err)
	}
	defer unlock()

	e, ok, err := s.existing(ctx, q, link, ns)
	if err != nil {
		return nil, err
	}
	if !ok {
		e, err = s.attach(ctx, q, wiring{link: link, ns: ns, mtu: set.MTU, procSys: s.procSys})
		if err != nil {
			return nil, err
		}
	}
	return result(q, e, link.MAC, link.PodMAC, e.mtu), nil
}

// existing deals with what an earlier ADD of the attachment left: ok, if it is whole and serves this
// one too; removed, if it is not whole.
func (s *Server) existing(ctx context.Context, q *request, link hostlink.Link, ns *netNS) (e entry, ok bool, err error) {
	e, ok = s.table.get(link.Name)
	if !ok {
		return entry{}, false, nil
	}
	if e.ContainerID != hostlink.ID(q.containerID) || e.IfName != q.ifName {
		return entry{}, false, fmt.Errorf("link %s is in use by interface %s of container %s: the names collide; recreate this pod",
			link.Name, e.IfName, e.ContainerID)
	}
	conn, err := s.conns.get()
	if err != nil {
		return entry{}, false, err
	}
	defer s.conns.put(conn)
	same, err := leadsTo(conn, e.index, ns)
	if err != nil {
		return entry{}, false, err
	}
	if !same {
		return entry{}, false, fail(types.ErrInvalidEnvironmentVariables,
			"container %s has interface %s already, in another network namespace than %s: DEL it first", q.containerID, q.ifName, q.netns)
	}
	if err := s.verify(conn, e, link, ns); err == nil {
		return e, true, nil
	}
	// It is wired anew, with the addresses that it goes on holding; so the watcher must not see it go.
	s.table.remove(link.Name, e.index)
	if err := s.deleteLink(ctx, e.index); err != nil {
		s.table.put(e)
		return entry{}, false, fmt.Errorf("delete what is left of %s: %w", link.Name, err)
	}
	return entry{}, false, nil
}

// leadsTo tells whether the other end of a host link is in that namespace. A link that is gone leads
// nowhere, and is no obstacle.
func leadsTo(conn *rtnl.Conn, index int, ns *netNS) (bool, error) {
	l, err := conn.LinkByIndex(index)
	if errors.Is(err, unix.ENODEV) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	id, err := conn.NSID(ns.fd())
	if err != nil {
		return false, fmt.Errorf("number of namespace %s: %w", ns.file.Name(), err)
	}
	return id >= 0 && id == l.PeerNS, nil
}

// attach gives the attachment its addresses and wires it, or leaves everything as it was.
func (s *Server) attach(ctx context.Context, q *request, w wiring) (entry, error) {
	addrs, err := s.alloc.Allocate(AddressRequest{Key: w.link.Name, Namespace: q.podNamespace, Pod: q.podName, Want: q.want})
	if err != nil {
		return entry{}, fail(types.ErrTryAgainLater, "%w", err)
	}
	w.Attachment = Attachment{
		ContainerID: hostlink.ID(q.containerID), IfName: q.ifName, Network: hostlink.Network(q.conf.Name),
		HostIf: w.link.Name, Addresses: addrs,
		PodNamespace: q.podNamespace, PodName: q.podName, Since: time.Now().Truncate(time.Second),
	}
	conn, err := s.conns.get()
	if err != nil {
		s.alloc.Release(w.link.Name)
		return entry{}, err
	}
	defer s.conns.put(conn)
	e, err := s.wireWhole(ctx, conn, w)
	if err == nil {
		return e, nil
	}
	return entry{}, explain(errors.Join(err, s.undo(ctx, e)), q)
}

// wireWhole wires and enters the attachment into the table, in which the watcher looks it up: the last
// look at the link comes after that, so that a link which is set down meanwhile is noticed by either.
func (s *Server) wireWhole(ctx context.Context, conn *rtnl.Conn, w wiring) (entry, error) {
	e := entry{Attachment: w.Attachment}
	link, err := wire(ctx, conn, w)
	if errors.Is(err, unix.EEXIST) && link.Index == 0 {
		if err = s.makeRoom(ctx, conn, w, err); err == nil {
			link, err = wire(ctx, conn, w)
		}
	}
	e.index, e.mtu = link.Index, link.MTU
	if err != nil {
		return e, err
	}
	s.table.put(e)
	return e, awaitRunning(ctx, conn, e.index)
}

// takenError says that a name in the pod is taken.
type takenError struct{ ifName, netns string }

func (e *takenError) Error() string {
	return fmt.Sprintf("the pod's network namespace %s has an interface %s already", e.netns, e.ifName)
}

// makeRoom finds out which name was taken: the host link's by one in quarantine, which goes, or the
// pod's.
func (s *Server) makeRoom(ctx context.Context, conn *rtnl.Conn, w wiring, exists error) error {
	l, err := conn.LinkByName(w.link.Name)
	switch {
	case errors.Is(err, unix.ENODEV):
		return &takenError{w.IfName, w.ns.file.Name()}
	case err != nil:
		return errors.Join(exists, err)
	}
	return s.deleteLink(ctx, l.Index)
}

// undo removes what a failed ADD has made. If it cannot, the attachment stays in the table and its
// addresses stay taken, until its link has gone or a DEL succeeds.
func (s *Server) undo(ctx context.Context, e entry) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if err := s.remove(ctx, e.HostIf); err != nil {
		s.table.put(e)
		return fmt.Errorf("undo: %w", err)
	}
	return nil
}

// explain adds the code that a runtime can act upon.
func explain(err error, q *request) error {
	var taken *takenError
	if errors.As(err, &taken) {
		return fail(types.ErrInvalidEnvironmentVariables, "CNI_IFNAME %s: %w; remove it, or DEL what made it", q.ifName, taken)
	}
	return fail(types.ErrInternal, "%w", err)
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
