package bfd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// world is two namespaces with a link, left 10.0.0.1 and fd00::1, right 10.0.0.2 and fd00::2, both eth0.
type world struct{ left, right *nstest.NS }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{nstest.New(t), nstest.New(t)}
	nstest.Veth(t, w.left, "eth0", w.right, "eth0")
	for i, ns := range []*nstest.NS{w.left, w.right} {
		ns.Run(t, fmt.Sprintf("ip addr add 10.0.0.%d/24 dev eth0", i+1), fmt.Sprintf("ip addr add fd00::%d/64 dev eth0 nodad", i+1),
			fmt.Sprintf("ip addr add fe80::%d/64 dev eth0 nodad", i+1))
	}
	return w
}

// run runs a system in a namespace until the test ends.
func run(t *testing.T, ns *nstest.NS, c Config) *System {
	t.Helper()
	s := New(Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err := s.Set(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ns.Do(func() error { return s.Run(ctx) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func peer(addr string) Peer {
	return Peer{Name: addr, Address: netip.MustParseAddr(addr), MinTX: 50 * time.Millisecond, MinRX: 50 * time.Millisecond, Multiplier: 3}
}

// in waits until the session with a peer is in a state.
func in(t *testing.T, s *System, name string, state State) (st Status) {
	t.Helper()
	nstest.Within(t, 10*time.Second, func() error {
		for _, st = range s.States() {
			if st.Name == name && st.State == state {
				return nil
			}
		}
		return fmt.Errorf("%s is not %v: %+v", name, state, s.States())
	})
	return st
}

// startBIRD runs BIRD's BFD in the right namespace, with these options, and returns its control socket.
func (w *world) startBIRD(t *testing.T, options string) (ctl string) {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf(`log stderr all; router id 10.0.0.2;
protocol device {}
protocol bfd {
  interface "eth0" { interval 50 ms; multiplier 3; %s };
  neighbor 10.0.0.1 dev "eth0"; neighbor fd00::1 dev "eth0"; neighbor fe80::1 dev "eth0";
}
`, options)
	if err := os.WriteFile(filepath.Join(dir, "bird.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctl = filepath.Join(dir, "ctl")
	w.right.Start(t, "bird", "-f", "-c", filepath.Join(dir, "bird.conf"), "-s", ctl, "-P", filepath.Join(dir, "pid"))
	return ctl
}

// TestBIRD: sessions of every kind of address, with and without authentication, come up with the timers of both ends; the
// neighbour is lost when it falls silent, and is told when we are shut down.
func TestBIRD(t *testing.T) {
	t.Parallel()
	for name, auth := range map[string]struct {
		bird string
		ours Auth
	}{
		"none":        {},
		"password":    {"simple", Auth{AuthPassword, 7, "secret"}},
		"MD5":         {"keyed md5", Auth{AuthMD5, 7, "secret"}},
		"meticulous5": {"meticulous keyed md5", Auth{AuthMeticulousMD5, 7, "secret"}},
		"SHA1":        {"keyed sha1", Auth{AuthSHA1, 7, "secret"}},
		"meticulous1": {"meticulous keyed sha1", Auth{AuthMeticulousSHA1, 7, "secret"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, options := newWorld(t), ""
			if auth.bird != "" {
				options = fmt.Sprintf("authentication %s; password %q { id %d; };", auth.bird, auth.ours.Key, auth.ours.KeyID)
			}
			ctl := w.startBIRD(t, options)
			var c Config
			for _, addr := range []string{"10.0.0.2", "fd00::2", "fe80::2%eth0"} {
				p := peer(addr)
				p.Auth = auth.ours
				c.Peers = append(c.Peers, p)
			}
			s := run(t, w.left, c)
			nstest.Within(t, 10*time.Second, func() error {
				states := s.States()
				if len(states) != len(c.Peers) {
					return fmt.Errorf("%+v", states)
				}
				for _, st := range states {
					if st.State != Up || st.Detect != 150*time.Millisecond || st.TX != 50*time.Millisecond {
						return fmt.Errorf("%+v", st)
					}
				}
				return nil
			})
			w.left.Run(t, "ip link set eth0 down")
			for _, p := range c.Peers {
				if st := in(t, s, p.Name, Down); st.Losses != 1 || st.Lost.IsZero() || st.Diag != DiagTimeExpired {
					t.Errorf("%+v", st)
				}
			}
			w.left.Run(t, "ip link set eth0 up", "ip addr replace fd00::1/64 dev eth0 nodad", "ip addr replace fe80::1/64 dev eth0 nodad")
			for _, p := range c.Peers {
				in(t, s, p.Name, Up)
			}
			if err := s.Set(t.Context(), Config{}); err != nil {
				t.Fatal(err)
			}
			nstest.Within(t, 5*time.Second, func() error {
				out, err := w.right.Try("birdc -s " + ctl + " show bfd sessions")
				if err == nil && strings.Contains(out, "Up") {
					err = errors.New(out)
				}
				return err
			})
		})
	}
}
