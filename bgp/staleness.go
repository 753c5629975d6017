package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// This file is about routes that outlive their session: RFC 4724 section 4.2, and RFC 8538. See docs/adr/0023.

const (
	// endOfRIBTime is how long at least a neighbour that is back from a restart has to say all again.
	endOfRIBTime = 30 * time.Second
	// staleMost bounds how long routes may stay stale from session to session.
	staleMost = 6 * time.Minute
)

// ending is the NOTIFICATION that ends an established session.
type ending struct {
	why  Reason // ReasonNotificationSent, ReasonNotificationReceived, or ReasonNone where there was none
	hard bool   // Cease, Hard Reset (RFC 8538 section 3)
}

// endingOf is the ending that a message of the log tells of.
func endingOf(why Reason, code, subcode int64) ending {
	return ending{why: why, hard: code == gobgp.BGP_ERROR_CEASE && subcode == gobgp.BGP_ERROR_SUB_HARD_RESET}
}

// capability takes in the neighbour's graceful restart capability.
func (x *session) capability(c *gobgp.CapGracefulRestart) {
	x.restart = time.Duration(c.Time) * time.Second
	x.notifies = x.peer.GracefulRestart && c.Flags&notificationBit != 0
	for _, t := range c.Tuples {
		if fam, ok := familyFrom(gobgp.NewFamily(t.AFI, t.SAFI)); ok && x.peer.GracefulRestart {
			x.graceful[fam] = t.Flags&forwardingBit != 0
		}
	}
}

// Bits of the graceful restart capability, as gobgp has them (RFC 8538 section 2, RFC 4724 section 3).
const (
	notificationBit = 0x04
	forwardingBit   = 0x80
)

// back notes that a neighbour whose routes are kept is back. Families for which it did not keep forwarding, or which its new
// OPEN does not name, lose them at once (RFC 4724 section 4.2). A neighbour from which we took a new session has not restarted, and need not say
// that it has kept forwarding: gobgp does not.
func (s *sessions) back(x *session) {
	addr := x.peer.Address
	s.agenda.cancel(addr, restartOver, longLivedOver)
	if !x.stale {
		return
	}
	forwarding := map[Family]bool{}
	for fam, kept := range x.graceful {
		if kept || x.handed {
			forwarding[fam] = true
		}
	}
	x.handed = false
	s.table.ended(addr, forwarding)
	switch {
	case len(forwarding) > 0:
		s.agenda.set(addr, endStale, time.Now().Add(max(x.restart, endOfRIBTime)))
	case s.resend:
		s.agenda.set(addr, endStale, time.Now()) // gobgp keeps them
	default:
		x.stale = false
	}
}

// atOnce says whether a neighbour that was lost is replaced at once: where its session had lasted, and now and then where it had not.
func (x *session) atOnce(lasted time.Duration) bool {
	if lasted > settled {
		return true
	}
	if time.Since(x.hurried) < pardon {
		return false
	}
	x.hurried = time.Now()
	return true
}

// down notes why a session was lost and what becomes of its routes.
func (s *sessions) down(x *session, st apiutil.PeerState) {
	addr := x.peer.Address
	lasted, again := time.Since(x.since), x.stale
	x.reason, x.text = x.named(reasonOf(st))
	kept := x.outlived(st)
	x.since, x.eor, x.before = time.Now(), nil, s.drops.now()
	x.flaps++
	s.agenda.cancel(addr, softOut, tell, endStale, introduce)
	why, data := x.parted()
	s.table.dismiss(addr, why, data)
	if keptByGobgp := st.DisconnectReason == api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART; !kept && (keptByGobgp || x.atOnce(lasted)) {
		s.agenda.set(addr, redial, time.Now())
	} else if x.partial && (!kept || !s.resend) {
		s.agenda.set(addr, renew, time.Now())
	}
	if kept {
		s.keep(x, again)
	} else {
		x.stale, x.longUntil = false, nil
		s.table.ended(addr, nil)
		if x.reason != ReasonReconfigured {
			s.flapped(x)
		}
	}
	x.silent, x.ending = false, ending{}
	x.lost = note{time.Now(), x.text}
	say := s.log.Warn
	if x.reason == ReasonReconfigured {
		say = s.log.Info
	}
	say("BGP session is down", "peer", x.peer.Name, "address", addr, "reason", x.text, "routes kept", x.stale)
}

// outlived says whether the routes of a session outlive its end, and gives the end its name. A connection that closes without a
// NOTIFICATION is that of a neighbour that restarts. After a NOTIFICATION, whoever sent it, and after silence, routes stay only where
// both ends want that, and not after a Hard Reset (RFC 8538 section 4).
func (x *session) outlived(st apiutil.PeerState) bool {
	switch st.DisconnectReason {
	case api.PeerState_DISCONNECT_REASON_ADMIN_DOWN, api.PeerState_DISCONNECT_REASON_DECONFIGURED, api.PeerState_DISCONNECT_REASON_HARD_RESET:
		return false
	}
	graceful := len(x.graceful) > 0
	switch {
	case x.silent:
		x.reason, x.text = ReasonHoldTimerExpired, holdTimerText
		return graceful && x.notifies
	case x.ending.why != ReasonNone:
		x.reason, x.text = x.ending.why, x.note.text
		return graceful && x.notifies && !x.ending.hard
	}
	return graceful && st.DisconnectReason == api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART
}

// keep keeps what a session has left behind. again: there is more, from the one before it. That goes, unless both ends have agreed
// otherwise (RFC 4724 section 4.2, RFC 8538 section 4.1, RFC 9494 section 4.2), or when it is too old. A neighbour that has fallen silent may be dead:
// while its routes stay, those of others are preferred.
func (s *sessions) keep(x *session, again bool) {
	addr := x.peer.Address
	switch {
	case !again:
		x.staleSince, x.longUntil = time.Now(), nil
	case x.longUntil != nil:
	case !x.notifies || time.Since(x.staleSince) > staleMost:
		s.table.confirmed(addr)
		x.staleSince = time.Now()
	}
	x.stale = true
	kept := map[Family]bool{}
	for fam := range x.graceful {
		kept[fam] = true
	}
	s.table.ended(addr, kept)
	x.lastChoice = x.silent
	if x.silent {
		s.table.age(addr, false)
	}
	s.agenda.set(addr, restartOver, time.Now().Add(x.restart))
}

// expire ends the wait for a neighbour that has not come back within its restart time.
func (s *sessions) expire(peer netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.byAddr[peer]; x != nil {
		s.over(x)
	}
}

func (s *sessions) over(x *session) {
	addr := x.peer.Address
	if !x.stale || x.state == gobgp.BGP_FSM_ESTABLISHED || s.agenda.has(addr, longLivedOver) {
		return
	}
	s.agenda.cancel(addr, restartOver)
	x.reason, x.text = ReasonRestartExpired, fmt.Sprintf("the neighbour did not come back within its restart time of %v", x.restart)
	signal(s.changed)
	if len(x.longer) == 0 {
		x.stale = false
		s.table.ended(addr, nil)
		s.flapped(x)
		return
	}
	if x.longUntil == nil {
		x.longUntil = map[Family]time.Time{}
		for fam, d := range x.longer {
			x.longUntil[fam] = time.Now().Add(d)
		}
	}
	x.lastChoice = true
	s.table.age(addr, true)
	s.last(x)
	s.log.Warn("a BGP neighbour stays away; its routes are the last choice now", "peer", x.peer.Name, "address", addr, "for", fmt.Sprint(x.longer))
}

// expireLong ends the time for which routes of a neighbour that stays away are kept.
func (s *sessions) expireLong(peer netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.byAddr[peer]; x != nil && x.stale && x.state != gobgp.BGP_FSM_ESTABLISHED {
		s.last(x)
		signal(s.changed)
	}
}

// last takes away what has been kept for long enough, and looks when the rest will have been.
func (s *sessions) last(x *session) {
	kept, next := map[Family]bool{}, time.Time{}
	for fam, until := range x.longUntil {
		if time.Now().Before(until) {
			kept[fam] = true
			if next.IsZero() || until.Before(next) {
				next = until
			}
		}
	}
	s.table.ended(x.peer.Address, kept)
	if len(kept) > 0 {
		x.text = fmt.Sprintf("the neighbour did not come back within its restart time of %v: its routes are the last choice until %s", x.restart, next.Format(time.TimeOnly))
		s.agenda.set(x.peer.Address, longLivedOver, next)
		return
	}
	x.stale, x.longUntil = false, nil
	x.text = "the neighbour did not come back within its restart time and its long-lived stale time"
}

// longLived takes in the neighbour's long-lived graceful restart capability. The shorter of both ends' times counts.
func (x *session) longLived(c *gobgp.CapLongLivedGracefulRestart) {
	if !x.peer.GracefulRestart || x.peer.LongLived == 0 {
		return
	}
	for _, t := range c.Tuples {
		fam, ok := familyFrom(gobgp.NewFamily(t.AFI, t.SAFI))
		if d := min(time.Duration(t.RestartTime)*time.Second, x.peer.LongLived); ok && d > 0 {
			x.longer[fam] = d
			if _, graceful := x.graceful[fam]; graceful && x.longUntil != nil && t.Flags&forwardingBit != 0 {
				x.graceful[fam] = true
			}
		}
	}
}

// severalPaths takes in the neighbour's add-path capability.
func (x *session) severalPaths(c *gobgp.CapAddPath) {
	for _, t := range c.Tuples {
		if fam, ok := familyFrom(t.Family); ok && slices.Contains(x.peer.Families, fam) {
			x.receives = x.receives || x.peer.ReceivePaths && t.Mode&gobgp.BGP_ADD_PATH_SEND != 0
			x.sends = x.sends || x.peer.SendPaths && t.Mode&gobgp.BGP_ADD_PATH_RECEIVE != 0
		}
	}
}

// sweep takes away what a neighbour that is back did not say again, although it never said that this was all. It says whether gobgp has
// to be rid of it, too.
func (s *sessions) sweep(peer netip.Addr) (gobgpToo bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	if x == nil || !x.stale {
		return false
	}
	x.stale, x.longUntil = false, nil
	s.table.confirmed(peer)
	signal(s.changed)
	return s.resend
}
