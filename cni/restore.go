package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/cni/hostlink"
	"github.com/podroute/podroute/cni/internal/rtnl"
)

// suspect is a link that looks like ours and whose alias cannot be read: a crash came between link and
// alias, or somebody wrote over it. It is set down, so that whatever uses it cannot do harm with an
// address that we may give to another pod, and is removed after the quarantine.
type suspect struct {
	name  string
	index int
}

// Restore opens the socket, at which calls wait until Run, and reads the journal: it dumps the links,
// rebuilds the allocator and the table from their aliases, puts back missing host routes, and
// quarantines links without an alias. It fails, with no link touched, where another agent serves the
// socket, and rather than act on a partial dump. One address in two aliases is logged, and stays taken
// until both links are gone.
func (s *Server) Restore(ctx context.Context) error {
	if err := s.listen(ctx); err != nil {
		return err
	}
	if err := s.restore(); err != nil {
		return errors.Join(err, s.close())
	}
	return nil
}

func (s *Server) restore() error {
	conn, err := s.conns.get()
	if err != nil {
		return err
	}
	defer s.conns.put(conn)
	links, err := conn.Links()
	if err != nil {
		return fmt.Errorf("read the links of pods: %w", err)
	}
	var found []entry
	used := map[string][]netip.Addr{}
	for _, l := range links {
		if l.Kind != "veth" || !hostlink.Is(l.Name) {
			continue
		}
		a, err := parseAlias(l.Name, l.Alias)
		if err != nil {
			s.isolate(conn, l, err)
			continue
		}
		found = append(found, entry{Attachment: a, index: l.Index, mtu: l.MTU, down: !l.Up})
		used[a.HostIf] = a.Addresses
	}
	if err := s.alloc.Restore(used); err != nil {
		s.log.Error("pods share an address; delete and recreate one of each pair", "err", err)
	}
	// The older attachment of a pair with one address keeps the route.
	slices.SortStableFunc(found, func(a, b entry) int { return a.Since.Compare(b.Since) })
	for _, e := range found {
		s.table.put(e)
		if !e.down {
			s.repair(e)
		}
	}
	s.log.Info("restored pods from the kernel", "pods", len(found), "quarantined", len(s.suspects))
	return nil
}

// isolate quarantines a link.
func (s *Server) isolate(conn *rtnl.Conn, l rtnl.Link, why error) {
	s.log.Warn("a pod link without a readable alias is set down, and removed later", "link", l.Name, "err", why)
	if err := conn.SetLink(l.Index, rtnl.Change{Down: true}); err != nil && !errors.Is(err, unix.ENODEV) {
		s.log.Error("setting a link down failed", "link", l.Name, "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspects = append(s.suspects, suspect{l.Name, l.Index})
}

// clearSuspects removes the quarantined links when their time is up, unless a call has dealt with them.
func (s *Server) clearSuspects(ctx context.Context) error {
	timer := time.NewTimer(max(s.quarantine, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-timer.C:
	}
	s.mu.Lock()
	suspects := s.suspects
	s.suspects = nil
	s.mu.Unlock()
	for _, l := range suspects {
		if err := s.clear(ctx, l); err != nil && ctx.Err() == nil {
			s.log.Error("removing a quarantined link failed", "link", l.name, "err", err)
		}
	}
	return nil
}

func (s *Server) clear(ctx context.Context, l suspect) error {
	unlock, err := s.locks.lock(ctx, l.name)
	if err != nil {
		return err
	}
	defer unlock()
	if _, ok := s.table.get(l.name); ok {
		return nil // an ADD has made it anew
	}
	return s.deleteLink(ctx, l.index)
}
