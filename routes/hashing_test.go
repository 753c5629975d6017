package routes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

const (
	flowNodes = 4
	flowCount = 400
	flowPort  = 4711
)

// fabric is a router between a client and nodes that all serve one address.
type fabric struct {
	*world
	client *nstest.NS
	flows  map[int]net.Conn // of UDP, by number
	// question numbers what is sent, so that late answers are told from others.
	question byte
}

var vip = netip.MustParsePrefix("203.0.113.1/32")

func newFabric(t *testing.T, o Options) *fabric {
	t.Helper()
	f := &fabric{world: newWorld(t, 0, o), client: nstest.New(t), flows: map[int]net.Conn{}}
	f.Run(t, "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.fib_multipath_hash_policy=1")
	nstest.Veth(t, f.NS, "client", f.client, "eth0")
	f.Run(t, "ip addr add 198.51.100.1/24 dev client")
	f.client.Run(t, "ip addr add 198.51.100.2/24 dev eth0", "ip route add default via 198.51.100.1")
	for i := range flowNodes {
		node := nstest.New(t)
		name := fmt.Sprintf("node%d", i)
		nstest.Veth(t, f.NS, name, node, "eth0")
		f.Run(t, fmt.Sprintf("ip addr add 10.9.%d.1/24 dev %s", i, name))
		node.Run(t, fmt.Sprintf("ip addr add 10.9.%d.2/24 dev eth0", i), fmt.Sprintf("ip route add default via 10.9.%d.1", i),
			"ip link set lo up", "ip addr add "+vip.String()+" dev lo")
		f.echo(t, node, byte(i))
	}
	links, err := f.fib.Links(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		f.link[l.Name] = l.Index
	}
	err = f.client.Do(func() error {
		for i := range flowCount {
			c, err := net.Dial("udp", netip.AddrPortFrom(vip.Addr(), flowPort).String())
			if err != nil {
				return err
			}
			f.flows[i] = c
			t.Cleanup(func() { _ = c.Close() })
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// echo answers every packet at the address that all nodes serve with the node's number and what was in it.
func (f *fabric) echo(t *testing.T, node *nstest.NS, number byte) {
	t.Helper()
	var c net.PacketConn
	err := node.Do(func() (err error) {
		c, err = net.ListenPacket("udp", netip.AddrPortFrom(vip.Addr(), flowPort).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = c.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 16)
		for {
			n, from, err := c.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && n == 1 {
				_, _ = c.WriteTo([]byte{number, b[0]}, from)
			}
		}
	}()
}

// serve makes nodes the ones that flows are spread over.
func (f *fabric) serve(t *testing.T, h Hashing, nodes ...int) {
	t.Helper()
	r := Route{Dst: vip, Hashing: h}
	for _, i := range nodes {
		r.NextHops = append(r.NextHops, NextHop{Addr: netip.MustParseAddr(fmt.Sprintf("10.9.%d.2", i)), Link: f.link[fmt.Sprintf("node%d", i)]})
	}
	f.set(t, r)
	f.ask(t, flowCount)
	time.Sleep(50 * time.Millisecond) // a bucket that was used in the tick of its migration only counts as unused
}

// ask sends a packet in each of the flows and tells which node answers; a lost packet is sent again.
func (f *fabric) ask(t *testing.T, flows int) map[int]int {
	t.Helper()
	answered := map[int]int{}
	for try := 0; len(answered) < flows; try++ {
		if try == 50 {
			t.Fatalf("%d of %d flows are answered", len(answered), flows)
		}
		f.question++
		for i := range flows {
			if _, ok := answered[i]; !ok {
				_, _ = f.flows[i].Write([]byte{f.question}) // a refusal of an earlier packet is of no interest
			}
		}
		patience := 100 * time.Millisecond // with the first that is late; the others have had time meanwhile
		for i := range flows {
			if _, ok := answered[i]; ok {
				continue
			}
			_ = f.flows[i].SetReadDeadline(time.Now().Add(patience))
			for b := make([]byte, 2); ; {
				n, err := f.flows[i].Read(b)
				if err != nil {
					patience = time.Millisecond
					break
				}
				if n == 2 && b[1] == f.question {
					answered[i] = int(b[0])
					break
				}
			}
		}
	}
	return answered
}

// moved counts the flows that go to another node than before: of all, and of those that were not with the one that went.
func moved(before, after map[int]int, gone int) (all, others int) {
	for i, node := range before {
		if now, ok := after[i]; ok && now != node {
			all++
			if node != gone {
				others++
			}
		}
	}
	return all, others
}

// flowsWith counts those of a node.
func flowsWith(answered map[int]int, node int) (n int) {
	for _, a := range answered {
		if a == node {
			n++
		}
	}
	return n
}

// TestFlowsStay: of four nodes one goes and comes back, under flows of packets.
func TestFlowsStay(t *testing.T) {
	t.Parallel()
	everywhere, gone := []int{0, 1, 2, 3}, 1
	hashing := Hashing{Buckets: 256, Idle: 20 * time.Second}
	for _, c := range []struct {
		name    string
		options Options
		hashing Hashing
		stay    bool
	}{
		{"plain", Options{}, Hashing{}, false},
		{"resilient", Options{}, hashing, true},
		{"resilient, on a kernel without", Options{plain: true}, hashing, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFabric(t, c.options)
			f.serve(t, c.hashing, everywhere...)
			before := f.ask(t, flowCount)
			f.serve(t, c.hashing, 0, 2, 3)
			without := f.ask(t, flowCount)
			all, others := moved(before, without, gone)
			with := flowsWith(before, gone)
			t.Logf("a node with %d of %d flows goes: %d move, %d of them were not with it", with, flowCount, all, others)
			if all-others != with {
				t.Errorf("%d of the %d flows of the node that went have moved", all-others, with)
			}
			if (others == 0) != c.stay {
				t.Errorf("%d flows move that were not with the node that went; want none: %v", others, c.stay)
			}
			f.serve(t, c.hashing, everywhere...)
			all, _ = moved(without, f.ask(t, flowCount), -1)
			t.Logf("it comes back: %d of %d flows move", all, flowCount)
			if (all == 0) != c.stay {
				t.Errorf("%d busy flows move when the node comes back; want none: %v", all, c.stay)
			}
		})
	}
}

// TestIdleFlowsMove: a node that comes gets buckets that are idle, those without flows first; and in the end its share,
// busy or not, where that is wanted.
func TestIdleFlowsMove(t *testing.T) {
	t.Parallel()
	const busy, buckets = 20, 256
	for _, c := range []struct {
		name    string
		hashing Hashing
		kept    int // flows that are kept busy
	}{
		{"when they are idle", Hashing{Buckets: buckets, Idle: time.Second}, busy},
		{"in the end, busy or not", Hashing{Buckets: buckets, Idle: time.Hour, Unbalanced: time.Second}, flowCount},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFabric(t, Options{})
			f.serve(t, c.hashing, 0, 2, 3)
			before := f.ask(t, flowCount)
			f.serve(t, c.hashing, 0, 1, 2, 3)
			nstest.Within(t, 20*time.Second, func() error {
				f.ask(t, c.kept)
				if n := f.buckets(t, 1); n != buckets/flowNodes {
					return fmt.Errorf("%d of %d buckets are with the node that came", n, buckets)
				}
				return nil
			})
			after := f.ask(t, flowCount)
			all, _ := moved(before, after, -1)
			t.Logf("%d of %d flows have moved", all, flowCount)
			if all == 0 {
				t.Error("no flow has moved")
			}
			maps.DeleteFunc(before, func(i, _ int) bool { return i >= busy })
			if all, _ := moved(before, after, -1); c.kept == busy && all > 0 {
				t.Errorf("%d of %d busy flows have moved", all, busy)
			}
		})
	}
}

// buckets counts those of a node.
func (f *fabric) buckets(t *testing.T, node int) int {
	t.Helper()
	for line := range strings.Lines(f.Run(t, "ip nexthop show")) {
		if words := strings.Fields(line); strings.Contains(line, fmt.Sprintf(" dev node%d ", node)) {
			return strings.Count(f.Run(t, "ip nexthop bucket show"), " nhid "+words[1]+" ")
		}
	}
	return 0
}

// TestOwnGroups: a route with buckets has a group of its own, which keeps them when a next hop goes, whatever becomes of
// other routes; a restart takes them over as they are; another number of buckets takes a new group.
func TestOwnGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, Options{})
	h := Hashing{Buckets: 16, Idle: 20 * time.Second, Unbalanced: 10 * time.Minute}
	two := []NextHop{w.via(0, "10.0.0.2"), w.via(1, "10.0.1.2")}
	three := append(two[:2:2], w.via(2, "10.0.2.2"))
	bucketed := func(dst string, hops []NextHop) Route {
		r := route(dst, hops...)
		r.Hashing = h
		return r
	}
	routes := []Route{bucketed("203.0.113.1/32", three), bucketed("203.0.113.2/32", three), route("203.0.113.3/32", three...)}
	w.set(t, routes...)
	w.check(t, routes...)
	const want = "type resilient buckets 16 idle_timer 20 unbalanced_timer 600"
	if n := strings.Count(w.Run(t, "ip nexthop show"), want); n != 2 {
		t.Fatalf("%d resilient groups, want 2:\n%s", n, w.Run(t, "ip nexthop show"))
	}
	groups := func() string { return w.Run(t, "ip route show proto 179 203.0.113.0/30") }
	ids := func() (all []string) {
		for line := range strings.Lines(w.Run(t, "ip route show proto 179")) {
			f := strings.Fields(line)
			if i := strings.Index(line, "nhid "); i >= 0 {
				all = append(all, f[0]+" "+strings.Fields(line[i:])[1])
			}
		}
		return all
	}
	before := ids()

	routes[0], routes[2] = bucketed("203.0.113.1/32", two), route("203.0.113.3/32", two...)
	if n := w.set(t, routes...); n > 4 { // a message for one, and for the other set a group or a replacement, and what goes
		t.Errorf("%d messages", n)
	}
	w.check(t, routes...)
	if got := ids(); got[0] != before[0] || got[1] != before[1] {
		t.Errorf("other groups: %v, were %v\n%s", got, before, groups())
	}

	second := w.open(t, Options{})
	if err := second.Set(context.Background(), Desired{Routes: routes}); err != nil {
		t.Fatal(err)
	}
	if n := second.conn.sent; n != 0 {
		t.Errorf("a restart takes %d messages:\n%s", n, w.Run(t, "ip nexthop show"))
	}

	h.Buckets, h.Idle = 32, time.Second
	routes[1] = bucketed("203.0.113.2/32", three)
	if err := second.Set(context.Background(), Desired{Routes: routes}); err != nil {
		t.Fatal(err)
	}
	w.check(t, routes...)
	if out := w.Run(t, "ip nexthop show"); strings.Count(out, "buckets 32 idle_timer 1 ") != 1 || strings.Count(out, want) != 1 {
		t.Errorf("after a change of the buckets of one:\n%s", out)
	}
}
