package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// deleteRoutes deletes the node's routes of a protocol, IPv4 first, each family in one message to the
// kernel. That is how ip route flush does it too; the command itself cannot, for it sends back a
// route's next hops beside its nexthop object, which the kernel refuses.
func deleteRoutes(protocol int) (deleted int, err error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return 0, fmt.Errorf("rtnetlink: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, fmt.Errorf("rtnetlink: %w", err)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := vnl.RouteListFiltered(family, &vnl.Route{Table: unix.RT_TABLE_MAIN, Protocol: vnl.RouteProtocol(protocol)},
			vnl.RT_FILTER_TABLE|vnl.RT_FILTER_PROTOCOL)
		if err != nil {
			return deleted, fmt.Errorf("routes: %w", err)
		}
		var batch []netlink.Message
		for _, r := range routes {
			m, err := deletion(family, r)
			if err != nil {
				return deleted, err
			}
			batch = append(batch, m)
		}
		n, err := sendAll(conn, batch)
		deleted += n
		if err != nil {
			return deleted, fmt.Errorf("delete routes: %w", err)
		}
	}
	return deleted, nil
}

// deletion is an RTM_DELROUTE (rtnetlink(7)) that names a route by destination, metric and protocol.
func deletion(family int, r vnl.Route) (netlink.Message, error) {
	ones, _ := r.Dst.Mask.Size()
	e := netlink.NewAttributeEncoder()
	dst := r.Dst.IP.To16()
	if family == unix.AF_INET {
		dst = r.Dst.IP.To4()
	}
	e.Bytes(unix.RTA_DST, dst)
	e.Uint32(unix.RTA_PRIORITY, uint32(r.Priority))
	attributes, err := e.Encode()
	if err != nil {
		return netlink.Message{}, fmt.Errorf("delete %v: %w", r.Dst, err)
	}
	// struct rtmsg: family, lengths of destination and source, TOS, table, protocol, scope, type, flags.
	header := []byte{byte(family), byte(ones), 0, 0, unix.RT_TABLE_MAIN, byte(r.Protocol), unix.RT_SCOPE_NOWHERE, byte(r.Type)}
	header = binary.NativeEndian.AppendUint32(header, 0)
	return netlink.Message{
		Header: netlink.Header{Type: unix.RTM_DELROUTE, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append(header, attributes...),
	}, nil
}

// sendAll sends a batch and counts the acknowledgements. A route that has gone by itself is no error.
func sendAll(conn *netlink.Conn, batch []netlink.Message) (done int, err error) {
	if len(batch) == 0 {
		return 0, nil
	}
	if _, err := conn.SendMessages(batch); err != nil {
		return 0, err
	}
	for range batch {
		switch _, rerr := conn.Receive(); {
		case rerr == nil:
			done++
		case !errors.Is(rerr, unix.ESRCH):
			err = errors.Join(err, rerr)
		}
	}
	return done, err
}
