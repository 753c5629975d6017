package bgp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// among are routes by their prefixes alone.
func among(ranges ...PrefixRange) (out []Match) {
	for _, r := range ranges {
		out = append(out, Match{Prefixes: r})
	}
	return out
}

// within is the range of all prefixes inside one.
func within(s string) PrefixRange {
	p := pfx(s)
	return PrefixRange{Prefix: p, Min: p.Bits(), Max: p.Addr().BitLen()}
}

// pair is two joined namespaces: the speaker's (10.0.0.2, fd00::2) and the neighbour's (10.0.0.1, fd00::1).
func pair(t testing.TB) (us, them *nstest.NS) {
	t.Helper()
	us, them = nstest.New(t), nstest.New(t)
	link(t, us, them, 0)
	return us, them
}

// link joins two namespaces by a veth pair named eN, 10.0.N.2 and fd00:N::2 on the left, .1 on the right.
func link(t testing.TB, left, right *nstest.NS, n int) {
	t.Helper()
	nstest.Veth(t, left, fmt.Sprintf("e%d", n), right, fmt.Sprintf("e%d", n))
	for ns, host := range map[*nstest.NS]int{left: 2, right: 1} {
		ns.Run(t, fmt.Sprintf("ip addr add 10.0.%d.%d/24 dev e%d", n, host, n),
			fmt.Sprintf("ip addr add fd00:%d::%d/64 dev e%d nodad", n, host, n))
	}
}

// ours is a configuration of the speaker of pair, without peers.
func ours() Config {
	return Config{
		AS: 65002, RouterID: addr("10.0.0.2"), MaxPaths: 8, Deferral: 3 * time.Second,
		Import:    []PrefixRange{within("10.128.0.0/9"), within("fd10::/16")},
		Never:     []PrefixRange{{pfx("0.0.0.0/0"), 0, 0}, {pfx("::/0"), 0, 0}, within("10.0.0.0/24"), within("10.96.0.0/12")},
		NeverEver: []netip.Prefix{pfx("10.130.2.0/24"), pfx("fd10:2::/64")},
		Paths:     []Path{{Prefix: pfx("10.130.2.0/24")}, {Prefix: pfx("fd10:2::/64")}},
	}
}

// them is the neighbour of pair, over IPv4 with both families.
func them() Peer {
	return Peer{
		Name: "tor", Address: addr("10.0.0.1"), AS: 65001,
		NextHops: map[Family]netip.Addr{IPv6: addr("fd00::2")}, GracefulRestart: true, RestartTime: 20 * time.Second,
	}
}

// raw is a hand-made neighbour with an established session, which keeps what it is told.
type raw struct {
	*rawbgp.Session
	t      testing.TB
	failed chan error

	mu        sync.Mutex
	table     map[netip.Prefix]rawbgp.Routes
	withdrawn map[netip.Prefix]int
	eor       int
	news      int // prefixes announced or withdrawn, again or not
}

// listen opens a BGP listener in a namespace.
func listen(t testing.TB, ns *nstest.NS, at string, password string, peer netip.Addr) net.Listener {
	t.Helper()
	var l net.Listener
	err := ns.Do(func() (err error) {
		lc := net.ListenConfig{}
		lc.SetMultipathTCP(false)
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			var serr error
			err := c.Control(func(fd uintptr) {
				// For neighbours with TTL security; the others do not mind.
				serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 255)
				if password != "" {
					serr = errors.Join(serr, setMD5(int(fd), peer, password))
				}
			})
			return errors.Join(err, serr)
		}
		l, err = lc.Listen(t.Context(), "tcp", at)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func setMD5(fd int, peer netip.Addr, key string) error {
	s := unix.TCPMD5Sig{Keylen: uint16(len(key))}
	copy(s.Key[:], key)
	s.Addr.Family = unix.AF_INET
	if peer.Is6() {
		s.Addr.Family = unix.AF_INET6
		copy(s.Addr.Data[6:], peer.AsSlice())
	} else {
		copy(s.Addr.Data[2:], peer.AsSlice())
	}
	return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &s)
}

// answerCall waits for the speaker to dial and completes the handshake.
func answerCall(t testing.TB, l net.Listener, o rawbgp.Open) *raw {
	t.Helper()
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second))
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return shake(t, conn, o)
}

// dial calls the speaker from a namespace until it answers.
func dial(t testing.TB, ns *nstest.NS, from, to string, o rawbgp.Open) *raw {
	t.Helper()
	var s *rawbgp.Session
	nstest.Within(t, 20*time.Second, func() error {
		return ns.Do(func() error {
			a := addr(from)
			d := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: a.WithZone("").AsSlice(), Zone: a.Zone()}}
			conn, err := d.Dial("tcp", net.JoinHostPort(to, "179"))
			if err != nil {
				return err
			}
			s, err = rawbgp.Handshake(conn, o, 3*time.Second)
			return err
		})
	})
	return follow(t, s)
}

func shake(t testing.TB, conn net.Conn, o rawbgp.Open) *raw {
	t.Helper()
	s, err := rawbgp.Handshake(conn, o, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return follow(t, s)
}

func follow(t testing.TB, s *rawbgp.Session) *raw {
	r := &raw{Session: s, t: t, failed: make(chan error, 1), table: map[netip.Prefix]rawbgp.Routes{}, withdrawn: map[netip.Prefix]int{}}
	t.Cleanup(func() { _ = s.Close() })
	go func() {
		for {
			m, err := s.Recv()
			if err == nil {
				err = r.take(m)
			}
			if err != nil {
				r.failed <- err
				return
			}
		}
	}()
	return r
}

func (r *raw) take(m rawbgp.Received) error {
	if m.Type == rawbgp.TypeKeepalive {
		return r.Send(rawbgp.Keepalive())
	}
	if m.Type != rawbgp.TypeUpdate {
		return nil
	}
	u, err := r.Parse(m.Body)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if u.EndOfRIB {
		r.eor++
	}
	r.news += len(u.Withdrawn) + len(u.Announced)
	for _, p := range u.Withdrawn {
		delete(r.table, p)
		r.withdrawn[p]++
	}
	for _, p := range u.Announced {
		r.table[p] = u
	}
	return nil
}

func (r *raw) send(msgs ...[]byte) {
	r.t.Helper()
	if err := r.Send(msgs...); err != nil {
		r.t.Fatal(err)
	}
}

// ends waits for the session to end and returns what ended it.
func (r *raw) ends(d time.Duration) error {
	r.t.Helper()
	select {
	case err := <-r.failed:
		return err
	case <-time.After(d):
		r.t.Fatalf("the session is still up after %v", d)
		return nil
	}
}

// announces waits until a prefix is announced and returns the UPDATE that says so.
func (r *raw) announces(prefix string) (u rawbgp.Routes) {
	r.t.Helper()
	nstest.Within(r.t, 10*time.Second, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		var ok bool
		if u, ok = r.table[pfx(prefix)]; !ok {
			return fmt.Errorf("%s is not announced", prefix)
		}
		return nil
	})
	return u
}

// withdraws waits until a prefix is not announced any more.
func (r *raw) withdraws(prefix string) {
	r.t.Helper()
	nstest.Within(r.t, 10*time.Second, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if _, ok := r.table[pfx(prefix)]; ok {
			return fmt.Errorf("%s is still announced", prefix)
		}
		return nil
	})
}

// endsOfRIB counts the End-of-RIB markers that have come.
func (r *raw) endsOfRIB() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.eor
}

// told are the prefixes that are announced to it, sorted.
func (r *raw) told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []string{}
	for p := range r.table {
		out = append(out, p.String())
	}
	slices.Sort(out)
	return out
}

// heard is of how many prefixes it was told since it was last asked, of each as often as it was told.
func (r *raw) heard() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.news
	r.news = 0
	return n
}

// tor is the OPEN of the neighbour of pair.
func tor() rawbgp.Open {
	return rawbgp.Open{AS: 65001, ID: addr("10.0.0.1"), Hold: 90, IPv4: true, IPv6: true, GracefulRestart: &rawbgp.GracefulRestart{Time: 20, Forwarding: true}}
}

// isTold waits until these prefixes, in order, are all that it is told.
func (r *raw) isTold(step string, want []string) {
	r.t.Helper()
	nstest.Within(r.t, 10*time.Second, func() error {
		if got := r.told(); !slices.Equal(got, want) {
			return fmt.Errorf("%s: told %v, want %v", step, got, want)
		}
		return nil
	})
}

func prefixList(s ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(s))
	for i, x := range s {
		out[i] = pfx(x)
	}
	return out
}

// spokes are n passive neighbours of a speaker in us, t0 to tn-1, each in a namespace and on a link of its own.
func spokes(t testing.TB, n int, change func(i int, q *Peer)) (us *nstest.NS, spaces []*nstest.NS, peers []Peer) {
	t.Helper()
	us = nstest.New(t)
	for i := range n {
		ns := nstest.New(t)
		link(t, us, ns, i)
		spaces = append(spaces, ns)
		peers = append(peers, Peer{Name: fmt.Sprintf("t%d", i), Address: addr(fmt.Sprintf("10.0.%d.1", i)), Passive: true})
		change(i, &peers[i])
	}
	return us, spaces, peers
}

// callBy is a session of neighbour i of spokes, whose address is its BGP identifier.
func callBy(t testing.TB, p *process, ns *nstest.NS, i int, open rawbgp.Open) *raw {
	t.Helper()
	a := fmt.Sprintf("10.0.%d.1", i)
	open.ID = addr(a)
	r := dial(t, ns, a, fmt.Sprintf("10.0.%d.2", i), open)
	p.established(fmt.Sprintf("t%d", i))
	return r
}

// star is a speaker with n passive eBGP neighbours, t0 (AS 65100) to tn-1, each on a link of its own.
func star(t testing.TB, n int, change func(*Config)) (p *process, c Config, call func(i int) *raw) {
	t.Helper()
	us, spaces, peers := spokes(t, n, func(i int, q *Peer) {
		q.AS, q.NextHops = uint32(65100+i), map[Family]netip.Addr{IPv6: addr(fmt.Sprintf("fd00:%d::2", i))}
	})
	p, c = speak(t, us, func(c *Config) {
		c.Peers = peers
		if change != nil {
			change(c)
		}
	})
	return p, c, func(i int) *raw {
		t.Helper()
		open := rawbgp.Open{AS: c.Peers[i].AS, Hold: 90, IPv4: true, IPv6: true}
		if c.Peers[i].GracefulRestart {
			open.GracefulRestart = &rawbgp.GracefulRestart{Time: 30, Forwarding: true}
		}
		return callBy(t, p, spaces[i], i, open)
	}
}
