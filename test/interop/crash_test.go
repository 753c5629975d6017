package interop

import (
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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
