package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
	"github.com/podroute/podroute/internal/routers"
)

// identified are prefixes with a path identifier, as RFC 7911 section 3 writes them.
func identified(id byte, prefixes ...netip.Prefix) []byte {
	var out []byte
	for _, p := range prefixes {
		out = append(append(out, 0, 0, 0, id), rawbgp.NLRI(p)...)
	}
	return out
}

// One neighbour tells several paths to a prefix: all are used, each is changed and withdrawn by itself, and they outlive a session
// as any do.
func TestPathsOfOneNeighbour(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	peer := passive()
	peer.ReceivePaths, peer.Families = true, []Family{IPv4}
	p, c := speak(t, us, nil, peer)
	open := tor()
	open.IPv6, open.Capabilities = false, []byte{69, 4, 0, 1, 1, 2} // it sends
	prefix := pfx("10.130.1.0/24")
	says := func(r *raw, id byte, hop string, as ...uint32) {
		r.send(rawbgp.Update(nil, rawbgp.Attributes(rawbgp.Origin(), rawbgp.ASPath(as...), rawbgp.NextHop(addr(hop))), identified(id, prefix)))
	}
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", open)
	if got := r.Capabilities()[69]; string(got) != "\x00\x01\x01\x01" {
		t.Errorf("capability is %v", got)
	}
	p.established("tor")
	says(r, 7, "10.0.0.17", 65001)
	says(r, 3, "10.0.0.13", 65001)
	says(r, 5, "10.0.0.15", 65001, 65009)
	p.learns("10.130.1.0/24 via 10.0.0.13,10.0.0.17")
	if st := p.peer("tor"); st.Received[IPv4] != 3 || st.Accepted[IPv4] != 3 {
		t.Errorf("%+v", st)
	}
	says(r, 3, "10.0.0.13", 65001, 65009)
	p.learns("10.130.1.0/24 via 10.0.0.17")
	r.send(rawbgp.Update(identified(7, prefix), nil, nil))
	p.learns("10.130.1.0/24 via 10.0.0.13,10.0.0.15")
	r.send(rawbgp.EndOfRIB(false))
	_ = r.Close()
	nstest.Within(t, 5*time.Second, func() error {
		if st := p.peer("tor"); !st.Stale {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	p.learns("10.130.1.0/24 via 10.0.0.13,10.0.0.15")
	r = dial(t, torNS, "10.0.0.1", "10.0.0.2", open)
	p.established("tor")
	says(r, 9, "10.0.0.13", 65001, 65009) // the same path, by another name
	p.learns("10.130.1.0/24 via 10.0.0.13,10.0.0.15")
	r.send(rawbgp.EndOfRIB(false))
	p.learns("10.130.1.0/24 via 10.0.0.13")

	// Each path counts.
	c.Peers[0].MaxPrefixes = 3
	p.set(c)
	for id := range byte(4) {
		says(r, 20+id, "10.0.0.13", 65001)
	}
	p.learns()
	if st := p.peer("tor"); st.Reason != ReasonMaxPrefixes {
		t.Errorf("%+v", st)
	}
}

// A reflector tells its clients all paths that it has, changes and takes back each by itself.
func TestPathsReflected(t *testing.T) {
	t.Parallel()
	us, spaces, peers := spokes(t, 4, func(_ int, q *Peer) {
		q.AS, q.Families, q.ReflectorClient, q.ReceivePaths, q.SendPaths = 65002, []Family{IPv4}, true, true, true
	})
	p, _ := speak(t, us, func(c *Config) { c.AS, c.Paths = 65002, nil }, peers...)
	client := startSpeaker(t, spaces[3], "client")
	c := ours()
	c.RouterID, c.Paths, c.NeverEver = addr("10.0.3.1"), nil, nil
	c.Peers = []Peer{{Name: "rr", Address: addr("10.0.3.2"), AS: 65002, Families: []Family{IPv4}, ReceivePaths: true}}
	client.set(c)
	client.established("rr")
	var raws []*raw
	for i := range 3 {
		raws = append(raws, callBy(t, p, spaces[i], i, rawbgp.Open{AS: 65002, Hold: 90, IPv4: true}))
	}
	announce := func(i int, hop string, pref byte) {
		raws[i].send(rawbgp.Announce(nil, addr(hop), prefixList("10.130.1.0/24"), rawbgp.Attr{
			Flags: rawbgp.Transitive, Type: rawbgp.AttrLocalPref, Value: []byte{0, 0, 0, pref},
		}))
	}
	announce(0, "10.0.0.1", 100)
	client.learns("10.130.1.0/24 via 10.0.0.1")
	announce(1, "10.0.1.1", 100)
	announce(2, "10.0.2.1", 100)
	client.learns("10.130.1.0/24 via 10.0.0.1,10.0.1.1,10.0.2.1")
	announce(0, "10.0.0.7", 100) // takes the place of what was said before
	client.learns("10.130.1.0/24 via 10.0.0.7,10.0.1.1,10.0.2.1")
	announce(1, "10.0.1.1", 200)
	client.learns("10.130.1.0/24 via 10.0.1.1")
	announce(1, "10.0.1.1", 50)
	client.learns("10.130.1.0/24 via 10.0.0.7,10.0.2.1")
	raws[0].send(rawbgp.Withdraw(prefixList("10.130.1.0/24")))
	client.learns("10.130.1.0/24 via 10.0.2.1")
	_ = raws[2].Close()
	client.learns("10.130.1.0/24 via 10.0.1.1")
	if st := client.peer("rr"); st.Received[IPv4] != 1 {
		t.Errorf("%d paths are left, want 1", st.Received[IPv4])
	}
}

// A router that reflects tells a node several paths over one session, and a node that reflects tells a router several.
func TestInteropAddPath(t *testing.T) {
	t.Parallel()
	prefix := pfx("10.130.1.0/24")
	hops := []string{"10.0.0.11", "10.0.0.12", "10.0.0.13"}
	// lan has the node and the other nodes at one end of a link, and the router at the other.
	lan := func(t *testing.T) (us, torNS *nstest.NS) {
		us, torNS = pair(t)
		for _, h := range hops {
			us.Run(t, "ip addr add "+h+"/24 dev e0")
		}
		return us, torNS
	}
	// announced has other nodes announce the prefix to whoever is at to.
	announced := func(t *testing.T, us *nstest.NS, from, to string) (takeBack func()) {
		open := rawbgp.Open{AS: 65001, ID: addr(from), Hold: 90, IPv4: true}
		r := dial(t, us, from, to, open)
		r.send(rawbgp.Announce(nil, addr(from), []netip.Prefix{prefix}, rawbgp.LocalPref(100)), rawbgp.EndOfRIB(false))
		return func() { r.send(rawbgp.Withdraw([]netip.Prefix{prefix})) }
	}
	routers.Feature{Name: "topologies: a reflector tells several paths over one session (add-path, RFC 7911)"}.Each(t, func(t *testing.T, kind routers.Kind) {
		t.Run("to us", func(t *testing.T) {
			t.Parallel()
			us, torNS := lan(t)
			conf := routers.Config{AS: 65001, RouterID: addr("10.0.0.1"), Multipath: true}
			for _, a := range append(hops, "10.0.0.2") {
				conf.Neighbors = append(conf.Neighbors, routers.Neighbor{
					Address: addr(a), AS: 65001, OwnFamily: true, ReflectorClient: true, Passive: a != "10.0.0.2", AddPath: a == "10.0.0.2", GracefulRestart: a == "10.0.0.2",
				})
			}
			tor := routers.Start(t, torNS, kind, conf)
			p, _ := speak(t, us, func(c *Config) { c.AS, c.Paths = 65001, nil }, Peer{
				Name: "rr", Address: addr("10.0.0.1"), AS: 65001, Local: addr("10.0.0.2"), Families: []Family{IPv4}, ReceivePaths: true, GracefulRestart: true,
			})
			p.established("rr")
			var takeBack []func()
			for _, h := range hops {
				takeBack = append(takeBack, announced(t, us, h, "10.0.0.1"))
			}
			p.learns("10.130.1.0/24 via 10.0.0.11,10.0.0.12,10.0.0.13")
			takeBack[1]()
			p.learns("10.130.1.0/24 via 10.0.0.11,10.0.0.13")
			takeBack[0]()
			takeBack[2]()
			p.learns()
			_ = tor
		})
		t.Run("from us", func(t *testing.T) {
			t.Parallel()
			us, torNS := lan(t)
			tor := routers.Start(t, torNS, kind, routers.Config{AS: 65001, RouterID: addr("10.0.0.1"), Multipath: true, Neighbors: []routers.Neighbor{
				{Address: addr("10.0.0.2"), AS: 65001, OwnFamily: true, AddPath: true, GracefulRestart: true},
			}})
			peers := []Peer{{
				Name: "tor", Address: addr("10.0.0.1"), AS: 65001, Local: addr("10.0.0.2"), Families: []Family{IPv4}, SendPaths: true, GracefulRestart: true, ReflectorClient: true,
			}}
			for _, h := range hops {
				peers = append(peers, Peer{Name: h, Address: addr(h), AS: 65001, Passive: true, Families: []Family{IPv4}, ReflectorClient: true})
			}
			p, _ := speak(t, us, func(c *Config) { c.AS, c.Paths = 65001, nil }, peers...)
			p.established("tor")
			var takeBack []func()
			for _, h := range hops {
				takeBack = append(takeBack, announced(t, us, h, "10.0.0.2"))
			}
			has := func(want ...netip.Addr) {
				t.Helper()
				nstest.Within(t, 10*time.Second, func() error {
					got, err := tor.Paths(prefix)
					if err == nil && !slices.Equal(got, want) {
						err = fmt.Errorf("%s has paths through %v, want %v", kind, got, want)
					}
					return err
				})
			}
			has(addr("10.0.0.11"), addr("10.0.0.12"), addr("10.0.0.13"))
			takeBack[0]()
			has(addr("10.0.0.12"), addr("10.0.0.13"))
		})
	})
}
