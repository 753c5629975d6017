package rtnl

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrOverflow says that events were lost: whoever watches must look at the kernel again.
var ErrOverflow = errors.New("netlink events were lost")

// watchBuffer is the receive buffer of a watcher, in bytes: some thousand events.
const watchBuffer = 4 << 20

// Event is one change in the kernel.
type Event struct {
	Link  *Link  // a link that is new, changed or, with Gone, deleted
	Route *Route // a deleted host route
	Gone  bool
}

// Watcher tells of links that change, and of deleted host routes (/32 and /128) of one protocol. A
// filter in the kernel drops everything else, so that a full routing table coming and going costs
// nothing here.
type Watcher struct {
	file *os.File
	buf  []byte
}

// Watch subscribes in the network namespace that ns refers to.
func Watch(ns int, protocol uint8) (*Watcher, error) {
	var c *Conn
	err := Within(ns, func() (err error) {
		c, err = Dial()
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := subscribe(c.fd, protocol); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &Watcher{file: os.NewFile(uintptr(c.fd), "netlink"), buf: c.buf}, nil
}

func subscribe(fd int, protocol uint8) error {
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, filter(protocol)); err != nil {
		return os.NewSyscallError("setsockopt(SO_ATTACH_FILTER)", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, watchBuffer); err != nil {
		// Only the host's root may exceed net.core.rmem_max; a user namespace's root takes what it gets.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, watchBuffer)
	}
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return os.NewSyscallError("bind(netlink)", err)
	}
	return os.NewSyscallError("fcntl(O_NONBLOCK)", unix.SetNonblock(fd, true))
}

// filter is a classic BPF program: pass RTM_NEWLINK and RTM_DELLINK, and RTM_DELROUTE for a /32 or /128
// of the protocol.
func filter(protocol uint8) *unix.SockFprog {
	const (
		loadByte = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		equal    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret      = unix.BPF_RET | unix.BPF_K
	)
	typ := uint32(4) // of the message type's low byte: all of rtnetlink's fit into that
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		typ = 5
	}
	const dstLen, proto = unix.SizeofNlMsghdr + 1, unix.SizeofNlMsghdr + 5
	program := []unix.SockFilter{
		{Code: loadByte, K: typ},
		{Code: equal, K: unix.RTM_NEWLINK, Jt: 7},
		{Code: equal, K: unix.RTM_DELLINK, Jt: 6},
		{Code: equal, K: unix.RTM_DELROUTE, Jf: 6},
		{Code: loadByte, K: proto},
		{Code: equal, K: uint32(protocol), Jf: 4},
		{Code: loadByte, K: dstLen},
		{Code: equal, K: 32, Jt: 1},
		{Code: equal, K: 128, Jf: 1},
		{Code: ret, K: 0xffffffff},
		{Code: ret, K: 0},
	}
	return &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
}

// Next waits for events. It returns ErrOverflow where some were lost, and os.ErrClosed after Close.
func (w *Watcher) Next() ([]Event, error) {
	conn, err := w.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var n int
	var rerr error
	err = conn.Read(func(fd uintptr) bool {
		n, _, _, _, rerr = unix.Recvmsg(int(fd), w.buf, nil, 0)
		return !errors.Is(rerr, unix.EAGAIN) && !errors.Is(rerr, unix.EINTR)
	})
	switch {
	case err != nil:
		return nil, os.ErrClosed // the poller has no other reason, and an error of its own for it
	case errors.Is(rerr, unix.ENOBUFS):
		return nil, ErrOverflow
	case rerr != nil:
		return nil, os.NewSyscallError("recvmsg(netlink)", rerr)
	}
	var events []Event
	for m := range messages(w.buf[:n]) {
		if len(m.data) == 0 {
			continue
		}
		// Bridge ports have link messages of their own, of family AF_BRIDGE.
		if l, ok := parseLink(m); ok && m.data[0] == unix.AF_UNSPEC {
			events = append(events, Event{Link: &l, Gone: m.typ == unix.RTM_DELLINK})
		}
		if rt, ok := parseRoute(m); ok && m.typ == unix.RTM_DELROUTE {
			events = append(events, Event{Route: &rt, Gone: true})
		}
	}
	return events, nil
}

// Close ends the subscription, and a Next that waits.
func (w *Watcher) Close() error { return w.file.Close() }
