package nft

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// TestServicesAreRefused: a packet for a service address that nobody translates bounces between the node and its
// router without the table, and is refused at once with it. What is translated passes, also where it is translated to
// another service's address.
func TestServicesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	services, others := [2]string{"203.0.113.7", "2001:db8:f::7"}, [2]string{"203.0.113.200", "2001:db8:f::200"}
	// The router is the client as well, and takes back what it has sent.
	w.outside.Run(t, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.eth0.accept_local=1",
		"ip route add 203.0.113.0/24 via 192.0.2.1", "ip route add 2001:db8:f::/64 via 2001:db8::1",
		"ip addr add "+others[0]+"/32 dev lo", "ip addr add "+others[1]+"/128 dev lo nodad")
	w.node.Run(t, "sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0")
	nft(t, w.node, fmt.Sprintf("table inet proxy {\nchain services {\ntype nat hook prerouting priority dstnat;\n"+
		"ip daddr %[1]s meta l4proto { tcp, udp } th dport %[5]d dnat ip to %[2]s\nip6 daddr %[3]s meta l4proto { tcp, udp } th dport %[5]d dnat ip6 to %[4]s\n"+
		"ip daddr 203.0.113.8 dnat ip to %[6]s\nip6 daddr 2001:db8:f::8 dnat ip6 to %[7]s\n}\n}\n",
		services[0], w.podAddr[0], services[1], w.podAddr[1], mirrorPort, others[0], others[1]))
	mirror(t, w.pod, w.podAddr[:]...)
	mirror(t, w.outside, others[:]...)
	table, c := newTable(t, w.node), w.config()

	mustSet(t, table, c)
	for _, a := range services {
		if n := crossings(t, w, a); n < 20 {
			t.Errorf("without being refused, a packet to %s crosses the uplink %d times: this test proves nothing", a, n)
		}
	}
	c.Services = prefixes("203.0.113.0/24", "2001:db8:f::/64")
	mustSet(t, table, c)
	for family, a := range services {
		if n := crossings(t, w, a); n > 6 { // neighbour discovery, too
			t.Errorf("a packet to %s crosses the uplink %d times", a, n)
		}
		for _, network := range []string{"tcp", "udp"} {
			for who, ns := range map[string]*nstest.NS{"outside": w.outside, "a pod": w.pod2} {
				if err := refused(ns, network, a); err != nil {
					t.Errorf("%s from %s to %s, a port that is not served: %v", network, who, a, err)
				}
			}
			expectSeen(t, w.outside, network, a, w.outsideAddr[family])
			expectSeen(t, w.pod2, network, a, w.otherPod[family])
			expectSeen(t, w.pod2, network, [2]string{"203.0.113.8", "2001:db8:f::8"}[family], w.nodeAddr[family])
		}
	}

	c.Services = nil
	mustSet(t, table, c)
	expectDrift(t, table, false)
	if left := list(t, w.node); strings.Contains(left, refuseChain) || strings.Contains(left, "services") {
		t.Errorf("left behind:\n%s", left)
	}
}

// crossings counts what goes over the node's uplink in both directions after one packet to a port that nobody serves.
func crossings(t *testing.T, w *world, dest string) int {
	t.Helper()
	count := func() int {
		// The name, then eight figures of what was received and eight of what was sent; the second of each are packets.
		f := strings.Fields(w.node.Run(t, "grep up0: /proc/net/dev"))
		received, err := strconv.Atoi(f[2])
		sent, err2 := strconv.Atoi(f[10])
		if err != nil || err2 != nil {
			t.Fatal(f, err, err2)
		}
		return received + sent
	}
	before := count()
	send(t, w.outside, "", dest, 9, "astray")
	last := before
	waitFor(t, func() error { // it has come to rest
		now := count()
		if now == before || now != last {
			last = now
			return errors.New("packets are still under way")
		}
		return nil
	})
	return last - before
}

// refused tries a port that nobody serves, and returns nil where that is refused at once.
func refused(ns *nstest.NS, network, dest string) error {
	err := ns.Do(func() error {
		const soon = time.Second
		d := net.Dialer{Timeout: soon}
		c, err := d.DialContext(context.Background(), network, net.JoinHostPort(dest, "9"))
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if err := c.SetDeadline(time.Now().Add(soon)); err != nil {
			return err
		}
		if _, err := c.Write([]byte("?")); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 1))
		return err
	})
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return fmt.Errorf("not refused: %w", err)
}
