package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/internal/nft"
)

// TestDrainSteps: neighbours are asked first, service addresses withdrawn later, but not by an agent that has just
// started; the end of the last reason ends the drain.
func TestDrainSteps(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	const askFirst = 2 * time.Second
	d := drain{patience: askFirst}
	d.set(nil, true, now)
	if !d.since.IsZero() || d.due(now) {
		t.Errorf("nobody wants it, and there is a drain: %+v", d)
	}
	d.set([]string{"cordon"}, false, now)
	if d.since != now || !d.withdrawn.IsZero() || d.due(now.Add(askFirst-1)) {
		t.Errorf("first neighbours are asked: %+v", d)
	}
	later := now.Add(askFirst)
	if !d.due(later) {
		t.Error("the second step is not due")
	}
	d.wish = later
	d.set([]string{"cordon"}, false, later)
	if d.since != now || d.withdrawn != later || d.due(later.Add(time.Hour)) {
		t.Errorf("then service addresses are withdrawn: %+v", d)
	}
	if diff := cmp.Diff([]string{becauseOperator, "cordon"}, d.because); diff != "" {
		t.Error(diff)
	}
	d.set(nil, false, later)
	if d.withdrawn != later {
		t.Error("the node is uncordoned, but the operator still wants it drained")
	}
	d.wish = time.Time{}
	d.set(nil, false, later)
	if !d.since.IsZero() || !d.withdrawn.IsZero() {
		t.Errorf("nobody wants it any more: %+v", d)
	}

	d = drain{wish: now, patience: askFirst}
	d.set(nil, true, later)
	if d.withdrawn != later {
		t.Error("an agent that starts drained advertises service addresses for a moment")
	}
}

// TestWish: what the operator wants outlives the agent, until it is taken back.
func TestWish(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, at := range []time.Time{{}, time.Unix(1000, 0), {}, {}} {
		if err := writeWish(dir, at); err != nil {
			t.Fatal(err)
		}
		if got, err := readWish(dir); err != nil || !got.Equal(at) {
			t.Errorf("read %v, %v; wrote %v", got, err, at)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, drainFile), []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readWish(dir); err != nil || got.IsZero() {
		t.Errorf("a file that cannot be read is a wish all the same: %v, %v", got, err)
	}
}

// TestVigil is a drain as its counters see it, second by second.
func TestVigil(t *testing.T) {
	t.Parallel()
	began := time.Unix(1000, 0)
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	var count nft.Counts
	var broken error
	changes := 0
	v := &vigil{
		log: slog.New(slog.DiscardHandler), changed: func() { changes++ }, begun: make(chan struct{}, 1),
		counts: func(context.Context) (nft.Counts, error) { return count, broken },
	}
	w := watched{Since: began, Services: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/32")}, Timeout: 8 * time.Second}
	v.set(w)
	for _, s := range []struct {
		at        int
		services  uint64 // packets in this second
		reset     bool   // the counters begin anew
		broken    error
		withdrawn bool
		want      string
	}{
		{at: 0, want: stageAsking},
		{at: 1, services: 200, want: stageAsking},
		{at: 2, services: 0, want: stageAsking},
		{at: 3, services: 0, want: stageAsking}, // silence before the withdrawal says nothing
		{at: 3, withdrawn: true, want: stageWithdrawn},
		{at: 4, services: 50, want: stageWithdrawn},
		{at: 5, services: 1, want: stageWithdrawn},
		{at: 6, broken: errors.New("no netlink"), want: stageWithdrawn},
		{at: 7, services: 2, reset: true, want: stageWithdrawn},
		{at: 8, services: 1, want: stageTimedOut},
		{at: 9, services: 0, want: stageTimedOut},
		{at: 10, services: 0, want: stageFaded},
		{at: 11, services: 9, want: stageTimedOut},
	} {
		if s.withdrawn {
			w.Withdrawn = at(s.at)
			v.set(w)
		}
		if s.reset {
			count = nft.Counts{}
		}
		count.Services += s.services
		count.Forwarded += s.services + 100
		broken = s.broken
		v.turn(context.Background(), at(s.at))
		if _, stage, _, problem := v.look(); stage != s.want || !errors.Is(problem, s.broken) {
			t.Errorf("second %d: %s, %v; want %s, %v", s.at, stage, problem, s.want, s.broken)
		}
	}
	_, _, seconds, _ := v.look()
	sum := uint64(0)
	for _, s := range seconds {
		sum += s.Services
	}
	if sum != 263 {
		t.Errorf("%d packets in all, want 263: %+v", sum, seconds)
	}
	if faded(seconds[:len(seconds)-1], true) {
		t.Error("what is forwarded has not faded")
	}
	if changes != 3 {
		t.Errorf("%d changes of the stage, want 3", changes)
	}
	v.set(watched{})
	if of, stage, seconds, _ := v.look(); !of.Since.IsZero() || stage != "" || seconds != nil {
		t.Errorf("after the end: %v %s %v", of, stage, seconds)
	}
}

// TestUntold: a peer has been told when all it has of us says so, and service addresses are withdrawn.
func TestUntold(t *testing.T) {
	t.Parallel()
	service, block := netip.MustParsePrefix("203.0.113.1/32"), netip.MustParsePrefix("10.244.1.0/24")
	tagged := bgp.Attributes{Communities: []string{"64512:1", bgp.GracefulShutdown}}
	said := []bgp.AdvertisedRoute{
		{Peer: "told", Prefix: block, Attributes: tagged},
		{Peer: "late", Prefix: block},
		{Peer: "withheld", Prefix: block, Attributes: tagged},
		{Peer: "withheld", Prefix: service, Attributes: tagged},
	}
	services := []netip.Prefix{service}
	if diff := cmp.Diff(map[string]bool{"late": true}, untold(said, services, false)); diff != "" {
		t.Errorf("while neighbours are asked: %s", diff)
	}
	if diff := cmp.Diff(map[string]bool{"late": true, "withheld": true}, untold(said, services, true)); diff != "" {
		t.Errorf("after the withdrawal: %s", diff)
	}
}
