package nft

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/internal/nstest"
)

func TestForgedSourcesAreDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in := newInbox(t, w.outside)
	forged := map[string][2]string{
		"another pod's": w.otherPod, "w.unassigned": w.unassigned, "the node's": w.uplinkAddr, "the outside's own": {"203.0.113.5", "2001:db8:5::5"},
		"link-local": {"169.254.7.7", "fe80::7"},
	}
	for _, a := range forged {
		w.pod.Run(t, "ip addr add "+a[0]+"/32 dev eth0", "ip addr add "+a[1]+"/128 dev eth0 nodad")
	}
	// Under an address inside the cluster, so that no translation hides what arrives.
	try := func() map[string]string {
		for i, dest := range w.insideAddr {
			for name, a := range forged {
				send(t, w.pod, a[i], dest, in.port, fmt.Sprintf("%s %d", name, i))
			}
		}
		for i, dest := range w.insideAddr {
			send(t, w.pod, w.podAddr[i], dest, in.port, fmt.Sprintf("honest %d", i))
		}
		send(t, w.pod, w.podAddr[0], w.insideAddr[0], in.port, "end")
		return in.until(t, "end")
	}
	honest := map[string]string{"honest 0": w.podAddr[0], "honest 1": w.podAddr[1]}

	bare := try()
	// The kernel itself forwards nothing from fe80::/10 nor from an IPv4 address of its own; all else
	// must have come through.
	if want := len(honest) + 2*len(forged) - 2; len(bare) != want {
		t.Fatalf("without the table %d packets arrived, want %d: %v", len(bare), want, bare)
	}
	mustSet(t, newTable(t, w.node), w.config())
	if diff := cmp.Diff(honest, try()); diff != "" {
		t.Errorf("arrived with the table (-want +got):\n%s", diff)
	}
	if got, want := dropped(t, w), 2*len(forged)-1; got != want {
		t.Errorf("counted %d forged packets, want %d", got, want)
	}
}

// dropped is the count of the rule that drops forged packets.
func dropped(t *testing.T, w *world) int {
	t.Helper()
	list := w.node.Run(t, "nft list chain inet podroute prerouting")
	m := regexp.MustCompile(`counter packets (\d+) bytes \d+ drop`).FindStringSubmatch(list)
	if m == nil {
		t.Fatalf("no counter in:\n%s", list)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestNeighboursStayReachable: what a pod needs before it has an address must pass.
func TestNeighboursStayReachable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mustSet(t, newTable(t, w.node), w.config())
	for _, line := range []string{
		"ip neigh flush dev eth0",
		"ping -c 1 -W 2 fe80::1%eth0", // link-local both ways
		"ping -c 1 -W 2 " + w.outsideAddr[1],
		"ping -c 1 -W 2 " + w.outsideAddr[0],
	} {
		w.pod.Run(t, line)
	}
	// Duplicate address detection sends from :: and hears the node's objection.
	w.pod.Run(t, "sysctl -qw net.ipv6.conf.all.accept_dad=1 net.ipv6.conf.eth0.accept_dad=1 net.ipv6.conf.eth0.dad_transmits=1",
		"ip addr add fe80::1/64 dev eth0")
	waitFor(t, func() error {
		if out := w.pod.Run(t, "ip -6 addr show dev eth0 dadfailed"); out == "" {
			return fmt.Errorf("no address of eth0 failed duplicate address detection")
		}
		return nil
	})
	if got := dropped(t, w); got != 0 {
		t.Errorf("%d packets of an honest pod were dropped", got)
	}
}

func TestMasquerade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	table := newTable(t, w.node)
	mirror(t, w.outside, w.outsideAddr[0], w.outsideAddr[1], w.insideAddr[0], w.insideAddr[1])
	mirror(t, w.node, w.uplinkAddr[:]...)
	mirror(t, w.pod2, w.otherPod[:]...)
	check := func(t *testing.T, toOutside [2]string) {
		t.Helper()
		for i := range families() {
			for _, network := range []string{"tcp", "udp"} {
				expectSeen(t, w.pod, network, w.outsideAddr[i], toOutside[i])
				expectSeen(t, w.pod, network, w.insideAddr[i], w.podAddr[i])
				expectSeen(t, w.pod, network, w.otherPod[i], w.podAddr[i])
				expectSeen(t, w.pod, network, w.uplinkAddr[i], w.podAddr[i])
				expectSeen(t, w.node, network, w.outsideAddr[i], w.uplinkAddr[i])
			}
		}
	}
	steps := []struct {
		name      string
		change    func(*Config)
		toOutside [2]string
	}{
		{"to the node's addresses", func(*Config) {}, w.nodeAddr},
		{"to the uplink's address for want of a node address", func(c *Config) { c.NodeAddrs = nil }, w.uplinkAddr},
		{"one family has a node address", func(c *Config) { c.NodeAddrs = addrs(w.nodeAddr[0]) }, [2]string{w.nodeAddr[0], w.uplinkAddr[1]}},
		{"the outside is direct", func(c *Config) { c.Direct = append(c.Direct, prefixes("192.0.2.9/32", "2001:db8::/64")...) }, w.podAddr},
		{"off", func(c *Config) { c.Masquerade = false }, w.podAddr},
		{"on again", func(*Config) {}, w.nodeAddr},
		{"no pods of the second family", func(c *Config) { c.PodCIDRs = c.PodCIDRs[:1] }, [2]string{w.nodeAddr[0], w.podAddr[1]}},
	}
	for _, s := range steps { // one table, from state to state
		c := w.config()
		s.change(&c)
		mustSet(t, table, c)
		t.Run(s.name, func(t *testing.T) { check(t, s.toOutside) })
	}
}

// TestInboundRepliesKeepTheirAddress: only the first packet of a connection is looked at, so what a
// pod answers to the outside is never translated.
func TestInboundRepliesKeepTheirAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mustSet(t, newTable(t, w.node), w.config())
	mirror(t, w.pod, w.podAddr[:]...)
	for i := range families() {
		for _, network := range []string{"tcp", "udp"} {
			// A connected socket takes answers from the pod's address alone.
			got, err := look(w.outside, network, w.outsideAddr[i], w.podAddr[i])
			if err != nil || got != w.outsideAddr[i] {
				t.Errorf("%s from %s to the pod: seen as %q, %v", network, w.outsideAddr[i], got, err)
			}
		}
	}
}

// TestSetUnderTraffic opens connection after connection while the table is written over and over:
// none may leave with the pod's address.
func TestSetUnderTraffic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	table := newTable(t, w.node)
	mustSet(t, table, w.config())
	w.outside.Run(t, "ip route add local 198.51.0.0/16 dev lo")
	w.node.Run(t, "sysctl -qw net.netfilter.nf_conntrack_udp_timeout=1")
	in := newInbox(t, w.outside)

	sources := map[string]int{}
	received := make(chan struct{})
	go func() {
		defer close(received)
		b := make([]byte, 16)
		for {
			_, from, err := in.conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			sources[seen(from)]++
		}
	}()
	sent := make(chan int)
	stop := make(chan struct{})
	out := flood{port: in.port}
	out.open(t, w.pod)
	go func() { sent <- out.run(stop) }()

	// The ranges change shape around the traffic: wider, split, joined by others.
	wider, split, other := w.config(), w.config(), w.config()
	wider.PodCIDRs = prefixes("10.1.0.0/16", "fd00:1::/48")
	split.PodCIDRs = prefixes("10.1.0.0/27", "10.1.0.64/27", "fd00:1::/64")
	other.Direct = prefixes("10.0.0.0/8", "192.0.2.0/24", "198.50.0.0/16", "fd00::/8")
	const changes = 48
	for i := range changes {
		mustSet(t, table, []Config{w.config(), wider, split, other}[i%4])
	}
	close(stop)
	n := <-sent
	if err := in.conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil { // what is under way arrives
		t.Fatal(err)
	}
	<-received
	t.Logf("%d changes of the table, %d packets, arrived by source: %v", changes, n, sources)
	if sources[w.nodeAddr[0]] < 100*changes {
		t.Errorf("%d of %d packets arrived: too few to tell anything", sources[w.nodeAddr[0]], n)
	}
	delete(sources, w.nodeAddr[0])
	if len(sources) > 0 {
		t.Errorf("connections left with another address than the node's: %v", sources)
	}
	if drifted, err := table.Drifted(context.Background()); drifted || err != nil {
		t.Errorf("Drifted: %v, %v", drifted, err)
	}
}

// flood opens UDP connections as fast as it can: each packet has a destination of its own in
// 198.51.0.0/16, each round a source port of its own.
type flood struct {
	port uint16
	from [4]*net.UDPConn
}

func (f *flood) open(t *testing.T, ns *nstest.NS) {
	t.Helper()
	err := ns.Do(func() (err error) {
		for i := range f.from {
			if f.from[i], err = net.ListenUDP("udp4", nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range f.from {
			_ = c.Close()
		}
	})
}

// run sends until stop is closed and returns how many packets it sent.
func (f *flood) run(stop <-chan struct{}) int {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return n
		default:
		}
		const round = 60_000
		dest := binary.BigEndian.AppendUint32(nil, 198<<24|51<<16|uint32(n%round))
		_, _ = f.from[n/round%len(f.from)].WriteToUDP([]byte("x"), &net.UDPAddr{IP: dest, Port: int(f.port)})
	}
}
