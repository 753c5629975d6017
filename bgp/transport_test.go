package bgp

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
	"github.com/podroute/podroute/internal/routers"
)

// dialWith calls the speaker once, with a TCP MD5 key.
func dialWith(ns *nstest.NS, from, to, key string) (*rawbgp.Session, error) {
	var s *rawbgp.Session
	err := ns.Do(func() error {
		d := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		d.Control = func(_, _ string, c syscall.RawConn) error {
			var serr error
			if err := c.Control(func(fd uintptr) {
				if key != "" {
					serr = setMD5(int(fd), addr(to), key)
				}
			}); err != nil {
				return err
			}
			return serr
		}
		conn, err := d.Dial("tcp", net.JoinHostPort(to, "179"))
		if err != nil {
			return err
		}
		s, err = rawbgp.Handshake(conn, tor(), 3*time.Second)
		return err
	})
	return s, err
}

// A listener's key follows the configuration: added, changed, removed.
func TestPasswordOfPassiveSession(t *testing.T) {
	t.Parallel()
	for _, fam := range []struct{ us, them string }{{"10.0.0.2", "10.0.0.1"}, {"fd00::2", "fd00::1"}} {
		t.Run(fam.us, func(t *testing.T) {
			t.Parallel()
			us, torNS := pair(t)
			peer := passive()
			peer.Address, peer.NextHops = addr(fam.them), map[Family]netip.Addr{IPv4: addr("10.0.0.2"), IPv6: addr("fd00::2")}
			p, c := speak(t, us, nil, peer)
			var last *rawbgp.Session
			for i, key := range []string{"", "secret", "another", ""} {
				c.Peers[0].Password = key
				p.set(c)
				if last != nil {
					_ = last.Close()
				}
				if _, err := dialWith(torNS, fam.them, fam.us, "wrong"); err == nil {
					t.Errorf("key %q: a wrong key got in", key)
				}
				nstest.Within(t, 10*time.Second, func() (err error) {
					last, err = dialWith(torNS, fam.them, fam.us, key)
					return err
				})
				p.established("tor")
				if key != "" {
					if _, err := dialWith(torNS, fam.them, fam.us, ""); err == nil {
						t.Errorf("key %q, step %d: an unsigned connection got in", key, i)
					}
				}
			}
		})
	}
}

func TestPasswordOfActiveSession(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	l := listen(t, torNS, "10.0.0.1:179", "secret", addr("10.0.0.2"))
	peer := them()
	peer.Password = "mistaken"
	p, c := speak(t, us, nil, peer)
	nstest.Within(t, 15*time.Second, func() error {
		if st := p.peer("tor"); st.Reason != ReasonNoAnswer || !strings.Contains(st.LastError, "password") {
			return fmt.Errorf("state %+v", st)
		}
		return nil
	})
	c.Peers[0].Password = "secret"
	p.set(c)
	answerCall(t, l, tor())
	p.established("tor")
	if strings.Contains(p.log.String(), "secret") {
		t.Error("the password is in the log")
	}
}

func TestInteropPassword(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: TCP MD5 (RFC 2385)"}.Each(t, func(t *testing.T, kind routers.Kind) {
		for _, weDial := range []bool{true, false} {
			t.Run(fmt.Sprintf("we dial %v", weDial), func(t *testing.T) {
				t.Parallel()
				us, torNS := pair(t)
				conf, peers := bothEnds(kind)
				for i := range peers {
					conf.Neighbors[i].Password, conf.Neighbors[i].Passive = "secret", weDial
					peers[i].Password, peers[i].Passive = "secret", !weDial
				}
				routers.Start(t, torNS, kind, conf)
				p, _ := speak(t, us, nil, peers...)
				p.learns("10.130.1.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1")
			})
		}
	})
}

func TestReasonsOfFailure(t *testing.T) {
	t.Parallel()
	type test struct {
		name   string
		set    func(t *testing.T, torNS *nstest.NS, p *Peer)
		reason Reason
		text   string
	}
	answer := func(o rawbgp.Open) func(*testing.T, *nstest.NS, *Peer) {
		return func(t *testing.T, torNS *nstest.NS, _ *Peer) {
			l := listen(t, torNS, "10.0.0.1:179", "", netip.Addr{})
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = rawbgp.Handshake(conn, o, time.Second)
				}
			}()
		}
	}
	wrongAS := tor()
	wrongAS.AS = 65009
	sameID := tor()
	sameID.ID, sameID.AS = addr("10.0.0.2"), 65002
	for _, x := range []test{
		{"nobody listens", func(*testing.T, *nstest.NS, *Peer) {}, ReasonConnect, "connection refused"},
		{"nobody there", func(_ *testing.T, _ *nstest.NS, p *Peer) { p.Address = addr("10.0.0.66") }, ReasonNoAnswer, "cannot be reached"},
		{"wrong AS", answer(wrongAS), ReasonNotificationSent, "OPEN Message Error, Bad Peer AS"},
		{"our router ID", func(t *testing.T, torNS *nstest.NS, p *Peer) { p.AS = 65002; answer(sameID)(t, torNS, p) }, ReasonNotificationSent, "OPEN Message Error, Bad BGP Identifier"},
		{"hangs up", func(t *testing.T, torNS *nstest.NS, _ *Peer) {
			l := listen(t, torNS, "10.0.0.1:179", "", netip.Addr{})
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_ = conn.Close()
				}
			}()
		}, ReasonClosed, "before OPEN"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			us, torNS := pair(t)
			peer := them()
			x.set(t, torNS, &peer)
			p, _ := speak(t, us, nil, peer)
			nstest.Within(t, 20*time.Second, func() error {
				if st := p.peer("tor"); st.Reason != x.reason || !strings.Contains(st.LastError, x.text) {
					return fmt.Errorf("state %s, reason %s: %s", st.State, st.Reason, st.LastError)
				}
				return nil
			})
		})
	}
	t.Run("hold timer", func(t *testing.T) {
		t.Parallel()
		us, torNS := pair(t)
		peer := passive()
		peer.Hold = 3 * time.Second
		p, _ := speak(t, us, nil, peer)
		var s *rawbgp.Session
		nstest.Within(t, 5*time.Second, func() (err error) { s, err = dialWith(torNS, "10.0.0.1", "10.0.0.2", ""); return err })
		defer func() { _ = s.Close() }()
		if err := s.Send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24"))); err != nil {
			t.Fatal(err)
		}
		p.learns("10.130.1.0/24 via 10.0.0.1")
		p.learns() // although it speaks graceful restart: it is dead, not restarting
		nstest.Within(t, 10*time.Second, func() error {
			if st := p.peer("tor"); st.Reason != ReasonHoldTimerExpired {
				return fmt.Errorf("state %+v", st)
			}
			return nil
		})
	})
}

func TestTransports(t *testing.T) {
	t.Parallel()
	routes4 := rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24"))
	routes6 := rawbgp.Announce([]uint32{65001}, addr("fd00::1"), prefixList("fd10:1::/64"))
	learned := []string{"10.130.1.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1"}

	t.Run("IPv6 session with IPv4 next hops", func(t *testing.T) {
		t.Parallel()
		us, torNS := pair(t)
		peer := passive()
		peer.Address, peer.NextHops = addr("fd00::1"), map[Family]netip.Addr{IPv4: addr("10.0.0.2")}
		p, _ := speak(t, us, nil, peer)
		r := dial(t, torNS, "fd00::1", "fd00::2", tor())
		if u := r.announces("10.130.2.0/24"); u.NextHop != addr("10.0.0.2") {
			t.Errorf("next hop %v", u.NextHop)
		}
		if u := r.announces("fd10:2::/64"); u.NextHop != addr("fd00::2") {
			t.Errorf("next hop %v", u.NextHop)
		}
		r.send(routes4, routes6)
		p.learns(learned...)
	})
	t.Run("IPv4 session without an IPv6 next hop", func(t *testing.T) {
		t.Parallel()
		us, torNS := pair(t)
		c := ours()
		c.Peers = []Peer{passive()}
		c.Peers[0].NextHops = nil
		p := startSpeaker(t, us, "node")
		if _, err := p.call(request{Op: "set", Config: c}); err == nil || !strings.Contains(err.Error(), "nothing is announced in [IPv6]") {
			t.Errorf("error %v", err)
		}
		r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
		r.send(routes4, routes6)
		p.learns(learned...)
		r.announces("10.130.2.0/24")
		if got := r.told(); len(got) != 1 {
			t.Errorf("told %v", got)
		}
	})
	t.Run("IPv4 over IPv6 next hops", func(t *testing.T) {
		t.Parallel()
		us, torNS := pair(t)
		peer := passive()
		peer.Address, peer.NextHops = addr("fd00::1"), nil
		p, _ := speak(t, us, nil, peer)
		open := tor()
		open.ExtendedNextHop = true
		r := dial(t, torNS, "fd00::1", "fd00::2", open)
		if u := r.announces("10.130.2.0/24"); u.NextHop != addr("fd00::2") {
			t.Errorf("next hop %v", u.NextHop)
		}
		r.send(rawbgp.Announce([]uint32{65001}, addr("fd00::1"), prefixList("10.130.1.0/24")))
		p.learns("10.130.1.0/24 via fd00::1")
	})
	t.Run("link-local session", func(t *testing.T) {
		t.Parallel()
		us, torNS := nstest.New(t), nstest.New(t)
		nstest.Veth(t, us, "e0", torNS, "e0")
		us.Run(t, "ip addr add fe80::2/64 dev e0 nodad")
		torNS.Run(t, "ip addr add fe80::1/64 dev e0 nodad")
		peer := passive()
		peer.Address, peer.NextHops, peer.Families = addr("fe80::1%e0"), nil, []Family{IPv6}
		p, _ := speak(t, us, nil, peer)
		r := dial(t, torNS, "fe80::1%e0", "fe80::2%e0", tor())
		r.send(rawbgp.Announce([]uint32{65001}, addr("fe80::1"), prefixList("fd10:1::/64")))
		p.learns("fd10:1::/64 via fe80::1%e0")
		r.announces("fd10:2::/64")
	})
	t.Run("source address, port and no listener", func(t *testing.T) {
		t.Parallel()
		us, torNS := pair(t)
		us.Run(t, "ip addr add 10.0.0.22/24 dev e0")
		l := listen(t, torNS, "10.0.0.1:1790", "", netip.Addr{})
		peer := them()
		peer.Local, peer.Port = addr("10.0.0.22"), 1790
		p, _ := speak(t, us, func(c *Config) { c.ListenPort = -1 }, peer)
		r := answerCall(t, l, tor())
		if got := r.Conn.RemoteAddr().(*net.TCPAddr).IP.String(); got != "10.0.0.22" {
			t.Errorf("dialled from %s", got)
		}
		p.established("tor")
		if _, err := dialWith(torNS, "10.0.0.1", "10.0.0.2", ""); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("dialling the speaker: %v", err)
		}
	})
	t.Run("local AS", func(t *testing.T) {
		t.Parallel()
		us, torNS := pair(t)
		peer := passive()
		peer.LocalAS = 64999
		_, _ = speak(t, us, nil, peer)
		r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
		if u := r.announces("10.130.2.0/24"); len(u.ASPath) != 1 || u.ASPath[0] != 64999 {
			t.Errorf("AS path %v", u.ASPath)
		}
	})
}

// far puts a router between the speaker (10.0.0.2) and its neighbour (10.9.0.1).
func far(t *testing.T) (us, torNS *nstest.NS) {
	t.Helper()
	us, mid, torNS := nstest.New(t), nstest.New(t), nstest.New(t)
	nstest.Veth(t, us, "e0", mid, "e0")
	nstest.Veth(t, mid, "e1", torNS, "e1")
	mid.Run(t, "ip addr add 10.0.0.1/24 dev e0", "ip addr add 10.9.0.2/24 dev e1", "sysctl -qw net.ipv4.ip_forward=1")
	us.Run(t, "ip addr add 10.0.0.2/24 dev e0", "ip route add 10.9.0.0/24 via 10.0.0.1")
	torNS.Run(t, "ip addr add 10.9.0.1/24 dev e1", "ip route add 10.0.0.0/24 via 10.9.0.2")
	return us, torNS
}

func TestTimeToLive(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name string
		set  func(*Peer)
		far  bool
		up   bool
	}{
		{"one hop", func(*Peer) {}, true, false},
		{"multihop", func(p *Peer) { p.MultihopTTL = 2 }, true, true},
		{"security on the link", func(p *Peer) { p.TTLSecurity = 1 }, false, true},
		{"security refuses from afar", func(p *Peer) { p.TTLSecurity = 1 }, true, false},
		{"security allows two hops", func(p *Peer) { p.TTLSecurity = 2 }, true, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			us, torNS := pair(t)
			peer := them()
			if x.far {
				us, torNS = far(t)
				peer.Address = addr("10.9.0.1")
			}
			x.set(&peer)
			l := listen(t, torNS, peer.Address.String()+":179", "", netip.Addr{})
			tor := tor()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = rawbgp.Handshake(conn, tor, 2*time.Second)
				}
			}()
			p, _ := speak(t, us, nil, peer)
			if x.up {
				p.established("tor")
				return
			}
			time.Sleep(5 * time.Second)
			if st := p.peer("tor"); st.State == "Established" {
				t.Errorf("a session from afar: %+v", st)
			}
		})
	}
}
