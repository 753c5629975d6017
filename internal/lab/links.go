package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// network makes links between the nodes' namespaces. Each link is created where its first end
// belongs, with the second end in the other node's namespace from the start: nothing ever shows up
// on the host, under whatever name.
type network struct {
	lab   string
	nodes map[string]*nodeNet
}

type nodeNet struct {
	ns     netns.NsHandle
	handle *netlink.Handle
	bridge int // index of the bridge that the node's interfaces are ports of, or 0
}

func newNetwork(lab string) *network { return &network{lab: lab, nodes: map[string]*nodeNet{}} }

// add opens a node's namespace and prepares it: loopback up, the bridge of a bridge.
func (w *network) add(n Node, pid int) error {
	if n.SharesNetworkOf() != "" {
		return nil
	}
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("node %s: network namespace: %w", n.Name, err)
	}
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return errors.Join(fmt.Errorf("node %s: netlink: %w", n.Name, err), ns.Close())
	}
	nn := &nodeNet{ns: ns, handle: h}
	w.nodes[n.Name] = nn
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("node %s: lo: %w", n.Name, err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("node %s: lo up: %w", n.Name, err)
	}
	if n.Kind != KindBridge {
		return nil
	}
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: n.Name}}
	if err := h.LinkAdd(br); err != nil {
		return fmt.Errorf("node %s: bridge: %w", n.Name, err)
	}
	nn.bridge = br.Index
	if err := h.LinkSetUp(br); err != nil {
		return fmt.Errorf("node %s: bridge up: %w", n.Name, err)
	}
	return nil
}

func (w *network) close() {
	for _, n := range w.nodes {
		n.handle.Close()
		_ = n.ns.Close()
	}
}

// connect makes one link, both ends up.
func (w *network) connect(l Link) error {
	a, b := w.nodes[l.A.Node], w.nodes[l.B.Node]
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{
			Name: l.A.Interface, MTU: l.MTU, MasterIndex: a.bridge, HardwareAddr: w.mac(l.A),
		},
		PeerName: l.B.Interface, PeerMTU: uint32(l.MTU), PeerHardwareAddr: w.mac(l.B),
		PeerNamespace: netlink.NsFd(b.ns),
	}
	if err := a.handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("link %s - %s: %w", l.A, l.B, err)
	}
	for _, end := range []struct {
		at *nodeNet
		Endpoint
	}{{a, l.A}, {b, l.B}} {
		link, err := end.at.handle.LinkByName(end.Interface)
		if err != nil {
			return fmt.Errorf("link %s: %w", end.Endpoint, err)
		}
		if end.at.bridge != 0 && link.Attrs().MasterIndex == 0 {
			if err := end.at.handle.LinkSetMasterByIndex(link, end.at.bridge); err != nil {
				return fmt.Errorf("link %s: joining the bridge: %w", end.Endpoint, err)
			}
		}
		if err := end.at.handle.LinkSetUp(link); err != nil {
			return fmt.Errorf("link %s up: %w", end.Endpoint, err)
		}
	}
	return nil
}

// mac is an address that depends on the lab's and the endpoint's names only, so that two runs of a
// lab look the same; locally administered, unicast.
func (w *network) mac(e Endpoint) net.HardwareAddr {
	sum := sha256.Sum256([]byte(w.lab + "/" + e.String()))
	return net.HardwareAddr{0xaa, 0xc1, 0xab, sum[0], sum[1], sum[2]}
}
