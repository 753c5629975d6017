package bfd

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
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

func TestBIRD(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "bird.conf")
	text := `log stderr all; debug protocols all; router id 10.0.0.2;
protocol device {}
protocol bfd { interface "eth0" { interval 50 ms; idle tx interval 1 s; multiplier 3; };
 neighbor 10.0.0.1 dev "eth0"; neighbor fd00::1 dev "eth0"; neighbor fe80::1 dev "eth0"; }
`
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.right.Start(t, "bird", "-f", "-c", conf, "-s", dir+"/ctl", "-P", dir+"/pid")
	names := []string{"10.0.0.2", "fd00::2", "fe80::2%eth0"}
	var c Config
	for _, n := range names {
		c.Peers = append(c.Peers, peer(n))
	}
	s := run(t, w.left, c)
	for _, n := range names {
		in(t, s, n, Up)
	}
	nstest.Within(t, 5*time.Second, func() error {
		for _, st := range s.States() {
			if st.Detect != 150*time.Millisecond || st.TX != 50*time.Millisecond {
				return fmt.Errorf("%+v", st)
			}
		}
		return nil
	})
	out, err := w.right.Try("birdc -s " + dir + "/ctl show bfd sessions")
	t.Log(out, err)
}
