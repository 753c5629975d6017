package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/cni/hostlink"
	"github.com/podroute/podroute/cni/internal/rtnl"
	"github.com/podroute/podroute/internal/failpoint"
)

// Marks of the routes to pods.
const (
	routeProtocol = 179 // RTPROT of everything podroute installs: the number of BGP's port
	routeMetric   = 100 // host routes of pods; learned routes have another
)

// settleTime is how long ADD waits for what the kernel does from work items of its own.
const settleTime = 2 * time.Second

// Failpoints lists the places where a test may kill the process (package failpoint): one after every
// kind of netlink message on the way of an ADD and a DEL.
func Failpoints() []string {
	return []string{
		"cni.after-veth", "cni.after-alias", "cni.after-host-up",
		"cni.after-pod-mode", "cni.after-pod-up", "cni.after-pod-address", "cni.after-pod-neighbour", "cni.after-pod-route",
		"cni.after-host-neighbour", "cni.after-host-route", "cni.after-running",
		"cni.after-delete",
	}
}

// gateway is the next hop of a pod's default route: link-local, the same in every pod, and nowhere
// configured. The pod's permanent neighbour entry leads to it.
func gateway(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.AddrFrom4([4]byte{169, 254, 1, 1})
	}
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: 1})
}

// defaultRoute is 0.0.0.0/0 or ::/0.
func defaultRoute(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// host is the prefix of an address alone.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// linkLocal is the IPv6 link-local address that RFC 4291 appendix A makes of a MAC address.
func linkLocal(mac []byte) netip.Prefix {
	a := [16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]}
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

func hasIPv6(addrs []netip.Addr) bool {
	for _, a := range addrs {
		if a.Is6() {
			return true
		}
	}
	return false
}

// step wraps the error of a netlink message, or passes the failpoint behind it.
func step(point string, err error, format string, args ...any) error {
	if err != nil {
		return fmt.Errorf(format+": %w", append(args, err)...)
	}
	failpoint.Hit(point)
	return nil
}

// wiring is one pod to be wired.
type wiring struct {
	Attachment
	link hostlink.Link
	ns   *netNS
	mtu  int
	// procSys is where the pod's settings are written.
	procSys string
}

// wire makes the veth pair and everything on it, host side and pod side. The order matters: the alias
// comes before the pod's address, so that no address is ever in use that the journal does not know;
// the host routes come last, so that nothing is sent to a pod that cannot answer. What a failure
// leaves behind is for the caller to remove.
func wire(ctx context.Context, conn *rtnl.Conn, w wiring) (link rtnl.Link, err error) {
	err = conn.AddVeth(rtnl.Veth{
		Name: w.link.Name, MAC: w.link.MAC, Peer: w.IfName, PeerMAC: w.link.PodMAC, PeerNS: w.ns.fd(), MTU: w.mtu,
	})
	if err := step("cni.after-veth", err, "create veth %s", w.link.Name); err != nil {
		return rtnl.Link{}, err
	}
	link, err = conn.LinkByName(w.link.Name)
	if err != nil {
		return rtnl.Link{}, fmt.Errorf("find veth %s: %w", w.link.Name, err)
	}
	// No link-local address on the host side: nobody needs one, and it would begin with duplicate
	// address detection.
	change := rtnl.Change{Alias: w.alias(), NoLinkLocal: true, Router: true}
	err = conn.SetLink(link.Index, change)
	if errors.Is(err, unix.EAFNOSUPPORT) && !hasIPv6(w.Addresses) {
		change.NoLinkLocal = false // a kernel without IPv6
		err = conn.SetLink(link.Index, change)
	}
	if err := step("cni.after-alias", err, "set alias of %s", w.link.Name); err != nil {
		return link, err
	}
	err = conn.SetLink(link.Index, rtnl.Change{Up: true})
	if err := step("cni.after-host-up", err, "set %s up", w.link.Name); err != nil {
		return link, err
	}
	pod, err := rtnl.DialAt(w.ns.fd())
	if err != nil {
		return link, fmt.Errorf("enter %s: %w", w.ns.file.Name(), err)
	}
	defer func() { _ = pod.Close() }()
	if err := wirePod(pod, link.Peer, w); err != nil {
		return link, err
	}
	if err := wireHost(conn, link.Index, w.Attachment, w.link); err != nil {
		return link, err
	}
	return link, awaitLocal(ctx, pod, w.Addresses)
}

// wirePod does the pod's side.
func wirePod(conn *rtnl.Conn, index int, w wiring) error {
	six := hasIPv6(w.Addresses)
	if six {
		// Its link-local address is ours to give, below: the kernel's own would be detected for duplicates.
		err := conn.SetLink(index, rtnl.Change{NoLinkLocal: true})
		if err := step("cni.after-pod-mode", err, "prepare %s for IPv6", w.IfName); err != nil {
			return err
		}
	}
	err := conn.SetLink(index, rtnl.Change{Up: true})
	if err := step("cni.after-pod-up", err, "set %s up", w.IfName); err != nil {
		return err
	}
	prefixes := make([]netip.Prefix, 0, 3)
	for _, a := range w.Addresses {
		prefixes = append(prefixes, host(a))
	}
	if six {
		prefixes = append(prefixes, linkLocal(w.link.PodMAC))
	}
	for _, p := range prefixes {
		err := conn.AddAddress(index, p)
		if errors.Is(err, unix.EACCES) && p.Addr().Is6() {
			// Runtimes that know no IPv6 switch it off in new namespaces.
			if err = enableIPv6(w); err == nil {
				err = conn.AddAddress(index, p)
			}
		}
		if err := step("cni.after-pod-address", err, "give %s the address %v", w.IfName, p); err != nil {
			return err
		}
	}
	for _, a := range w.Addresses {
		err := conn.SetNeighbour(index, gateway(a), w.link.MAC)
		if err := step("cni.after-pod-neighbour", err, "make %v a neighbour of %s", gateway(a), w.IfName); err != nil {
			return err
		}
		err = conn.AddRoute(rtnl.Route{Dst: defaultRoute(a), Gateway: gateway(a), Link: index})
		if err := step("cni.after-pod-route", err, "route %v via %v in the pod", defaultRoute(a), gateway(a)); err != nil {
			return err
		}
	}
	return nil
}

// wireHost makes the host side's neighbour entries and routes, or those of them that are missing.
func wireHost(conn *rtnl.Conn, index int, a Attachment, l hostlink.Link) error {
	for _, addr := range a.Addresses {
		err := conn.SetNeighbour(index, addr, l.PodMAC)
		if err != nil {
			err = explainHost(conn, index, addr, err)
		}
		if err := step("cni.after-host-neighbour", err, "make %v a neighbour of %s", addr, l.Name); err != nil {
			return err
		}
		err = conn.AddRoute(rtnl.Route{Dst: host(addr), Link: index, Metric: routeMetric, Protocol: routeProtocol})
		if err != nil {
			err = explainHost(conn, index, addr, err)
		}
		if err := step("cni.after-host-route", err, "route %v to %s", host(addr), l.Name); err != nil {
			return err
		}
	}
	return nil
}

// explainHost says what the kernel means by refusing a neighbour entry or a route on the host side.
func explainHost(conn *rtnl.Conn, index int, addr netip.Addr, err error) error {
	switch {
	case errors.Is(err, unix.EEXIST):
		return ours(conn, index, addr)
	case addr.Is6() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL)):
		return fmt.Errorf("%w: is IPv6 switched off on the node? sysctl net.ipv6.conf.all.disable_ipv6=0", err)
	}
	return err
}

// ours tells whether the route that was there before us is the one we wanted.
func ours(conn *rtnl.Conn, index int, addr netip.Addr) error {
	routes, err := conn.Routes(index)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Dst == host(addr) && r.Metric == routeMetric && r.Protocol == routeProtocol {
			return nil
		}
	}
	return fmt.Errorf("there is another route to it of metric %d; find it with \"ip route show %v\"", routeMetric, host(addr))
}

// enableIPv6 undoes net.ipv6.conf.<if>.disable_ipv6.
func enableIPv6(w wiring) error {
	path := filepath.Join(w.procSys, "net/ipv6/conf", w.IfName, "disable_ipv6")
	return rtnl.Within(w.ns.fd(), func() error { return os.WriteFile(path, []byte("0"), 0) })
}

// awaitRunning waits until packets can leave the host side. It came up first, when the pod's side was
// still down: the kernel then opens its queue from a work item of its own (linkwatch), a moment after
// the other end has come up, and drops what is sent before. Since Linux 6.9 asking for the link does
// that work at once.
func awaitRunning(ctx context.Context, conn *rtnl.Conn, index int) error {
	err := await(ctx, func() (bool, error) {
		l, err := conn.LinkByIndex(index)
		return l.Running, err
	})
	return step("cni.after-running", err, "wait for the host side's carrier")
}

// awaitLocal waits until the pod accepts packets to its addresses. The kernel enters an IPv6 address
// into the pod's local routing table from a work item of its own, even without duplicate address
// detection, and the answer to the pod's first packet may be faster.
func awaitLocal(ctx context.Context, pod *rtnl.Conn, addrs []netip.Addr) error {
	for _, a := range addrs {
		if err := await(ctx, func() (bool, error) { return pod.Local(a) }); err != nil {
			return fmt.Errorf("wait until the pod accepts packets to %v: %w", a, err)
		}
	}
	return nil
}

// await polls for what the kernel does by itself, microseconds later as a rule.
func await(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", settleTime, ctx.Err())
		case <-tick.C:
		}
	}
}
