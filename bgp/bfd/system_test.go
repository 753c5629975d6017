package bfd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/internal/nstest"
)

// TestMain makes this program the process of Serve where it is asked to.
func TestMain(m *testing.M) {
	if os.Getenv("BFD_SERVE") != "" {
		if err := Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// both runs a system at each end of a link, and waits until they see one another.
func both(t *testing.T, change func(c *Config)) (w *world, left, right *System) {
	t.Helper()
	w = newWorld(t)
	l, r := Config{Peers: []Peer{peer("10.0.0.2")}}, Config{Peers: []Peer{peer("10.0.0.1")}}
	if change != nil {
		change(&l)
		change(&r)
	}
	left, right = run(t, w.left, l), run(t, w.right, r)
	in(t, left, "10.0.0.2", Up)
	in(t, right, "10.0.0.1", Up)
	return w, left, right
}

// TestIgnored sends packets that RFC 5881 and RFC 5880 section 6.8.6 discard: none moves the session, and the last
// reason is told.
func TestIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := run(t, w.left, Config{Peers: []Peer{{
		Name: "right", Address: netip.MustParseAddr("10.0.0.2"), MinTX: time.Second, MinRX: time.Second, Multiplier: 3, Passive: true,
	}}})
	nstest.Within(t, 5*time.Second, func() error {
		if len(s.States()) == 0 {
			return errors.New("not there")
		}
		return nil
	})
	down := packet{state: Down, mult: 3, my: 9, minTX: 1e6, minRX: 1e6}
	send := func(ttl, port int, b []byte) {
		t.Helper()
		err := w.right.Do(func() error {
			fd, err := open(true, option{unix.IPPROTO_IP, unix.IP_TTL, ttl})
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Sendto(fd, b, 0, sockaddr(netip.MustParseAddr("10.0.0.1"), port, 0))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		why       error
		ttl, port int
		change    func(p *packet)
	}{
		{errTTL, 254, portSingle, func(*packet) {}},
		{errStranger, 255, portSingle, func(p *packet) { p.your = 12345 }},
		{errAuth, 255, portSingle, func(p *packet) { p.flags |= flagAuth }},
		{errMult, 255, portSingle, func(p *packet) { p.mult = 0 }},
		{errMy, 255, portSingle, func(p *packet) { p.my = 0 }},
	} {
		p := down
		c.change(&p)
		b := p.write(make([]byte, 0, maxPacket))
		if p.has(flagAuth) {
			b = append(b, byte(AuthPassword), 4, 0, 'x')
			b[3] = byte(len(b))
		}
		nstest.Within(t, 10*time.Second, func() error {
			send(c.ttl, c.port, b)
			st := s.States()[0]
			if st.State != Down || st.Why != c.why.Error() {
				return fmt.Errorf("%+v, want %w", st, c.why)
			}
			return nil
		})
	}
	send(255, portSingle, down.write(make([]byte, 0, maxPacket)))
	in(t, s, "right", Init)
}

// TestMultihop: from loopback to loopback address, and no farther than allowed.
func TestMultihop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.left.Run(t, "ip addr add 10.9.0.1/32 dev lo", "ip route add 10.9.0.2 via 10.0.0.2")
	w.right.Run(t, "ip addr add 10.9.0.2/32 dev lo", "ip route add 10.9.0.1 via 10.0.0.1")
	far := func(from, to string, most int) Config {
		p := peer(to)
		p.Multihop, p.MaxHops, p.Local = true, most, netip.MustParseAddr(from)
		return Config{Peers: []Peer{p}}
	}
	left, right := run(t, w.left, far("10.9.0.1", "10.9.0.2", 1)), run(t, w.right, far("10.9.0.2", "10.9.0.1", 0))
	in(t, left, "10.9.0.2", Up)
	in(t, right, "10.9.0.1", Up)
}

// TestChanges: a running system follows its configuration without a loss, but where a session has to be another one.
func TestChanges(t *testing.T) {
	t.Parallel()
	_, left, right := both(t, nil)
	c := Config{Peers: []Peer{peer("10.0.0.2")}}
	c.Peers[0].MinTX, c.Peers[0].Multiplier = 100*time.Millisecond, 5
	if err := left.Set(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	nstest.Within(t, 5*time.Second, func() error {
		l, r := left.States()[0], right.States()[0]
		if l.TX != 100*time.Millisecond || r.RX != 100*time.Millisecond || r.Detect != 500*time.Millisecond {
			return fmt.Errorf("%+v\n%+v", l, r)
		}
		return nil
	})
	c.Peers = append(c.Peers, Peer{Name: "bad", Address: netip.MustParseAddr("10.0.0.9")}, c.Peers[0])
	err := left.Set(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "BFD with bad: the multiplier is 0") || !strings.Contains(err.Error(), "there are two") {
		t.Errorf("two bad peers: %v", err)
	}
	off := Config{Peers: []Peer{{Name: "10.0.0.2", Address: netip.MustParseAddr("10.0.0.2"), Off: true}}}
	if err := left.Set(t.Context(), off); err != nil {
		t.Fatal(err)
	}
	nstest.Within(t, 5*time.Second, func() error {
		if l := left.States(); len(l) != 1 || !l[0].Off || l[0].State != Up {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	if err := right.Set(t.Context(), Config{}); err != nil {
		t.Fatal(err)
	}
	nstest.Within(t, 5*time.Second, func() error {
		if l := left.States(); len(l) != 0 {
			return fmt.Errorf("the neighbour has ended it: %+v", l)
		}
		return nil
	})
}

// TestPortInUse: another daemon's port is told, and taken once it is free.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var fd int
	if err := w.left.Do(func() (err error) { fd, err = listen(true, portSingle); return err }); err != nil {
		t.Fatal(err)
	}
	s := run(t, w.left, Config{Peers: []Peer{peer("10.0.0.2")}})
	run(t, w.right, Config{Peers: []Peer{peer("10.0.0.1")}})
	nstest.Within(t, 5*time.Second, func() error {
		if st := s.States(); len(st) != 1 || !strings.Contains(st[0].Problem, "stop the other BFD daemon") {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	_ = unix.Close(fd)
	if st := in(t, s, "10.0.0.2", Up); st.Problem != "" {
		t.Errorf("%+v", st)
	}
}

// TestApart: sessions in a process of their own behave as those in this one; a process that is killed is replaced, and
// all ends with Run.
func TestApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Apart: []string{"nsenter", "--net=" + w.left.Path(), "env", "BFD_SERVE=1", exe}})
	if err := s.Set(t.Context(), Config{Peers: []Peer{peer("10.0.0.2")}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	right := run(t, w.right, Config{Peers: []Peer{peer("10.0.0.1")}})
	in(t, s, "10.0.0.2", Up)
	in(t, right, "10.0.0.1", Up)
	w.right.Run(t, "ip link set eth0 down")
	if st := in(t, s, "10.0.0.2", Down); st.Losses != 1 || time.Since(st.Lost) > 5*time.Second {
		t.Errorf("%+v", st)
	}
	w.right.Run(t, "ip link set eth0 up")
	in(t, s, "10.0.0.2", Up)
	in(t, right, "10.0.0.1", Up)
	before := right.States()[0].Losses
	kill(t, served(t))
	nstest.Within(t, 10*time.Second, func() error {
		if st := right.States()[0]; st.Losses == before || st.State != Up {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	in(t, s, "10.0.0.2", Up)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	in(t, right, "10.0.0.1", Down)
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// served is the process of Serve: the child of this one that TestMain made it.
func served(t *testing.T) int {
	t.Helper()
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(text)) {
			environ, _ := os.ReadFile("/proc/" + f + "/environ")
			pid, err := strconv.Atoi(f)
			if err == nil && strings.Contains(string(environ), "BFD_SERVE=1") {
				return pid
			}
		}
	}
	t.Fatal("there is no such process")
	return 0
}
