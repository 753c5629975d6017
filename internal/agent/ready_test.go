package agent

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
)

// sessions writes session states as letters: E established and told our routes, M established and told
// nothing, S down but restarting, L away for longer, D down.
func sessions(letters string) []bgp.PeerState {
	var out []bgp.PeerState
	for i, c := range letters {
		p := bgp.PeerState{Name: "p" + string(rune('1'+i)), Address: netip.MustParseAddr("192.0.2.1"), State: "Active", Advertised: map[bgp.Family]int{}}
		switch c {
		case 'E':
			p.State, p.Advertised[bgp.IPv4] = config.SessionEstablished, 1
		case 'M':
			p.State = config.SessionEstablished
		case 'S':
			p.Stale = true
		case 'L':
			p.Stale, p.LastChoice = true, true
		case 'D':
			p.LastError = "no answer"
		}
		out = append(out, p)
	}
	return out
}

func TestJudge(t *testing.T) {
	t.Parallel()
	block := netip.MustParsePrefix("10.0.0.0/24")
	for _, c := range []struct {
		name            string
		sessions        string
		need            int
		change          func(*evidence)
		strict, patient string // reasons
	}{
		{name: "all up", sessions: "EE", need: 1},
		{name: "one of two is enough", sessions: "ED", need: 1},
		{name: "none of two", sessions: "DD", need: 1, strict: reasonSessionsDown, patient: reasonSessionsDown},
		{name: "one of four", sessions: "EDDD", need: 2, strict: reasonSessionsDown, patient: reasonSessionsDown},
		{name: "a peer restarts", sessions: "S", need: 1, strict: reasonSessionsDown},
		{name: "a peer has been away for long", sessions: "L", need: 1, strict: reasonSessionsDown, patient: reasonSessionsDown},
		{name: "one restarts, one is dead", sessions: "SD", need: 1, strict: reasonSessionsDown},
		{name: "nothing told", sessions: "M", need: 1, strict: reasonNotAdvertised, patient: reasonNotAdvertised},
		{name: "nothing to tell", sessions: "M", need: 1, change: func(e *evidence) { e.Desired.BGP.Paths = nil }},
		{name: "no peer", need: 1, strict: reasonNoPeers, patient: reasonNoPeers},
		{name: "alone", need: 0},
		{name: "alone, and syncing never ends", need: 0, change: func(e *evidence) { e.Synced = false }},
		{name: "peers have more to say", sessions: "E", need: 1, change: func(e *evidence) { e.Synced = false }, strict: reasonSyncing},
		{
			name: "no subnet", sessions: "E", need: 1, change: func(e *evidence) { e.Desired.CNI.NotReady = errors.New("none") },
			strict: reasonNoPodSubnet, patient: reasonNoPodSubnet,
		},
		{name: "a router has no subnet", sessions: "E", need: 1, change: func(e *evidence) {
			e.Desired.Role, e.Desired.CNI.NotReady = roleRouter, errors.New("none")
		}},
		{
			name: "the kernel refuses the block", sessions: "E", need: 1,
			change: func(e *evidence) { e.Refused = map[netip.Prefix]error{block: errors.New("exists")} },
			strict: reasonNotInstalled, patient: reasonNotInstalled,
		},
		{name: "the kernel refuses another's route", sessions: "E", need: 1, change: func(e *evidence) {
			e.Refused = map[netip.Prefix]error{netip.MustParsePrefix("10.9.0.0/24"): errors.New("exists")}
		}},
		{
			name: "the kernel refuses all", sessions: "E", need: 1, change: func(e *evidence) { e.Broken = errors.New("no buffer") },
			strict: reasonNotInstalled, patient: reasonNotInstalled,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := &Desired{Role: roleNode, Blocks: []netip.Prefix{block}, MinSessions: c.need}
			d.BGP.Peers = make([]bgp.Peer, len(c.sessions))
			d.BGP.Paths = []bgp.Path{{Prefix: block}}
			e := evidence{Desired: d, Peers: sessions(c.sessions), Synced: true}
			if c.change != nil {
				c.change(&e)
			}
			if v := e.judge(false); v.Reason != c.strict {
				t.Errorf("strict: %+v, want %q", v, c.strict)
			}
			if v := e.judge(true); v.Reason != c.patient {
				t.Errorf("patient: %+v, want %q", v, c.patient)
			}
		})
	}
	d := &Desired{Role: roleNode, MinSessions: 3}
	d.BGP.Peers = make([]bgp.Peer, 6)
	v := evidence{Desired: d, Peers: sessions("EDDDDD"), Synced: true}.judge(false)
	for _, want := range []string{"1 of 6", "3 needed", "p2 (192.0.2.1): no answer", "and 2 more"} {
		if !strings.Contains(v.Message, want) {
			t.Errorf("message %q lacks %q", v.Message, want)
		}
	}
}

// TestReadiness plays verdicts, one a second, and compares the standings: R ready, N not ready, ? undecided.
// Verdicts: + holds, ~ holds only with patience, - does not.
func TestReadiness(t *testing.T) {
	t.Parallel()
	rep := strings.Repeat
	for _, c := range []struct {
		name           string
		grace          time.Duration
		verdicts, want string
	}{
		{"first start", 0, "---+++", "NNNRRR"},
		{"first start, ready at once", 0, "+", "R"},
		{"taken over: said when it is true again", 60 * time.Second, "---+", "???R"},
		{"taken over, but nothing comes", 5 * time.Second, "-------", "?????NN"},
		{"a short loss", 0, "+" + rep("-", 9) + "+++", rep("R", 13)},
		{"a lasting loss", 0, "+" + rep("-", 11), rep("R", 11) + "N"},
		{"losses with hope between", 0, "+" + rep(rep("-", 9)+"+", 4), rep("R", 41)},
		{"a peer restarts", 0, "+" + rep("~", 100) + "+", rep("R", 102)},
		{"a peer does not come back: at once", 0, "+" + rep("~", 30) + "-", rep("R", 31) + "N"},
		{"back again after holding for a while", 0, "+" + rep("-", 11) + rep("+", 12), rep("R", 11) + "N" + rep("N", 10) + "RR"},
		{"a short recovery is none", 0, "+" + rep("-", 11) + rep("+", 5) + rep("-", 20), rep("R", 11) + rep("N", 26)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			start := time.Unix(1_000_000, 0)
			r := readiness{}
			if c.grace > 0 {
				r.grace = start.Add(c.grace)
			}
			bad := verdict{Reason: "bad"}
			got := ""
			for i, letter := range c.verdicts {
				strict, patient := verdict{}, verdict{}
				switch letter {
				case '-':
					strict, patient = bad, bad
				case '~':
					strict = bad
				}
				got += map[standing]string{ready: "R", notReady: "N", undecided: "?"}[r.next(start.Add(time.Duration(i)*time.Second), strict, patient)]
			}
			if got != c.want {
				t.Errorf("verdicts %s\n     got %s\n    want %s", c.verdicts, got, c.want)
			}
		})
	}
}
