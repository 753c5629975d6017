package cni

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/cni/hostlink"
	"github.com/podroute/podroute/cni/internal/rtnl"
)

// watch follows the kernel until ctx ends.
func (s *Server) watch(ctx context.Context) error {
	for {
		events, err := s.watcher.Next()
		switch {
		case errors.Is(err, os.ErrClosed):
			return ctx.Err()
		case errors.Is(err, rtnl.ErrOverflow):
			s.log.Warn("looking at all pods' links again", "err", err)
			if err := s.resync(); err != nil {
				return fmt.Errorf("look at all links again: %w", err)
			}
		case err != nil:
			return fmt.Errorf("watch links: %w", err)
		}
		for _, e := range events {
			s.see(e)
		}
	}
}

// see acts on one event. It takes no attachment's lock: all it does is safe beside a call in flight,
// because it names links by index, and an index is never used again.
func (s *Server) see(e rtnl.Event) {
	switch {
	case e.Route != nil:
		if a, ok := s.table.byIndex(e.Route.Link); ok {
			s.repair(a)
		}
	case e.Gone:
		s.table.announceGone(e.Link.Index)
		s.vanished(e.Link.Name, e.Link.Index)
	case hostlink.Is(e.Link.Name) && s.table.linkState(e.Link.Name, e.Link.Index, e.Link.Up):
		if a, ok := s.table.get(e.Link.Name); ok {
			s.repair(a)
		}
	}
}

// repair puts back what a link lost while it was down, or what someone deleted.
func (s *Server) repair(e entry) {
	conn, err := s.conns.get()
	if err == nil {
		defer s.conns.put(conn)
		err = wireHost(conn, e.index, e.Attachment, hostlink.For(e.ContainerID, e.IfName))
	}
	switch {
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENETDOWN):
		// The link is down or gone: another event tells, and leads here again where that is due.
	case err != nil:
		s.log.Error("restoring a pod's host routes failed", "link", e.HostIf, "pod", e.PodNamespace+"/"+e.PodName, "err", err)
	}
}

// vanished frees the addresses of a link that went without a DEL.
func (s *Server) vanished(name string, index int) {
	if s.table.remove(name, index) {
		s.alloc.Release(name)
	}
}

// resync does for all links what their lost events would have.
func (s *Server) resync() error {
	conn, err := s.conns.get()
	if err != nil {
		return err
	}
	links, err := conn.Links()
	s.conns.put(conn)
	if err != nil {
		return err
	}
	index := map[string]int{}
	for _, l := range links {
		index[l.Name] = l.Index
	}
	for _, a := range s.table.list() {
		e, ok := s.table.get(a.HostIf)
		switch {
		case !ok:
		case index[e.HostIf] != e.index:
			s.vanished(e.HostIf, e.index)
		default:
			s.repair(e)
		}
	}
	return nil
}
