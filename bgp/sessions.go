package bgp

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

const (
	// settled is how long a session must have lasted for its neighbour to be dialled again at once when it
	// is lost; one that fails sooner is left to gobgp's pace of one attempt in seven seconds, but for once in a while.
	settled = 10 * time.Second
	pardon  = time.Minute
	// softOutDelay is when all is sent again to a neighbour that came up while others' routes arrived: it may
	// have missed some (see docs/adr/0012).
	softOutDelay = 500 * time.Millisecond
	// stuck is how long a handshake may take.
	stuck = 5 * time.Second
	// later is when a neighbour is tried again that has the wrong AS number.
	later = 30 * time.Second

	holdTimerText = "Hold Timer Expired: nothing was heard from the neighbour"
)

// session is what events have told of one neighbour.
type session struct {
	peer   Peer
	state  gobgp.FSMState
	since  time.Time
	reason Reason
	text   string // reason, for people
	history

	// Of the established session, or of the one that is being restarted:
	families []Family
	graceful map[Family]bool          // families whose routes outlive the session; true: the neighbour has kept forwarding meanwhile
	restart  time.Duration            // the neighbour's restart time
	notifies bool                     // that is so after a NOTIFICATION, too (RFC 8538)
	longer   map[Family]time.Duration // how long routes are kept after the restart time (RFC 9494)
	hold     time.Duration
	as       uint32          // the neighbour's
	eor      map[Family]bool // End-of-RIB has come
	receives bool            // several paths to a prefix (RFC 7911)
	sends    bool

	stale      bool // lost with its routes kept
	staleSince time.Time
	lastChoice bool                 // what is kept is used where there is nothing else
	handed     bool                 // it was lost because we wanted a new session
	longUntil  map[Family]time.Time // the restart time was over, and routes are kept until then
	silent     bool                 // lost because the hold timer ran out
	ending     ending
	barred     bool // it is shut out

	// deferral is how long gobgp may hold our routes back after the session is up, because we are restarting.
	deferral time.Duration
	partial  bool          // of some families we have not offered graceful restart
	open     apiutil.Peer  // what gobgp has told of the session that is up
	parting  []byte        // the NOTIFICATION of ending
	told     chan struct{} // is closed when the neighbour has been told our paths all the same
	untold   []Family      // of which families it has not
}

// history is what is known of a neighbour over all its sessions.
type history struct {
	from    time.Time // see heed
	flaps   int
	hurried time.Time     // when it was last dialled again at once though its session had not lasted
	shutOut time.Time     // when it last sent too many prefixes
	penalty time.Duration // for how long it stayed out then
	note    note          // the last NOTIFICATION
	damping flaps
	lost    note    // why and when a session with it ended last
	before  dropped // when it was last without a session anew
}

// sessions are the neighbours and what has happened to them.
type sessions struct {
	log     *slog.Logger
	changed chan struct{}
	agenda  *agenda
	table   *table // is told which routes go with a session
	drops   *counters

	mu     sync.Mutex
	life   int // counts the speakers that they were with
	byAddr map[netip.Addr]*session
	resend bool // we transit or reflect
}

func newSessions(log *slog.Logger, changed chan struct{}, t *table) *sessions {
	return &sessions{log: log, changed: changed, agenda: t.agenda, table: t, byAddr: map[netip.Addr]*session{}, drops: &counters{read: droppedNow}}
}

// set makes the sessions those of these peers; what is known of those that stay is kept.
func (s *sessions) set(peers []Peer, resend bool) {
	now := s.drops.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byAddr
	s.byAddr, s.resend = map[netip.Addr]*session{}, resend
	for _, p := range peers {
		x := old[p.Address]
		if x == nil {
			x = &session{since: time.Now(), history: history{before: now}}
		}
		x.peer = p
		s.byAddr[p.Address] = x
		s.forgive(x)
	}
	signal(s.changed)
}

// reset says that the neighbour's session was ended by us, for a reason.
func (s *sessions) reset(peer netip.Addr, why Reason, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	if x == nil {
		return
	}
	if x.state == gobgp.BGP_FSM_ESTABLISHED {
		x.flaps++
		x.lost = note{time.Now(), text}
	}
	x.before = s.drops.now()
	*x = session{peer: x.peer, since: time.Now(), history: x.history, reason: why, text: text}
	s.agenda.cancel(peer)
	end, data := closedHere()
	s.table.dismiss(peer, end, data)
	signal(s.changed)
}

// forget is for a speaker that starts anew: all sessions start again. It returns the number of its life.
func (s *sessions) forget() (life int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for addr, x := range s.byAddr {
		*x = session{peer: x.peer, since: time.Now(), history: x.history}
		s.agenda.cancel(addr)
	}
	s.life++
	return s.life
}

// heed is for a neighbour that is added to gobgp or removed: only what happens to it after that counts.
func (s *sessions) heed(peer netip.Addr, from time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.byAddr[peer]; x != nil {
		x.from = from
	}
}

// event takes in a change of state; gobgp tells of every one, some time after it. Those of an earlier life are late, and
// so are those of a neighbour as it was before it was removed and added again.
func (s *sessions) event(life int, ev *apiutil.WatchEventMessage_PeerEvent, at time.Time) {
	if ev.Type != apiutil.PEER_EVENT_STATE {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := ev.Peer.State
	x := s.byAddr[st.NeighborAddress]
	if x == nil || life != s.life || at.Before(x.from) {
		return
	}
	was := x.state
	x.state = st.SessionState
	switch {
	case x.barred: // its end was told when it was shut out
	case st.SessionState == gobgp.BGP_FSM_ESTABLISHED:
		x.open = ev.Peer
		s.agenda.set(st.NeighborAddress, introduce, time.Now())
		s.up(x, st)
	case was == gobgp.BGP_FSM_ESTABLISHED:
		s.down(x, st)
	case st.DisconnectReason == api.PeerState_DISCONNECT_REASON_RESTART_TIMER_EXPIRED:
		s.over(x)
	case was > gobgp.BGP_FSM_ACTIVE && st.SessionState == gobgp.BGP_FSM_IDLE:
		x.reason, x.text = x.named(reasonOf(st))
	}
	s.agenda.cancel(st.NeighborAddress, tidy)
	switch {
	case st.SessionState == gobgp.BGP_FSM_OPENSENT || st.SessionState == gobgp.BGP_FSM_OPENCONFIRM:
		s.agenda.set(st.NeighborAddress, tidy, time.Now().Add(stuck))
	case was > gobgp.BGP_FSM_ACTIVE && st.SessionState == gobgp.BGP_FSM_IDLE:
		s.agenda.set(st.NeighborAddress, tidy, time.Now())
		if x.atOnce(0) {
			s.misdialled(x)
		}
	}
	signal(s.changed)
}

// up notes what was negotiated.
func (s *sessions) up(x *session, st apiutil.PeerState) {
	addr := x.peer.Address
	x.since, x.reason, x.text = time.Now(), ReasonNone, ""
	x.families, x.graceful, x.eor = nil, map[Family]bool{}, map[Family]bool{}
	x.longer, x.receives, x.sends = map[Family]time.Duration{}, false, false
	x.restart, x.hold, x.notifies, x.silent, x.ending = 0, x.peer.Hold, false, false, ending{}
	for _, c := range st.RemoteCap {
		switch c := c.(type) {
		case *gobgp.CapMultiProtocol:
			if fam, ok := familyFrom(c.CapValue); ok && slices.Contains(x.peer.Families, fam) {
				x.families = append(x.families, fam)
			}
		case *gobgp.CapGracefulRestart:
			x.capability(c)
		case *gobgp.CapLongLivedGracefulRestart:
			x.longLived(c)
		case *gobgp.CapAddPath:
			x.severalPaths(c)
		}
	}
	slices.Sort(x.families)
	s.agenda.cancel(addr, redial)
	x.as = st.PeerASN
	if x.peer.External && st.PeerASN == st.LocalASN {
		s.table.silence(addr)
		s.agenda.set(addr, refuse, time.Now())
		return
	}
	s.back(x)
	s.proven(x)
	if s.resend {
		s.agenda.set(addr, softOut, time.Now().Add(x.deferral+softOutDelay))
	}
	s.log.Info("BGP session is up", "peer", x.peer.Name, "address", addr, "AS", st.PeerASN, "families", fmt.Sprint(x.families))
}

// bar notes that a neighbour is shut out, and why.
func (s *sessions) bar(peer netip.Addr, why Reason, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	if x == nil || x.barred {
		return
	}
	x.flaps++
	x.lost = note{time.Now(), text}
	*x = session{peer: x.peer, since: time.Now(), history: x.history, barred: true, reason: why, text: text}
	end, data := closedHere()
	s.table.dismiss(peer, end, data)
	signal(s.changed)
	s.log.Warn("BGP neighbour is shut out", "peer", x.peer.Name, "address", peer, "reason", text)
}

// endOfRIB notes that a neighbour has told all it knows of a family.
func (s *sessions) endOfRIB(life int, p *apiutil.Path) {
	fam, ok := familyFrom(p.Family)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[p.PeerAddress]
	if x == nil || x.eor == nil || life != s.life {
		return
	}
	x.eor[fam] = true
	if x.complete() {
		if x.stale {
			x.stale, x.longUntil = false, nil
			s.table.confirmed(x.peer.Address)
			s.agenda.cancel(x.peer.Address, endStale)
		}
		signal(s.changed)
	}
}

// complete says that End-of-RIB has come for every family of the session.
func (x *session) complete() bool {
	if x.state != gobgp.BGP_FSM_ESTABLISHED || len(x.families) == 0 {
		return false
	}
	return !slices.ContainsFunc(x.families, func(f Family) bool { return !x.eor[f] })
}

// complete says that every neighbour that is not down has told all it knows.
func (s *sessions) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.byAddr {
		if !x.peer.Down && !x.complete() {
			return false
		}
	}
	return true
}

// isBarred says whether a neighbour is shut out.
func (s *sessions) isBarred(peer netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byAddr[peer]
	return x != nil && x.barred
}

// anyUp says whether a session is up.
func (s *sessions) anyUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.byAddr {
		if x.state == gobgp.BGP_FSM_ESTABLISHED {
			return true
		}
	}
	return false
}

// graceful are the neighbours with which graceful restart is negotiated.
func (s *sessions) graceful() map[netip.Addr]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[netip.Addr]bool{}
	for addr, x := range s.byAddr {
		out[addr] = len(x.graceful) > 0
	}
	return out
}

// reasonOf is why gobgp says that a session ended.
func reasonOf(st apiutil.PeerState) (Reason, string) {
	text := st.DisconnectMessage
	switch st.DisconnectReason {
	case api.PeerState_DISCONNECT_REASON_NOTIFICATION_RECEIVED, api.PeerState_DISCONNECT_REASON_HARD_RESET:
		return ReasonNotificationReceived, "the neighbour sent NOTIFICATION: " + strings.TrimPrefix(text, "notification-received ")
	case api.PeerState_DISCONNECT_REASON_NOTIFICATION_SENT:
		return ReasonNotificationSent, "we sent NOTIFICATION: " + strings.TrimPrefix(text, "notification-sent ")
	case api.PeerState_DISCONNECT_REASON_HOLD_TIMER_EXPIRED:
		return ReasonHoldTimerExpired, holdTimerText
	case api.PeerState_DISCONNECT_REASON_READ_FAILED, api.PeerState_DISCONNECT_REASON_WRITE_FAILED:
		return ReasonClosed, "the connection was closed without a NOTIFICATION"
	case api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART:
		return ReasonRestarting, "the connection was lost without a NOTIFICATION: the neighbour may be restarting"
	case api.PeerState_DISCONNECT_REASON_BAD_PEER_AS:
		return ReasonBadAS, "OPEN Message Error, Bad Peer AS: the neighbour has another AS number than configured"
	case api.PeerState_DISCONNECT_REASON_INVALID_MSG:
		return ReasonBadMessage, "the neighbour refused our OPEN: it may have another AS number for us, or our router ID; its log says which"
	case api.PeerState_DISCONNECT_REASON_ADMIN_DOWN, api.PeerState_DISCONNECT_REASON_DECONFIGURED,
		api.PeerState_DISCONNECT_REASON_UNSPECIFIED:
		return ReasonReconfigured, "ended by us"
	}
	return ReasonClosed, text
}
