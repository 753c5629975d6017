package nft

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// world is a node with two pods, and a machine beyond its uplink. Addresses come in pairs, by family.
type world struct {
	node, pod, pod2, outside *nstest.NS

	podAddr, otherPod, unassigned, uplinkAddr, nodeAddr, outsideAddr [2]string
	insideAddr                                                       [2]string // the outside's machine again, under an address of the cluster
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		node: nstest.New(t), pod: nstest.New(t), pod2: nstest.New(t), outside: nstest.New(t),
		podAddr:     [2]string{"10.1.0.2", "fd00:1::2"},
		otherPod:    [2]string{"10.1.0.3", "fd00:1::3"},
		unassigned:  [2]string{"10.1.0.77", "fd00:1::77"},
		uplinkAddr:  [2]string{"192.0.2.1", "2001:db8::1"},
		nodeAddr:    [2]string{"10.255.0.1", "fd00:ffff::1"},
		outsideAddr: [2]string{"192.0.2.9", "2001:db8::9"},
		insideAddr:  [2]string{"10.7.0.9", "fd00:7::9"},
	}
	for _, ns := range []*nstest.NS{w.node, w.pod, w.pod2, w.outside} {
		ns.Run(t, "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 "+
			"net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")
	}
	w.node.Run(t, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	w.addPod(t, w.pod, "pr000000000001", w.podAddr)
	w.addPod(t, w.pod2, "pr000000000002", w.otherPod)

	nstest.Veth(t, w.node, "up0", w.outside, "eth0")
	w.node.Run(t, "ip addr add 192.0.2.1/24 dev up0", "ip addr add 2001:db8::1/64 dev up0 nodad",
		"ip addr add 10.255.0.1/32 dev lo", "ip addr add fd00:ffff::1/128 dev lo")
	w.outside.Run(t, "ip addr add 192.0.2.9/24 dev eth0", "ip addr add 2001:db8::9/64 dev eth0 nodad",
		"ip addr add 10.7.0.9/32 dev lo", "ip addr add fd00:7::9/128 dev lo",
		"ip route add 10.0.0.0/8 via 192.0.2.1", "ip route add fd00::/8 via 2001:db8::1")
	w.node.Run(t, "ip route add 10.7.0.0/16 via 192.0.2.9", "ip route add fd00:7::/32 via 2001:db8::9",
		"ip route add 198.51.0.0/16 via 192.0.2.9", "ip route add default via 192.0.2.9", "ip route add default via 2001:db8::9")
	return w
}

func (w *world) addPod(t *testing.T, pod *nstest.NS, link string, addr [2]string) {
	t.Helper()
	nstest.Veth(t, w.node, link, pod, "eth0")
	w.node.Run(t, "ip addr add 169.254.1.1/32 dev "+link, "ip addr add fe80::1/64 nodad dev "+link,
		fmt.Sprintf("ip route add %s dev %s", addr[0], link), fmt.Sprintf("ip route add %s dev %s", addr[1], link))
	pod.Run(t, fmt.Sprintf("ip addr add %s dev eth0", addr[0]), fmt.Sprintf("ip addr add %s dev eth0 nodad", addr[1]),
		"ip route add 169.254.1.1 dev eth0", "ip route add default via 169.254.1.1", "ip route add default via fe80::1 dev eth0")
}

// config is what the agent would ask for on the node.
func (w *world) config() Config {
	return Config{
		PodLinks: "pr", Masquerade: true,
		PodCIDRs:  prefixes("10.1.0.0/24", "fd00:1::/64"),
		Direct:    prefixes("10.0.0.0/8", "fd00::/8"),
		NodeAddrs: addrs(w.nodeAddr[:]...),
	}
}

// mirrorPort is where mirrors listen.
const mirrorPort = 4711

// mirror starts a server in ns, at each of its addresses, that tells whoever connects over TCP or UDP
// which address it sees, until the test ends.
func mirror(t *testing.T, ns *nstest.NS, at ...string) {
	t.Helper()
	for _, a := range at {
		var tcp net.Listener
		var udp *net.UDPConn
		err := ns.Do(func() (err error) {
			if tcp, err = net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(a), Port: mirrorPort}); err != nil {
				return err
			}
			udp, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(a), Port: mirrorPort})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tcp.Close(); _ = udp.Close() })
		go mirrorTCP(tcp)
		go mirrorUDP(udp)
	}
}

func mirrorTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprint(c, seen(c.RemoteAddr().(*net.TCPAddr).AddrPort()))
		_ = c.Close()
	}
}

func mirrorUDP(c *net.UDPConn) {
	b := make([]byte, 64)
	for {
		_, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		_, _ = c.WriteToUDPAddrPort([]byte(seen(from)), from)
	}
}

func seen(a netip.AddrPort) string { return a.Addr().Unmap().String() }

// look connects from ns to a mirror, as from the given source ("" for the kernel's choice), and
// returns the address it is seen under.
func look(ns *nstest.NS, network, source, dest string) (string, error) {
	var answer string
	err := ns.Do(func() error {
		d := net.Dialer{Timeout: 2 * time.Second}
		if source != "" {
			a := net.ParseIP(source)
			d.LocalAddr = &net.TCPAddr{IP: a}
			if network == "udp" {
				d.LocalAddr = &net.UDPAddr{IP: a}
			}
		}
		c, err := d.DialContext(context.Background(), network, net.JoinHostPort(dest, strconv.Itoa(mirrorPort)))
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		if _, err := c.Write([]byte("?")); err != nil {
			return err
		}
		b := make([]byte, 64)
		n, err := c.Read(b)
		answer = string(b[:n])
		return err
	})
	return answer, err
}

// expectSeen is look, where the answer is known.
func expectSeen(t *testing.T, ns *nstest.NS, network, dest, want string) {
	t.Helper()
	got, err := look(ns, network, "", dest)
	if err != nil {
		t.Errorf("%s to %s: %v", network, dest, err)
	} else if got != want {
		t.Errorf("%s to %s: seen as %s, want %s", network, dest, got, want)
	}
}

// inbox collects the source addresses of UDP packets to a port in ns.
type inbox struct {
	conn *net.UDPConn
	port uint16
}

func newInbox(t *testing.T, ns *nstest.NS) *inbox {
	t.Helper()
	in := &inbox{}
	err := ns.Do(func() (err error) {
		in.conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv6unspecified})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.conn.Close() })
	in.port = in.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	return in
}

// until reads packets until one says last, and returns the sources of those before it by content.
func (in *inbox) until(t *testing.T, last string) map[string]string {
	t.Helper()
	if err := in.conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	b := make([]byte, 256)
	for {
		n, from, err := in.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			t.Fatalf("waiting for packet %q, after %v: %v", last, got, err)
		}
		if string(b[:n]) == last {
			return got
		}
		got[string(b[:n])] = seen(from)
	}
}

// send sends a UDP packet from a source address of ns.
func send(t *testing.T, ns *nstest.NS, source, dest string, port uint16, content string) {
	t.Helper()
	err := ns.Do(func() error {
		zone := ""
		if strings.HasPrefix(source, "fe80:") {
			zone = "eth0"
		}
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(source), Zone: zone})
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_, err = c.WriteToUDP([]byte(content), &net.UDPAddr{IP: net.ParseIP(dest), Port: int(port)})
		return err
	})
	if err != nil {
		t.Fatalf("from %s to %s: %v", source, dest, err)
	}
}
