package agent

import (
	"net/netip"
	"slices"
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
		"session wrong: is not up (Active, with 192.0.2.1): no answer: the password differs: " + mendOf(bgp.ReasonNoAnswer),
		"session back: is not up (Idle, with 192.0.2.1), its routes are kept for now: " + mendOf(bgp.ReasonClosed),
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}
