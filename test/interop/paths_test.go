package interop

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

// TestManyPaths: 64 routers announce the same 1000 prefixes, and 32 of them 1000 more. One is lost: the kernel is told
// of each of the two sets of next hops once, and of no route. While the routers come up one after the other there are more groups, for the
// prefixes come in several UPDATEs; those of one set are merged when that is over.
func TestManyPaths(t *testing.T) {
	t.Parallel()
	const paths, count = 64, 1000
	lan, n := nstest.New(t), newNode(t, "n1")
	nstest.Veth(t, lan, "lan", n.NS, "eth0")
	n.Run(t, "ip addr add 10.0.0.1/24 dev eth0")
	var manifests strings.Builder
	manifests.WriteString(`
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec: {asNumber: 64601, mesh: None, clusterCIDRs: [10.128.0.0/9], nodeCIDRs: [10.0.0.0/24]}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
`)
	routers := make([]netip.Addr, paths)
	for i := range routers {
		routers[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)})
		lan.Run(t, fmt.Sprintf("ip addr add %v/24 dev lan", routers[i]))
		fmt.Fprintf(&manifests, "---\napiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: r%d}\nspec: {address: %v, asNumber: external, passive: true, families: [IPv4]}\n", i, routers[i])
	}
	n.configure(t, "paths.yaml", manifests.String())
	n.start(t)
	nstest.Within(t, waitRoute, func() error {
		all, err := n.sessions()
		if err == nil && len(all) != paths {
			err = fmt.Errorf("%d peers", len(all))
		}
		return err
	})

	all, some := prefixes(10, count), prefixes(11, count)
	sessions := make([]*rawbgp.Session, paths)
	for i, a := range routers {
		sessions[i] = call(t, lan, a, uint32(65001+i))
		msgs := [][]byte{rawbgp.Announce([]uint32{uint32(65001 + i)}, a, all[:count/2]), rawbgp.Announce([]uint32{uint32(65001 + i)}, a, all[count/2:])}
		if i < paths/2 {
			msgs = append(msgs, rawbgp.Announce([]uint32{uint32(65001 + i)}, a, some[:count/2]), rawbgp.Announce([]uint32{uint32(65001 + i)}, a, some[count/2:]))
		}
		if err := sessions[i].Send(append(msgs, rawbgp.EndOfRIB(false))...); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []netip.Prefix{all[0], all[count-1]} {
		inKernel(t, n, p, paths)
	}
	inKernel(t, n, some[count-1], paths/2)

	const sets = 2
	nstest.Within(t, 40*time.Second, func() error {
		objects, err := n.Try("ip nexthop show proto 179")
		if groups := strings.Count(objects, " group "); err == nil && groups != sets {
			err = fmt.Errorf("%d groups of next hops for %d sets", groups, sets)
		}
		return err
	})

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out nstest.Output
	monitor := n.Command(ctx, "ip", "-4", "monitor", "route", "nexthop")
	monitor.SysProcAttr.Pdeathsig = 0 // the thread that starts it does not last
	monitor.Stdout = &out
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	nstest.Within(t, 5*time.Second, func() error { // it listens
		n.Run(t, "ip route add 192.0.2.0/24 dev eth0", "ip route del 192.0.2.0/24 dev eth0")
		if !strings.Contains(out.String(), "192.0.2.0/24") {
			return fmt.Errorf("the monitor says %q", out.String())
		}
		return nil
	})
	before := len(out.String())
	// Of a group that changes the kernel would tell every route that uses it, as if it had been written.
	n.Run(t, "sysctl -qw net.ipv4.nexthop_compat_mode=0")
	if err := sessions[0].Send(rawbgp.Notification(6, 2)); err != nil {
		t.Fatal(err)
	}
	nstest.Within(t, waitRoute, func() error {
		if text := out.String()[before:]; strings.Count(text, " group ") < sets || !strings.Contains(text, "Deleted") {
			return fmt.Errorf("the monitor says %q", text)
		}
		return nil
	})
	n.Run(t, "sysctl -qw net.ipv4.nexthop_compat_mode=1")
	for _, p := range []netip.Prefix{all[0], all[count-1]} {
		inKernel(t, n, p, paths-1)
	}
	for _, p := range []netip.Prefix{some[0], some[count-1]} {
		inKernel(t, n, p, paths/2-1)
	}
	_ = syscall.Kill(-monitor.Process.Pid, syscall.SIGTERM)
	_ = monitor.Wait()
	var groups, others, routes int
	for line := range strings.Lines(out.String()[before:]) {
		switch {
		case strings.Contains(line, "192.0.2.0/24"):
		case strings.Contains(line, " group "):
			groups++
		case strings.HasPrefix(strings.TrimPrefix(line, "Deleted "), "id "):
			others++
		default:
			routes++
		}
	}
	t.Logf("%d messages about groups, %d about single next hops, %d about routes", groups, others, routes)
	if groups != sets || routes != 0 || others > 1 {
		t.Errorf("want %d messages about groups, at most 1 about a next hop, none about routes:\n%.2000s", sets, out.String()[before:])
	}
}

// prefixes are count /24s inside 10.128.0.0/9.
func prefixes(kind, count int) []netip.Prefix {
	out := make([]netip.Prefix, count)
	for i := range out {
		out[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(130 + kind*8 + i>>8), byte(i), 0}), 24)
	}
	return out
}

// call brings up a session with the node from an address of the LAN.
func call(t *testing.T, lan *nstest.NS, from netip.Addr, as uint32) *rawbgp.Session {
	t.Helper()
	return callTo(t, lan, from, netip.MustParseAddr("10.0.0.1"), as)
}

// callTo brings up a session with a node's address.
func callTo(t *testing.T, lan *nstest.NS, from, to netip.Addr, as uint32) *rawbgp.Session {
	t.Helper()
	var s *rawbgp.Session
	nstest.Within(t, waitSession, func() error {
		return lan.Do(func() error {
			d := net.Dialer{Timeout: time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
			conn, err := d.Dial("tcp", netip.AddrPortFrom(to, 179).String())
			if err != nil {
				return err
			}
			s, err = rawbgp.Handshake(conn, rawbgp.Open{AS: as, ID: from, Hold: 90, IPv4: true}, 3*time.Second)
			return err
		})
	})
	t.Cleanup(func() { _ = s.Close() })
	return s
}
