package ndp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// start runs a Finder in a namespace, on all these links.
func start(t *testing.T, ns *nstest.NS, names ...string) *Finder {
	t.Helper()
	f := New(Options{Log: slog.New(slog.DiscardHandler)})
	var links []Link
	for _, name := range names {
		links = append(links, Link{name, linkIndex(t, ns, name)})
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	f.Set(links)
	go func() { done <- ns.Do(func() error { return f.Run(ctx) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f
}

func linkIndex(t *testing.T, ns *nstest.NS, name string) int {
	t.Helper()
	var index int
	if _, err := fmt.Sscanf(ns.Run(t, "ip -o link show dev "+name), "%d:", &index); err != nil {
		t.Fatal(err)
	}
	return index
}

func linkLocal(t *testing.T, ns *nstest.NS, name string) netip.Addr {
	t.Helper()
	var addr netip.Addr
	nstest.Within(t, 5*time.Second, func() error {
		out, err := ns.Try("ip -o -6 addr show dev " + name + " scope link -tentative")
		if err != nil {
			return err
		}
		f := strings.Fields(out)
		if len(f) < 4 {
			return errors.New("no address yet")
		}
		p, err := netip.ParsePrefix(f[3])
		addr = p.Addr()
		return err
	})
	return addr
}

func finds(t *testing.T, f *Finder, link string, want netip.Addr) {
	t.Helper()
	nstest.Within(t, 10*time.Second, func() error {
		if got := f.Neighbours()[link]; got != want {
			return fmt.Errorf("neighbour on %s is %v, want %v", link, got, want)
		}
		return nil
	})
}

// Two finders find each other; one finds a host that does nothing by itself.
func TestFind(t *testing.T) {
	t.Parallel()
	a, b, host := nstest.New(t), nstest.New(t), nstest.New(t)
	nstest.Veth(t, a, "eth0", b, "eth0")
	nstest.Veth(t, a, "eth1", host, "eth0")
	fa, fb := start(t, a, "eth0", "eth1"), start(t, b, "eth0")
	finds(t, fa, "eth0", linkLocal(t, b, "eth0").WithZone("eth0"))
	finds(t, fb, "eth0", linkLocal(t, a, "eth0").WithZone("eth0"))
	finds(t, fa, "eth1", linkLocal(t, host, "eth0").WithZone("eth1"))
	fa.Set([]Link{{"eth1", linkIndex(t, a, "eth1")}})
	if n := fa.Neighbours(); len(n) != 1 {
		t.Errorf("after a link was left out: %v", n)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	x, y := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2")
	now := time.Now()
	f := New(Options{Log: slog.New(slog.DiscardHandler)})
	f.Set([]Link{{"eth0", 7}})
	for i, step := range []struct {
		from  netip.Addr
		rank  int
		after time.Duration // since the step before
		want  netip.Addr
	}{
		{x, 1, 0, x},
		{y, 1, time.Second, x},                   // two that answer: the first stays
		{y, 2, time.Second, y},                   // a router goes before
		{x, 2, time.Second, y},                   // two routers: the first stays
		{x, 2, silence + time.Second, x},         // the other has fallen silent
		{x, 1, time.Second, x},                   // once a router, it stays one
		{y, 1, 10 * silence, y},                  // alone again
		{netip.IPv6LinkLocalAllNodes(), 0, 0, y}, // nobody
	} {
		now = now.Add(step.after)
		if step.rank > 0 {
			f.take(7, step.from, step.rank, now)
		}
		if got := f.Neighbours()["eth0"].WithZone(""); got != step.want {
			t.Errorf("step %d: neighbour is %v, want %v", i, got, step.want)
		}
	}
	f.take(8, x, 2, now) // a link that nobody asked about
	if n := f.Neighbours(); len(n) != 1 {
		t.Errorf("neighbours %v", n)
	}
}

func TestRank(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		msg  []byte
		hops int
		want int
	}{
		{"advertisement", advertisement(nil), 255, 2},
		{"advertisement from afar", advertisement(make([]byte, 6)), 254, 0},
		{"solicitation", solicitation(make([]byte, 6)), 255, 1},
		{"solicitation from afar", solicitation(nil), 64, 0},
		{"reply", append([]byte{echoReply, 0, 0, 0, 0, 9}, 0, 0), 64, 1},
		{"reply to another", append([]byte{echoReply, 0, 0, 0, 0, 8}, 0, 0), 64, 0},
		{"request", echo(9), 255, 0},
		{"torso", []byte{routerAdvertisement, 0}, 255, 0},
		{"short advertisement", advertisement(nil)[:12], 255, 0},
		{"nothing", nil, 255, 0},
	} {
		if got := rank(c.msg, c.hops, 9); got != c.want {
			t.Errorf("%s: rank %d, want %d", c.name, got, c.want)
		}
	}
}
