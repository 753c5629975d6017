package interop

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
	"github.com/podroute/podroute/internal/routers"
)

// How long a silent router may stay in the forwarding table, at three packets of 50 ms.
const (
	silentMedian = 200 * time.Millisecond
	silentP95    = 250 * time.Millisecond
)

// bfdKinds are the routers that speak BFD.
func bfdKinds() []routers.Kind { return []routers.Kind{routers.BIRD, routers.FRR} }

// BenchmarkBFDSilence silences a router, its link up, again and again, and measures until its routes of both families
// have left the node's forwarding table: -benchtime=20x does it twenty times.
func BenchmarkBFDSilence(b *testing.B) {
	for _, kind := range bfdKinds() {
		b.Run(string(kind), func(b *testing.B) {
			r := watchedRack(b, rackOptions{kind: kind, nodes: 1, config: undamped}, false)
			var took []time.Duration
			for b.Loop() {
				took = append(took, r.silenced(b))
			}
			slices.Sort(took)
			median, p95 := took[(len(took)-1)/2], took[(len(took)*95+99)/100-1]
			b.Logf("%s: out of the forwarding table after %v", kind, took)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(milli(median), "median-ms")
			b.ReportMetric(milli(p95), "p95-ms")
			if median > silentMedian || p95 > silentP95 {
				b.Errorf("median %v, 95th percentile %v; want at most %v and %v", median, p95, silentMedian, silentP95)
			}
		})
	}
}

func milli(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// silenced is how long the router's routes stay after it has fallen silent; afterwards all is as it was.
func (r *rack) silenced(b *testing.B) time.Duration {
	b.Helper()
	n := r.nodes[0]
	r.router.Established(waitSession)
	r.alive(b)
	for _, p := range outside {
		inKernel(b, n, p, 1)
	}
	time.Sleep(time.Duration(time.Now().UnixNano()%50) * time.Millisecond) // at no particular moment between two packets
	gone := watchRoutes(b, n.NS)
	cut := time.Now() // before nft starts, so its few milliseconds count too
	end := silence(b, r.tor)
	left := slices.Clone(outside)
	var last time.Duration
	for len(left) > 0 {
		select {
		case g := <-gone:
			if i := slices.Index(left, g.prefix); i >= 0 {
				left = slices.Delete(left, i, i+1)
				last = g.at.Sub(cut)
			}
		case <-time.After(10 * time.Second):
			b.Fatalf("%v are still there", left)
		}
	}
	end()
	return last
}

// BenchmarkBFDLoad looks for false alarms while every processor is busy and the agent takes in thousands of routes that
// come and go: -benchtime=600x does so for ten minutes.
func BenchmarkBFDLoad(b *testing.B) {
	for _, kind := range bfdKinds() {
		b.Run(string(kind), func(b *testing.B) {
			r := watchedRack(b, rackOptions{kind: kind, nodes: 1}, false)
			n := r.nodes[0]
			churn(b, n)
			before := n.session(b, "tor")
			for range runtime.NumCPU() {
				r.tor.Start(b, "sh", "-c", "while :; do :; done")
			}
			seconds := 0
			for b.Loop() {
				time.Sleep(time.Second)
				seconds++
			}
			after := n.session(b, "tor")
			alarms := after.BFD.Losses - before.BFD.Losses
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(alarms), "alarms")
			if alarms != 0 || after.Flaps != before.Flaps {
				b.Errorf("%d false alarms in %d s: %+v", alarms, seconds, after)
			}
		})
	}
}

// churn gives the node a second peer, 5000 of whose prefixes come and go all the time.
func churn(b *testing.B, n *node) {
	b.Helper()
	feeder := nstest.New(b)
	nstest.Veth(b, feeder, "port", n.NS, "eth1")
	feeder.Run(b, "ip addr add 10.0.200.0/31 dev port")
	n.Run(b, "ip addr add 10.0.200.1/31 dev eth1")
	n.configure(b, "feeder.yaml", "apiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: feeder}\n"+
		"spec: {address: 10.0.200.0, asNumber: 65100, passive: true, families: [IPv4]}\n")
	var prefixes []netip.Prefix
	for i := range 5000 {
		prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(100 + i/64), byte(i % 64 * 4)}), 30))
	}
	var s *rawbgp.Session
	nstest.Within(b, waitSession, func() error {
		return feeder.Do(func() error {
			conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", "10.0.200.1:179")
			if err != nil {
				return err
			}
			s, err = rawbgp.Handshake(conn, rawbgp.Open{AS: 65100, ID: netip.MustParseAddr("10.0.200.0"), Hold: 90, IPv4: true}, 3*time.Second)
			return err
		})
	})
	stop, stopped := make(chan struct{}), make(chan error, 1)
	b.Cleanup(func() {
		close(stop)
		_ = s.Close()
		if err := <-stopped; err != nil {
			b.Error(err)
		}
	})
	go func() {
		for {
			if m, err := s.Recv(); err != nil || m.Type == rawbgp.TypeNotification {
				return
			}
		}
	}()
	go func() { stopped <- feed(s, prefixes, stop) }()
}

// feed announces and withdraws prefixes, all of them about four times a second.
func feed(s *rawbgp.Session, prefixes []netip.Prefix, stop <-chan struct{}) error {
	tick := time.NewTicker(125 * time.Millisecond)
	defer tick.Stop()
	for round := 0; ; round++ {
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
		messages := [][]byte{rawbgp.Keepalive()}
		for chunk := range slices.Chunk(prefixes, 100) {
			if round%2 == 0 {
				messages = append(messages, rawbgp.Announce([]uint32{65100}, netip.MustParseAddr("10.0.200.0"), chunk))
			} else {
				messages = append(messages, rawbgp.Withdraw(chunk))
			}
		}
		if err := s.Send(messages...); err != nil {
			select {
			case <-stop:
				return nil
			default:
				return fmt.Errorf("feed: %w", err)
			}
		}
	}
}
