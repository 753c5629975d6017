package rawbgp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// Session is an established BGP connection.
type Session struct {
	Conn net.Conn
	// Peer is the body of the neighbour's OPEN.
	Peer []byte
	r    *bufio.Reader
	ids  bool // prefixes come with path identifiers
}

// Received is a message that came in, without its header.
type Received struct {
	Type byte
	Body []byte
}

// Closed is the error of Recv after a NOTIFICATION.
type Closed struct {
	Code, Subcode byte
	Data          []byte
}

// Error gives the numbers of RFC 4271 section 4.5.
func (c *Closed) Error() string { return fmt.Sprintf("NOTIFICATION %d/%d", c.Code, c.Subcode) }

// Handshake exchanges OPEN and KEEPALIVE over a connection, which it closes when it fails.
func Handshake(conn net.Conn, o Open, timeout time.Duration) (*Session, error) {
	s, err := Offer(conn, o.Message(), timeout)
	if err != nil {
		return nil, err
	}
	s.ids = o.ReceivePaths
	return s, nil
}

// Offer is Handshake with whatever takes the place of our OPEN. A refusal of it is a *Closed error.
func Offer(conn net.Conn, open []byte, timeout time.Duration) (*Session, error) {
	s := &Session{Conn: conn, r: bufio.NewReaderSize(conn, 1<<16)}
	_ = conn.SetDeadline(time.Now().Add(timeout))
	if err := s.handshake(open); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("handshake with %v: %w", conn.RemoteAddr(), err)
	}
	_ = conn.SetDeadline(time.Time{})
	return s, nil
}

func (s *Session) handshake(open []byte) error {
	if err := s.Send(open); err != nil {
		return err
	}
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		switch m.Type {
		case TypeOpen:
			s.Peer = m.Body
			_ = s.Send(Keepalive()) // that it fails may come of a refusal, which is still to be read
		case TypeKeepalive:
			return nil
		default:
			return fmt.Errorf("message of type %d", m.Type)
		}
	}
}

// Send writes messages in one go.
func (s *Session) Send(msgs ...[]byte) error {
	for _, m := range msgs {
		if _, err := s.Conn.Write(m); err != nil {
			return err
		}
	}
	return nil
}

// Recv reads the next message. A NOTIFICATION is returned as a *Closed error.
func (s *Session) Recv() (Received, error) {
	var h [19]byte
	if _, err := io.ReadFull(s.r, h[:]); err != nil {
		return Received{}, err
	}
	n := int(binary.BigEndian.Uint16(h[16:]))
	if n < 19 {
		return Received{}, fmt.Errorf("message of %d octets", n)
	}
	m := Received{Type: h[18], Body: make([]byte, n-19)}
	if _, err := io.ReadFull(s.r, m.Body); err != nil {
		return Received{}, err
	}
	if m.Type == TypeNotification && len(m.Body) >= 2 {
		return m, &Closed{Code: m.Body[0], Subcode: m.Body[1], Data: m.Body[2:]}
	}
	return m, nil
}

// Capabilities are those of the neighbour's OPEN, by their code (RFC 5492); of several with one code, one after the other.
func (s *Session) Capabilities() map[byte][]byte {
	out := map[byte][]byte{}
	for params := s.Peer[10:]; len(params) >= 2; params = params[2+int(params[1]):] {
		for caps := params[2 : 2+int(params[1])]; params[0] == 2 && len(caps) >= 2; caps = caps[2+int(caps[1]):] {
			out[caps[0]] = append(out[caps[0]], caps[2:2+int(caps[1])]...)
		}
	}
	return out
}

// Close closes the TCP connection without a NOTIFICATION.
func (s *Session) Close() error { return s.Conn.Close() }

// Routes is what an UPDATE of unicast routes says.
type Routes struct {
	Announced, Withdrawn []netip.Prefix
	NextHop              netip.Addr // of the announced
	ASPath               []uint32
	Attrs                map[byte][]byte // all of them, by type
	EndOfRIB             bool
	PathIDs              bool // the prefixes came with path identifiers
}

// Parse reads the body of an UPDATE of this session's.
func (s *Session) Parse(body []byte) (Routes, error) { return parse(body, s.ids) }

// Parse reads the body of an UPDATE.
func Parse(body []byte) (Routes, error) { return parse(body, false) }

func parse(body []byte, ids bool) (Routes, error) {
	out := Routes{Attrs: map[byte][]byte{}, PathIDs: ids}
	withdrawn, rest, err := block(body)
	if err != nil {
		return out, err
	}
	attrs, nlri, err := block(rest)
	if err != nil {
		return out, err
	}
	if out.Withdrawn, err = out.prefixes(withdrawn, false); err != nil {
		return out, err
	}
	if out.Announced, err = out.prefixes(nlri, false); err != nil {
		return out, err
	}
	for len(attrs) > 0 {
		var a Attr
		if a, attrs, err = nextAttr(attrs); err != nil {
			return out, err
		}
		out.Attrs[a.Type] = a.Value
		if err := out.take(a); err != nil {
			return out, err
		}
	}
	_, unreach := out.Attrs[AttrMPUnreach]
	out.EndOfRIB = len(out.Announced)+len(out.Withdrawn) == 0 && (len(out.Attrs) == 0 || unreach && len(out.Attrs) == 1)
	return out, nil
}

func (r *Routes) take(a Attr) (err error) {
	switch a.Type {
	case AttrNextHop:
		r.NextHop, _ = netip.AddrFromSlice(a.Value)
	case AttrASPath:
		for v := a.Value; len(v) >= 2; {
			n := int(v[1])
			if len(v) < 2+4*n {
				return errors.New("short AS_PATH")
			}
			for i := range n {
				r.ASPath = append(r.ASPath, binary.BigEndian.Uint32(v[2+4*i:]))
			}
			v = v[2+4*n:]
		}
	case AttrMPReach:
		if len(a.Value) < 5 || len(a.Value) < 5+int(a.Value[3]) {
			return errors.New("short MP_REACH_NLRI")
		}
		n := int(a.Value[3])
		r.NextHop, _ = netip.AddrFromSlice(a.Value[4 : 4+min(n, 16)])
		r.Announced, err = r.prefixes(a.Value[5+n:], a.Value[1] == 2)
	case AttrMPUnreach:
		if len(a.Value) < 3 {
			return errors.New("short MP_UNREACH_NLRI")
		}
		r.Withdrawn, err = r.prefixes(a.Value[3:], a.Value[1] == 2)
	}
	return err
}

func block(b []byte) (head, rest []byte, err error) {
	if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
		return nil, nil, errors.New("short UPDATE")
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:n], b[n:], nil
}

func nextAttr(b []byte) (Attr, []byte, error) {
	if len(b) < 3 {
		return Attr{}, nil, errors.New("short attribute")
	}
	a, n, off := Attr{Flags: b[0], Type: b[1]}, int(b[2]), 3
	if a.Flags&Extended != 0 {
		if len(b) < 4 {
			return Attr{}, nil, errors.New("short attribute")
		}
		n, off = int(binary.BigEndian.Uint16(b[2:])), 4
	}
	if len(b) < off+n {
		return Attr{}, nil, errors.New("short attribute")
	}
	a.Value = b[off : off+n]
	return a, b[off+n:], nil
}

func (r *Routes) prefixes(b []byte, v6 bool) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for len(b) > 0 {
		if r.PathIDs {
			if len(b) < 5 {
				return nil, errors.New("bad NLRI")
			}
			b = b[4:]
		}
		bits := int(b[0])
		n := (bits + 7) / 8
		if len(b) < 1+n || !v6 && bits > 32 || bits > 128 {
			return nil, errors.New("bad NLRI")
		}
		var raw [16]byte
		copy(raw[:], b[1:1+n])
		a := netip.AddrFrom16(raw)
		if !v6 {
			a = netip.AddrFrom4([4]byte(raw[:4]))
		}
		out = append(out, netip.PrefixFrom(a, bits))
		b = b[1+n:]
	}
	return out, nil
}
