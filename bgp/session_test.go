package bgp

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/rawbgp"
)

// speak starts a speaker in ns with these peers.
func speak(t testing.TB, ns *nstest.NS, change func(*Config), peers ...Peer) (*process, Config) {
	t.Helper()
	c := ours()
	c.Peers = peers
	if change != nil {
		change(&c)
	}
	p := startSpeaker(t, ns, "node")
	p.set(c)
	return p, c
}

// passive is the neighbour of pair, whom we wait for.
func passive() Peer {
	p := them()
	p.Passive = true
	return p
}

func TestBothFamiliesOverOneSession(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	p, _ := speak(t, us, nil, passive())
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	if u := r.announces("10.130.2.0/24"); u.NextHop != addr("10.0.0.2") {
		t.Errorf("next hop of our IPv4 prefix is %v", u.NextHop)
	}
	if u := r.announces("fd10:2::/64"); u.NextHop != addr("fd00::2") {
		t.Errorf("next hop of our IPv6 prefix is %v", u.NextHop)
	}
	r.send(
		rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24", "192.168.0.0/16")),
		rawbgp.Announce([]uint32{65001}, addr("fd00::1"), prefixList("fd10:1::/64")))
	p.learns("10.130.1.0/24 via 10.0.0.1", "fd10:1::/64 via fd00::1")
	st := p.peer("tor")
	if st.Received[IPv4] != 2 || st.Accepted[IPv4] != 1 || st.Received[IPv6] != 1 || st.Accepted[IPv6] != 1 || st.Advertised[IPv4] != 1 || st.Advertised[IPv6] != 1 ||
		st.HoldTime != 90*time.Second || !st.GracefulRestart || !slices.Equal(st.Families, []Family{IPv4, IPv6}) {
		t.Errorf("peer state %+v", st)
	}
	r.send(rawbgp.Withdraw(prefixList("10.130.1.0/24")))
	p.learns("fd10:1::/64 via fd00::1")
	r.send(rawbgp.Withdraw(prefixList("fd10:1::/64")))
	p.learns()
}

// What DESIGN calls hostile or misconfigured: none of it gets in, and what is good stays.
func TestImportKeepsOut(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	p, _ := speak(t, us, nil, passive())
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	bad := []string{
		"0.0.0.0/0", "128.0.0.0/1", // default routes, whole and in halves
		"10.0.0.0/24", "10.0.0.0/25", // connected
		"10.130.2.0/24", "10.130.2.128/25", "10.130.2.7/32", // our own subnet
		"10.96.0.0/12", "10.96.0.10/32", // services
		"192.168.7.0/24", "127.0.0.0/8", "224.0.0.0/4", // not of the cluster
	}
	bad6 := []string{"::/0", "fd10:2::/64", "fd10:2::1/128", "fd00::/64", "2001:db8::/32", "fe80::/64"}
	r.send(
		rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")),
		rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList(bad...)),
		rawbgp.Announce([]uint32{65001}, addr("fd00::1"), prefixList(bad6...)),
		rawbgp.Announce([]uint32{65001, 65002}, addr("10.0.0.1"), prefixList("10.131.0.0/24")), // our AS: a loop
		rawbgp.Announce([]uint32{65001}, addr("10.9.9.9"), prefixList("10.132.0.0/24")),        // unreachable: not for us to judge
		rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.3.0/24")))
	p.learns("10.130.1.0/24 via 10.0.0.1", "10.130.3.0/24 via 10.0.0.1", "10.132.0.0/24 via 10.9.9.9")
}

func TestFiltersChangeUnderTheSession(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	p, c := speak(t, us, nil, passive())
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	r.announces("10.130.2.0/24")
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24", "10.130.3.0/24", "192.168.0.0/16", "0.0.0.0/0")))
	p.learns("10.130.1.0/24 via 10.0.0.1", "10.130.3.0/24 via 10.0.0.1")

	steps := []struct {
		name   string
		filter Filter
		want   []string
	}{
		{
			"accept more",
			Filter{Accept: among(within("192.168.0.0/16"))},
			[]string{"10.130.1.0/24 via 10.0.0.1", "10.130.3.0/24 via 10.0.0.1", "192.168.0.0/16 via 10.0.0.1"},
		},
		{
			"accept the default route by name",
			Filter{Accept: among(PrefixRange{pfx("0.0.0.0/0"), 0, 0})},
			[]string{"0.0.0.0/0 via 10.0.0.1", "10.130.1.0/24 via 10.0.0.1", "10.130.3.0/24 via 10.0.0.1"},
		},
		{
			"a range is no name",
			Filter{Accept: among(PrefixRange{pfx("0.0.0.0/0"), 0, 1})},
			[]string{"10.130.1.0/24 via 10.0.0.1", "10.130.3.0/24 via 10.0.0.1"},
		},
		{
			"reject wins",
			Filter{Accept: among(within("10.130.0.0/16")), Reject: among(within("10.130.3.0/24"))},
			[]string{"10.130.1.0/24 via 10.0.0.1"},
		},
		{"back", Filter{}, []string{"10.130.1.0/24 via 10.0.0.1", "10.130.3.0/24 via 10.0.0.1"}},
	}
	for _, s := range steps {
		c.Peers[0].Import = s.filter
		p.set(c)
		p.learns(s.want...)
	}
	c.Peers[0].Export.Reject = among(within("10.130.2.0/24"))
	p.set(c)
	r.withdraws("10.130.2.0/24")
	c.Peers[0].Export = Filter{Accept: among(within("10.0.0.0/8"))}
	p.set(c)
	r.announces("10.130.2.0/24")
	c.Peers[0].MaxPrefixes = 100
	p.set(c)
	if st := p.peer("tor"); st.State != "Established" || st.Flaps != 0 || st.Received[IPv4] != 4 {
		t.Errorf("the session was touched: %+v", st)
	}
}

func TestOnlyTheChangedSessionIsReset(t *testing.T) {
	t.Parallel()
	us, a, b := nstest.New(t), nstest.New(t), nstest.New(t)
	link(t, us, a, 0)
	link(t, us, b, 1)
	first, second := passive(), passive()
	second.Name, second.Address, second.NextHops = "spare", addr("10.0.1.1"), nil
	second.Families, second.GracefulRestart = []Family{IPv4}, false
	p, c := speak(t, us, nil, first, second)
	ra := dial(t, a, "10.0.0.1", "10.0.0.2", tor())
	rb := dial(t, b, "10.0.1.1", "10.0.1.2", tor())
	p.established("tor", "spare")

	c.Peers[1].Hold = 30 * time.Second
	p.set(c)
	var closed *rawbgp.Closed
	if err := rb.ends(5 * time.Second); !errors.As(err, &closed) || closed.Code != 6 {
		t.Errorf("the changed session ended with %v, want Cease", err)
	}
	dial(t, b, "10.0.1.1", "10.0.1.2", tor())
	p.established("tor", "spare")
	if st := p.peer("spare"); st.HoldTime != 30*time.Second {
		t.Errorf("hold time is %v", st.HoldTime)
	}
	select {
	case err := <-ra.failed:
		t.Errorf("the other session ended with %v", err)
	default:
	}
	c.Peers = c.Peers[:1]
	p.set(c)
	if n := len(p.must("peers").Peers); n != 1 {
		t.Errorf("%d peers after one was removed", n)
	}
}

func TestLinkDownTakesRoutesAtOnce(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	l := listen(t, torNS, "10.0.0.1:179", "", netip.Addr{})
	p, c := speak(t, us, nil, them())
	r := answerCall(t, l, tor())
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")), rawbgp.EndOfRIB(false), rawbgp.EndOfRIB(true))
	p.learns("10.130.1.0/24 via 10.0.0.1")
	c.Peers[0].Down = true
	start := time.Now()
	p.set(c)
	p.learns()
	if d := time.Since(start); d > 500*time.Millisecond {
		t.Errorf("routes gone after %v", d)
	}
	if st := p.peer("tor"); st.Reason != ReasonLinkDown || st.State != "Idle" {
		t.Errorf("state %+v", st)
	}
	p.set(c) // again: nothing happens
	c.Peers[0].Down = false
	start = time.Now()
	p.set(c)
	answerCall(t, l, tor())
	if d := time.Since(start); d > 2500*time.Millisecond {
		t.Errorf("dialled again after %v", d)
	}
	p.established("tor")
}

func TestMaxPrefixes(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	peer := passive()
	peer.MaxPrefixes = 1000
	p, c := speak(t, us, nil, peer)
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	p.established("tor")
	all := manyPrefixes(200_000)
	go func() { // the speaker hangs up in between
		for chunk := range slices.Chunk(all, 500) {
			if r.Send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), chunk)) != nil {
				return
			}
		}
	}()
	_ = r.ends(10 * time.Second)
	nstest.Within(t, 5*time.Second, func() error {
		if st := p.peer("tor"); st.Reason != ReasonMaxPrefixes || st.State == "Established" {
			return fmt.Errorf("state %+v", st)
		}
		return nil
	})
	p.learns()
	if out, err := torNS.Try("timeout 1 nc -w1 10.0.0.2 179"); err == nil && out != "" {
		t.Errorf("the speaker still talks to it: %q", out)
	}
	c.Peers[0].MaxPrefixes = 500_000
	p.set(c)
	dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	p.established("tor")
}

func TestLeavingForms(t *testing.T) {
	t.Parallel()
	for op, wantCease := range map[string]bool{"leave": true, "restart": false} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			us, torNS := pair(t)
			p, c := speak(t, us, nil, passive())
			r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
			r.announces("10.130.2.0/24")
			p.must(op)
			err := r.ends(5 * time.Second)
			var closed *rawbgp.Closed
			if wantCease && (!errors.As(err, &closed) || closed.Code != 6) {
				t.Errorf("ended with %v, want Cease", err)
			}
			if !wantCease && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
				t.Errorf("ended with %v, want a plain close", err)
			}
			if !wantCease && len(r.told()) != 2 {
				t.Errorf("some routes were withdrawn: %v is left", r.told())
			}
			if _, err := p.call(request{Op: "set", Config: c}); err == nil {
				t.Error("Set works after the end")
			}
		})
	}
}

func TestRedialsSoonAfterALoss(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	l := listen(t, torNS, "10.0.0.1:179", "", netip.Addr{})
	peer := them()
	peer.GracefulRestart = false
	p, _ := speak(t, us, nil, peer)
	start := time.Now()
	r := answerCall(t, l, tor())
	if d := time.Since(start); d > 2500*time.Millisecond {
		t.Errorf("first dial after %v", d)
	}
	p.established("tor")
	time.Sleep(settled + 500*time.Millisecond)
	_ = r.Close()
	start = time.Now()
	answerCall(t, l, tor())
	if d := time.Since(start); d > 2500*time.Millisecond {
		t.Errorf("dialled again after %v", d)
	}
	if st := p.peer("tor"); st.Flaps != 1 {
		t.Errorf("%d flaps", st.Flaps)
	}
}

// A neighbour that ends its first session within seconds may call again at once.
func TestCallsAgainAtOnce(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	peer := passive()
	peer.GracefulRestart = false
	p, _ := speak(t, us, nil, peer)
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	p.established("tor")
	_ = r.Close()
	nstest.Within(t, 3*time.Second, func() error { // gobgp refuses calls for five seconds
		s, err := dialWith(torNS, "10.0.0.1", "10.0.0.2", "")
		if err == nil {
			follow(t, s)
		}
		return err
	})
}

// One wrong peer is named; the others work.
func TestBadPeersDoNotHarm(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	bad := []Peer{
		{Name: "no address", AS: 65001},
		{Name: "twice", AS: 65001, Address: addr("10.0.0.1")},
		{Name: "link-local without a zone", AS: 65001, Address: addr("fe80::1")},
		{Name: "zero AS", Address: addr("10.0.0.9")},
		{Name: "short hold time", AS: 65001, Address: addr("10.0.0.10"), Hold: time.Second},
		{Name: "no such interface", AS: 65001, Address: addr("fe80::1%nowhere")},
		{Name: "", AS: 65001, Address: addr("10.0.0.11")},
	}
	c := ours()
	c.Peers = append([]Peer{passive()}, bad...)
	c.Paths = append(c.Paths, Path{Prefix: pfx("10.130.4.0/24"), Communities: []string{"70000:1"}})
	p := startSpeaker(t, us, "node")
	_, err := p.call(request{Op: "set", Config: c})
	if err == nil {
		t.Fatal("no error")
	}
	for _, b := range bad {
		if !strings.Contains(err.Error(), "BGP peer "+b.Name+": ") {
			t.Errorf("no word of %q in: %v", b.Name, err)
		}
	}
	if !strings.Contains(err.Error(), "10.130.4.0/24") {
		t.Errorf("no word of the path in: %v", err)
	}
	dial(t, torNS, "10.0.0.1", "10.0.0.2", tor()).announces("10.130.2.0/24")
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	l := listen(t, us, "10.0.0.2:179", "", netip.Addr{})
	c := ours()
	c.Peers = []Peer{passive()}
	p := startSpeaker(t, us, "node")
	if _, err := p.call(request{Op: "set", Config: c}); err == nil || !strings.Contains(err.Error(), "stop the other BGP daemon") {
		t.Errorf("error %v", err)
	}
	_ = l.Close()
	// A process that another test is starting holds what was open at its fork until its exec.
	nstest.Within(t, 15*time.Second, func() error {
		_, err := p.call(request{Op: "set", Config: c})
		return err
	})
	dial(t, torNS, "10.0.0.1", "10.0.0.2", tor()).announces("10.130.2.0/24")
}

func TestANewASStartsAnew(t *testing.T) {
	t.Parallel()
	us, torNS := pair(t)
	p, c := speak(t, us, nil, passive())
	r := dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")))
	p.learns("10.130.1.0/24 via 10.0.0.1")
	c.AS = 65003
	p.set(c)
	_ = r.ends(5 * time.Second)
	p.learns()
	r = dial(t, torNS, "10.0.0.1", "10.0.0.2", tor())
	if u := r.announces("10.130.2.0/24"); !slices.Equal(u.ASPath, []uint32{65003}) {
		t.Errorf("AS path %v", u.ASPath)
	}
	r.send(rawbgp.Announce([]uint32{65001}, addr("10.0.0.1"), prefixList("10.130.1.0/24")))
	p.learns("10.130.1.0/24 via 10.0.0.1")
}

// manyPrefixes are n different /24s and longer of 10.128.0.0/9.
func manyPrefixes(n int) []netip.Prefix {
	out := make([]netip.Prefix, n)
	for i := range out {
		bits := 24
		v := uint32(0x0a800000) + uint32(i)<<8
		if i >= 1<<15 { // longer ones when the /24s have run out
			bits, v = 32, uint32(0x0a800000)+uint32(i)
		}
		out[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), bits)
	}
	return out
}
