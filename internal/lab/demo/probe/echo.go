package probe

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Port of the echo servers, TCP and UDP, in every pod and on every node.
const Port = 7777

// serveEcho answers over TCP a line with the same line and the client's address, and over UDP a
// datagram with the same.
func serveEcho(pod string) error {
	return within(pod, func() error {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{Port: Port})
		if err != nil {
			return err
		}
		u, err := net.ListenUDP("udp", &net.UDPAddr{Port: Port})
		if err != nil {
			return errors.Join(err, l.Close())
		}
		go serveTCP(l)
		go serveUDP(u)
		return nil
	})
}

func serveTCP(l *net.TCPListener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(askFor))
			line, err := bufio.NewReader(c).ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s\n", strings.TrimSuffix(line, "\n"), peer(c.RemoteAddr()))
		}()
	}
}

func serveUDP(u *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if err == nil {
			_, err = u.WriteToUDPAddrPort(buf[:n], from)
		}
		if errors.Is(err, net.ErrClosed) {
			return // and any other error concerns that one datagram
		}
	}
}

// askFor is how long a question may take, lost packets and all.
const askFor = 4 * time.Second

func (d Dial) ask() (a Answer, err error) {
	deadline := time.Now().Add(askFor)
	var c net.Conn
	err = within(d.From, func() (err error) {
		dialer := net.Dialer{Deadline: deadline}
		c, err = dialer.Dial("tcp", netip.AddrPortFrom(d.To, Port).String())
		return err
	})
	if err != nil {
		return a, err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(deadline); err != nil {
		return a, err
	}
	if _, err := fmt.Fprintf(c, "%s\n", d.Nonce); err != nil {
		return a, err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return a, fmt.Errorf("answer: %w", err)
	}
	nonce, seen, ok := strings.Cut(strings.TrimSpace(line), " ")
	if !ok || nonce != d.Nonce {
		return a, fmt.Errorf("answer %q to another question than %q", line, d.Nonce)
	}
	a.Local = peer(c.LocalAddr())
	a.Seen, err = netip.ParseAddr(seen)
	return a, err
}

func peer(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
