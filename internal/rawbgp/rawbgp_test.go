package rawbgp

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func prefixList(s ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(s))
	for i, x := range s {
		out[i] = netip.MustParsePrefix(x)
	}
	return out
}

// What is built can be read again.
func TestUpdates(t *testing.T) {
	t.Parallel()
	four, six := prefixList("0.0.0.0/0", "10.0.0.0/8", "10.1.2.0/23", "10.1.2.3/32"), prefixList("::/0", "fd00::/9", "fd00::1/128")
	hop4, hop6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::9")
	compare := []cmp.Option{cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
	for name, x := range map[string]struct {
		msg  []byte
		want Routes
	}{
		"IPv4":                    {Announce([]uint32{70000, 1}, hop4, four), Routes{Announced: four, NextHop: hop4, ASPath: []uint32{70000, 1}}},
		"IPv6":                    {Announce(nil, hop6, six), Routes{Announced: six, NextHop: hop6}},
		"IPv4 over IPv6":          {Announce([]uint32{1}, hop6, four), Routes{Announced: four, NextHop: hop6, ASPath: []uint32{1}}},
		"IPv4 withdrawn":          {Withdraw(four), Routes{Withdrawn: four}},
		"IPv6 withdrawn":          {Withdraw(six), Routes{Withdrawn: six}},
		"End-of-RIB":              {EndOfRIB(false), Routes{EndOfRIB: true}},
		"End-of-RIB of IPv6":      {EndOfRIB(true), Routes{EndOfRIB: true}},
		"attributes of all sorts": {Announce(nil, hop4, four, MED(1), LocalPref(2), Communities(3)), Routes{Announced: four, NextHop: hop4}},
	} {
		got, err := Parse(x.msg[19:])
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got.Attrs = nil
		if diff := cmp.Diff(x.want, got, compare...); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for n := range Announce([]uint32{1}, hop4, four) {
		_, _ = Parse(Announce([]uint32{1}, hop4, four)[:n][min(n, 19):]) // cut short: an error, not a panic
	}
}

func TestHandshake(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	open := Open{
		AS: 70000, ID: netip.MustParseAddr("1.2.3.4"), Hold: 9, IPv4: true, IPv6: true, ExtendedNextHop: true,
		GracefulRestart: &GracefulRestart{Restarting: true, Time: 5, Forwarding: true},
	}
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		s, err := Handshake(conn, open, 5*time.Second)
		if err == nil {
			err = s.Send(EndOfRIB(false), Notification(6, 4, 'x'))
		}
		done <- err
	}()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := Handshake(conn, open, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := open.Message()[19:]; !slices.Equal(s.Peer, want) {
		t.Errorf("OPEN is %v, want %v", s.Peer, want)
	}
	if m, err := s.Recv(); err != nil || m.Type != TypeUpdate {
		t.Errorf("received %v, %v", m, err)
	}
	var closed *Closed
	if _, err := s.Recv(); !errors.As(err, &closed) || closed.Code != 6 || closed.Subcode != 4 || string(closed.Data) != "x" {
		t.Errorf("received %v", err)
	}
}

// FuzzParse: what an UPDATE is read as can be written, and is read as the same again.
func FuzzParse(f *testing.F) {
	hop := netip.MustParseAddr("10.0.0.1")
	for _, ids := range []bool{false, true} {
		f.Add(Announce([]uint32{1, 70000}, hop, prefixList("0.0.0.0/0", "10.1.2.0/23"))[19:], ids)
		f.Add(Announce([]uint32{1}, netip.MustParseAddr("fd00::1"), prefixList("::/0", "fd00::/9"))[19:], ids)
		f.Add(Withdraw(prefixList("fd00::/9"))[19:], ids)
		f.Add(EndOfRIB(true)[19:], ids)
		f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 7, 24, 10, 1, 2}, ids)
	}
	f.Fuzz(func(t *testing.T, body []byte, ids bool) {
		got, err := parse(body, ids)
		if err != nil || ids {
			return
		}
		for _, list := range [][]netip.Prefix{got.Announced, got.Withdrawn} {
			for _, p := range list {
				if !p.IsValid() {
					t.Errorf("prefix %v", p)
				}
			}
		}
		if len(got.Withdrawn) > 0 {
			again, err := Parse(Withdraw(got.Withdrawn)[19:])
			if err != nil || len(again.Withdrawn) != len(got.Withdrawn) {
				t.Errorf("%v is written and read as %v, %v", got.Withdrawn, again.Withdrawn, err)
			}
		}
	})
}
