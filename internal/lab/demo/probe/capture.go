package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// Mark begins every nonce, so that a packet that carries one is known wherever in it the nonce lies:
// inside an encapsulation too.
const Mark = "podroute-nonce:"

// nonceLen is the length of a nonce, mark and all.
const nonceLen = len(Mark) + 16

// capture listens with packet sockets (packet(7)), one a link: both directions, from the outermost
// header on.
type capture struct {
	fds     []int
	quit    chan struct{}
	done    sync.WaitGroup
	mu      sync.Mutex
	frames  int
	seen    map[Sighting]int
	problem error
}

func startCapture(links []string) (*capture, error) {
	c := &capture{seen: map[Sighting]int{}, quit: make(chan struct{})}
	for _, name := range links {
		fd, err := packetSocket(name)
		if err != nil {
			_, _ = c.stop()
			return nil, fmt.Errorf("capture on %s: %w", name, err)
		}
		c.fds = append(c.fds, fd)
		c.done.Go(func() { c.read(fd) })
	}
	return c, nil
}

func packetSocket(link string) (int, error) {
	dev, err := net.InterfaceByName(link)
	if err != nil {
		return 0, err
	}
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // no packets before bind
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<20) // in a user namespace: what the host allows
	}
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Index}))
	if err != nil {
		_ = unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// read takes packets until stop has asked to end and a whole time-out has passed without one, or
// many more have come.
func (c *capture) read(fd int) {
	buf := make([]byte, 1<<16)
	for late := 0; late < 1000; {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if c.stopping() {
				return
			}
		case err != nil:
			c.mu.Lock()
			c.problem = errors.Join(c.problem, fmt.Errorf("capture: %w", err))
			c.mu.Unlock()
			return
		default:
			c.look(buf[:n])
			if c.stopping() {
				late++
			}
		}
	}
}

func (c *capture) stopping() bool {
	select {
	case <-c.quit:
		return true
	default:
		return false
	}
}

// look counts a frame, and notes its outermost IP header if it carries a nonce.
func (c *capture) look(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames++
	i := bytes.Index(frame, []byte(Mark))
	if i < 0 || len(frame) < i+nonceLen {
		return
	}
	s := outermost(frame)
	s.Nonce = string(frame[i : i+nonceLen])
	c.seen[s]++
}

// outermost reads the IP header right behind the Ethernet header. What is not IP has no addresses.
func outermost(frame []byte) (s Sighting) {
	if len(frame) < 14+40 {
		return s
	}
	ip := frame[14:]
	var src, dst []byte
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_IP:
		s.Protocol, src, dst = int(ip[9]), ip[12:16], ip[16:20]
	case unix.ETH_P_IPV6:
		s.Protocol, src, dst = int(ip[6]), ip[8:24], ip[24:40]
	}
	s.Source, _ = netip.AddrFromSlice(src)
	s.Dest, _ = netip.AddrFromSlice(dst)
	return s
}

func (c *capture) stop() (out Capture, err error) {
	if c == nil {
		return out, errors.New("no capture is running")
	}
	close(c.quit)
	c.done.Wait()
	err = c.problem
	for _, fd := range c.fds {
		stats, serr := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if serr == nil && stats.Drops > 0 {
			err = errors.Join(err, fmt.Errorf("capture: the kernel dropped %d of %d packets", stats.Drops, stats.Packets))
		}
		err = errors.Join(err, serr, unix.Close(fd))
	}
	out.Frames = c.frames
	for s, n := range c.seen {
		s.Frames = n
		out.Sightings = append(out.Sightings, s)
	}
	return out, err
}
