package routes

import (
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// many is the number of routes of the benchmarks.
const many = 100_000

// manyRoutes makes n routes with one set of next hops: /24s from 20.0.0.0 or /64s from 2001:db8::.
func manyRoutes(n int, v6 bool, hops ...NextHop) []Route {
	routes := make([]Route, n)
	for i := range routes {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + i>>16), byte(i >> 8), byte(i), 0}), 24)
		if v6 {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(i >> 16), byte(i >> 8), byte(i)}), 64)
		}
		routes[i] = Route{Dst: p, NextHops: hops}
	}
	return routes
}

func prefixes(routes []Route) []netip.Prefix {
	out := make([]netip.Prefix, len(routes))
	for i := range routes {
		out[i] = routes[i].Dst
	}
	return out
}

// BenchmarkSet100k measures the life of 100,000 routes, and each of its steps as a metric of its own.
func BenchmarkSet100k(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		name := "IPv4"
		if v6 {
			name = "IPv6"
		}
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, 2, Options{})
			hops := [][]NextHop{{w.via(0, "10.0.0.2")}, {w.via(1, "10.0.1.2")}}
			if v6 {
				hops = [][]NextHop{{w.via(0, "fd00:0::2")}, {w.via(1, "fd00:1::2")}}
			}
			one, two := manyRoutes(many, v6, hops[0]...), manyRoutes(many, v6, hops[1]...)
			gone := prefixes(one)
			var steps []string
			total := map[string]time.Duration{}
			step := func(name string, f func() error) {
				start := time.Now()
				if err := f(); err != nil {
					b.Fatal(name, err)
				}
				if total[name] == 0 {
					steps = append(steps, name)
				}
				total[name] += time.Since(start)
			}
			set := func(r []Route) func() error {
				return func() error { return w.fib.Set(b.Context(), Desired{Routes: r}) }
			}
			// chunks is what a stream of UPDATE messages does: 1,000 routes a call.
			chunks := func(r []Route, gone []netip.Prefix) func() error {
				return func() error {
					const size = 1000
					for len(r) > 0 || len(gone) > 0 {
						n, m := min(size, len(r)), min(size, len(gone))
						if err := w.fib.Update(b.Context(), r[:n], gone[:m]); err != nil {
							return err
						}
						r, gone = r[n:], gone[m:]
					}
					return nil
				}
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for b.Loop() {
				step("set", set(one))
				step("same", set(one))
				step("move", set(two))
				step("withdraw", set(nil))
				step("stream", chunks(one, nil))
				step("streamMove", chunks(two, nil))
				step("streamWithdraw", chunks(nil, gone))
				step("set2", set(one))
				next := w.open(b, Options{})
				step("adopt", func() error { return next.Set(b.Context(), Desired{Routes: one}) })
				step("clear", func() error { return next.Remove(b.Context()) })
				step("cleared", set(nil))
			}
			runtime.ReadMemStats(&after)
			for _, s := range steps {
				b.ReportMetric(float64(total[s].Microseconds())/1000/float64(b.N), s+"-ms")
			}
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N)/many, "allocs/route")
		})
	}
}
