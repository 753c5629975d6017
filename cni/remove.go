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
	conn, err := s.conns.get()
	if err != nil {
		return err
	}
	link, err := conn.LinkByName(name)
	s.conns.put(conn)
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err == nil {
		if err := s.deleteLink(ctx, link.Index); err != nil {
			return fmt.Errorf("delete %s: %w", name, err)
		}
	}
	failpoint.Hit("cni.after-delete")
	s.forget(name)
	return nil
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

// forget lets go of an attachment whose link is gone.
func (s *Server) forget(name string) {
	s.table.remove(name, 0)
	s.alloc.Release(name)
}
