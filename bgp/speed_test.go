package bgp

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

// BenchmarkLearn is the time from the first of 100,000 prefixes on the wire to the last one handed out by
// Learned, and from the loss of the session to the last one gone; per does not count, one round is one.
func BenchmarkLearn(b *testing.B) {
	for _, per := range []int{100, 4} {
		b.Run(fmt.Sprintf("%d per UPDATE", per), func(b *testing.B) {
			us, torNS := pair(b)
			peer := passive()
			peer.GracefulRestart, peer.Undamped = false, true
			p, _ := speak(b, us, func(c *Config) { c.NeverEver, c.Paths = prefixList("192.0.2.0/24"), nil }, peer)
			all := manyPrefixes(100_000)
			var msgs []byte
			for chunk := range slices.Chunk(all, per) {
				msgs = append(msgs, rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), chunk)...)
			}
			wait := func(n int) time.Duration {
				start := time.Now()
				nstest.Within(b, time.Minute, func() error {
					if got := p.must("count").Count; got != n {
						return fmt.Errorf("%d routes, want %d", got, n)
					}
					return nil
				})
				return time.Since(start)
			}
			var up, down time.Duration
			for b.Loop() {
				r := dial(b, torNS, "10.0.0.1", "10.0.0.2", tor())
				p.established("tor")
				start := time.Now()
				r.send(msgs)
				wait(len(all))
				up += time.Since(start)
				_ = r.Close()
				down += wait(0)
			}
			b.ReportMetric(up.Seconds()/float64(b.N), "s-up")
			b.ReportMetric(down.Seconds()/float64(b.N), "s-down")
			b.ReportMetric(float64(p.must("count").RSS)/1024, "MB")
		})
	}
}
