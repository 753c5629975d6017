package routes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	batchMost   = 256       // messages a send; more brings nothing
	batchBytes  = 64 << 10  // where a batch ends in any case: the send buffer of a plain user holds 208 KiB
	answerBytes = 2 << 10   // what an error with its text may take of the receive buffer
	bufferBytes = 4 << 20   // of a socket, where we may choose
	receiveSize = 128 << 10 // the kernel fills at most 32 KiB
	dumpTries   = 5
	patience    = 30 * time.Second // for an answer; the kernel has it ready before the send returns
)

// errInterrupted reports that the kernel's tables changed under every dump.
var errInterrupted = errors.New("interrupted by changes each time")

// conn is an rtnetlink socket for requests. It is not safe for concurrent use.
type conn struct {
	fd    int
	port  uint32 // the kernel's name for the socket; it marks what our messages caused
	w     writer
	in    []byte
	batch int // messages a send, so that the errors of all fit in the receive buffer
	sent  int // messages since the start, dumps not counted
}

// dial opens a socket in the network namespace of the calling thread.
func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink socket: %w", err)
	}
	c, err := newConn(fd)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("rtnetlink socket: %w", err)
	}
	return c, nil
}

func newConn(fd int) (*conn, error) {
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return nil, fmt.Errorf("getsockname: %w", err)
	}
	c := &conn{fd: fd, in: make([]byte, receiveSize)}
	if n, ok := name.(*unix.SockaddrNetlink); ok {
		c.port = n.Pid
	}
	// Kernels before 4.20 lack some of these; they send more, and all that is read here is checked.
	for _, opt := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK, unix.NETLINK_GET_STRICT_CHK} {
		_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, opt, 1)
	}
	tv := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return nil, fmt.Errorf("receive timeout: %w", err)
	}
	size := forceBuffers(fd)
	c.batch = max(1, min(batchMost, size/answerBytes))
	return c, nil
}

// forceBuffers makes a socket's buffers large, as far as this user may, and returns the size of the
// receive buffer in bytes.
func forceBuffers(fd int) int {
	for forced, plain := range map[int]int{unix.SO_RCVBUFFORCE: unix.SO_RCVBUF, unix.SO_SNDBUFFORCE: unix.SO_SNDBUF} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, forced, bufferBytes) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, bufferBytes) // up to net.core.rmem_max
		}
	}
	size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return 0
	}
	return size
}

func (c *conn) close() error { return unix.Close(c.fd) }

// do sends n messages, which encode writes, in batches, and tells refused of each that the kernel
// refuses. An error means that it is not known what became of the messages.
func (c *conn) do(ctx context.Context, n int, encode func(w *writer, i int), refused func(i int, err error)) error {
	for next := 0; next < n; {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, first := next, c.w.seq+1
		c.w.buf = c.w.buf[:0]
		for ; next < n && next-from < c.batch && len(c.w.buf) < batchBytes; next++ {
			c.w.seq++
			encode(&c.w, next)
		}
		c.w.acknowledge() // the last; the kernel answers in order, so its answer comes after all errors
		c.sent += next - from
		if err := c.send(); err != nil {
			return err
		}
		if err := c.answers(first, func(k int, err error) { refused(from+k, err) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) send() error {
	for {
		err := unix.Sendmsg(c.fd, c.w.buf, nil, nil, 0) // a netlink socket sends to the kernel if not told otherwise
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("rtnetlink send: %w", err)
		}
	}
}

func (c *conn) receive() ([]byte, error) {
	for {
		n, _, err := unix.Recvfrom(c.fd, c.in, 0)
		if err == nil {
			return c.in[:n], nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("rtnetlink receive: %w", err)
		}
	}
}

// answers reads up to the answer to the last message sent.
func (c *conn) answers(first uint32, refused func(k int, err error)) error {
	for {
		b, err := c.receive()
		if err != nil {
			return err
		}
		for h, body := range messages(b) {
			k := h.seq - first
			if h.typ != unix.NLMSG_ERROR || k > c.w.seq-first {
				continue // left over from a request that was given up
			}
			if err := answer(h, body); err != nil {
				refused(int(k), err)
			}
			if h.seq == c.w.seq {
				return nil
			}
		}
	}
}

// answer reads an NLMSG_ERROR: nil, or an errno with the kernel's own words where it has any.
func answer(h header, body []byte) error {
	code := int32(u32(body))
	if code == 0 {
		return nil
	}
	errno := unix.Errno(-code)
	const echo = 4 + unix.SizeofNlMsghdr // the code and the header of the request
	if h.flags&unix.NLM_F_ACK_TLVS == 0 || len(body) < echo {
		return errno
	}
	rest := body[echo:]
	if h.flags&unix.NLM_F_CAPPED == 0 { // the whole request is echoed
		size := align(int(u32(body[4:]))) - unix.SizeofNlMsghdr
		rest = rest[max(0, min(size, len(rest))):]
	}
	for typ, val := range attrs(rest) {
		if typ == unix.NLMSGERR_ATTR_MSG {
			return fmt.Errorf("%s (%w)", text(val), errno)
		}
	}
	return errno
}

// dump asks for a table and gives every entry to each. When the table changes meanwhile, what came
// may be incomplete: all starts again, announced by start, a few times; then it fails.
func (c *conn) dump(ctx context.Context, encode func(w *writer), start func(), each func(typ uint16, body []byte)) error {
	for range dumpTries {
		if err := ctx.Err(); err != nil {
			return err
		}
		start()
		c.w.buf = c.w.buf[:0]
		c.w.seq++
		encode(&c.w)
		if err := c.send(); err != nil {
			return err
		}
		whole, err := c.dumped(each)
		if err != nil || whole {
			return err
		}
	}
	return errInterrupted
}

// dumped reads a dump to its end, also when it is worthless: the kernel runs one at a time a socket.
func (c *conn) dumped(each func(typ uint16, body []byte)) (whole bool, err error) {
	whole = true
	for {
		b, err := c.receive()
		if err != nil {
			return false, err
		}
		for h, body := range messages(b) {
			if h.seq != c.w.seq {
				continue
			}
			if h.flags&unix.NLM_F_DUMP_INTR != 0 {
				whole = false
			}
			switch h.typ {
			case unix.NLMSG_DONE:
				if code := int32(u32(body)); code < 0 {
					return false, unix.Errno(-code)
				}
				return whole, nil
			case unix.NLMSG_ERROR:
				return false, answer(h, body)
			}
			each(h.typ, body)
		}
	}
}
