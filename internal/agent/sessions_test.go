package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
)

// TestSessionStatus: NodeRouting has all that is known of a session, and of its counts and losses only that they matter where
// reports are paced.
func TestSessionStatus(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	p := bgp.PeerState{
		Name: "tor", Address: netip.MustParseAddr("192.0.2.1"), AS: 4200000000, State: config.SessionEstablished, Since: at,
		Received: map[bgp.Family]int{bgp.IPv4: 7}, Accepted: map[bgp.Family]int{bgp.IPv4: 6}, Advertised: map[bgp.Family]int{bgp.IPv4: 5},
		Families: []bgp.Family{bgp.IPv4}, Flaps: 3, LastDown: "the neighbour sent NOTIFICATION: Cease, Administrative Shutdown", LastDownAt: at,
		Warnings: []string{"it has sent 7 prefixes of IPv4, 87 % of the 8 that maxPrefixes allows"},
	}
	second := &metav1.Time{Time: at.Truncate(time.Second)}
	want := config.SessionStatus{
		Peer: "tor", Address: "192.0.2.1", ASNumber: 4200000000, State: config.SessionEstablished, Since: second, Flaps: 3,
		LastDown: p.LastDown, LastDownTime: second, Warnings: p.Warnings,
		Families: []config.SessionFamily{{Family: "IPv4", Received: 7, Accepted: 6, Advertised: 5}},
	}
	if diff := cmp.Diff(want, sessionStatus(p)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	report := func(change func(*bgp.PeerState)) config.NodeReport {
		q := p
		change(&q)
		return essence(config.NodeReport{Routing: config.NodeRoutingStatus{Sessions: []config.SessionStatus{sessionStatus(q)}}})
	}
	before := report(func(*bgp.PeerState) {})
	for name, x := range map[string]struct {
		change  func(*bgp.PeerState)
		matters bool
	}{
		"a count":        {func(q *bgp.PeerState) { q.Received = map[bgp.Family]int{bgp.IPv4: 8} }, false},
		"a warning's":    {func(q *bgp.PeerState) { q.Warnings = []string{"it has sent 8 prefixes"} }, false},
		"a loss":         {func(q *bgp.PeerState) { q.Flaps, q.LastDown, q.LastDownAt = 4, "again", at.Add(time.Hour) }, false},
		"no warning":     {func(q *bgp.PeerState) { q.Warnings = nil }, true},
		"another state":  {func(q *bgp.PeerState) { q.State = "Idle" }, true},
		"another family": {func(q *bgp.PeerState) { q.Families = []bgp.Family{bgp.IPv6} }, true},
	} {
		if diff := cmp.Diff(before, report(x.change)); (diff != "") != x.matters {
			t.Errorf("%s: matters: %v, want %v", name, diff != "", x.matters)
		}
	}
	if got := warnings([]bgp.PeerState{p}); len(got) != 1 || got[0].Object != "session tor" || got[0].Message != p.Warnings[0] {
		t.Errorf("problems of the node: %v", got)
	}
}
