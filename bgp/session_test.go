package bgp

import (
	"testing"
	"time"

	"github.com/podroute/podroute/internal/rawbgp"
)

func TestBothFamiliesOverOneSession(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	p := startSpeaker(t, us, "node")
	c := ours()
	c.Peers = []Peer{them()}
	p.set(c)
	start := time.Now()
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	t.Logf("session after %v", time.Since(start))
	p.established("tor")

	u := r.announces("10.130.2.0/24")
	if u.NextHop != addr("10.0.0.2") {
		t.Errorf("next hop of our IPv4 prefix is %v", u.NextHop)
	}
	r.send(
		rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24", "10.99.0.0/24", "0.0.0.0/0", "10.130.2.128/25")),
		rawbgp.Announce([]uint32{65001}, addr("fd00::1"), prefixList("fd10:1::/64", "fd10:2::1:0/112")),
		rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true))
	p.learns("10.130.1.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1")
	r.send(rawbgp.Withdraw(prefixList("10.130.1.0/24")))
	p.learns("fd10:1::/64 via fd00::1")
	t.Logf("%+v", p.peer("tor"))
	t.Logf("%+v", p.must("advertised").Advertised)
}
