package bgp

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

func TestDroppedOf(t *testing.T) {
	t.Parallel()
	text := "TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure\nTcpExt: 9 1 2 4\nIpExt: TCPMD5Failure\nIpExt: 100\n"
	if d := droppedOf(text); d != (dropped{otherwise: 5, unasked: 2}) {
		t.Errorf("%+v", d)
	}
	for _, text := range []string{"", "TcpExt:", "TcpExt: TCPMD5Failure\nTcpExt:\n", "TcpExt: TCPMD5Failure\nTcpExt: x\n"} {
		if d := droppedOf(text); d != (dropped{}) {
			t.Errorf("%q: %+v", text, d)
		}
	}
}

func TestDrops(t *testing.T) {
	t.Parallel()
	d, now := drops{seen: dropped{5, 5}}, time.Now()
	for _, c := range []struct {
		seen            dropped
		after           time.Duration
		wrong, unwanted bool
	}{
		{dropped{5, 5}, 0, false, false},
		{dropped{6, 5}, time.Minute, true, false},
		{dropped{6, 6}, 2 * time.Minute, true, true},
		{dropped{6, 6}, time.Minute + lately, false, true},
		{dropped{6, 6}, 2*time.Minute + lately, false, false},
	} {
		at := now.Add(c.after)
		d.look(c.seen, at)
		if wrong, unwanted := d.lately(true, at), d.lately(false, at); wrong != c.wrong || unwanted != c.unwanted {
			t.Errorf("after %v: %v %v, want %+v", c.after, wrong, unwanted, c)
		}
	}
}

// TestAwaits: silence is a reason once it has lasted, and never where something is known.
func TestAwaits(t *testing.T) {
	t.Parallel()
	now := time.Now()
	long := now.Add(-patience)
	for name, c := range map[string]struct {
		x    session
		want string
	}{
		"just begun":       {session{since: now}, ""},
		"up":               {session{since: long, state: gobgp.BGP_FSM_ESTABLISHED}, ""},
		"silent":           {session{since: long}, "cannot be reached, or it wants a password"},
		"with a password":  {session{since: long, peer: Peer{Password: "x"}}, "the password differs"},
		"passive":          {session{since: long, peer: Peer{Passive: true}}, "has not called"},
		"both":             {session{since: long, peer: Peer{Passive: true, Password: "x"}}, "if it calls, the password differs"},
		"changed":          {session{since: long, reason: ReasonReconfigured, text: "its settings have changed"}, "no answer"},
		"refused":          {session{since: long, reason: ReasonConnect, text: "connection refused"}, ""},
		"shut out":         {session{since: long, barred: true}, ""},
		"its link is down": {session{since: long, peer: Peer{Down: true}}, ""},
	} {
		c.x.peer.Address = netip.MustParseAddr("192.0.2.1")
		switch why, text := c.x.awaits(now, dropped{}); {
		case (why == ReasonNone) != (c.want == ""), !strings.Contains(text, c.want):
			t.Errorf("%s: %q %q, want %q", name, why, text, c.want)
		}
	}
}

// TestCountersAreReadOnce: a thousand silent sessions, or a thousand that are lost at once, cost one look at the kernel's counters.
func TestCountersAreReadOnce(t *testing.T) {
	t.Parallel()
	reads := 0
	s := newSessions(slog.New(slog.DiscardHandler), make(chan struct{}, 1), newTable(make(chan struct{}, 1), newAgenda()))
	s.drops.read = func() dropped {
		reads++
		return dropped{otherwise: uint64(reads)}
	}
	var peers []Peer
	for i := range 1000 {
		peers = append(peers, Peer{Name: fmt.Sprint(i), Address: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Password: "x"})
	}
	start := time.Now()
	s.set(peers, false)
	for _, x := range s.byAddr {
		x.since = start.Add(-patience)
	}
	s.drops.at = time.Time{}
	if st := s.states(); st[0].Reason != ReasonNoAnswer || !strings.Contains(st[0].LastError, "meanwhile the kernel has dropped") {
		t.Errorf("silent: %+v", st[0])
	}
	for _, p := range peers {
		s.reset(p.Address, ReasonClosed, "lost")
	}
	if most := 2 + int(time.Since(start)/readLeast); reads < 2 || reads > most {
		t.Errorf("read %d times, want 2 to %d", reads, most)
	}
}
