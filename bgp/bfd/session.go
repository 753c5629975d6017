package bfd

import (
	"errors"
	"time"
)

const (
	// slow is the least interval of our packets while a session is not up (RFC 5880 section 6.8.3).
	slow = time.Second
	// late is how much later than planned a turn may come before its silence proves nothing.
	late = 10 * time.Millisecond
)

var (
	errStranger = errors.New("its Your Discriminator is not ours")
	errAuth     = errors.New("it carries authentication, and none is configured")
	errNoAuth   = errors.New("it carries no authentication")
	errDown     = errors.New("the session is shut down")
)

// session is one session: the state variables of RFC 5880 section 6.8.1 and the timers of 6.8.2 to 6.8.4.
type session struct {
	peer Peer
	rand func() float64 // uniform in [0, 1), for jitter

	state, remoteState State
	localDiag          Diag
	remoteDiag         Diag
	local, remote      uint32 // discriminators
	since              time.Time

	// What our packets say, and what is in force: an interval that makes the neighbour wait longer, or us hear more
	// often, counts only once the neighbour has confirmed it (RFC 5880 section 6.8.3).
	desiredTX, requiredRX time.Duration
	usedTX, usedRX        time.Duration
	poll                  bool // a Poll Sequence is under way
	again                 bool // and its subject has changed meanwhile

	// Of the neighbour's last packet.
	remoteMinTX, remoteMinRX time.Duration
	remoteMult               int
	remoteDemand             bool
	independent              bool

	heard    time.Time // when the last packet came, zero: none since the neighbour was forgotten
	spared   bool      // since then a turn came late, and the neighbour was given more time
	lastTX   time.Time
	nextTX   time.Time // zero: nothing is sent periodically
	farewell time.Time // shut down: until when that is said; zero: it is not shut down
	auth     authState

	losses int
	deaf   time.Duration // how long the neighbour had not heard us when it told of the last loss; 0: we told
}

// newSession makes a session that has not heard of its neighbour.
func newSession(p Peer, discriminator uint32, now time.Time, random func() float64) *session {
	s := &session{
		peer: p, rand: random, local: discriminator, state: Down, remoteState: Down, since: now,
		desiredTX: max(p.MinTX, slow), requiredRX: p.MinRX, remoteMinRX: time.Microsecond,
		auth: newAuthState(random),
	}
	s.usedTX, s.usedRX = s.desiredTX, s.requiredRX
	if !p.Passive {
		s.nextTX = now
	}
	return s
}

// set takes over what can change under a running session.
func (s *session) set(p Peer, now time.Time) {
	if p.Off {
		s.peer.Off = true
		return
	}
	mult := s.peer.Multiplier != p.Multiplier
	s.peer = p
	s.intervals()
	if mult || s.poll {
		s.sendSoon(now)
	}
	if s.nextTX.IsZero() && !p.Passive {
		s.nextTX = now
	}
}

// intervals makes our packets say what is configured and what the state allows.
func (s *session) intervals() {
	tx := s.peer.MinTX
	if s.state != Up {
		tx = max(tx, slow)
	}
	rx := s.peer.MinRX
	if tx == s.desiredTX && rx == s.requiredRX {
		return
	}
	s.desiredTX, s.requiredRX = tx, rx
	if s.state != Up {
		s.usedTX, s.usedRX, s.poll, s.again = tx, rx, false, false
		return
	}
	s.usedTX, s.usedRX = min(s.usedTX, tx), max(s.usedRX, rx)
	s.poll, s.again = true, s.poll
}

// move changes the state.
func (s *session) move(to State, why Diag, now time.Time) {
	was := s.state
	if to == was {
		return
	}
	s.state, s.since = to, now
	if to == Up || why != DiagNone {
		s.localDiag = why
	}
	if was == Up && s.remoteState != AdminDown && s.farewell.IsZero() {
		s.losses++
		s.deaf = 0
		if why == DiagNeighborDown {
			s.deaf = time.Duration(s.peer.Multiplier) * s.interval()
		}
	}
	s.intervals()
	s.sendSoon(now)
}

// sendSoon has the neighbour told at once of what has changed (RFC 5880 section 6.8.7, last paragraph).
func (s *session) sendSoon(now time.Time) {
	if s.periodic() || s.poll {
		s.nextTX = now
	}
}

// receive takes in a packet that has passed parse and is this session's; at is when the kernel received it.
// answer says that a packet with the Final bit has to go out now.
func (s *session) receive(p *packet, at, now time.Time) (answer bool, err error) {
	switch {
	case p.has(flagAuth) && s.peer.Auth.Type == AuthNone:
		return false, errAuth
	case !p.has(flagAuth) && s.peer.Auth.Type != AuthNone:
		return false, errNoAuth
	case p.has(flagAuth):
		if err := s.auth.accept(s.peer.Auth, p, at, s.detection()); err != nil {
			return false, err
		}
	}
	s.remote, s.remoteState, s.remoteDiag = p.my, p.state, p.diag
	s.remoteDemand, s.independent = p.has(flagDemand), p.has(flagIndependent)
	s.remoteMinTX, s.remoteMinRX, s.remoteMult = interval(p.minTX), interval(p.minRX), int(p.mult)
	s.heard, s.spared = at, false
	if p.has(flagFinal) && s.poll {
		s.poll, s.again = s.again, false
		if !s.poll {
			s.usedTX, s.usedRX = s.desiredTX, s.requiredRX
		}
	}
	if s.state == AdminDown {
		return false, errDown
	}
	s.transition(p.state, now)
	s.reschedule(now)
	return p.has(flagPoll), nil
}

// transition is the state machine of RFC 5880 section 6.8.6.
func (s *session) transition(theirs State, now time.Time) {
	switch {
	case theirs == AdminDown && s.state != Down:
		s.move(Down, DiagNeighborDown, now)
	case theirs == AdminDown:
	case s.state == Down && theirs == Down && !s.peer.Off:
		s.move(Init, DiagNone, now)
	case s.state == Down && theirs == Init && !s.peer.Off:
		s.move(Up, DiagNone, now)
	case s.state == Init && theirs >= Init:
		s.move(Up, DiagNone, now)
	case s.state == Up && theirs == Down:
		s.move(Down, DiagNeighborDown, now)
	}
}

// detection is the silence after which the neighbour is lost (RFC 5880 section 6.8.4); 0 while it is unknown.
func (s *session) detection() time.Duration {
	return time.Duration(s.remoteMult) * max(s.usedRX, s.remoteMinTX)
}

// interval is that of our packets, before jitter (RFC 5880 section 6.8.2).
func (s *session) interval() time.Duration { return max(s.usedTX, s.remoteMinRX) }

// periodic says whether packets go out at intervals (RFC 5880 section 6.8.7).
func (s *session) periodic() bool {
	switch {
	case !s.farewell.IsZero():
		return true
	case s.remote == 0 && (s.peer.Passive || s.peer.Off):
		return false
	case s.remoteMinRX == 0:
		return false
	case s.remoteDemand && s.state == Up && s.remoteState == Up && !s.poll:
		return false
	}
	return true
}

// reschedule brings the next packet to where the interval of now wants it.
func (s *session) reschedule(now time.Time) {
	switch {
	case !s.periodic():
		s.nextTX = time.Time{}
	case s.nextTX.IsZero():
		s.nextTX = now
	case !s.lastTX.IsZero():
		if latest := s.lastTX.Add(s.interval()); s.nextTX.After(latest) {
			s.nextTX = s.lastTX.Add(s.jittered())
		}
	}
}

// jittered is the interval less 0 to 25 %, or 10 to 25 % where one lost packet is the end (RFC 5880 section 6.8.7).
func (s *session) jittered() time.Duration {
	least := 0.0
	if s.peer.Multiplier == 1 {
		least = 0.10
	}
	return time.Duration(float64(s.interval()) * (1 - least - s.rand()*(0.25-least)))
}

// expires is when silence becomes a loss, or makes us forget the neighbour's discriminator; zero: never.
func (s *session) expires() time.Time {
	if s.heard.IsZero() || s.detection() == 0 {
		return time.Time{}
	}
	return s.heard.Add(s.detection())
}

// tick ends a session that has been silent for too long. All that the kernel had received at now has been handed to
// receive. A turn that comes late proves nothing: the node has slept, and the softirqs that bring its neighbours'
// packets may have slept with it; so the neighbour is given the time of another packet, once.
func (s *session) tick(now time.Time) {
	end := s.expires()
	if end.IsZero() || now.Before(end) {
		return
	}
	if now.Sub(end) > late && !s.spared {
		s.heard = s.heard.Add(now.Sub(end) + max(s.usedRX, s.remoteMinTX))
		s.spared = true
		return
	}
	s.heard, s.remote = time.Time{}, 0 // RFC 5880 section 6.8.1
	if s.state == Init || s.state == Up {
		s.move(Down, DiagTimeExpired, now)
	}
	if !s.periodic() {
		s.nextTX = time.Time{}
	}
}

// transmit gives the packet that is due, if one is, in b.
func (s *session) transmit(b []byte, now time.Time) []byte {
	if s.nextTX.IsZero() || now.Before(s.nextTX) {
		return nil
	}
	s.lastTX = now
	s.nextTX = now.Add(s.jittered())
	return s.packet(b, false, now)
}

// packet is a packet of now; final answers a poll, and then polls nothing itself (RFC 5880 section 6.5).
func (s *session) packet(b []byte, final bool, now time.Time) []byte {
	p := packet{
		diag: s.localDiag, state: s.state, mult: uint8(s.peer.Multiplier), my: s.local, your: s.remote,
		minTX: micros(s.desiredTX), minRX: micros(s.requiredRX),
	}
	switch {
	case final:
		p.flags |= flagFinal
	case s.poll:
		p.flags |= flagPoll
	}
	return s.auth.sign(s.peer.Auth, &p, b, now)
}

// shutDown says AdminDown for as long as the neighbour may need to hear it (RFC 5880 section 6.8.16).
func (s *session) shutDown(now time.Time) {
	if !s.farewell.IsZero() {
		return
	}
	s.farewell = now.Add(time.Duration(s.peer.Multiplier) * max(slow, s.remoteMinRX))
	s.move(AdminDown, DiagAdminDown, now)
	s.nextTX = now
}

// over says that nothing is left to be done: it was shut down and that is said, or it is not wanted and the
// neighbour has ended it.
func (s *session) over(now time.Time) bool {
	return !s.farewell.IsZero() && now.After(s.farewell) || s.farewell.IsZero() && s.peer.Off && s.state == Down
}

// due is when there is something to do next; zero: nothing but to listen.
func (s *session) due() time.Time {
	next := s.nextTX
	for _, t := range []time.Time{s.expires(), s.farewell} {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// status is what is told of the session.
func (s *session) status() Status {
	st := Status{
		Name: s.peer.Name, Address: s.peer.Address, State: s.state, Since: s.since, Diag: s.localDiag, RemoteDiag: s.remoteDiag,
		Losses: s.losses, Deaf: s.deaf, Independent: s.independent, Off: s.peer.Off, Multihop: s.peer.Multihop, Authenticated: s.peer.Auth.Type != AuthNone,
	}
	if s.state == Up {
		st.TX, st.RX, st.Detect = s.interval(), max(s.usedRX, s.remoteMinTX), s.detection()
	}
	return st
}
