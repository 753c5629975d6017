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
	for _, p := range absent([]bgp.PeerState{wrong, state("up", "Established", time.Hour), state("new", "Active", absentAfter-1), back}, nil, now) {
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

// TestAbsentCaller: who has called and leaves in order is forgotten before it counts as absent; not so while its routes are kept, or
// if it stays without a session and is known all the same.
func TestAbsentCaller(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		away   time.Duration
		stale  bool
		absent int
	}{
		{absentAfter, false, 0}, {bgp.RememberedFor + time.Second, false, 0}, {absentCaller, false, 1}, {absentAfter - 1, true, 0}, {absentAfter, true, 1},
	} {
		p := bgp.PeerState{Name: "servers/192.0.2.1", State: "Active", Since: now.Add(-c.away), Stale: c.stale}
		if got := absent([]bgp.PeerState{p}, map[string]bool{p.Name: true}, now); len(got) != c.absent {
			t.Errorf("away for %v, kept %t: %v", c.away, c.stale, got)
		}
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
