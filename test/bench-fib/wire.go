package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/internal/nstest"
)

// tap captures the BGP session on a link, and keeps what it saw.
type tap struct {
	feeder netip.Addr
	file   *os.File
	done   chan struct{}

	mu   sync.Mutex
	seen seen
	err  error
}

// seen is what crossed the link so far. Times are zero until then.
type seen struct {
	// Established: both sides have sent a KEEPALIVE (RFC 4271 section 8.2.2, OpenConfirm).
	Established time.Time
	// First and Last UPDATE of the feeder that carried prefixes.
	First, Last time.Time
	// Closed: the feeder's end of the connection.
	Closed time.Time
	// Updates with prefixes, and those prefixes; Fullest is the largest number in one UPDATE.
	Updates, Prefixes, Fullest int

	fromFeeder, fromDevice bgpStream
	opens                  [2]bool
}

// newTap opens a capture on link inside ns. It must be closed.
func newTap(ns *nstest.NS, link string, feeder netip.Addr) (*tap, error) {
	t := &tap{feeder: feeder, done: make(chan struct{})}
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open a packet socket: %w", err)
		}
		t.file = os.NewFile(uintptr(fd), "capture on "+link)
		ifi, err := unix.NewIfreq(link)
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifi); err != nil {
			return fmt.Errorf("find link %s: %w", link, err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20); err != nil {
			return fmt.Errorf("enlarge the capture's buffer: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return fmt.Errorf("ask for time stamps: %w", err)
		}
		addr := &unix.SockaddrLinklayer{Protocol: hostToNet(unix.ETH_P_ALL), Ifindex: int(ifi.Uint32())}
		if err := unix.Bind(fd, addr); err != nil {
			return fmt.Errorf("capture on %s: %w", link, err)
		}
		return nil
	})
	if err != nil {
		if t.file != nil {
			_ = t.file.Close()
		}
		return nil, err
	}
	go t.run()
	return t, nil
}

func hostToNet(v uint16) uint16 { return binary.NativeEndian.Uint16([]byte{byte(v >> 8), byte(v)}) }

// Close ends the capture.
func (t *tap) Close() {
	_ = t.file.Close()
	<-t.done
}

// now returns what was seen so far, or what went wrong.
func (t *tap) now() (seen, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen, t.err
}

// await waits until ok says that what was seen is enough.
func (t *tap) await(ctx context.Context, what string, ok func(seen) bool) (seen, error) {
	var s seen
	err := poll(ctx, what, 5*time.Millisecond, func() (bool, error) {
		var err error
		s, err = t.now()
		return ok(s), err
	})
	return s, err
}

func (t *tap) run() {
	defer close(t.done)
	conn, err := t.file.SyscallConn()
	if err != nil {
		t.fail(err)
		return
	}
	packet, control := make([]byte, 1<<17), make([]byte, 256)
	for {
		var n, cn int
		var rerr error
		err := conn.Read(func(fd uintptr) bool {
			n, cn, _, _, rerr = unix.Recvmsg(int(fd), packet, control, 0)
			return rerr != unix.EAGAIN
		})
		if err != nil {
			return // closed
		}
		if rerr != nil {
			t.fail(fmt.Errorf("capture: %w", rerr))
			return
		}
		t.mu.Lock()
		if err := t.seen.packet(packet[:n], t.feeder, stamp(control[:cn])); err != nil && t.err == nil {
			t.err = err
		}
		t.mu.Unlock()
	}
}

func (t *tap) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

// stamp is the kernel's receive time of a packet.
func stamp(control []byte) time.Time {
	msgs, _ := unix.ParseSocketControlMessage(control)
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			sec, nsec := binary.NativeEndian.Uint64(m.Data), binary.NativeEndian.Uint64(m.Data[8:])
			return time.Unix(int64(sec), int64(nsec))
		}
	}
	return time.Now()
}

// packet takes in one IPv4 packet, captured at time at.
func (s *seen) packet(b []byte, feeder netip.Addr, at time.Time) error {
	seg, ok := parseSegment(b)
	if !ok {
		return nil
	}
	side, stream := 0, &s.fromFeeder
	if seg.src != feeder {
		side, stream = 1, &s.fromDevice
	}
	if side == 0 && seg.end && s.Closed.IsZero() && !s.Established.IsZero() {
		s.Closed = at
	}
	return stream.add(seg, func(m message) {
		switch {
		case m.kind == keepalive:
			s.opens[side] = true
			if s.opens[0] && s.opens[1] && s.Established.IsZero() {
				s.Established = at
			}
		case m.kind == update && side == 0 && m.prefixes > 0:
			if s.First.IsZero() {
				s.First = at
			}
			s.Last = at
			s.Updates++
			s.Prefixes += m.prefixes
			s.Fullest = max(s.Fullest, m.prefixes)
		}
	})
}
