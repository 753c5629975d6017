package bgp

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"pgregory.net/rapid"
)

// A reader who applies what drain says has, at every moment it drains, what the neighbours' words add up to.
func TestTableAddsUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tab := newTable(make(chan struct{}, 1), newAgenda())
		peers := []netip.Addr{addr("10.0.0.1"), addr("10.0.0.2"), addr("fe80::1%e0"), addr("fe80::1%e1")}
		names := map[netip.Addr]string{}
		c := Config{MaxPaths: rapid.IntRange(1, 3).Draw(t, "paths"), Import: []PrefixRange{within("0.0.0.0/0"), within("::/0")}}
		for i, p := range peers {
			names[p] = string(rune('a' + i))
			c.Peers = append(c.Peers, Peer{Name: names[p], Address: p, AS: 1})
		}
		learnFrom(tab, c)

		model := map[netip.Prefix]map[netip.Addr]netip.Addr{} // prefix, peer (none for us), next hop
		reader := map[netip.Prefix][]Via{}
		prefix := rapid.SampledFrom(prefixList("10.0.0.0/8", "10.0.0.0/16", "fd00::/64"))
		hop := rapid.SampledFrom([]netip.Addr{addr("10.0.0.1"), addr("10.0.0.2"), addr("fd00::9")})
		own := func(p netip.Prefix, add bool) {
			c.Paths = slices.DeleteFunc(c.Paths, func(x Path) bool { return x.Prefix == p })
			delete(model[p], netip.Addr{})
			if add {
				c.Paths = append(c.Paths, Path{Prefix: p})
				place(model, p)[netip.Addr{}] = netip.Addr{}
			}
			learnFrom(tab, c)
		}
		drain := func() {
			changes, all := tab.drain()
			if all {
				clear(reader)
			}
			for _, l := range changes {
				if _, twice := reader[l.Prefix]; len(l.Via) == 0 && !twice {
					t.Fatalf("%v is withdrawn, but was never told", l.Prefix)
				}
				if delete(reader, l.Prefix); len(l.Via) > 0 {
					reader[l.Prefix] = l.Via
				}
			}
			want := map[netip.Prefix][]Via{}
			for p, byPeer := range model {
				if via := modelVia(byPeer, names, c.MaxPaths); len(via) > 0 && !c.rejects(p) {
					want[p] = via
				}
			}
			if len(want) != len(reader) {
				t.Fatalf("reader has %v, want %v", reader, want)
			}
			for p, via := range want {
				if !slices.Equal(via, reader[p]) {
					t.Fatalf("%v: reader has %v, want %v", p, reader[p], via)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"announce": func(t *rapid.T) {
				p, peer, h := prefix.Draw(t, "prefix"), rapid.SampledFrom(peers).Draw(t, "peer"), hop.Draw(t, "hop")
				place(model, p)[peer] = h
				say(tab, peer, h, p)
			},
			"withdraw": func(t *rapid.T) {
				p, peer := prefix.Draw(t, "prefix"), rapid.SampledFrom(peers).Draw(t, "peer")
				delete(model[p], peer)
				say(tab, peer, netip.Addr{}, p)
			},
			"own":    func(t *rapid.T) { own(prefix.Draw(t, "prefix"), true) },
			"disown": func(t *rapid.T) { own(prefix.Draw(t, "prefix"), false) },
			"bound": func(t *rapid.T) {
				c.MaxPaths = rapid.IntRange(1, 3).Draw(t, "paths")
				learnFrom(tab, c)
			},
			"filter": func(t *rapid.T) {
				c.NeverEver = rapid.SliceOfN(prefix, 0, 2).Draw(t, "rejected")
				learnFrom(tab, c)
			},
			"lose": func(t *rapid.T) {
				peer := rapid.SampledFrom(peers).Draw(t, "peer")
				for _, byPeer := range model {
					delete(byPeer, peer)
				}
				hears(tab, peer, saysDown)
				tab.ended(peer, nil)
				hears(tab, peer, saysUp)
			},
			"forget": func(*rapid.T) {
				clear(model)
				tab.forget()
				c.Paths = nil
				learnFrom(tab, c)
			},
			"drain": func(*rapid.T) { drain() },
		})
		drain()
		routes := 0
		for _, byPeer := range model {
			if len(byPeer) > 0 {
				routes++
			}
		}
		if tab.routes.Len() != routes || len(tab.sets) > routes {
			t.Fatalf("%d routes and %d sets are held for %d routes", tab.routes.Len(), len(tab.sets), routes)
		}
	})
}

// learnFrom tells the table of a configuration, and brings up the sessions of new neighbours.
func learnFrom(tab *table, c Config) {
	rules := importRules(c)
	tab.settings(c, rules, func(peer netip.Addr) bool { return false })
	for _, p := range c.Peers {
		if n := tab.peers[p.Address]; n.session == 0 {
			hears(tab, p.Address, saysUp)
		}
	}
}

// A neighbour that is removed and added again is another: what gobgp has yet to tell of it as it was changes nothing.
func TestLateGoodbye(t *testing.T) {
	t.Parallel()
	tab := newTable(make(chan struct{}, 1), newAgenda())
	a := addr("10.0.0.1")
	learnFrom(tab, Config{AS: 65002, MaxPaths: 8, Import: []PrefixRange{within("10.128.0.0/9")}, Peers: []Peer{{Name: "a", Address: a, AS: 1}}})
	say(tab, a, a, prefixList("10.130.1.0/24")...)
	tab.heed(a, time.Now())
	tab.silence(a)
	before := voice{life: tab.life, peer: a, born: time.Now().Add(-time.Second)}
	says := func(v voice, text string) { tab.hear(v, slog.NewRecord(time.Time{}, slog.LevelDebug, text, 0)) }
	if says(before, saysUp); tab.peers[a].live {
		t.Error("who was removed is up")
	}
	now := voice{life: tab.life, peer: a, born: time.Now()}
	says(now, saysUp)
	if says(before, saysDown); !tab.peers[a].live {
		t.Error("who was added again went with its predecessor")
	}
	if says(now, saysDown); tab.peers[a].live {
		t.Error("who has gone is still there")
	}
}

// chooses wants these routes, by their best paths, and no others.
func chooses(t *testing.T, tab *table, step string, want ...string) {
	t.Helper()
	got := map[netip.Prefix][]Via{}
	for r := range tab.routes.All() {
		got[r.prefix] = r.now.vias()
	}
	if text := viaText(got); !slices.Equal(text, want) {
		t.Errorf("%s: %q, want %q", step, text, want)
	}
}

// hears lets the table hear a message of gobgp's log.
func hears(tab *table, peer netip.Addr, text string, attrs ...slog.Attr) {
	r := slog.NewRecord(time.Time{}, slog.LevelDebug, text, 0)
	r.AddAttrs(attrs...)
	tab.hear(voice{life: tab.life, peer: peer}, r)
}

// say has a neighbour announce prefixes with this next hop, or without one withdraw them.
func say(tab *table, peer, hop netip.Addr, prefixes ...netip.Prefix) {
	var list []gobgp.PathNLRI
	for _, p := range prefixes {
		nlri, err := gobgp.NewIPAddrPrefix(p)
		if err != nil {
			panic(err)
		}
		list = append(list, gobgp.PathNLRI{NLRI: nlri})
	}
	if !hop.IsValid() {
		hears(tab, peer, saysUpdate, slog.Any("withdrawals", list))
		return
	}
	attrs := []gobgp.PathAttributeInterface{gobgp.NewPathAttributeOrigin(0), &gobgp.PathAttributeNextHop{Value: hop}}
	hears(tab, peer, saysUpdate, slog.Any("nlri", list), slog.Any("path_attributes", attrs))
}

func place(model map[netip.Prefix]map[netip.Addr]netip.Addr, p netip.Prefix) map[netip.Addr]netip.Addr {
	if model[p] == nil {
		model[p] = map[netip.Addr]netip.Addr{}
	}
	return model[p]
}

// rejects says whether NeverEver names the prefix, or one around it.
func (c Config) rejects(p netip.Prefix) bool {
	return slices.ContainsFunc(inside(c.NeverEver), func(r PrefixRange) bool { return r.contains(p) })
}

func modelVia(byPeer map[netip.Addr]netip.Addr, names map[netip.Addr]string, maxPaths int) []Via {
	if _, ours := byPeer[netip.Addr{}]; ours {
		return nil
	}
	var sorted []netip.Addr
	for p := range byPeer {
		sorted = append(sorted, p)
	}
	slices.SortFunc(sorted, netip.Addr.Compare)
	var out []Via
	for _, p := range sorted {
		if len(out) < maxPaths && !slices.ContainsFunc(out, func(v Via) bool { return v.Addr == byPeer[p] }) {
			out = append(out, Via{Addr: byPeer[p], Peer: names[p]})
		}
	}
	return out
}

// Routes with the same paths share what they are told by.
func TestEqualSetsAreShared(t *testing.T) {
	t.Parallel()
	tab := newTable(make(chan struct{}, 1), newAgenda())
	learnFrom(tab, Config{MaxPaths: 8, Import: []PrefixRange{within("10.0.0.0/8")}, Peers: []Peer{
		{Name: "a", Address: addr("10.0.0.1"), AS: 1}, {Name: "b", Address: addr("10.0.0.2"), AS: 2},
	}})
	for _, p := range prefixList("10.1.0.0/16", "10.2.0.0/16") {
		say(tab, addr("10.0.0.2"), addr("10.0.0.2"), p)
		say(tab, addr("10.0.0.1"), addr("10.0.0.1"), p)
	}
	changes, all := tab.drain()
	if !all || len(changes) != 2 || len(changes[0].Via) != 2 || &changes[0].Via[0] != &changes[1].Via[0] {
		t.Errorf("%v, all %v", changes, all)
	}
	if changes, all := tab.drain(); all || len(changes) != 0 {
		t.Errorf("a second drain gives %v, all %v", changes, all)
	}
}

func TestNextHops(t *testing.T) {
	t.Parallel()
	reach := func(nh ...netip.Addr) gobgp.PathAttributeInterface {
		nlri, err := gobgp.NewIPAddrPrefix(pfx("fd00::/64"))
		if err != nil {
			t.Fatal(err)
		}
		a, err := gobgp.NewPathAttributeMpReachNLRI(gobgp.RF_IPv6_UC, []gobgp.PathNLRI{{NLRI: nlri}}, nh...)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	four, err := gobgp.NewPathAttributeNextHop(addr("10.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	linkLocalOnly := reach(addr("fd00::1"), addr("fe80::5"))
	linkLocalOnly.(*gobgp.PathAttributeMpReachNLRI).Nexthop = netip.IPv6Unspecified() // as BIRD sends it
	for name, x := range map[string]struct {
		attr gobgp.PathAttributeInterface
		want string
	}{
		"IPv4": {four, "10.0.0.1"}, "IPv6": {reach(addr("fd00::1")), "fd00::1"},
		"IPv6 with link-local": {reach(addr("fd00::1"), addr("fe80::5")), "fd00::1"},
		"link-local":           {reach(addr("fe80::5")), "fe80::5%e7"},
		"zero and link-local":  {linkLocalOnly, "fe80::5%e7"},
	} {
		if got := nextHop([]gobgp.PathAttributeInterface{gobgp.NewPathAttributeOrigin(0), x.attr}, "e7"); got != addr(x.want) {
			t.Errorf("%s: %v, want %s", name, got, x.want)
		}
	}
}

func TestAgenda(t *testing.T) {
	t.Parallel()
	a, now := newAgenda(), time.Now()
	x, y := addr("10.0.0.1"), addr("10.0.0.2")
	a.set(x, softOut, now.Add(time.Second))
	a.set(x, softOut, now.Add(2*time.Second))
	a.set(x, redial, now)
	a.set(y, redial, now.Add(time.Minute))
	a.set(y, endStale, now.Add(time.Hour))
	due, next := a.list(now)
	if len(due) != 1 || due[0] != (appointment{x, redial}) || !next.Equal(now.Add(2*time.Second)) {
		t.Errorf("due %v, next %v", due, next)
	}
	if !a.keep(due[0], now) || a.keep(due[0], now) {
		t.Error("an appointment is kept once")
	}
	a.set(x, redial, now)
	a.set(x, redial, now.Add(time.Second))
	if a.keep(appointment{x, redial}, now) {
		t.Error("an appointment that was moved is kept at its old time")
	}
	a.cancel(y, endStale)
	a.cancel(x)
	if a.keep(appointment{x, softOut}, now.Add(time.Hour)) {
		t.Error("an appointment is kept that was cancelled")
	}
	if due, next = a.list(now.Add(2 * time.Hour)); len(due) != 1 || due[0] != (appointment{y, redial}) || !next.IsZero() {
		t.Errorf("due %v, next %v", due, next)
	}
	select {
	case <-a.wake:
	default:
		t.Error("nobody was woken")
	}
}
