package routes

import (
	"fmt"
	"testing"
)

func TestGateways(t *testing.T) {
	modes(t, func(t *testing.T, o Options) {
		w := newWorld(t, 2, o)
		check := func(want string) {
			t.Helper()
			all, err := w.fib.Gateways(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(all); got != want {
				t.Errorf("gateways are %s, want %s", got, want)
			}
		}
		check("[]")
		w.Run(t, "ip route add default via 10.0.0.9 metric 20", "ip route add default via 10.0.1.9 metric 10",
			"ip route add default via 10.0.1.7 proto 179 metric 5", "ip -6 route add default via fe80::9 dev up0",
			"ip route add 192.0.2.0/24 via 10.0.0.9")
		up0, up1 := w.link["up0"], w.link["up1"]
		check(fmt.Sprintf("[{10.0.1.9 %d} {fe80::9 %d}]", up1, up0))
		w.Run(t, "ip route del default metric 10", "ip route add default metric 1 nexthop via 10.0.1.8 nexthop via 10.0.0.8", "ip -6 route del default")
		check(fmt.Sprintf("[{10.0.1.8 %d}]", up1))
	})
}
