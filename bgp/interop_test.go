package bgp

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// torConfig is the neighbour of pair, played by a real daemon.
func torConfig() routers.Config {
	return routers.Config{
		AS: 65001, RouterID: addr("10.0.0.1"), Announce: prefixList("10.130.1.0/24", "fd10:1::/64"),
		Neighbors: []routers.Neighbor{{Address: addr("10.0.0.2"), AS: 65002, GracefulRestart: true, RestartTime: 20, NextHop6: addr("fd00::1")}},
	}
}

func eachRouter(t *testing.T, test func(t *testing.T, kind routers.Kind)) {
	t.Helper()
	for _, kind := range routers.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, kind)
		})
	}
}

func TestInterop(t *testing.T) {
	t.Parallel()
	eachRouter(t, func(t *testing.T, kind routers.Kind) {
		us, torNS := pair(t)
		tor := routers.Start(t, torNS, kind, torConfig())
		p := startSpeaker(t, us, "node")
		c := ours()
		c.Peers = []Peer{them()}
		start := time.Now()
		p.set(c)
		p.established("tor")
		t.Logf("established after %v", time.Since(start))
		tor.Established(5 * time.Second)

		p.learns("10.130.1.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1")
		tor.Learns(5*time.Second, pfx("10.130.2.0/24"), addr("10.0.0.2"))
		tor.Learns(5*time.Second, pfx("fd10:2::/64"), addr("fd00::2"))
		nstest.Within(t, 10*time.Second, func() error {
			if !p.must("routes").Synced {
				return errors.New("not synced")
			}
			return nil
		})

		tor.Announce(pfx("fd10:1::/64"))
		p.learns("fd10:1::/64 via fd00::1")
		c.Paths = c.Paths[1:]
		p.set(c)
		tor.Learns(5*time.Second, pfx("10.130.2.0/24"))
		tor.Learns(5*time.Second, pfx("fd10:2::/64"), addr("fd00::2"))
	})
}

// A session over IPv6 carries IPv4 with IPv4 next hops.
func TestInteropOverIPv6(t *testing.T) {
	t.Parallel()
	eachRouter(t, func(t *testing.T, kind routers.Kind) {
		us, torNS := pair(t)
		conf := torConfig()
		conf.Neighbors[0].Address = addr("fd00::2")
		conf.Neighbors[0].NextHop4 = addr("10.0.0.1")
		tor := routers.Start(t, torNS, kind, conf)
		peer := them()
		peer.Address, peer.NextHops = addr("fd00::1"), map[Family]netip.Addr{IPv4: addr("10.0.0.2")}
		p, _ := speak(t, us, nil, peer)
		p.learns("10.130.1.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1")
		tor.Learns(5*time.Second, pfx("10.130.2.0/24"), addr("10.0.0.2"))
		tor.Learns(5*time.Second, pfx("fd10:2::/64"), addr("fd00::2"))
	})
}
