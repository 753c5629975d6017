package rtnl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/internal/nstest"
)

func dial(t *testing.T, ns *nstest.NS) *Conn {
	t.Helper()
	c, err := DialAt(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func veth(name, peer string, ns *nstest.NS) Veth {
	return Veth{
		Name: name, Peer: peer, PeerNS: ns.Fd(), MTU: 1400,
		MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, PeerMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2},
	}
}

func TestLinkRoundTrip(t *testing.T) {
	t.Parallel()
	host, pod := nstest.New(t), nstest.New(t)
	c, p := dial(t, host), dial(t, pod)
	if err := c.AddVeth(veth("pra", "eth0", pod)); err != nil {
		t.Fatal(err)
	}
	for _, v := range []Veth{veth("pra", "eth1", pod), veth("prb", "eth0", pod)} {
		if err := c.AddVeth(v); !errors.Is(err, unix.EEXIST) {
			t.Errorf("AddVeth(%s, %s): %v, want EEXIST", v.Name, v.Peer, err)
		}
	}
	l, err := c.LinkByName("pra")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 255)
	if err := c.SetLink(l.Index, Change{Alias: long, NoLinkLocal: true, Router: true}); err != nil {
		t.Fatal(err)
	}
	var refused *Error
	if err := c.SetLink(l.Index, Change{Alias: long + "x"}); !errors.As(err, &refused) {
		t.Errorf("an alias of 256 bytes: %v, want the kernel's error", err)
	}
	for _, up := range []struct {
		c     *Conn
		index int
	}{{c, l.Index}, {p, l.Peer}} {
		if err := up.c.SetLink(up.index, Change{Up: true}); err != nil {
			t.Fatal(err)
		}
	}
	nstest.Within(t, 2*time.Second, func() error {
		got, err := c.LinkByIndex(l.Index)
		if err != nil || !got.Running {
			return fmt.Errorf("%+v, %w", got, err)
		}
		return nil
	})
	id, err := c.NSID(pod.Fd())
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.LinkByIndex(l.Index)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "pra" || got.Kind != "veth" || got.Alias != long || got.MTU != 1400 || !got.Up || got.PeerNS != id || id < 0 ||
		got.MAC.String() != "02:00:00:00:00:01" {
		t.Errorf("link %+v, peer's namespace is %d", got, id)
	}
	if other, err := c.NSID(nstest.New(t).Fd()); err != nil || other == id {
		t.Errorf("number of another namespace: %d, %v", other, err)
	}
	if out := host.Run(t, "ip -o addr show dev pra"); out != "" {
		t.Errorf("the host side has addresses:\n%s", out)
	}
	for sysctl, want := range map[string]string{"forwarding": "1", "rp_filter": "0", "send_redirects": "0"} {
		if out := host.Run(t, "sysctl -n net.ipv4.conf.pra."+sysctl); strings.TrimSpace(out) != want {
			t.Errorf("%s is %s, want %s", sysctl, out, want)
		}
	}
	if err := c.DeleteLinkByName("pra"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{c.DeleteLinkByName("pra"), c.DeleteLink(l.Index), second(c.LinkByName("pra")), second(c.LinkByIndex(l.Index))} {
		if !errors.Is(err, unix.ENODEV) {
			t.Errorf("a link that is gone: %v, want ENODEV", err)
		}
	}
}

func second(_ Link, err error) error { return err }

func TestAddressNeighbourRoute(t *testing.T) {
	t.Parallel()
	host, pod := nstest.New(t), nstest.New(t)
	c, p := dial(t, host), dial(t, pod)
	if err := c.AddVeth(veth("pra", "eth0", pod)); err != nil {
		t.Fatal(err)
	}
	l, err := p.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.SetLink(l.Index, Change{Up: true, NoLinkLocal: true}); err != nil {
		t.Fatal(err)
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 3}
	for _, tt := range []struct{ addr, gateway, dst string }{
		{"10.0.0.1/32", "169.254.1.1", "0.0.0.0/0"},
		{"fd00::1/128", "fe80::1", "::/0"},
	} {
		addr, gw := netip.MustParsePrefix(tt.addr), netip.MustParseAddr(tt.gateway)
		route := Route{Dst: netip.MustParsePrefix(tt.dst), Gateway: gw, Link: l.Index, Metric: 7, Protocol: 179}
		if err := errors.Join(p.AddAddress(l.Index, addr), p.SetNeighbour(l.Index, gw, mac), p.SetNeighbour(l.Index, gw, mac), p.AddRoute(route)); err != nil {
			t.Fatalf("%s: %v", tt.addr, err)
		}
		if err := p.AddAddress(l.Index, addr); !errors.Is(err, unix.EEXIST) {
			t.Errorf("%s again: %v, want EEXIST", tt.addr, err)
		}
		if err := p.AddRoute(route); !errors.Is(err, unix.EEXIST) {
			t.Errorf("%s again: %v, want EEXIST", tt.dst, err)
		}
		addrs, err := p.Addresses(l.Index)
		if err != nil || !slices.Contains(addrs, addr) {
			t.Errorf("addresses %v, %v; want %v among them", addrs, err, addr)
		}
		neighbours, err := p.Neighbours(l.Index)
		if err != nil || !slices.ContainsFunc(neighbours, func(n Neighbour) bool { return n.Addr == gw && n.MAC.String() == mac.String() }) {
			t.Errorf("neighbours %v, %v; want %v among them", neighbours, err, gw)
		}
		routes, err := p.Routes(l.Index)
		if err != nil || !slices.Contains(routes, route) {
			t.Errorf("routes %v, %v; want %v among them", routes, err, route)
		}
		nstest.Within(t, time.Second, func() error {
			if ok, err := p.Local(addr.Addr()); !ok || err != nil {
				return fmt.Errorf("%v is not local: %w", addr, err)
			}
			return nil
		})
		if ok, err := p.Local(addr.Addr().Next()); ok || err != nil {
			t.Errorf("%v is local: %v, %v", addr.Addr().Next(), ok, err)
		}
	}
}

// A dump that is interrupted by changes is begun anew; one that always is fails, rather than give what
// it has.
func TestInterruptedDump(t *testing.T) {
	t.Parallel()
	ns, other := nstest.New(t), nstest.New(t)
	c, disturber := dial(t, ns), dial(t, ns)
	const links = 150 // more than one message's worth
	for i := range links {
		if err := c.AddVeth(veth(fmt.Sprintf("pr%d", i), fmt.Sprintf("p%d", i), other)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name      string
		disturbed int // so many tries
		want      error
	}{{"never", 0, nil}, {"once", 1, nil}, {"thrice", 3, nil}, {"always", dumpTries, ErrInterrupted}} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRequest(unix.RTM_GETLINK, 0, unix.AF_UNSPEC, unix.SizeofIfInfomsg)
			tries, found := 0, map[string]bool{}
			err := c.dump(r, func() { tries++; clear(found) }, func(m message) {
				l, _ := parseLink(m)
				if len(found) == 0 && tries <= tt.disturbed { // between two messages of one dump
					name := fmt.Sprintf("x%s%d", tt.name, tries)
					if err := errors.Join(disturber.AddVeth(veth(name, name, other)), disturber.DeleteLinkByName(name)); err != nil {
						t.Error(err)
					}
				}
				found[l.Name] = true
			})
			if !errors.Is(err, tt.want) || tries != min(tt.disturbed+1, dumpTries) {
				t.Errorf("%v after %d tries, want %v after %d", err, tries, tt.want, min(tt.disturbed+1, dumpTries))
			}
			if err == nil && len(found) != links+1 { // and lo
				t.Errorf("%d links, want %d", len(found), links+1)
			}
		})
	}
}

func TestWatcher(t *testing.T) {
	t.Parallel()
	ns, pod := nstest.New(t), nstest.New(t)
	c := dial(t, ns)
	w, err := Watch(ns.Fd(), 179)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 100)
	go func() {
		defer close(got)
		for {
			events, err := w.Next()
			if errors.Is(err, os.ErrClosed) {
				return
			}
			for _, e := range events {
				switch {
				case e.Route != nil:
					got <- "route " + e.Route.Dst.String()
				case e.Gone:
					got <- "gone " + e.Link.Name
				case e.Link.Name == "pra":
					got <- fmt.Sprint("up ", e.Link.Up)
				}
			}
		}
	}()
	if err := c.AddVeth(veth("pra", "eth0", pod)); err != nil {
		t.Fatal(err)
	}
	ns.Run(t, "ip link set pra up", "ip -6 addr flush dev pra",
		"ip route add 10.0.0.1 dev pra proto 179", "ip route add 10.0.0.2 dev pra proto 42", "ip route add 10.1.0.0/24 dev pra proto 179",
		"ip -6 route add fd00::1 dev pra proto 179", "ip -6 route add fd01::/64 dev pra proto 179",
		"ip route del 10.0.0.2", "ip route del 10.1.0.0/24", "ip -6 route del fd01::/64", "ip route del 10.0.0.1", "ip -6 route del fd00::1",
		"ip link del pra")
	var order []string
	for order = append(order, <-got); order[len(order)-1] != "gone pra"; order = append(order, <-got) {
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	for e := range got {
		t.Errorf("event after the link has gone: %s", e)
	}
	order = slices.Compact(slices.DeleteFunc(order, func(e string) bool { return e == "up false" }))
	want := []string{"up true", "route 10.0.0.1/32", "route fd00::1/128", "gone pra"}
	if !slices.Equal(order, want) {
		t.Errorf("events %q, want %q", order, want)
	}
}

// What the kernel sends is trusted to be well-formed, but never to the point of a panic.
func FuzzParse(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef0123456789abcdef"))
	r := newRequest(unix.RTM_NEWLINK, 0, unix.AF_UNSPEC, unix.SizeofIfInfomsg)
	r.name("pr0")
	r.nest(unix.IFLA_LINKINFO, func() { r.attr(unix.IFLA_INFO_KIND, []byte("veth")) })
	f.Add(r.b)
	f.Fuzz(func(_ *testing.T, b []byte) {
		for m := range messages(b) {
			_ = acknowledgement(m)
			for _, typ := range []uint16{m.typ, unix.RTM_NEWLINK, unix.RTM_NEWROUTE} {
				m.typ = typ
				parseLink(m)
				parseRoute(m)
			}
		}
	})
}
