package bgp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
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
	if got := capabilities(r.Peer)[69]; string(got) != "\x00\x01\x01\x01" {
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
	us := nstest.New(t)
	var spaces []*nstest.NS
	var peers []Peer
	for i := range 4 {
		spaces = append(spaces, nstest.New(t))
		link(t, us, spaces[i], i)
		peers = append(peers, Peer{
			Name: fmt.Sprintf("t%d", i), Address: addr(fmt.Sprintf("10.0.%d.1", i)), AS: 65002, Passive: true, Families: []Family{IPv4}, ReflectorClient: true,
			ReceivePaths: true, SendPaths: true,
		})
	}
	p, _ := speak(t, us, func(c *Config) { c.AS, c.Paths = 65002, nil }, peers...)
	client := startSpeaker(t, spaces[3], "client")
	c := ours()
	c.RouterID, c.Paths, c.NeverEver = addr("10.0.3.1"), nil, nil
	c.Peers = []Peer{{Name: "rr", Address: addr("10.0.3.2"), AS: 65002, Families: []Family{IPv4}, ReceivePaths: true}}
	client.set(c)
	client.established("rr")
	var raws []*raw
	for i := range 3 {
		a := fmt.Sprintf("10.0.%d.1", i)
		raws = append(raws, dial(t, spaces[i], a, fmt.Sprintf("10.0.%d.2", i), rawbgp.Open{AS: 65002, ID: addr(a), Hold: 90, IPv4: true}))
		p.established(peers[i].Name)
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
