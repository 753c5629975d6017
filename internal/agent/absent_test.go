package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/bgp"
)

// TestAbsent: a session that should be up is named with its reason and mend, one that has just begun or is up is not.
func TestAbsent(t *testing.T) {
	t.Parallel()
	now := time.Now()
	addr := netip.MustParseAddr("192.0.2.1")
	state := func(name, is string, since time.Duration) bgp.PeerState {
		return bgp.PeerState{Name: name, Address: addr, State: is, Since: now.Add(-since)}
	}
	wrong := state("wrong", "Active", absentAfter)
	wrong.Reason, wrong.LastError = bgp.ReasonNoAnswer, "no answer: the password differs"
	back := state("back", "Idle", time.Minute)
	back.Reason, back.Stale = bgp.ReasonClosed, true
	var got []string
	for _, p := range absent([]bgp.PeerState{wrong, state("up", "Established", time.Hour), state("new", "Active", absentAfter-1), back}, now) {
		got = append(got, p.Error())
	}
	want := []string{
		"session wrong: with 192.0.2.1 is not up: no answer: the password differs: " + mendOf(bgp.ReasonNoAnswer),
		"session back: with 192.0.2.1 is not up, its routes are kept for now: " + mendOf(bgp.ReasonClosed),
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}

// TestUnheard: what is dropped of calls is said of the ranges that it may concern.
func TestUnheard(t *testing.T) {
	t.Parallel()
	in := netip.MustParsePrefix("192.0.2.0/28")
	ranges := []bgp.Range{{Name: "a", Prefix: in, Password: "x"}, {Name: "b", Prefix: in}, {Name: "c", Prefix: in, Password: "x"}}
	got := unheard(ranges, map[string]bgp.Callers{"a": {Unheard: true}, "b": {Unheard: true}, "c": {}})
	if len(got) != 2 || got[0].Object != "BGPPeer/a" || !strings.Contains(got[0].Message, "another password") || !strings.Contains(got[1].Mend, "set its password here") {
		t.Errorf("%q", got)
	}
}

// TestSessionsHealth: the first of what is amiss gives the reason, and all of it the message, three at most.
func TestSessionsHealth(t *testing.T) {
	t.Parallel()
	now := time.Now()
	up := bgp.PeerState{Name: "up", State: "Established"}
	out := bgp.PeerState{Name: "out", State: "Active", Reason: bgp.ReasonConnect, LastError: "connection refused"}
	loop := bgp.PeerState{Name: "loop", State: "Established", Looping: 2, Warnings: []string{"2 routes dropped"}}
	near := bgp.PeerState{Name: "near", State: "Established", Warnings: []string{"it has sent many"}}
	for _, c := range []struct {
		peers  []bgp.PeerState
		reason string
		texts  []string
	}{
		{[]bgp.PeerState{up}, reasonAllUp, nil},
		{[]bgp.PeerState{up, near}, reasonWarned, []string{"session near: it has sent many"}},
		{[]bgp.PeerState{near, loop, up}, reasonOwnAS, []string{"session loop: 2 routes dropped", "near"}},
		{[]bgp.PeerState{near, loop, out}, reasonSomeOut, []string{"connection refused", "loop", "near"}},
		{[]bgp.PeerState{out, out, out, near, loop}, reasonSomeOut, []string{"and 2 more"}},
	} {
		h := healthOf(c.peers, now)
		if h.Reason != c.reason || h.Healthy != (c.texts == nil) {
			t.Errorf("%+v, want %s", h, c.reason)
		}
		for _, text := range c.texts {
			if !strings.Contains(h.Message, text) {
				t.Errorf("no %q in %q", text, h.Message)
			}
		}
	}
	if h := healthOf(nil, now); h != nil {
		t.Errorf("without sessions: %+v", h)
	}
}
