package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrInterrupted says that every try of a dump was interrupted by changes of what was dumped.
var ErrInterrupted = errors.New("netlink dump interrupted by concurrent changes")

// dumpTries is how often an interrupted dump is begun anew.
const dumpTries = 10

// Conn is a route netlink socket for one goroutine at a time.
type Conn struct {
	fd  int
	seq uint32
	buf []byte
}

// Dial opens a socket in the calling thread's network namespace.
func Dial() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket(AF_NETLINK)", err)
	}
	for _, o := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK, unix.NETLINK_GET_STRICT_CHK} {
		// Old kernels lack the options; without them errors are terser and dumps longer.
		_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, o, 1)
	}
	return &Conn{fd: fd, buf: make([]byte, 32<<10)}, nil
}

// DialAt opens a socket in the network namespace that the file descriptor ns refers to.
func DialAt(ns int) (*Conn, error) {
	var c *Conn
	err := Within(ns, func() (err error) {
		c, err = Dial()
		return err
	})
	return c, err
}

// Within runs fn on a thread inside the network namespace that ns refers to. Goroutines started by fn
// are elsewhere.
func Within(ns int, fn func() error) error {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the thread's network namespace: %w", err)
	}
	defer func() { _ = unix.Close(home) }()
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return os.NewSyscallError("setns", err)
	}
	ferr := fn()
	if err := unix.Setns(home, unix.CLONE_NEWNET); err != nil {
		// The thread is lost to the wrong namespace: left locked, it ends with its goroutine.
		return errors.Join(ferr, fmt.Errorf("return from the namespace: %w", err))
	}
	runtime.UnlockOSThread()
	return ferr
}

// Close closes the socket.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// do sends a request and returns the kernel's answers, without the acknowledgement.
func (c *Conn) do(r *request) ([]message, error) {
	seq, err := c.send(r, unix.NLM_F_ACK)
	if err != nil {
		return nil, err
	}
	var answers []message
	for {
		n, err := c.receive()
		if err != nil {
			return nil, err
		}
		for m := range messages(c.buf[:n]) {
			switch {
			case m.seq != seq: // of a call that was given up
			case m.typ == unix.NLMSG_ERROR:
				return answers, acknowledgement(m)
			default:
				m.data = append([]byte(nil), m.data...)
				answers = append(answers, m)
			}
		}
	}
}

// dump sends a dump request and calls each with every answer, whose data it must not keep. An
// interrupted dump is repeated: begin is called before each try.
func (c *Conn) dump(r *request, begin func(), each func(message)) error {
	for range dumpTries {
		begin()
		err := c.dumpOnce(r, each)
		if !errors.Is(err, ErrInterrupted) && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return ErrInterrupted
}

func (c *Conn) dumpOnce(r *request, each func(message)) error {
	seq, err := c.send(r, unix.NLM_F_DUMP)
	if err != nil {
		return err
	}
	interrupted := false
	for {
		n, err := c.receive()
		if err != nil {
			return err
		}
		for m := range messages(c.buf[:n]) {
			if m.seq != seq {
				continue
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.typ {
			case unix.NLMSG_ERROR:
				return acknowledgement(m)
			case unix.NLMSG_DONE:
				if interrupted {
					return ErrInterrupted
				}
				if errno := -int32(uint32Of(m.data)); errno > 0 {
					return &Error{Errno: unix.Errno(errno)}
				}
				return nil
			default:
				each(m)
			}
		}
	}
}

func (c *Conn) send(r *request, flags uint16) (seq uint32, err error) {
	c.seq++
	binary.NativeEndian.PutUint32(r.b, uint32(len(r.b)))
	binary.NativeEndian.PutUint16(r.b[6:], binary.NativeEndian.Uint16(r.b[6:])|flags)
	binary.NativeEndian.PutUint32(r.b[8:], c.seq)
	for {
		err := unix.Sendto(c.fd, r.b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if !errors.Is(err, unix.EINTR) {
			return c.seq, os.NewSyscallError("send(netlink)", err)
		}
	}
}

func (c *Conn) receive() (int, error) {
	for {
		n, _, flags, _, err := unix.Recvmsg(c.fd, c.buf, nil, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, os.NewSyscallError("recvmsg(netlink)", err)
		case flags&unix.MSG_TRUNC != 0:
			return 0, fmt.Errorf("netlink message longer than %d bytes", len(c.buf))
		}
		return n, nil
	}
}
