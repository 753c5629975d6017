package cni

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/internal/failpoint"
)

// remove deletes an attachment's link, if there is one, and then lets go of its addresses. The
// attachment's lock is held.
func (s *Server) remove(ctx context.Context, name string) error {
	index, err := s.find(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if index != 0 {
		if err := s.deleteLink(ctx, index); err != nil {
			return fmt.Errorf("delete %s: %w", name, err)
		}
	}
	failpoint.Hit("cni.after-delete")
	s.table.remove(name, 0)
	s.alloc.Release(name)
	return nil
}

// find returns the index of an attachment's host link, 0 where there is none: from the table, because
// somebody may have renamed the link, or by its name, because it may be in quarantine.
func (s *Server) find(name string) (index int, err error) {
	if e, ok := s.table.get(name); ok && e.index != 0 {
		return e.index, nil
	}
	conn, err := s.conns.get()
	if err != nil {
		return 0, err
	}
	defer s.conns.put(conn)
	link, err := conn.LinkByName(name)
	if errors.Is(err, unix.ENODEV) {
		return 0, nil
	}
	return link.Index, err
}

// deleteLink deletes a link, and returns as soon as it, and with it the pod's end, is out of sight.
// The kernel acknowledges the deletion some 20 ms later, when the last reader of its tables must be
// done with the link; nobody needs to wait for that.
func (s *Server) deleteLink(ctx context.Context, index int) error {
	seen, stop := s.table.gone(index)
	defer stop()
	done := make(chan error, 1)
	go func() {
		conn, err := s.conns.get()
		if err == nil {
			err = conn.DeleteLink(index)
			s.conns.put(conn)
		}
		done <- err
	}()
	select {
	case <-seen:
		return nil
	case err := <-done:
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
