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

// oneFamily is why OpenBGPD needs a session for each family.
const oneFamily = `bgpd.conf(5), nexthop: "The set address is used on [...] directly connected EBGP session if the address is part of ` +
	`the connected network": of the session's own family, that is; IPv6 routes over IPv4 get an address of its choice (::1 on Linux)`

// bothEnds are the two ends of pair: a session for both families, or one for each where the daemon needs that.
func bothEnds(kind routers.Kind) (routers.Config, []Peer) {
	conf := torConfig()
	if kind != routers.OpenBGPD {
		return conf, []Peer{them()}
	}
	return twoSessions()
}

// twoSessions are the two ends of pair with a session for each family.
func twoSessions() (routers.Config, []Peer) {
	conf, four, six := torConfig(), them(), them()
	n4 := conf.Neighbors[0]
	n4.OwnFamily, n4.NextHop6 = true, netip.Addr{}
	n6 := n4
	n6.Address = addr("fd00::2")
	conf.Neighbors = []routers.Neighbor{n4, n6}
	four.Families, four.NextHops = []Family{IPv4}, nil
	six.Name, six.Address, six.Families, six.NextHops = "tor6", addr("fd00::1"), []Family{IPv6}, nil
	return conf, []Peer{four, six}
}

func TestInteropTwoSessions(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: eBGP, a session for each family"}.Each(t, func(t *testing.T, kind routers.Kind) {
		us, torNS := pair(t)
		conf, peers := twoSessions()
		tor := routers.Start(t, torNS, kind, conf)
		p, _ := speak(t, us, nil, peers...)
		p.learns("10.130.1.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1")
		tor.Learns(5*time.Second, pfx("10.130.2.0/24"), addr("10.0.0.2"))
		tor.Learns(5*time.Second, pfx("fd10:2::/64"), addr("fd00::2"))
		tor.Announce(pfx("fd10:1::/64"))
		p.learns("fd10:1::/64 via fd00::1")
	})
}

func TestInteropOneSession(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: eBGP over IPv4 with both families", Lacks: map[routers.Kind]string{routers.OpenBGPD: oneFamily}}.Each(t, func(t *testing.T, kind routers.Kind) {
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
	routers.Feature{Name: "sessions: eBGP over IPv6 with both families", Lacks: map[routers.Kind]string{routers.OpenBGPD: oneFamily}}.Each(t, func(t *testing.T, kind routers.Kind) {
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
