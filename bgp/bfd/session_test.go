package bfd

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// start is when the simulated time begins.
var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func peerWith(a Auth) Peer {
	return Peer{
		Name: "p", Address: netip.MustParseAddr("192.0.2.1"), MinTX: 50 * time.Millisecond, MinRX: 50 * time.Millisecond, Multiplier: 3, Auth: a,
	}
}

func sessionAt(p Peer) *session { return newSession(p, 7, start, func() float64 { return 0.5 }) }

// sim is two sessions with a wire between them, in simulated time.
type sim struct {
	t    *testing.T
	now  time.Time
	a, b *session
	// cut drops what a (0) or b (1) sends; wire sees every packet, also those that are dropped.
	cut  [2]bool
	wire func(from int, p packet)
	// refused are the errors of receive.
	refused []error
}

func newSim(t *testing.T, a, b Peer) *sim {
	n := 0
	jitter := func() float64 { n++; return float64(n%10) / 10 }
	return &sim{t: t, now: start, a: newSession(a, 1, start, jitter), b: newSession(b, 2, start, jitter)}
}

// run lets time pass, a millisecond a step.
func (s *sim) run(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); s.now = s.now.Add(time.Millisecond) {
		ends := []*session{s.a, s.b}
		for i, x := range ends {
			x.tick(s.now)
			if b := x.transmit(make([]byte, 0, maxPacket), s.now); b != nil {
				s.deliver(i, b)
			}
		}
	}
}

func (s *sim) deliver(from int, b []byte) {
	p, err := parse(b)
	if err != nil {
		s.t.Fatalf("% x: %v", b, err)
	}
	if s.wire != nil {
		s.wire(from, p)
	}
	if s.cut[from] {
		return
	}
	to := []*session{s.b, s.a}[from]
	answer, err := to.receive(&p, s.now, s.now)
	if err != nil {
		s.refused = append(s.refused, err)
	}
	if answer {
		s.deliver(1-from, to.packet(make([]byte, 0, maxPacket), true, s.now))
	}
}

func (s *sim) states(a, b State) {
	s.t.Helper()
	if s.a.state != a || s.b.state != b {
		s.t.Fatalf("after %v: states are %v and %v, want %v and %v", s.now.Sub(start), s.a.state, s.b.state, a, b)
	}
}

// rate is how many packets each end sends in a second.
func (s *sim) rate() (n [2]int) {
	s.wire = func(from int, _ packet) { n[from]++ }
	s.run(time.Second)
	s.wire = nil
	return n
}

func plain() Peer { return peerWith(Auth{}) }

func change(f func(*Peer)) Peer {
	p := plain()
	f(&p)
	return p
}

func TestUpAndLost(t *testing.T) {
	t.Parallel()
	s := newSim(t, plain(), plain())
	s.run(20 * time.Millisecond) // both ends tell at once of each step
	s.states(Up, Up)
	s.run(2 * time.Second)
	if st := s.a.status(); st.TX != 50*time.Millisecond || st.RX != 50*time.Millisecond || st.Detect != 150*time.Millisecond || st.Losses != 0 {
		t.Errorf("%+v", st)
	}
	if n := s.rate(); min(n[0], n[1]) < 20 || max(n[0], n[1]) > 27 {
		t.Errorf("packets a second: %v", n)
	}
	s.cut = [2]bool{false, true}
	s.run(151 * time.Millisecond)
	s.states(Down, Down)
	if st := s.a.status(); st.Diag != DiagTimeExpired || st.Losses != 1 || s.now.Sub(st.Since) > 60*time.Millisecond {
		t.Errorf("who hears nothing: %+v", st)
	}
	if st := s.b.status(); st.Diag != DiagNeighborDown || st.RemoteDiag != DiagTimeExpired || st.Losses != 1 {
		t.Errorf("who is not heard: %+v", st)
	}
	s.run(5 * time.Second)
	if n := s.rate(); n[0] > 2 || n[1] > 2 {
		t.Errorf("packets a second while down: %v", n)
	}
	s.states(Down, Init)
	s.cut = [2]bool{}
	s.run(1500 * time.Millisecond)
	s.states(Up, Up)
	if st := s.a.status(); st.Losses != 1 || st.Diag != DiagNone {
		t.Errorf("up again: %+v", st)
	}
}

// TestIntervals: each end sends at the larger of what it likes and what the other can take, and detects by the
// other's multiplier.
func TestIntervals(t *testing.T) {
	t.Parallel()
	s := newSim(t,
		change(func(p *Peer) { p.MinTX, p.MinRX, p.Multiplier = 20*time.Millisecond, 200*time.Millisecond, 5 }),
		change(func(p *Peer) { p.MinTX, p.MinRX, p.Multiplier = 100*time.Millisecond, 50*time.Millisecond, 3 }))
	s.run(3 * time.Second)
	a, b := s.a.status(), s.b.status()
	want := []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, 600 * time.Millisecond, 200 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond}
	if got := []time.Duration{a.TX, a.RX, a.Detect, b.TX, b.RX, b.Detect}; !slices.Equal(got, want) {
		t.Errorf("intervals %v, want %v", got, want)
	}
	if n := s.rate(); n[0] < 20 || n[0] > 27 || n[1] < 5 || n[1] > 7 {
		t.Errorf("packets a second: %v", n)
	}
}

// TestJitter: 0 to 25 % less than the interval, and at least 10 % less with multiplier 1.
func TestJitter(t *testing.T) {
	t.Parallel()
	for _, mult := range []int{1, 3} {
		s := sessionAt(change(func(p *Peer) { p.Multiplier = mult }))
		for _, r := range []float64{0, 0.5, 0.999999} {
			s.rand = func() float64 { return r }
			most := 1.0
			if mult == 1 {
				most = 0.9
			}
			if got := float64(s.jittered()) / float64(s.interval()); got < 0.75 || got > most {
				t.Errorf("multiplier %d, random %v: %v of the interval", mult, r, got)
			}
		}
	}
}

// TestPoll: intervals change under a running session, and none that the other end must know of is in force before it
// has said so (RFC 5880 section 6.8.3).
func TestPoll(t *testing.T) {
	t.Parallel()
	s := newSim(t, plain(), plain())
	s.run(2 * time.Second)
	s.cut[1] = true // the answer is lost
	slower := change(func(p *Peer) { p.MinTX, p.MinRX = 500*time.Millisecond, 20*time.Millisecond })
	s.a.set(slower, s.now)
	s.run(60 * time.Millisecond)
	if !s.a.poll || s.a.interval() != 50*time.Millisecond || s.a.detection() != 150*time.Millisecond {
		t.Errorf("before Final: poll %t, interval %v, detection %v", s.a.poll, s.a.interval(), s.a.detection())
	}
	s.cut[1] = false
	s.run(100 * time.Millisecond)
	if s.a.poll || s.a.interval() != 500*time.Millisecond || s.a.usedRX != 20*time.Millisecond {
		t.Errorf("after Final: poll %t, interval %v, used %v", s.a.poll, s.a.interval(), s.a.usedRX)
	}
	// Changed twice: the first Final is not the last word.
	s.cut[1] = true
	s.a.set(plain(), s.now)
	s.run(10 * time.Millisecond)
	s.a.set(slower, s.now)
	p := packet{state: Up, flags: flagFinal, mult: 3, my: 2, your: 1, minTX: 50000, minRX: 50000}
	if _, err := s.a.receive(&p, s.now, s.now); err != nil || !s.a.poll {
		t.Errorf("after the first of two Finals: %v, poll %t", err, s.a.poll)
	}
	s.cut[1] = false
	s.run(3 * time.Second)
	s.states(Up, Up)
	if s.a.poll || s.a.losses+s.b.losses != 0 {
		t.Errorf("poll %t, losses %d and %d", s.a.poll, s.a.losses, s.b.losses)
	}
	// The multiplier needs no poll.
	s.b.set(change(func(p *Peer) { p.Multiplier = 9 }), s.now)
	s.run(10 * time.Millisecond)
	if s.a.detection() != 450*time.Millisecond {
		t.Errorf("detection with multiplier 9: %v", s.a.detection())
	}
}

// TestAdminDown: a neighbour that is shut down is not lost, and says so long enough.
func TestAdminDown(t *testing.T) {
	t.Parallel()
	s := newSim(t, plain(), plain())
	s.run(2 * time.Second)
	s.b.shutDown(s.now)
	s.run(10 * time.Millisecond)
	s.states(Down, AdminDown)
	if st := s.a.status(); st.Losses != 0 || st.Diag != DiagNeighborDown {
		t.Errorf("%+v", st)
	}
	s.run(2900 * time.Millisecond)
	if s.b.over(s.now) {
		t.Error("it does not say AdminDown for a detection time")
	}
	s.run(200 * time.Millisecond)
	if !s.b.over(s.now) {
		t.Error("it says AdminDown for ever")
	}
}

// TestOff: a session that is not wanted any more goes on until the neighbour ends it, and is begun by nobody.
func TestOff(t *testing.T) {
	t.Parallel()
	s := newSim(t, plain(), plain())
	s.run(2 * time.Second)
	s.a.set(change(func(p *Peer) { p.Off = true }), s.now)
	s.run(2 * time.Second)
	s.states(Up, Up)
	if s.a.over(s.now) {
		t.Error("it ends while the neighbour uses it")
	}
	s.b.shutDown(s.now)
	s.run(10 * time.Millisecond)
	if !s.a.over(s.now) {
		t.Error("it goes on although the neighbour has ended it")
	}
}

// TestPassive: who is passive begins nothing; two who are, nothing at all.
func TestPassive(t *testing.T) {
	t.Parallel()
	quiet := change(func(p *Peer) { p.Passive = true })
	s := newSim(t, quiet, quiet)
	if n := s.rate(); n != [2]int{} {
		t.Errorf("two passive ends send %v packets", n)
	}
	s = newSim(t, quiet, plain())
	s.run(time.Second)
	s.states(Up, Up)
	s.cut = [2]bool{true, true}
	s.run(time.Second)
	if n := s.rate(); n[0] != 0 || n[1] == 0 {
		t.Errorf("after the loss they send %v packets", n)
	}
	s.cut = [2]bool{}
	s.run(2 * time.Second)
	s.states(Up, Up)
}

// TestDemand: a neighbour in demand mode is sent nothing unasked (RFC 5880 section 6.8.7), one that takes nothing neither.
func TestDemand(t *testing.T) {
	t.Parallel()
	for _, how := range []func(p *packet){func(p *packet) { p.flags |= flagDemand }, func(p *packet) { p.minRX = 0 }} {
		s := sessionAt(plain())
		p := packet{state: Init, mult: 3, my: 2, your: 7, minTX: 50000, minRX: 50000}
		if _, err := s.receive(&p, start, start); err != nil {
			t.Fatal(err)
		}
		p.state = Up
		p.flags = flagFinal
		how(&p)
		if _, err := s.receive(&p, start, start); err != nil || !s.nextTX.IsZero() || s.state != Up {
			t.Errorf("%v, next packet %v, %v", err, s.nextTX, s.state)
		}
		p.flags |= flagPoll
		if answer, _ := s.receive(&p, start, start); !answer {
			t.Error("a poll is not answered")
		}
	}
}

// TestLate: a turn that comes late gives the neighbour the time of one packet, and no more.
func TestLate(t *testing.T) {
	t.Parallel()
	s := newSim(t, plain(), plain())
	s.run(2 * time.Second)
	heard := s.a.heard
	wake := heard.Add(400 * time.Millisecond)
	s.a.tick(wake)
	if s.a.state != Up || s.a.expires() != wake.Add(50*time.Millisecond) {
		t.Errorf("%v, expires %v after its wakeup", s.a.state, s.a.expires().Sub(wake))
	}
	s.a.tick(wake.Add(200 * time.Millisecond))
	if s.a.state != Down {
		t.Error("spared twice")
	}
	// One that wakes in time spares nobody.
	s = newSim(t, plain(), plain())
	s.run(2 * time.Second)
	s.a.tick(s.a.expires().Add(late / 2))
	if s.a.state != Down {
		t.Error("spared without need")
	}
}

// TestRestarted: a neighbour that begins anew is lost, once, and comes back.
func TestRestarted(t *testing.T) {
	t.Parallel()
	s := newSim(t, plain(), plain())
	s.run(2 * time.Second)
	s.b = newSession(plain(), 99, s.now, func() float64 { return 0 })
	s.run(2 * time.Second)
	s.states(Up, Up)
	if s.a.losses != 1 || s.a.remote != 99 {
		t.Errorf("losses %d, remote discriminator %d", s.a.losses, s.a.remote)
	}
}

// TestAuth: every method with the right key, with a wrong one and on one side only; and replay.
func TestAuth(t *testing.T) {
	t.Parallel()
	for typ := AuthPassword; typ <= AuthMeticulousSHA1; typ++ {
		key := Auth{Type: typ, KeyID: 3, Key: "secret"}
		if err := key.check(); err != nil {
			t.Fatal(err)
		}
		s := newSim(t, peerWith(key), peerWith(key))
		s.run(2 * time.Second)
		s.states(Up, Up)
		if len(s.refused) > 0 {
			t.Errorf("type %d: %v", typ, s.refused[0])
		}
		for _, other := range []Auth{{}, {typ, 3, "Secret"}, {typ, 4, "secret"}, {typ%AuthMeticulousSHA1 + 1, 3, "secret"}} {
			s := newSim(t, peerWith(key), peerWith(other))
			s.run(2 * time.Second)
			s.states(Down, Down)
			if len(s.refused) == 0 {
				t.Errorf("type %d, %+v: nothing was refused", typ, other)
			}
		}
		replays(t, key)
	}
	if (Auth{Type: AuthMD5, Key: "12345678901234567"}).check() == nil || (Auth{Type: AuthSHA1, Key: "12345678901234567"}).check() != nil {
		t.Error("lengths of keys")
	}
}

// replays hands an end its neighbour's packets twice: the meticulous methods take none, the others may.
func replays(t *testing.T, key Auth) {
	t.Helper()
	s := newSim(t, peerWith(key), peerWith(key))
	s.run(time.Second)
	b := slices.Clone(s.b.packet(make([]byte, 0, maxPacket), false, s.now))
	for i := range 2 {
		p, err := parse(b)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.a.receive(&p, s.now, s.now)
		if wrong := i == 1 && key.meticulous(); (err != nil) != wrong {
			t.Errorf("type %d, packet handed over %d times: %v", key.Type, i+1, err)
		}
	}
}
