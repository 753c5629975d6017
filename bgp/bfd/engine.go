package bfd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	retry      = time.Second      // after a socket could not be opened
	tellEvery  = time.Second      // at most, of packets that are ignored
	readAtOnce = 1000             // datagrams, before what is due is done
	longest    = 10 * time.Second // wait; nothing depends on it
)

var (
	errTTL    = errors.New("it came over more hops than allowed")
	errPort   = errors.New("it came to the port of the other kind: single-hop at one end, multihop at the other")
	errSource = errors.New("it has the discriminator of another neighbour's session")
	errLink   = errors.New("it came over another link")
)

// listener is a receiving socket.
type listener struct {
	is4, multihop bool
	fd            int
	problem       string
}

// conn is a session with its sending socket.
type conn struct {
	*session
	fd      int // -1: not open
	zone    int // index of the link of a link-local address
	problem string
	ignored int
	why     string
	told    Status
}

func (c *conn) status() Status {
	st := c.session.status()
	st.Ignored, st.Why, st.Problem = c.ignored, c.why, c.problem
	return st
}

// engine is what Run's goroutine owns.
type engine struct {
	*System
	alarm     int
	listeners []*listener
	conns     []*conn // in the order of the peers; those that are shut down come last
	drained   time.Time
	reopen    time.Time // when listeners that could not be opened are tried again; zero: there are none
	changed   bool
	quiet     time.Time // until when ignored packets are not told

	in, oob, out []byte
	poll         []unix.PollFd
}

func newEngine(s *System) (*engine, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open an eventfd: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alarm, s.fresh = fd, true
	return &engine{System: s, alarm: fd, drained: time.Now(), in: make([]byte, 2048), oob: make([]byte, 512), out: make([]byte, 0, maxPacket)}, nil
}

func (e *engine) close() {
	e.mu.Lock()
	e.System.alarm = -1
	e.mu.Unlock()
	_ = unix.Close(e.alarm)
	for _, l := range e.listeners {
		shut(&l.fd)
	}
	for _, c := range e.conns {
		shut(&c.fd)
	}
}

func shut(fd *int) {
	if *fd >= 0 {
		_ = unix.Close(*fd)
	}
	*fd = -1
}

// wait sleeps until something is received, due, or wanted.
func (e *engine) wait() error {
	next := e.due()
	e.poll = append(e.poll[:0], unix.PollFd{Fd: int32(e.alarm), Events: unix.POLLIN})
	for _, l := range e.listeners {
		if l.fd >= 0 {
			e.poll = append(e.poll, unix.PollFd{Fd: int32(l.fd), Events: unix.POLLIN})
		}
	}
	timeout := unix.NsecToTimespec(int64(min(max(time.Until(next), 0), longest)))
	if _, err := unix.Ppoll(e.poll, &timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for BFD packets: %w", err)
	}
	var b [8]byte
	_, _ = unix.Read(e.alarm, b[:])
	return nil
}

// due is when something is to be done next.
func (e *engine) due() time.Time {
	next := time.Now().Add(longest)
	for _, c := range e.conns {
		if t := c.due(); !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	if !e.reopen.IsZero() && e.reopen.Before(next) {
		next = e.reopen
	}
	return next
}

// turn takes in what is wanted and what was received, and then does what is due: in this order, so that nobody is
// lost whose packets are here.
func (e *engine) turn() {
	if peers, fresh := e.take(); fresh {
		e.set(peers, time.Now())
	}
	if now := time.Now(); !e.reopen.IsZero() && !now.Before(e.reopen) {
		e.listen(now)
	}
	now := time.Now()
	for _, l := range e.listeners {
		e.drain(l)
	}
	e.drained = now
	now = time.Now()
	for _, c := range e.conns {
		c.tick(now)
		if b := c.transmit(e.out, now); b != nil {
			e.send(c, b)
		}
		e.note(c)
	}
	e.conns = slices.DeleteFunc(e.conns, func(c *conn) bool {
		over := c.over(now)
		if over {
			shut(&c.fd)
			e.changed = true
		}
		return over
	})
	if e.changed {
		e.tell()
	}
}

// set brings the sessions to what is wanted.
func (e *engine) set(peers []Peer, now time.Time) {
	old := e.conns
	e.conns = nil
	for _, p := range peers {
		i := slices.IndexFunc(old, func(c *conn) bool { return c.peer.Address == p.Address && c.farewell.IsZero() })
		switch {
		case i >= 0 && (p.Off || old[i].peer.Local == p.Local && old[i].peer.Multihop == p.Multihop):
			old[i].set(p, now)
			e.conns = append(e.conns, old[i])
			old = slices.Delete(old, i, i+1)
		case p.Off:
		default:
			e.conns = append(e.conns, &conn{session: newSession(p, e.discriminator(old), now, rand.Float64), fd: -1})
			if i >= 0 { // the new session speaks for us from now on
				shut(&old[i].fd)
				old = slices.Delete(old, i, i+1)
			}
		}
	}
	for _, c := range old {
		c.shutDown(now)
		e.conns = append(e.conns, c)
	}
	e.changed = true
	e.listen(now)
}

// discriminator is one that no session has.
func (e *engine) discriminator(more []*conn) uint32 {
	for {
		d := rand.Uint32() //nolint:gosec // no secret
		has := func(c *conn) bool { return c.local == d }
		if d != 0 && !slices.ContainsFunc(e.conns, has) && !slices.ContainsFunc(more, has) {
			return d
		}
	}
}

// listen opens the receiving sockets that sessions need and closes the others.
func (e *engine) listen(now time.Time) {
	e.reopen = time.Time{}
	for _, kind := range []struct{ is4, multihop bool }{{true, false}, {false, false}, {true, true}, {false, true}} {
		needed := slices.ContainsFunc(e.conns, func(c *conn) bool {
			return c.peer.Address.Is4() == kind.is4 && c.peer.Multihop == kind.multihop
		})
		i := slices.IndexFunc(e.listeners, func(l *listener) bool { return l.is4 == kind.is4 && l.multihop == kind.multihop })
		switch {
		case i < 0 && needed:
			e.listeners = append(e.listeners, &listener{is4: kind.is4, multihop: kind.multihop, fd: -1})
			i = len(e.listeners) - 1
		case i < 0:
			continue
		case !needed:
			shut(&e.listeners[i].fd)
			e.listeners = slices.Delete(e.listeners, i, i+1)
			continue
		}
		l := e.listeners[i]
		if l.fd >= 0 {
			continue
		}
		port := portSingle
		if kind.multihop {
			port = portMulti
		}
		var err error
		problem := ""
		if l.fd, err = listen(kind.is4, port); err != nil {
			problem = err.Error()
			e.reopen = now.Add(retry)
		}
		e.changed = e.changed || problem != l.problem
		l.problem = problem
	}
}

// drain reads all that a socket holds. A flood must not keep us from sending, so there is a bound.
func (e *engine) drain(l *listener) {
	if l.fd < 0 {
		return
	}
	for range readAtOnce {
		now := time.Now()
		d, ok, err := receive(l.fd, e.in, e.oob, now)
		if !ok {
			if err != nil { // of a socket that came to harm: open it anew
				shut(&l.fd)
				l.problem, e.reopen, e.changed = err.Error(), now, true
			}
			return
		}
		if d.at.Before(e.drained) { // it would have been read then; somebody has set the clock
			d.at = e.drained
		}
		e.accept(l, d, now)
	}
}

// accept finds the session of a datagram and hands the packet to it.
func (e *engine) accept(l *listener, d datagram, now time.Time) {
	p, err := parse(d.body)
	c := e.find(d, p.your)
	if c == nil {
		return
	}
	if err == nil {
		err = c.admits(l, d, p.your)
	}
	answer := false
	if err == nil {
		answer, err = c.receive(&p, d.at, now)
	}
	if err != nil {
		c.ignored++
		c.why = err.Error()
		if now.After(e.quiet) {
			e.quiet, e.changed = now.Add(tellEvery), true
		}
		return
	}
	if answer {
		e.send(c, c.packet(e.out, true, now))
	}
}

// find is the session of a discriminator, else the one with the sender.
func (e *engine) find(d datagram, your uint32) *conn {
	var from *conn
	for _, c := range e.conns {
		if your != 0 && c.local == your {
			return c
		}
		if from == nil && c.peer.Address.WithZone("") == d.from && c.on(d.link) && c.farewell.IsZero() {
			from = c
		}
	}
	return from
}

// on says whether a link is the one that a link-local address is of.
func (c *conn) on(link int) bool {
	if c.zone == 0 && c.peer.Address.Zone() != "" {
		c.zone, _ = zoneOf(c.peer.Address) // sending tells what is wrong
	}
	return c.zone == 0 && c.peer.Address.Zone() == "" || c.zone == link
}

// admits checks what RFC 5881 and 5883 ask of a datagram.
func (c *conn) admits(l *listener, d datagram, your uint32) error {
	switch {
	case your != 0 && your != c.local:
		return errStranger
	case c.peer.Address.WithZone("") != d.from:
		return errSource
	case l.multihop != c.peer.Multihop:
		return errPort
	case !c.on(d.link):
		return errLink
	case !c.peer.Multihop && d.ttl != maxTTL:
		return errTTL
	case c.peer.MaxHops > 0 && d.ttl <= maxTTL-c.peer.MaxHops:
		return errTTL
	}
	return nil
}

// send sends a packet, through a new socket if need be.
func (e *engine) send(c *conn, b []byte) {
	problem := ""
	err := error(nil)
	if c.fd < 0 {
		if c.zone, err = zoneOf(c.peer.Address); err == nil {
			c.fd, err = dial(c.peer)
		}
	}
	if err == nil {
		_, err = unix.Write(c.fd, b)
		if errors.Is(err, unix.ECONNREFUSED) { // the answer to a packet before: there is no BFD yet
			_, err = unix.Write(c.fd, b)
		}
	}
	switch {
	case err == nil || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ECONNREFUSED):
	case errors.Is(err, unix.ENOBUFS):
		problem = fmt.Sprintf("send to %v: %v: the kernel's table of neighbours may be full", c.peer.Address, err)
	case errors.Is(err, unix.EPERM):
		problem = fmt.Sprintf("send to %v: %v: a firewall of this node forbids it", c.peer.Address, err)
	default:
		shut(&c.fd)
		problem = err.Error()
	}
	c.problem = problem
}

// note sees whether a session has something new to tell.
func (e *engine) note(c *conn) {
	st := c.status()
	st.Ignored, st.Why = c.told.Ignored, c.told.Why
	if st == c.told {
		return
	}
	e.changed = true
	c.told = st
}

// tell publishes the states.
func (e *engine) tell() {
	e.changed = false
	var states []Status
	for _, c := range e.conns {
		if !c.farewell.IsZero() {
			continue
		}
		st := c.status()
		c.told = st
		for _, l := range e.listeners {
			if st.Problem == "" && l.is4 == st.Address.Is4() && l.multihop == c.peer.Multihop {
				st.Problem = l.problem
			}
		}
		states = append(states, st)
	}
	e.publish(states)
}
