package bmp

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/packet/bmp"

	"github.com/podroute/podroute/internal/bmpstation"
	"github.com/podroute/podroute/internal/nstest"
)

func listen(t *testing.T) *bmpstation.Station {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return bmpstation.Serve(t, ln, describe)
}

// describe is a message as the tests compare it, read with gobgp's decoder.
func describe(raw []byte) string {
	m, err := bmp.ParseBMPMessage(raw)
	if err != nil {
		return err.Error()
	}
	who := fmt.Sprintf("%v AS %d ID %v flags %x", m.PeerHeader.PeerAddress, m.PeerHeader.PeerAS, m.PeerHeader.PeerBGPID, m.PeerHeader.Flags)
	switch b := m.Body.(type) {
	case *bmp.BMPInitiation:
		return fmt.Sprintf("initiation %v %v", b.Info[0].(*bmp.BMPInfoTLVString).Value, b.Info[1].(*bmp.BMPInfoTLVString).Value)
	case *bmp.BMPTermination:
		return "termination"
	case *bmp.BMPPeerUpNotification:
		return fmt.Sprintf("up %s at %v %d %d, sent %v, received %v", who, b.LocalAddress, b.LocalPort, b.RemotePort,
			b.SentOpenMsg.Body.(*gobgp.BGPOpen).MyAS, b.ReceivedOpenMsg.Body.(*gobgp.BGPOpen).MyAS)
	case *bmp.BMPPeerDownNotification:
		code := "none"
		if b.BGPNotification != nil {
			n := b.BGPNotification.Body.(*gobgp.BGPNotification)
			code = fmt.Sprintf("%d/%d", n.ErrorCode, n.ErrorSubcode)
		}
		return fmt.Sprintf("down %s reason %d notification %s data %x", who, b.Reason, code, b.Data)
	case *bmp.BMPRouteMonitoring:
		return fmt.Sprintf("route %s %v", who, b.BGPUpdate.Body.(*gobgp.BGPUpdate).NLRI)
	case *bmp.BMPStatisticsReport:
		text := "numbers " + who
		for _, s := range b.Stats {
			switch s := s.(type) {
			case *bmp.BMPStatsTLV32:
				text += fmt.Sprintf(" %d=%d", s.Type, s.Value)
			case *bmp.BMPStatsTLV64:
				text += fmt.Sprintf(" %d=%d", s.Type, s.Value)
			case *bmp.BMPStatsTLVPerAfiSafi64:
				text += fmt.Sprintf(" %d/%d/%d=%d", s.Type, s.AFI, s.SAFI, s.Value)
			}
		}
		return text
	}
	return "unknown"
}

// book is a source with one neighbour.
type book struct {
	mu    sync.Mutex
	dumps int
	all   [][]byte
}

func (b *book) Dump(follow func()) iter.Seq[[]byte] {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dumps++
	follow()
	return slices.Values(slices.Clone(b.all))
}

func (b *book) Numbers() [][]byte {
	return [][]byte{Statistics(four, time.Unix(1, 0), []Stat{
		{Type: StatRoutesIn, Value: 1 << 40}, {Type: StatFamilyRoutesIn, AFI: 2, SAFI: 1, Value: 7}, {Type: StatTreatedAsWithdraw, Value: 3},
	})}
}

var (
	four = Peer{Addr: netip.MustParseAddr("192.0.2.1"), AS: 4200000001, ID: netip.MustParseAddr("10.0.0.1")}
	six  = Peer{Addr: netip.MustParseAddr("2001:db8::1"), AS: 65001, ID: netip.MustParseAddr("10.0.0.2")}
)

func openMessage(t *testing.T, as uint16) []byte {
	t.Helper()
	m, err := gobgp.NewBGPOpenMessage(as, 90, netip.MustParseAddr("10.0.0.9"), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func routeMessage(t *testing.T, p Peer, prefix string) []byte {
	t.Helper()
	n, err := gobgp.NewIPAddrPrefix(netip.MustParsePrefix(prefix))
	if err != nil {
		t.Fatal(err)
	}
	b, err := gobgp.NewBGPUpdateMessage(nil, []gobgp.PathAttributeInterface{gobgp.NewPathAttributeOrigin(0)}, []gobgp.PathNLRI{{NLRI: n}}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return RouteMonitoring(p, time.Unix(1, 2000), b)
}

func start(t *testing.T, src Source, stations ...Station) (*Exporter, func()) {
	t.Helper()
	e := New(Options{Log: slog.New(slog.DiscardHandler), Source: src, Name: "n1", Description: "podroute test"})
	e.Set(stations)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = e.Run(ctx) })
	stop := func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return e, stop
}

// TestMessages: an independent decoder reads what is written, in order: who we are, all that stands, what comes, and the end.
func TestMessages(t *testing.T) {
	t.Parallel()
	c := listen(t)
	src := &book{all: [][]byte{PeerUp(six, time.Unix(1, 0), Up{
		Local: netip.MustParseAddr("2001:db8::2"), LocalPort: 40000, RemotePort: 179, Sent: openMessage(t, 64512), Received: openMessage(t, 65001),
	})}}
	e, stop := start(t, src, Station{Addr: c.Addr()})
	begin := []string{
		"initiation podroute test n1",
		"up 2001:db8::1 AS 65001 ID 10.0.0.2 flags 80 at 2001:db8::2 40000 179, sent 64512, received 65001",
	}
	c.Hears(t, begin...)
	e.Send(routeMessage(t, four, "10.0.0.0/24"))
	note, err := gobgp.NewBGPNotificationMessage(6, 2, nil).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	e.Send(PeerDown(four, time.Now(), ReasonNotificationReceived, note))
	e.Send(PeerDown(four, time.Now(), ReasonClosedHere, []byte{0, 2}))
	e.Send(PeerDown(four, time.Now(), ReasonClosedThere, nil))
	who := "192.0.2.1 AS 4200000001 ID 10.0.0.1 flags 0"
	want := append(slices.Clone(begin), "route "+who+" [10.0.0.0/24:0]", "down "+who+" reason 3 notification 6/2 data ",
		"down "+who+" reason 2 notification none data 0002", "down "+who+" reason 4 notification none data ")
	c.Hears(t, want...)
	if st := e.States(); len(st) != 1 || !st[0].Connected || st[0].Sent != 6 || st[0].Error != "" {
		t.Errorf("state: %+v", st)
	}
	stop()
	c.Hears(t, append(want, "termination")...)
}

// TestStatistics: numbers come as often as they are wanted.
func TestStatistics(t *testing.T) {
	t.Parallel()
	c := listen(t)
	start(t, &book{}, Station{Addr: c.Addr(), Statistics: 200 * time.Millisecond})
	numbers := "numbers 192.0.2.1 AS 4200000001 ID 10.0.0.1 flags 0 7=1099511627776 9/2/1=7 11=3"
	c.Hears(t, "initiation podroute test n1", numbers, numbers)
}

// TestReconnect: a station that was away is told all anew, one that is not configured any more is taken leave of.
func TestReconnect(t *testing.T) {
	t.Parallel()
	c := listen(t)
	src := &book{all: [][]byte{routeMessage(t, four, "10.0.1.0/24")}}
	e, _ := start(t, src, Station{Addr: c.Addr()})
	first := "route 192.0.2.1 AS 4200000001 ID 10.0.0.1 flags 0 [10.0.1.0/24:0]"
	c.Hears(t, "initiation podroute test n1", first)
	c.HangUp()
	c.Hears(t, "initiation podroute test n1", first)
	e.Set(nil)
	c.Hears(t, "initiation podroute test n1", first, "termination")
	if e.Heeded() {
		t.Error("nobody is there, and somebody hears")
	}
	e.Send(routeMessage(t, four, "10.0.2.0/24"))
}

// TestDeafStation: one that does not read never holds up Send, and is told all anew when it reads again.
func TestDeafStation(t *testing.T) {
	t.Parallel()
	c := listen(t)
	c.Deafen(true)
	src := &book{all: [][]byte{routeMessage(t, four, "10.0.1.0/24")}}
	e, _ := start(t, src, Station{Addr: c.Addr()})
	nstest.Within(t, 10*time.Second, func() error {
		if !e.Heeded() || !c.Connected() {
			return errors.New("the station does not listen")
		}
		return nil
	})
	msg := make([]byte, 1<<20)
	began := time.Now()
	for range 64 {
		e.Send(msg)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("Send took %v", took)
	}
	c.Deafen(false)
	c.HangUp()
	c.Hears(t, "initiation podroute test n1", "route 192.0.2.1 AS 4200000001 ID 10.0.0.1 flags 0 [10.0.1.0/24:0]")
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.dumps != 2 {
		t.Errorf("all was told %d times, want twice", src.dumps)
	}
}
