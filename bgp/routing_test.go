package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

func TestEqualPaths(t *testing.T) {
	t.Parallel()
	p, c, call := star(t, 3, nil)
	rs := []*raw{call(0), call(1), call(2)}
	for i, r := range rs {
		r.send(rawbgp.Announce([]uint32{uint32(65100 + i), 65000}, addr(fmt.Sprintf("10.0.%d.1", i)), prefixList("10.130.1.0/24")))
	}
	p.learns("10.130.1.0/24 via 10.0.0.1,10.0.1.1,10.0.2.1") // of different neighbour ASes
	// LOCAL_PREF of an external neighbour means nothing.
	rs[2].send(rawbgp.Announce([]uint32{65102, 65000}, addr("10.0.2.1"), prefixList("10.130.1.0/24", "10.130.9.0/24"), rawbgp.LocalPref(900)))
	p.learns("10.130.1.0/24 via 10.0.0.1,10.0.1.1,10.0.2.1", "10.130.9.0/24 via 10.0.2.1")
	rs[2].send(rawbgp.Withdraw(prefixList("10.130.9.0/24")))
	// A longer path leaves the set, a shorter one replaces it.
	rs[1].send(rawbgp.Announce([]uint32{65101, 65000, 65000}, addr("10.0.1.1"), prefixList("10.130.1.0/24")))
	p.learns("10.130.1.0/24 via 10.0.0.1,10.0.2.1")
	rs[1].send(rawbgp.Announce([]uint32{65101}, addr("10.0.1.1"), prefixList("10.130.1.0/24")))
	p.learns("10.130.1.0/24 via 10.0.1.1")
	_ = rs[1].Close()
	p.learns("10.130.1.0/24 via 10.0.0.1,10.0.2.1")
	// Another next hop in place of the same path.
	rs[0].send(rawbgp.Announce([]uint32{65100, 65000}, addr("10.0.0.9"), prefixList("10.130.1.0/24")))
	p.learns("10.130.1.0/24 via 10.0.0.9,10.0.2.1")
	c.MaxPaths = 1
	p.set(c)
	p.learns("10.130.1.0/24 via 10.0.0.9")
	rs[0].send(rawbgp.Withdraw(prefixList("10.130.1.0/24")))
	p.learns("10.130.1.0/24 via 10.0.2.1")
	// A path of our own hides those of others.
	c.Paths = append(c.Paths, Path{Prefix: pfx("10.130.1.0/24")})
	p.set(c)
	p.learns()
	c.Paths = c.Paths[:2]
	p.set(c)
	p.learns("10.130.1.0/24 via 10.0.2.1")
}

func TestNodesNeverTransit(t *testing.T) {
	t.Parallel()
	p, _, call := star(t, 2, nil)
	a, b := call(0), call(1)
	a.send(rawbgp.Announce([]uint32{65100}, addr("10.0.0.1"), prefixList("10.130.1.0/24")),
		rawbgp.Announce([]uint32{65100}, addr("fd00:0::1"), prefixList("fd10:1::/64")))
	p.learns("10.130.1.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1")
	b.announces("10.130.2.0/24")
	b.announces("fd10:2::/64")
	time.Sleep(time.Second)
	if got := b.told(); !slices.Equal(got, []string{"10.130.2.0/24", "fd10:2::/64"}) {
		t.Errorf("the other neighbour was told %v", got)
	}
}

func TestRoutersTransit(t *testing.T) {
	t.Parallel()
	p, c, call := star(t, 2, func(c *Config) { c.Transit = true })
	a, b := call(0), call(1)
	const noExport, noAdvertise, noExportSubconfed = 0xffffff01, 0xffffff02, 0xffffff03
	a.send(
		rawbgp.Announce([]uint32{65100}, addr("10.0.0.1"), prefixList("10.130.1.0/24")),
		rawbgp.Announce([]uint32{65100}, addr("10.0.0.1"), prefixList("10.130.5.0/24"), rawbgp.Communities(noExport)),
		rawbgp.Announce([]uint32{65100}, addr("10.0.0.1"), prefixList("10.130.6.0/24"), rawbgp.Communities(noAdvertise)),
		rawbgp.Announce([]uint32{65100}, addr("10.0.0.1"), prefixList("10.130.7.0/24"), rawbgp.Communities(noExportSubconfed)),
		rawbgp.Announce([]uint32{65100}, addr("fd00:0::1"), prefixList("fd10:1::/64")))
	if u := b.announces("10.130.1.0/24"); u.NextHop != addr("10.0.1.2") || !slices.Equal(u.ASPath, []uint32{65002, 65100}) {
		t.Errorf("next hop %v, AS path %v", u.NextHop, u.ASPath)
	}
	if u := b.announces("fd10:1::/64"); u.NextHop != addr("fd00:1::2") {
		t.Errorf("IPv6 next hop %v", u.NextHop)
	}
	p.learns("10.130.1.0/24 via 10.0.0.1", "10.130.5.0/24 via 10.0.0.1", "10.130.6.0/24 via 10.0.0.1", "10.130.7.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1")
	want := []string{"10.130.1.0/24", "10.130.2.0/24", "fd10:1::/64", "fd10:2::/64"}
	if got := b.told(); !slices.Equal(got, want) {
		t.Errorf("told %v, want %v: NO_EXPORT or NO_ADVERTISE got out", got, want)
	}
	a.send(rawbgp.Withdraw(prefixList("10.130.1.0/24")))
	b.withdraws("10.130.1.0/24")
	_ = a.Close()
	b.withdraws("fd10:1::/64")
	// A node that becomes a router, and back.
	a = call(0)
	a.send(rawbgp.Announce([]uint32{65100}, addr("10.0.0.1"), prefixList("10.130.1.0/24")))
	b.announces("10.130.1.0/24")
	c.Transit = false
	p.set(c)
	b.withdraws("10.130.1.0/24")
	c.Transit = true
	p.set(c)
	b.announces("10.130.1.0/24")
}

// The restart of a router must not withdraw from one neighbour what another told it: neighbours with graceful
// restart keep everything, also what came from neighbours without.
func TestRouterRestartWithdrawsNothing(t *testing.T) {
	t.Parallel()
	p, _, call := star(t, 6, func(c *Config) {
		c.Transit = true
		for i := range c.Peers {
			c.Peers[i].GracefulRestart = i%2 == 0
		}
	})
	var rs []*raw
	for i := range 6 {
		r := call(i)
		rs = append(rs, r)
		r.send(rawbgp.Announce([]uint32{uint32(65100 + i)}, addr(fmt.Sprintf("10.0.%d.1", i)), prefixList(fmt.Sprintf("10.140.%d.0/24", i))))
	}
	for i, r := range rs {
		for j := range rs {
			if i != j {
				r.announces(fmt.Sprintf("10.140.%d.0/24", j))
			}
		}
	}
	p.must("restart")
	for i, r := range rs {
		_ = r.ends(5 * time.Second)
		if got := r.told(); i%2 == 0 && len(got) != 7 {
			t.Errorf("neighbour %d is left with %v", i, got)
		}
	}
}

// A router that has restarted says nothing, and above all no End-of-RIB, before all neighbours have told it
// what they know, or the deferral has passed.
func TestRouterHoldsBackAfterARestart(t *testing.T) {
	t.Parallel()
	for _, complete := range []bool{true, false} {
		t.Run(fmt.Sprintf("all speak %v", complete), func(t *testing.T) {
			t.Parallel()
			p, _, call := star(t, 2, func(c *Config) {
				c.Transit, c.Restarting, c.Deferral = true, true, 6*time.Second
				for i := range c.Peers {
					c.Peers[i].GracefulRestart = true
				}
			})
			start := time.Now()
			b := call(1)
			b.send(rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true))
			time.Sleep(1500 * time.Millisecond)
			if n := b.endsOfRIB(); n > 0 || len(b.told()) > 0 {
				t.Errorf("told %v and %d End-of-RIBs too early", b.told(), n)
			}
			if p.must("routes").Synced {
				t.Error("synced although one neighbour has not spoken")
			}
			if complete {
				a := call(0)
				a.send(rawbgp.Announce([]uint32{65100}, addr("10.0.0.1"), prefixList("10.130.1.0/24")), rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true))
				b.announces("10.130.1.0/24")
			}
			b.announces("10.130.2.0/24")
			b.announces("fd10:2::/64")
			nstest.Within(t, 2*time.Second, func() error {
				if n := b.endsOfRIB(); n < 2 {
					return fmt.Errorf("%d End-of-RIBs", n)
				}
				if !p.must("routes").Synced {
					return errors.New("not synced")
				}
				return nil
			})
			if d := time.Since(start); complete == (d > 6*time.Second) {
				t.Errorf("spoke after %v", d)
			}
		})
	}
}

func TestReflector(t *testing.T) {
	t.Parallel()
	p, _, call := star(t, 3, func(c *Config) {
		for i := range c.Peers {
			c.Peers[i].AS = c.AS
			c.Peers[i].ReflectorClient = i < 2
		}
		c.ClusterID = addr("9.9.9.9")
	})
	a, b, other := call(0), call(1), call(2)
	a.send(rawbgp.Announce(nil, addr("10.0.0.1"), prefixList("10.130.1.0/24"), rawbgp.LocalPref(100)))
	other.send(rawbgp.Announce(nil, addr("10.0.2.1"), prefixList("10.130.3.0/24"), rawbgp.LocalPref(100)))
	for _, r := range []*raw{b, other} {
		u := r.announces("10.130.1.0/24")
		if u.NextHop != addr("10.0.0.1") {
			t.Errorf("a reflected route has next hop %v", u.NextHop)
		}
	}
	u := b.announces("10.130.3.0/24")
	if got := u.Attrs[rawbgp.AttrClusterList]; !slices.Equal(got, []byte{9, 9, 9, 9}) {
		t.Errorf("cluster list %v", got)
	}
	if got := u.Attrs[rawbgp.AttrOriginatorID]; !slices.Equal(got, []byte{10, 0, 2, 1}) {
		t.Errorf("originator ID %v", got)
	}
	p.learns("10.130.1.0/24 via 10.0.0.1", "10.130.3.0/24 via 10.0.2.1")
	_ = a.Close()
	b.withdraws("10.130.1.0/24")
	other.withdraws("10.130.1.0/24")
}

// Clients that come up while others' routes arrive miss none of them: gobgp alone would lose one now and then.
func TestReflectorMissesNobody(t *testing.T) {
	t.Parallel()
	for _, paths := range []bool{false, true} {
		t.Run(fmt.Sprint("several paths ", paths), func(t *testing.T) {
			t.Parallel()
			const n = 40
			us, torNS := pair(t)
			var peers []Peer
			for i := range n {
				a := netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)})
				torNS.Run(t, fmt.Sprintf("ip addr add %v/24 dev e0", a))
				peers = append(peers, Peer{
					Name: fmt.Sprint("p", i), Address: a, AS: 65002, Passive: true, ReflectorClient: true, Families: []Family{IPv4}, SendPaths: paths, ReceivePaths: true,
				})
			}
			_, _ = speak(t, us, nil, peers...)
			clients := make([]*raw, n)
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					a := peers[i].Address.String()
					r := dial(t, torNS, a, "10.0.0.2", rawbgp.Open{AS: 65002, ID: addr(a), Hold: 90, IPv4: true, ReceivePaths: paths})
					_ = r.Send(rawbgp.Announce(nil, addr(a), prefixList(fmt.Sprintf("10.140.%d.0/24", i)), rawbgp.LocalPref(100)))
					clients[i] = r
				})
			}
			wg.Wait()
			for i, r := range clients {
				for j := range n {
					if i != j {
						r.announces(fmt.Sprintf("10.140.%d.0/24", j))
					}
				}
			}
		})
	}
}

// In a full mesh every node is believed for its own subnets only.
func TestMeshBelievesOnlyOwnSubnets(t *testing.T) {
	t.Parallel()
	p, c, call := star(t, 2, func(c *Config) {
		for i := range c.Peers {
			c.Peers[i].AS = c.AS
			c.Peers[i].Only = prefixList(fmt.Sprintf("10.130.%d.0/24", 10+i), fmt.Sprintf("fd10:%x::/64", 10+i))
		}
	})
	a, b := call(0), call(1)
	for i, r := range []*raw{a, b} {
		r.send(rawbgp.Announce(nil, addr(fmt.Sprintf("10.0.%d.1", i)), prefixList("10.130.10.0/24", "10.130.10.0/25", "10.130.11.0/24", "10.130.0.0/16", "10.200.0.0/24"), rawbgp.LocalPref(uint32(100+i))))
		r.send(rawbgp.Announce(nil, addr(fmt.Sprintf("fd00:%d::1", i)), prefixList("fd10:a::/64", "fd10:b::/64"), rawbgp.LocalPref(100)))
	}
	p.learns("10.130.10.0/24 via 10.0.0.1", "10.130.11.0/24 via 10.0.1.1", "fd10:a::/64 via fd00::1", "fd10:b::/64 via fd00:1::1")
	c.Peers[0].Only = []netip.Prefix{} // its subnets are not known yet: nothing is believed
	p.set(c)
	p.learns("10.130.11.0/24 via 10.0.1.1", "fd10:b::/64 via fd00:1::1")
}

func TestAttributesForEach(t *testing.T) {
	t.Parallel()
	med, pref := uint32(0), uint32(200)
	p, c, call := star(t, 3, func(c *Config) {
		c.Peers[2].AS = c.AS
		c.Paths = []Path{
			{Prefix: pfx("10.130.2.0/24"), Communities: []string{"64512:100", "no-export", "1:2:3"}, MED: &med, LocalPref: &pref, Prepend: 2},
			{Prefix: pfx("10.130.7.0/24"), Peers: []string{"t1"}, Communities: []string{"64512:7"}},
			{Prefix: pfx("10.130.8.0/24"), Communities: []string{"64512:8"}},
			{Prefix: pfx("10.130.8.0/24"), Peers: []string{"t1"}, Communities: []string{"64512:9"}, Prepend: 1},
			{Prefix: pfx("10.130.9.0/24"), Peers: []string{"elsewhere"}},
			{Prefix: pfx("10.130.12.0/24"), NextHop: addr("10.0.0.77")},
			{Prefix: pfx("fd10:2::/64")},
		}
	})
	a, b, internal := call(0), call(1), call(2)
	u := a.announces("10.130.2.0/24")
	if !slices.Equal(u.ASPath, []uint32{65002, 65002, 65002}) {
		t.Errorf("AS path %v", u.ASPath)
	}
	if got := u.Attrs[rawbgp.AttrCommunities]; !slices.Equal(got, []byte{0xfc, 0, 0, 100, 0xff, 0xff, 0xff, 1}) {
		t.Errorf("communities %v", got)
	}
	if got := u.Attrs[rawbgp.AttrLarge]; !slices.Equal(got, []byte{0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3}) {
		t.Errorf("large communities %v", got)
	}
	if got, ok := u.Attrs[rawbgp.AttrMED]; !ok || !slices.Equal(got, []byte{0, 0, 0, 0}) {
		t.Errorf("MED %v", got)
	}
	if _, ok := u.Attrs[rawbgp.AttrLocalPref]; ok {
		t.Error("LOCAL_PREF towards an external neighbour")
	}
	u = internal.announces("10.130.2.0/24")
	if got := u.Attrs[rawbgp.AttrLocalPref]; !slices.Equal(got, []byte{0, 0, 0, 200}) || len(u.ASPath) != 0 {
		t.Errorf("LOCAL_PREF %v, AS path %v towards an internal neighbour", got, u.ASPath)
	}
	if u := a.announces("10.130.12.0/24"); u.NextHop != addr("10.0.0.77") {
		t.Errorf("next hop %v", u.NextHop)
	}
	b.announces("10.130.7.0/24")
	if u := b.announces("10.130.8.0/24"); !slices.Equal(u.Attrs[rawbgp.AttrCommunities], []byte{0xfc, 0, 0, 9}) || len(u.ASPath) != 2 {
		t.Errorf("the path for t1 has %v", u.Attrs)
	}
	if u := a.announces("10.130.8.0/24"); !slices.Equal(u.Attrs[rawbgp.AttrCommunities], []byte{0xfc, 0, 0, 8}) {
		t.Errorf("the path for all has %v", u.Attrs)
	}
	want := []string{"10.130.12.0/24", "10.130.2.0/24", "10.130.8.0/24", "fd10:2::/64"}
	if got := a.told(); !slices.Equal(got, want) {
		t.Errorf("t0 was told %v, want %v", got, want)
	}
	// Changed attributes reach the neighbours without a reset.
	c.Paths[0].Communities, c.Paths[0].Prepend = []string{"graceful-shutdown"}, 0
	p.set(c)
	nstest.Within(t, 5*time.Second, func() error {
		if u := a.announces("10.130.2.0/24"); !slices.Equal(u.Attrs[rawbgp.AttrCommunities], []byte{0xff, 0xff, 0, 0}) || len(u.ASPath) != 1 {
			return fmt.Errorf("attributes %v", u.Attrs)
		}
		return nil
	})
	c.Paths[1].Peers = []string{"t0"}
	p.set(c)
	a.announces("10.130.7.0/24")
	b.withdraws("10.130.7.0/24")
	for _, st := range p.must("peers").Peers {
		if st.Flaps != 0 {
			t.Errorf("%s flapped", st.Name)
		}
	}
	adv := p.must("advertised").Advertised
	if i := slices.IndexFunc(adv, func(r AdvertisedRoute) bool { return r.Peer == "t1" && r.Prefix == pfx("10.130.8.0/24") }); i < 0 ||
		!slices.Equal(adv[i].Communities, []string{"64512:9"}) || !slices.Equal(adv[i].ASPath, []uint32{65002, 65002}) {
		t.Errorf("Advertised says %+v", adv)
	}
}

func TestOwnASInPaths(t *testing.T) {
	t.Parallel()
	p, _, call := star(t, 3, func(c *Config) {
		c.Transit = true
		c.Peers[1].AllowOwnAS = 1
		c.Peers[2].AS, c.Peers[2].OverrideAS = 65100, true
	})
	a, b := call(0), call(1)
	a.send(rawbgp.Announce([]uint32{65100, 65002}, addr("10.0.0.1"), prefixList("10.130.1.0/24")))
	b.send(rawbgp.Announce([]uint32{65101, 65002}, addr("10.0.1.1"), prefixList("10.130.3.0/24")))
	p.learns("10.130.3.0/24 via 10.0.1.1")
	a.send(rawbgp.Announce([]uint32{65100}, addr("10.0.0.1"), prefixList("10.130.4.0/24")))
	same := call(2)
	if u := same.announces("10.130.4.0/24"); !slices.Equal(u.ASPath, []uint32{65002, 65002}) {
		t.Errorf("AS path %v, want our AS in place of the neighbour's own", u.ASPath)
	}
}
