package bmpstation

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// Station hears what routers tell it.
type Station struct {
	ln     net.Listener
	decode func(msg []byte) string

	mu   sync.Mutex
	conn net.Conn
	got  []string
	deaf bool
}

// Serve accepts connections until the test ends. decode says what a message is, header and all.
func Serve(t testing.TB, ln net.Listener, decode func(msg []byte) string) *Station {
	s := &Station{ln: ln, decode: decode}
	t.Cleanup(func() { _ = ln.Close(); s.HangUp() })
	go s.accept()
	return s
}

func (s *Station) accept() {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conn, s.got = conn, nil
		deaf := s.deaf
		s.mu.Unlock()
		if !deaf {
			go s.read(conn)
		}
	}
}

func (s *Station) read(conn net.Conn) {
	for {
		head := make([]byte, 6) // version, length, type
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		msg := append(head, make([]byte, binary.BigEndian.Uint32(head[1:])-6)...)
		if _, err := io.ReadFull(conn, msg[6:]); err != nil {
			return
		}
		s.mu.Lock()
		s.got = append(s.got, s.decode(msg))
		s.mu.Unlock()
	}
}

// Addr is where it listens.
func (s *Station) Addr() netip.AddrPort { return netip.MustParseAddrPort(s.ln.Addr().String()) }

// Connected says whether a router has called.
func (s *Station) Connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

// HangUp closes the connection, and forgets what was heard.
func (s *Station) HangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = nil
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// Deafen has connections that follow not be read, or read again.
func (s *Station) Deafen(deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = deaf
}

// Heard is what was heard over the connection.
func (s *Station) Heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// Hears waits until this, and nothing else, was heard over the connection.
func (s *Station) Hears(t testing.TB, want ...string) {
	t.Helper()
	nstest.Within(t, 15*time.Second, func() error {
		if got := s.Heard(); !slices.Equal(got, want) {
			return fmt.Errorf("heard\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
}
