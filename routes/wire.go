package routes

import (
	"encoding/binary"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"
)

// What marks a route or a nexthop object as ours.
const (
	protocol         = 179
	metric           = 179
	podMetric        = 100
	idBase    uint32 = protocol << 24
	idEnd     uint32 = (protocol + 1) << 24
)

var native = binary.NativeEndian //nolint:gochecknoglobals // a constant that the language cannot write as one

// writer appends rtnetlink messages to a buffer.
type writer struct {
	buf []byte
	at  int // where the last message begins
	seq uint32
}

// begin starts a message; what follows up to end belongs to it.
func (w *writer) begin(typ, flags uint16) {
	w.at = len(w.buf)
	var h [unix.SizeofNlMsghdr]byte
	native.PutUint16(h[4:], typ)
	native.PutUint16(h[6:], flags|unix.NLM_F_REQUEST)
	native.PutUint32(h[8:], w.seq)
	w.buf = append(w.buf, h[:]...)
}

func (w *writer) end() { native.PutUint32(w.buf[w.at:], uint32(len(w.buf)-w.at)) }

// acknowledge asks for an answer to the last message even if all is well.
func (w *writer) acknowledge() {
	f := w.buf[w.at+6:]
	native.PutUint16(f, native.Uint16(f)|unix.NLM_F_ACK)
}

func (w *writer) raw(b ...byte) { w.buf = append(w.buf, b...) }

func (w *writer) attr(typ uint16, size int) {
	var h [unix.SizeofRtAttr]byte
	native.PutUint16(h[0:], uint16(unix.SizeofRtAttr+size))
	native.PutUint16(h[2:], typ)
	w.buf = append(w.buf, h[:]...)
}

// bytes appends an attribute. All our values are multiples of four bytes long but for copied ones.
func (w *writer) bytes(typ uint16, b []byte) {
	w.attr(typ, len(b))
	w.buf = append(w.buf, b...)
	for len(w.buf)%unix.NLMSG_ALIGNTO != 0 {
		w.buf = append(w.buf, 0)
	}
}

func (w *writer) u32(typ uint16, v uint32) {
	w.attr(typ, 4)
	w.buf = native.AppendUint32(w.buf, v)
}

func (w *writer) addr(typ uint16, a netip.Addr) {
	if a.Is4() {
		b := a.As4()
		w.attr(typ, len(b))
		w.buf = append(w.buf, b[:]...)
		return
	}
	b := a.As16()
	w.attr(typ, len(b))
	w.buf = append(w.buf, b[:]...)
}

// nest opens an attribute of attributes; close it with unnest.
func (w *writer) nest(typ uint16) int {
	at := len(w.buf)
	w.attr(typ, 0)
	return at
}

func (w *writer) unnest(at int) { native.PutUint16(w.buf[at:], uint16(len(w.buf)-at)) }

// attrs yields the attributes in b, and stops where they stop making sense.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(native.Uint16(b))
			if size < unix.SizeofRtAttr || size > len(b) {
				return
			}
			typ := native.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(typ, b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min(align(size), len(b)):]
		}
	}
}

// messages yields the messages in a datagram: type, flags, sequence number and port as in the header.
func messages(b []byte) iter.Seq2[header, []byte] {
	return func(yield func(header, []byte) bool) {
		for len(b) >= unix.SizeofNlMsghdr {
			size := int(native.Uint32(b))
			if size < unix.SizeofNlMsghdr || size > len(b) {
				return
			}
			h := header{typ: native.Uint16(b[4:]), flags: native.Uint16(b[6:]), seq: native.Uint32(b[8:]), port: native.Uint32(b[12:])}
			if !yield(h, b[unix.SizeofNlMsghdr:size]) {
				return
			}
			b = b[min(align(size), len(b)):]
		}
	}
}

type header struct {
	typ, flags uint16
	seq, port  uint32
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// u32 reads a number of an attribute; zero where it is too short.
func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return native.Uint32(b)
}

// address reads an address; the zero Addr where it is none.
func address(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// text reads a string that a zero byte ends.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
