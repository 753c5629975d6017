package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// ICMP types (RFC 792, RFC 4443).
const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
)

const headerSize = 8 // type, code, checksum, identifier, sequence number; the payload is the whole number

// pinger numbers its probes in the payload: the header's sequence number is too small for a long test.
type pinger struct {
	conn           net.PacketConn
	to             net.Addr
	request, reply byte
	id             uint16

	mu     sync.Mutex
	probes []probe
	first  func()
}

func ping(ctx context.Context, target string, answered func()) (Tally, error) {
	to, err := netip.ParseAddr(target)
	if err != nil {
		return Tally{}, err
	}
	p := &pinger{
		to: &net.IPAddr{IP: to.AsSlice()}, request: echoRequest4, reply: echoReply4,
		id: uint16(os.Getpid()), first: answered,
	}
	network := "ip4:icmp"
	if to.Is6() {
		network, p.request, p.reply = "ip6:ipv6-icmp", echoRequest6, echoReply6
	}
	var l net.ListenConfig
	if p.conn, err = l.ListenPacket(ctx, network, ""); err != nil {
		return Tally{}, fmt.Errorf("ping: %w", err)
	}
	defer func() { _ = p.conn.Close() }()
	var receiver sync.WaitGroup
	receiver.Go(p.receive)
	p.send(ctx)
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	receiver.Wait()
	return count(p.probes), nil
}

func (p *pinger) send(ctx context.Context) {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for n := uint64(0); ; n++ {
		packet := make([]byte, headerSize+8)
		packet[0] = p.request
		binary.BigEndian.PutUint16(packet[4:], p.id)
		binary.BigEndian.PutUint16(packet[6:], uint16(n))
		binary.BigEndian.PutUint64(packet[headerSize:], n)
		if p.request == echoRequest4 { // the kernel fills in ICMPv6's
			binary.BigEndian.PutUint16(packet[2:], checksum(packet))
		}
		p.mu.Lock()
		p.probes = append(p.probes, probe{sent: time.Now()})
		p.mu.Unlock()
		_, _ = p.conn.WriteTo(packet, p.to) // what cannot be sent is lost: no route is a loss, too
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// receive ends with the socket's deadline.
func (p *pinger) receive() {
	packet := make([]byte, 1500)
	for {
		n, _, err := p.conn.ReadFrom(packet)
		var timeout net.Error
		if errors.Is(err, net.ErrClosed) || errors.As(err, &timeout) && timeout.Timeout() {
			return
		}
		if err != nil || n < headerSize+8 || packet[0] != p.reply || binary.BigEndian.Uint16(packet[4:]) != p.id {
			continue
		}
		number := binary.BigEndian.Uint64(packet[headerSize:])
		now := time.Now()
		p.mu.Lock()
		if number < uint64(len(p.probes)) && p.probes[number].answered.IsZero() && now.Sub(p.probes[number].sent) < patience {
			p.probes[number].answered = now
			if p.first != nil {
				p.first()
				p.first = nil
			}
		}
		p.mu.Unlock()
	}
}

// checksum of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
