package routes

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// monitor is a socket that hears what changes in the kernel, but for what our own messages change.
type monitor struct {
	file *os.File
	raw  syscall.RawConn
	in   []byte
}

// listen opens the socket in the network namespace of the calling thread. What the socket with this
// port causes is not heard.
func listen(port uint32) (*monitor, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink monitor: %w", err)
	}
	m := &monitor{file: os.NewFile(uintptr(fd), "rtnetlink"), in: make([]byte, receiveSize)}
	err = errors.Join(filter(fd, port), subscribe(fd))
	if err == nil {
		m.raw, err = m.file.SyscallConn()
	}
	if err != nil {
		return nil, fmt.Errorf("rtnetlink monitor: %w", errors.Join(err, m.file.Close()))
	}
	return m, nil
}

func subscribe(fd int) error {
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	forceBuffers(fd)
	for _, g := range []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_NEXTHOP,
	} {
		err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g)
		if err != nil && g != unix.RTNLGRP_NEXTHOP { // Linux 5.3
			return fmt.Errorf("multicast group %d: %w", g, err)
		}
	}
	return nil
}

// filter drops, in the kernel, the echoes of our own messages, routes outside the main table, and
// routes of ours that go because a nexthop object or group goes: whoever removed that is heard. It drops
// the news of buckets, too, of which the kernel writes one for each that it moves.
//
// Classic BPF reads numbers in network byte order, the header has them in the host's: hence swapped.
func filter(fd int, port uint32) error {
	const (
		offType, offPort         = 4, 12          // struct nlmsghdr
		offTable, offProtocol    = 16 + 4, 16 + 5 // struct rtmsg behind it
		load8, load16, load32    = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal, accept, end, drop = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, 0xffffffff, unix.BPF_RET | unix.BPF_K, 0
	)
	var p [4]byte
	native.PutUint32(p[:], port)
	program := []unix.SockFilter{
		/*  0 */ {Code: load16, K: offType},
		/*  1 */ {Code: equal, K: swapped(unix.RTM_NEWROUTE), Jt: 5},
		/*  2 */ {Code: equal, K: swapped(unix.RTM_DELROUTE), Jt: 4},
		/*  3 */ {Code: equal, K: swapped(unix.RTM_NEWNEXTHOP), Jt: 9},
		/*  4 */ {Code: equal, K: swapped(unix.RTM_DELNEXTHOP), Jt: 8},
		/*  5 */ {Code: equal, K: swapped(unix.RTM_NEWNEXTHOPBUCKET), Jt: 10},
		/*  6 */ {Code: equal, K: swapped(unix.RTM_DELNEXTHOPBUCKET), Jt: 9, Jf: 8},
		/*  7 */ {Code: load8, K: offTable},
		/*  8 */ {Code: equal, K: unix.RT_TABLE_MAIN, Jf: 7},
		/*  9 */ {Code: load32, K: offPort},
		/* 10 */ {Code: equal, K: 0, Jf: 3},
		/* 11 */ {Code: load8, K: offProtocol},
		/* 12 */ {Code: equal, K: protocol, Jt: 3, Jf: 2},
		/* 13 */ {Code: load32, K: offPort},
		/* 14 */ {Code: equal, K: binary.BigEndian.Uint32(p[:]), Jt: 1},
		/* 15 */ {Code: end, K: accept},
		/* 16 */ {Code: end, K: drop},
	}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	if err != nil {
		return fmt.Errorf("socket filter: %w", err)
	}
	return nil
}

func swapped(v uint16) uint32 {
	var b [2]byte
	native.PutUint16(b[:], v)
	return uint32(binary.BigEndian.Uint16(b[:]))
}

func (m *monitor) close() error { return m.file.Close() }

// run calls handle whenever there is something to read, until the context is done. handle drains the
// socket; it returns how many datagrams it took, and after what time it wants to be called again even
// if nothing comes (0: not at all).
func (m *monitor) run(ctx context.Context, handle func() (n int, again time.Duration)) error {
	stop := context.AfterFunc(ctx, func() { _ = m.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var again time.Duration
	for {
		var deadline time.Time
		if again > 0 {
			deadline = time.Now().Add(again)
		}
		err := m.file.SetReadDeadline(deadline)
		if ctx.Err() != nil { // looked at after setting: the deadline of AfterFunc may be gone
			return nil
		}
		if err == nil {
			err = m.raw.Read(func(uintptr) bool {
				n, a := handle()
				rearm := a > 0 && again == 0
				again = a
				return n > 0 || rearm
			})
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("rtnetlink monitor: %w", err)
		}
		if err != nil {
			again = 0
		}
	}
}

// drain gives all that waits in the socket to each, and reports whether events were lost.
func (m *monitor) drain(each func(h header, body []byte)) (n int, lost bool) {
	err := m.raw.Control(func(fd uintptr) {
		for {
			size, _, err := unix.Recvfrom(int(fd), m.in, unix.MSG_DONTWAIT)
			switch {
			case err == nil:
				n++
				for h, body := range messages(m.in[:size]) {
					each(h, body)
				}
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.ENOBUFS):
				n++
				lost = true
			default: // EAGAIN: nothing waits
				return
			}
		}
	})
	return n, lost || err != nil
}
