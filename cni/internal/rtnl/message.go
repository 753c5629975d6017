package rtnl

import (
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"
)

// request is a netlink message under construction.
type request struct{ b []byte }

// newRequest starts a message whose fixed header is family, followed by the rest of that header,
// zero, size bytes in all.
func newRequest(typ, flags uint16, family uint8, size int) *request {
	r := &request{b: make([]byte, unix.SizeofNlMsghdr+size, 512)}
	binary.NativeEndian.PutUint16(r.b[4:], typ)
	binary.NativeEndian.PutUint16(r.b[6:], flags|unix.NLM_F_REQUEST)
	r.b[unix.SizeofNlMsghdr] = family
	return r
}

// fixed is the header that follows the netlink header.
func (r *request) fixed() []byte { return r.b[unix.SizeofNlMsghdr:] }

func (r *request) attr(typ uint16, data []byte) {
	r.b = binary.NativeEndian.AppendUint16(r.b, uint16(unix.SizeofRtAttr+len(data)))
	r.b = binary.NativeEndian.AppendUint16(r.b, typ)
	r.b = append(r.b, data...)
	for len(r.b)%unix.NLMSG_ALIGNTO != 0 {
		r.b = append(r.b, 0)
	}
}

func (r *request) uint8(typ uint16, v uint8) { r.attr(typ, []byte{v}) }

func (r *request) uint32(typ uint16, v uint32) {
	r.attr(typ, binary.NativeEndian.AppendUint32(nil, v))
}

// name adds a link's name.
func (r *request) name(s string) { r.attr(unix.IFLA_IFNAME, append([]byte(s), 0)) }

func (r *request) addr(typ uint16, a netip.Addr) { r.attr(typ, a.AsSlice()) }

// nest adds an attribute that holds what fill adds.
func (r *request) nest(typ uint16, fill func()) {
	at := len(r.b)
	r.attr(typ|unix.NLA_F_NESTED, nil)
	fill()
	binary.NativeEndian.PutUint16(r.b[at:], uint16(len(r.b)-at))
}

// message is a reply or an event.
type message struct {
	typ, flags uint16
	seq        uint32
	data       []byte
}

// messages splits what one recvmsg returned; it stops at the first malformed header.
func messages(b []byte) iter.Seq[message] {
	return func(yield func(message) bool) {
		for len(b) >= unix.SizeofNlMsghdr {
			n := int(binary.NativeEndian.Uint32(b))
			if n < unix.SizeofNlMsghdr || n > len(b) {
				return
			}
			m := message{
				typ:   binary.NativeEndian.Uint16(b[4:]),
				flags: binary.NativeEndian.Uint16(b[6:]),
				seq:   binary.NativeEndian.Uint32(b[8:]),
				data:  b[unix.SizeofNlMsghdr:n],
			}
			if !yield(m) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

// attributes walks the attributes in b; types come without their flag bits.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			n := int(binary.NativeEndian.Uint16(b))
			if n < unix.SizeofRtAttr || n > len(b) {
				return
			}
			typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(typ, b[unix.SizeofRtAttr:n]) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

func cstring(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func uint32Of(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func addrOf(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Error is the kernel's refusal, with its explanation where it gave one.
type Error struct {
	Errno   unix.Errno
	Message string // NLMSGERR_ATTR_MSG; may be empty
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Errno.Error()
	}
	return fmt.Sprintf("%s (%s)", e.Errno.Error(), e.Message)
}

// Unwrap makes errors.Is(err, unix.EEXIST) work.
func (e *Error) Unwrap() error { return e.Errno }

// acknowledgement reads an NLMSG_ERROR message; nil is success.
func acknowledgement(m message) error {
	if len(m.data) < 4 {
		return fmt.Errorf("short netlink acknowledgement: %d bytes", len(m.data))
	}
	errno := -int32(binary.NativeEndian.Uint32(m.data))
	if errno == 0 {
		return nil
	}
	e := &Error{Errno: unix.Errno(errno)}
	if m.flags&unix.NLM_F_ACK_TLVS == 0 {
		return e
	}
	at := 4 + unix.SizeofNlMsghdr // the request's header; its payload is capped
	if m.flags&unix.NLM_F_CAPPED == 0 && len(m.data) >= 8 {
		at = 4 + align(int(binary.NativeEndian.Uint32(m.data[4:])))
	}
	for typ, v := range attributes(m.data[min(at, len(m.data)):]) {
		if typ == unix.NLMSGERR_ATTR_MSG {
			e.Message = cstring(v)
		}
	}
	return e
}
