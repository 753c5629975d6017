package bgp

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

// calls dials the speaker, signed with a password if there is one, until it is answered or the time is over.
func calls(t *testing.T, ns *nstest.NS, from, password string, patience time.Duration) (conn net.Conn, err error) {
	t.Helper()
	err = ns.Do(func() error {
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		d.SetMultipathTCP(false)
		d.Control = func(_, _ string, c syscall.RawConn) (err error) {
			if password == "" {
				return nil
			}
			if e := c.Control(func(fd uintptr) { err = setMD5(int(fd), addr("10.0.0.2"), password) }); e != nil {
				return e
			}
			return err
		}
		conn, err = d.DialContext(t.Context(), "tcp", "10.0.0.2:179")
		return err
	})
	return conn, err
}

// hasCalled waits until these are the neighbours of a range.
func (p *process) hasCalled(name string, full bool, want ...string) {
	p.t.Helper()
	nstest.Within(p.t, 20*time.Second, func() error {
		c := p.must("callers").Callers[name]
		var got []string
		for _, a := range c.Addresses {
			got = append(got, a.String())
		}
		if !slices.Equal(got, want) || c.Full != full {
			return fmt.Errorf("callers %v, full: %v; want %v", got, c.Full, want)
		}
		return nil
	})
}

// dynamic makes a peer of each caller.
func dynamic(c Config, password string, callers ...string) Config {
	c.Peers = nil
	for _, a := range callers {
		p := them()
		p.Name, p.Address, p.Password = "any/"+a, addr(a), password
		c.Peers = append(c.Peers, p)
	}
	return c
}

// Neighbours call that are not known; each becomes a peer, up to the bound, and is forgotten when its session has gone.
func TestCallers(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	torNS.Run(t, "ip addr add 10.0.0.3/24 dev e0", "ip addr add 10.0.0.130/24 dev e0")
	p, c := speak(t, us, func(c *Config) {
		c.Peers = nil
		c.Ranges = []Range{{Name: "any", Prefix: pfx("10.0.0.0/25"), Most: 1}, {Name: "other", Prefix: pfx("10.9.0.0/16"), Most: 1}}
	})
	if p.must("routes").Synced {
		t.Error("synced before anybody could call")
	}
	hungUp := func(from string) {
		t.Helper()
		conn, err := calls(t, torNS, from, "", 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%d octets for a stranger", n)
		}
		_ = conn.Close()
	}
	hungUp("10.0.0.130")
	p.hasCalled("any", false)
	hungUp("10.0.0.1")
	p.hasCalled("any", false, "10.0.0.1")
	hungUp("10.0.0.3")
	p.hasCalled("any", true, "10.0.0.1")
	p.set(dynamic(c, "", "10.0.0.1"))
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	p.established("any/10.0.0.1")
	r.announces("10.130.2.0/24")
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")))
	p.learns("10.130.1.0/24 via 10.0.0.1")

	c.Ranges[0].Most = 2
	p.set(dynamic(c, "", "10.0.0.1"))
	hungUp("10.0.0.3")
	p.hasCalled("any", false, "10.0.0.1", "10.0.0.3")
	r.send(rawbgp.Notification(6, 2))
	p.hasCalled("any", false, "10.0.0.3")
	p.set(dynamic(c, "", "10.0.0.3"))
	p.learns()
	// The range is gone, and with it its callers.
	c.Ranges = c.Ranges[1:]
	p.set(dynamic(c, ""))
	p.hasCalled("any", false)
	hungUp("10.0.0.3")
	p.hasCalled("other", false)
}

// A range with a password hears signed calls only, and a session from it is signed; the password changes, and goes.
func TestCallersPassword(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	p, c := speak(t, us, func(c *Config) {
		c.Peers = nil
		c.Ranges = []Range{{Name: "any", Prefix: pfx("10.0.0.0/24"), Most: 8, Password: "s3cret"}}
	})
	if conn, err := calls(t, torNS, "10.0.0.1", "", time.Second); err == nil {
		_ = conn.Close()
		t.Error("a call without the password is heard")
	}
	if conn, err := calls(t, torNS, "10.0.0.1", "wrong", time.Second); err == nil {
		_ = conn.Close()
		t.Error("a call with a wrong password is heard")
	}
	for _, password := range []string{"s3cret", "changed", ""} {
		c.Ranges[0].Password = password
		p.set(dynamic(c, ""))
		p.hasCalled("any", false)
		conn, err := calls(t, torNS, "10.0.0.1", password, 5*time.Second)
		if err != nil {
			t.Fatalf("password %q: %v", password, err)
		}
		_ = conn.Close()
		p.hasCalled("any", false, "10.0.0.1")
		p.set(dynamic(c, password, "10.0.0.1"))
		var s *rawbgp.Session
		nstest.Within(t, 20*time.Second, func() error {
			conn, err := calls(t, torNS, "10.0.0.1", password, time.Second)
			if err != nil {
				return err
			}
			s, err = rawbgp.Handshake(conn, tor(), 3*time.Second)
			return err
		})
		r := follow(t, s)
		p.established("any/10.0.0.1")
		r.announces("10.130.2.0/24")
		_ = r.Close()
		// Nothing is left of a neighbour that is gone: what it was known by would hide the key of its range.
		c := c
		c.Ranges = nil
		p.set(dynamic(c, ""))
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	c := ours()
	c.Ranges = []Range{
		{Name: "b", Prefix: pfx("10.0.0.7/24"), Most: 1},
		{Name: "a", Prefix: pfx("10.0.0.0/16"), Most: 1},
		{Name: "a", Prefix: pfx("10.1.0.0/16"), Most: 1},
		{Name: "same", Prefix: pfx("10.0.0.0/24"), Most: 1},
		{Name: "none", Prefix: netip.Prefix{}, Most: 1},
	}
	out, errs, _ := c.checked()
	if len(errs) != 3 || len(out.Ranges) != 2 || out.Ranges[1].Prefix != pfx("10.0.0.0/24") {
		t.Errorf("%v, %v", out.Ranges, errs)
	}
	k := newCallers(nil, newAgenda())
	k.ranges = out.Ranges
	for a, want := range map[string]string{"10.0.0.1": "b", "10.0.1.1": "a", "10.1.0.1": "", "fd00::1": ""} {
		if r, _ := k.of(addr(a)); r.Name != want {
			t.Errorf("%s belongs to %q, want %q", a, r.Name, want)
		}
	}
	c.ListenPort = -1
	if out, errs, _ := c.checked(); len(out.Ranges) != 0 || len(errs) != 5 {
		t.Errorf("without a listener: %v, %v", out.Ranges, errs)
	}
}

// Those who called an earlier life are known from the start, as far as there is room.
func TestRemember(t *testing.T) {
	t.Parallel()
	k := newCallers(slog.New(slog.DiscardHandler), newAgenda())
	k.earlier = map[string][]netip.Addr{"any": {addr("10.0.0.1"), addr("10.9.0.1"), addr("10.0.0.2"), addr("10.0.0.3")}, "gone": {addr("10.0.0.4")}}
	k.set(nil)
	k.set([]Range{{Name: "any", Prefix: pfx("10.0.0.0/24"), Most: 2}})
	if got := fmt.Sprint(k.list()); got != "map[any:{[10.0.0.1 10.0.0.2] false false}]" {
		t.Error(got)
	}
	k.sweep(func(netip.Addr) (is, was bool) { return false, true })
	k.known[addr("10.0.0.1")].seen = time.Now().Add(-forgotten - time.Second)
	k.sweep(func(netip.Addr) (is, was bool) { return false, true })
	k.set(k.ranges)
	if got := fmt.Sprint(k.list()); got != "map[any:{[10.0.0.2] false false}]" {
		t.Error(got)
	}
}

// TestNotSyncedUnknowing: while it is not known who the neighbours are, and who may call, nobody counts as having told all.
func TestNotSyncedUnknowing(t *testing.T) {
	t.Parallel()
	s := New(Options{Log: slog.New(slog.DiscardHandler)})
	s.began.Store(time.Now().UnixNano())
	s.waiting.Store(int64(time.Hour))
	if s.complete() {
		t.Error("synced without knowing of anybody")
	}
	if s.told.Store(true); !s.complete() {
		t.Error("there is nobody, and not synced")
	}
}
