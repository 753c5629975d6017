package probe

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// TestMain also serves as a probe, for tests that need one in a namespace.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "probe" {
		if err := Serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, ns *nstest.NS) *Client {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := ns.Command(context.Background(), exe, "probe")
	var said bytes.Buffer
	cmd.Stderr = &said
	c, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil || said.Len() > 0 {
			t.Errorf("probe: %v, said %q", err, said.String())
		}
	})
	return c
}

// pair is two namespaces joined by a link, 10.0.0.1 and 10.0.0.2, with a probe in each; b answers.
func pair(t *testing.T) (a, b *nstest.NS, pa, pb *Client) {
	t.Helper()
	a, b = nstest.New(t), nstest.New(t)
	nstest.Veth(t, a, "eth1", b, "eth1")
	a.Run(t, "ip address add 10.0.0.1/24 dev eth1", "ip address add fd00::1/64 dev eth1 nodad")
	b.Run(t, "ip address add 10.0.0.2/24 dev eth1", "ip address add fd00::2/64 dev eth1 nodad")
	pa, pb = start(t, a), start(t, b)
	if _, err := pb.Wire(testContext(t), WireArgs{}); err != nil {
		t.Fatal(err)
	}
	return a, b, pa, pb
}

func nonce(n int) string { return fmt.Sprintf("%s%016d", Mark, n) }

// ask asks from a, listening on its link, and returns what was seen on the wire.
func ask(t *testing.T, pa *Client, to string) (Answer, []Sighting) {
	t.Helper()
	ctx := testContext(t)
	if err := pa.CaptureStart(ctx, []string{"eth1"}); err != nil {
		t.Fatal(err)
	}
	answers, err := pa.Dials(ctx, []Dial{{To: netip.MustParseAddr(to), Nonce: nonce(7)}})
	if err != nil {
		t.Fatal(err)
	}
	seen, err := pa.CaptureStop(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if answers[0].Error != "" {
		t.Fatal(answers[0].Error)
	}
	if len(seen.Sightings) < 2 || seen.Frames < 6 {
		t.Errorf("saw %+v, want both directions", seen)
	}
	return answers[0], seen.Sightings
}

func TestDial(t *testing.T) {
	t.Parallel()
	_, _, pa, _ := pair(t)
	for from, to := range map[string]string{"10.0.0.1": "10.0.0.2", "fd00::1": "fd00::2"} {
		a, seen := ask(t, pa, to)
		if a.Local.String() != from || a.Seen != a.Local {
			t.Errorf("%+v", a)
		}
		for _, s := range seen {
			ends := fmt.Sprint(s.Source, " ", s.Dest)
			if s.Nonce != nonce(7) || s.Protocol != 6 || ends != from+" "+to && ends != to+" "+from {
				t.Errorf("saw %+v", s)
			}
		}
	}
}

func TestDialFails(t *testing.T) {
	t.Parallel()
	_, b, pa, _ := pair(t)
	b.Run(t, "ip address add 10.0.0.3/24 dev eth1")
	a, err := pa.Dials(testContext(t), []Dial{
		{To: netip.MustParseAddr("192.0.2.1"), Nonce: nonce(1)}, // no route
		{To: netip.MustParseAddr("10.0.0.3"), Nonce: nonce(2)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(a[0].Error, "unreachable") || a[1].Error != "" {
		t.Errorf("%+v", a)
	}
}

// A server behind address translation tells what it saw.
func TestTranslationIsSeen(t *testing.T) {
	t.Parallel()
	a, _, pa, _ := pair(t)
	a.Run(t, "ip address add 10.0.0.9/24 dev eth1", "nft add table ip nat",
		"nft add chain ip nat post {type nat hook postrouting priority 100;}",
		"nft add rule ip nat post oifname eth1 snat to 10.0.0.9")
	answer, _ := ask(t, pa, "10.0.0.2")
	if answer.Local.String() != "10.0.0.1" || answer.Seen.String() != "10.0.0.9" {
		t.Errorf("%+v", answer)
	}
}

// What goes through a tunnel is seen as what it is on the wire.
func TestEncapsulationIsSeen(t *testing.T) {
	t.Parallel()
	a, b, pa, _ := pair(t)
	for i, ns := range []*nstest.NS{a, b} {
		ns.Run(t, fmt.Sprintf("ip link add vx type vxlan id 7 dstport 4789 local 10.0.0.%d remote 10.0.0.%d dev eth1", i+1, 2-i),
			fmt.Sprintf("ip address add 10.9.0.%d/24 dev vx", i+1), "ip link set vx up")
	}
	answer, seen := ask(t, pa, "10.9.0.2")
	if answer.Seen.String() != "10.9.0.1" {
		t.Errorf("%+v", answer)
	}
	for _, s := range seen {
		if s.Protocol != 17 || s.Source.String()[:7] != "10.0.0." {
			t.Errorf("saw %+v, want UDP between the tunnel's ends", s)
		}
	}
}

// A hole in the network is measured as long as it was.
func TestPingMeasuresHole(t *testing.T) {
	t.Parallel()
	_, b, pa, _ := pair(t)
	ctx := testContext(t)
	if err := pa.PingStart(ctx, Flow{ID: "x", To: netip.MustParseAddr("10.0.0.2")}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	b.Run(t, "nft add table ip hole", "nft add chain ip hole in {type filter hook input priority 0;}")
	began := time.Now()
	b.Run(t, "nft add rule ip hole in drop")
	time.Sleep(150 * time.Millisecond)
	b.Run(t, "nft delete table ip hole")
	hole := time.Since(began)
	time.Sleep(200 * time.Millisecond)
	got, err := pa.PingStop(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	if got.Gap < 130*time.Millisecond || got.Gap > hole+100*time.Millisecond || got.Lost < 5 || got.Sent < 30 {
		t.Errorf("%+v for a hole of at most %v", got, hole)
	}
	if _, err := pa.PingStop(ctx, "x"); err == nil {
		t.Error("a ping was stopped twice")
	}
}

func TestPingLosesNothing(t *testing.T) {
	t.Parallel()
	_, _, pa, _ := pair(t)
	ctx := testContext(t)
	if err := pa.PingStart(ctx, Flow{ID: "x", To: netip.MustParseAddr("fd00::2"), Phase: 5 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if got, err := pa.PingStop(ctx, "x"); err != nil || got.Lost != 0 || got.Gap != 0 || got.Sent < 10 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestDeleteRoutes(t *testing.T) {
	t.Parallel()
	a, _, pa, _ := pair(t)
	a.Run(t, "ip route add 10.1.0.0/16 via 10.0.0.2 proto 179 metric 179", "ip route add unreachable 10.2.0.0/16 proto 179 metric 179",
		"ip nexthop add id 9 via 10.0.0.2 dev eth1", "ip route add 10.3.0.0/16 nhid 9 proto 179 metric 100",
		"ip -6 route add fd01::/64 via fd00::2 proto 179 metric 179", "ip route add 10.4.0.0/16 via 10.0.0.2")
	n, err := pa.DeleteRoutes(testContext(t), 179)
	if err != nil || n != 4 {
		t.Errorf("%d deleted, want 4; %v", n, err)
	}
	left, err := pa.Routes(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(left); strings.Contains(got, "10.1.") || !strings.Contains(got, "10.4.0.0/16") {
		t.Errorf("left: %s", got)
	}
}
