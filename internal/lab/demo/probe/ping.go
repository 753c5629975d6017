package probe

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"
)

// interval of a ping, and how long an answer may take.
const (
	interval = 10 * time.Millisecond
	lateness = 500 * time.Millisecond
)

// pinger sends a numbered datagram to an echo server each interval and notes which come back.
type pinger struct {
	conn *net.UDPConn
	quit chan struct{}
	sent chan struct{} // closed when nothing more is sent

	mu     sync.Mutex
	probes []pinged
}

type pinged struct {
	at       time.Time
	answered bool
}

func startPing(f Flow) (*pinger, error) {
	g := &pinger{quit: make(chan struct{}), sent: make(chan struct{})}
	err := within(f.From, func() (err error) {
		g.conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.To, Port)))
		return err
	})
	if err != nil {
		return nil, err
	}
	go g.send(f.Phase)
	go g.receive()
	return g, nil
}

// send keeps to multiples of the interval of the host's clock, so that flows of different processes
// keep their distance. A beat that was missed is left out.
func (g *pinger) send(phase time.Duration) {
	defer close(g.sent)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		timer.Reset(now.Add(interval - phase).Truncate(interval).Add(phase).Sub(now))
		select {
		case <-g.quit:
			return
		case <-timer.C:
		}
		g.mu.Lock()
		number := len(g.probes)
		g.probes = append(g.probes, pinged{at: time.Now()})
		g.mu.Unlock()
		// An error, such as that of an ICMP message about an earlier probe, means that this one is lost.
		_, _ = g.conn.Write(binary.BigEndian.AppendUint64(nil, uint64(number)))
	}
}

func (g *pinger) receive() {
	buf := make([]byte, 64)
	for {
		n, err := g.conn.Read(buf)
		if err != nil {
			select {
			case <-g.sent:
				return // closed, or past the deadline for late answers
			default:
				continue // an ICMP message about an earlier probe
			}
		}
		if n != 8 {
			continue
		}
		number := binary.BigEndian.Uint64(buf)
		g.mu.Lock()
		if number < uint64(len(g.probes)) {
			g.probes[number].answered = true
		}
		g.mu.Unlock()
	}
}

func (g *pinger) stop() Tally {
	close(g.quit)
	<-g.sent
	g.await(lateness)
	_ = g.conn.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	return tally(g.probes)
}

// await returns when every probe is answered, or after d.
func (g *pinger) await(d time.Duration) {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		g.mu.Lock()
		lost := tally(g.probes).Lost
		g.mu.Unlock()
		if lost == 0 {
			return
		}
		select {
		case <-deadline.C:
			return
		case <-tick.C:
		}
	}
}

// tally counts. A gap is measured from the sending of one answered probe to that of the next; where
// this host was late in sending, and so nothing was known of the network, one interval counts.
func tally(probes []pinged) Tally {
	t := Tally{Sent: len(probes)}
	var gap time.Duration // since the last answered probe, or the first
	missed := 0
	for i, p := range probes {
		if i > 0 {
			step := p.at.Sub(probes[i-1].at)
			if step > 2*interval {
				step = interval
			}
			gap += step
		}
		if !p.answered {
			t.Lost++
			missed++
		}
		if missed > 0 && (p.answered || i == len(probes)-1) {
			t.Gap = max(t.Gap, gap)
		}
		if p.answered {
			gap, missed = 0, 0
		}
	}
	return t
}
