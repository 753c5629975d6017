package interop

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
	"github.com/podroute/podroute/internal/routers"
)

// TestInteropCrashLoop: the agent is killed again and again, at the moments that hurt most, under pings between pods. A router
// deletes what it holds as stale when it loses a session before it has been told all again (RFC 4724 section 4.2).
func TestInteropCrashLoop(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "restarts: packets lost in a crash loop, the agent killed five times in a row", Lacks: noFIB()}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 2, config: "  gracefulRestart: {restartTime: 15s}\n"})
		a, b := r.nodes[0], r.nodes[1]
		pods := []*pod{a.add(t, "pod-a"), b.add(t, "pod-b")}
		reach(t, pods)
		watches := []*watch{startPing(t, pods[0], pods[1].addrs[0]), startPing(t, pods[1], pods[0].addrs[1])}
		a.signal(syscall.SIGKILL)
		for i, words := range []string{"", sessionUp, sessionUp, sessionUp, sessionUp} {
			a.trip.set(a, words)
			began := time.Now()
			a.start(t)
			if words == "" {
				a.signal(syscall.SIGKILL)
			}
			a.await(t, waitSession)
			t.Logf("kill %d after %v, at %q", i, time.Since(began).Round(time.Millisecond), words)
		}
		a.trip.set(a, "")
		a.start(t)
		r.router.Established(waitSession)
		a.ready(t)
		for _, w := range watches {
			sent, lost := w.end(t)
			routers.Measured(t, "%d of %d packets to %v lost", lost, sent, w.to)
			if lost > 0 {
				t.Errorf("%v: %d of %d packets lost", w.to, lost, sent)
			}
		}
	})
}

// TestRestartWithoutOneFamily: the routes of one family are flushed while the agent is away. It does not say of that one that it has kept forwarding
// (RFC 4724 section 3), says so of the other, and the session stays as it is; the agent after that has lost nothing.
func TestRestartWithoutOneFamily(t *testing.T) {
	t.Parallel()
	n, tor := newNode(t, "n1"), nstest.New(t)
	nstest.Veth(t, tor, "port1", n.NS, "eth0")
	tor.Run(t, "ip addr add 10.0.1.0/31 dev port1", "ip addr add fd00:0:0:1::/127 dev port1 nodad")
	n.Run(t, "ip addr add 10.0.1.1/31 dev eth0", "ip addr add fd00:0:0:1::1/127 dev eth0 nodad")
	n.configure(t, "rack.yaml", rackManifests(rackOptions{nodes: 1, peer: "  passive: true\n"}, 1))
	const four, six, kept = "\x00\x01\x01", "\x00\x02\x01", "\x80"
	for i, x := range []struct{ before, want string }{
		{"", "\x40\x78" + four + "\x00" + six + "\x00"},
		{"true", "\xc0\x78" + four + kept + six + kept},
		{"ip -6 route flush proto 179", "\xc0\x78" + four + kept},
		{"true", "\xc0\x78" + four + kept + six + kept},
		{"ip -4 route flush proto 179", "\xc0\x78" + six + kept},
		{"ip -6 route flush proto 179", "\xc0\x78" + four + kept},
	} {
		if x.before != "" {
			n.signal(syscall.SIGKILL)
			n.Run(t, x.before)
			// An agent that is killed again and again calls later each time (docs/adr/0022).
			if err := os.Remove(filepath.Join(n.dir, "run", "lives")); err != nil {
				t.Fatal(err)
			}
		}
		n.start(t)
		s := openTo(t, tor, rawbgp.Open{AS: torAS, ID: netip.MustParseAddr("10.0.1.0"), Hold: 90, IPv4: true, IPv6: true, GracefulRestart: &rawbgp.GracefulRestart{Time: 120, Forwarding: true}})
		if got := string(s.Capabilities()[64]); got != x.want {
			t.Errorf("life %d, after %q: graceful restart capability is %x, want %x", i, x.before, got, x.want)
		}
		if err := s.Send(rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true)); err != nil {
			t.Fatal(err)
		}
		nstest.Within(t, waitRoute, func() error {
			if four, six := n.Run(t, "ip -4 route show proto 179"), n.Run(t, "ip -6 route show proto 179"); four == "" || six == "" {
				return fmt.Errorf("our routes are %q and %q", four, six)
			}
			return nil
		})
	}
}

// openTo calls the node as its router, again and again until it listens.
func openTo(t *testing.T, tor *nstest.NS, open rawbgp.Open) (s *rawbgp.Session) {
	t.Helper()
	nstest.Within(t, 2*waitSession, func() error {
		return tor.Do(func() error {
			conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", "10.0.1.1:179")
			if err != nil {
				return err
			}
			s, err = rawbgp.Handshake(conn, open, 3*time.Second)
			return err
		})
	})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

const sessionUp = "BGP session is up"

// tripwire passes on what an agent prints, and kills it the moment it prints certain words.
type tripwire struct {
	io.Writer
	mu    sync.Mutex
	words string
	kill  func()
}

func (w *tripwire) set(n *node, words string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.words, w.kill = words, func() { _ = syscall.Kill(-n.cmd.Process.Pid, syscall.SIGKILL) }
}

// Write is for the agent.
func (w *tripwire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.words != "" && strings.Contains(string(p), w.words) {
		w.kill()
	}
	return w.Writer.Write(p)
}

// await waits for the agent's end.
func (n *node) await(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-n.done:
		n.cmd = nil
	case <-time.After(d):
		t.Fatalf("the agent of %s did not end within %v", n.name, d)
	}
}
