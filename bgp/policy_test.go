package bgp

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// text is a policy as the golden files have it.
func (p policy) text() string {
	var b strings.Builder
	for _, dir := range []struct {
		name  string
		rules []rule
	}{{"import", p.Import}, {"export", p.Export}} {
		b.WriteString(dir.name + "\n")
		for _, r := range dir.rules {
			b.WriteString("  " + r.String() + "\n")
		}
	}
	return b.String()
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	med := uint32(7)
	second := Peer{Name: "node-b", Address: addr("10.0.0.3"), AS: 65002, Only: prefixList("10.130.3.0/24", "fd10:3::/64")}
	for name, c := range map[string]Config{
		"node": func() Config {
			c := ours()
			c.Peers = []Peer{them(), second}
			return c
		}(),
		"router": func() Config {
			c := ours()
			c.Transit = true
			c.Peers = []Peer{them(), second}
			c.Peers[0].AllowOwnAS, c.Peers[0].LocalAS = 1, 64999
			return c
		}(),
		"reflector": func() Config {
			c := ours()
			second := second
			second.Only, second.ReflectorClient = nil, true
			c.Peers = []Peer{second}
			return c
		}(),
		"filters": func() Config {
			c := ours()
			p := them()
			p.Import = Filter{Accept: among(PrefixRange{pfx("0.0.0.0/0"), 0, 0}, within("192.168.0.0/16"), PrefixRange{pfx("10.96.3.0/24"), 32, 32}), Reject: among(within("10.200.0.0/16"))}
			p.Export = Filter{Accept: among(within("10.0.0.0/8")), Reject: among(within("10.1.0.0/16"))}
			c.Peers = []Peer{p}
			return c
		}(),
		"conditions": func() Config {
			c := ours()
			p, client := them(), second
			p.Import = Filter{Only: true, Accept: []Match{
				{Prefixes: PrefixRange{pfx("0.0.0.0/0"), 0, 0}, Communities: []string{"65001:1"}},
				{Communities: []string{"65001:*", "4200000000:1:*"}, Path: PathMatch{Neighbor: 65001, MaxLength: 3}},
				{Prefixes: within("10.130.0.0/16"), Path: PathMatch{Origin: 65009}},
				{Prefixes: within("fd10::/16"), Path: PathMatch{Origin: 65009}},
			}}
			p.Export = Filter{Reject: []Match{{Communities: []string{"64512:1"}}, {Family: IPv6}}}
			client.Only, client.ReflectorClient = nil, true
			client.Export = Filter{Accept: []Match{{Path: PathMatch{Contains: 65001}}, {Prefixes: within("10.130.2.0/24")}}}
			c.Transit, c.Peers = true, []Peer{p, client}
			c.Paths = append(c.Paths, Path{Prefix: pfx("10.130.5.0/24"), Communities: []string{"64512:1"}})
			return c
		}(),
		"drain": func() Config {
			c := ours()
			c.Peers, c.Drain, c.Transit = []Peer{them(), second}, true, true
			c.Paths = append(c.Paths, Path{Prefix: pfx("10.130.5.0/24"), LocalPref: &med, Communities: []string{"64512:1"}})
			return c
		}(),
		"next hops": func() Config {
			c := ours()
			c.Transit = true
			others := []Peer{them(), second, second, second, them()}
			for i, on := range []PassOn{PassOnUnchanged, PassOnUnchanged, PassOnSelf, PassOnDefault, PassOnSelf} {
				others[i].Name, others[i].Address, others[i].PassOn, others[i].Only = fmt.Sprint("peer", i), addr(fmt.Sprintf("10.0.0.%d", 10+i)), on, nil
			}
			c.Peers = others
			c.Paths = []Path{{Prefix: pfx("10.130.2.0/24"), NextHop: addr("10.0.0.99")}}
			return c
		}(),
		"reflector itself": func() Config {
			c := ours()
			second := second
			second.Only, second.ReflectorClient, second.PassOn = nil, true, PassOnSelf
			c.Peers = []Peer{second}
			return c
		}(),
		"aggregates": func() Config {
			c := ours()
			c.Transit = true
			c.Peers = []Peer{them(), second}
			c.Paths = append(c.Paths, Path{Prefix: pfx("10.131.0.0/20"), Aggregate: true}, Path{Prefix: pfx("10.132.0.0/20"), Aggregate: true, SummaryOnly: true},
				Path{Prefix: pfx("fd10:7::/48"), Aggregate: true, SummaryOnly: true, Peers: []string{"tor"}}, Path{Prefix: pfx("fd10:8::/48"), SummaryOnly: true, Peers: []string{"unheard-of"}})
			return c
		}(),
		"attributes": func() Config {
			c := ours()
			c.Peers = []Peer{them(), second}
			c.Paths = []Path{
				{Prefix: pfx("10.130.2.0/24"), Communities: []string{"64512:1", "blackhole", "1:2:3"}, Prepend: 2},
				{Prefix: pfx("10.130.4.0/24"), Communities: []string{"64512:1", "blackhole", "1:2:3"}, Prepend: 2},
				{Prefix: pfx("10.130.5.0/24"), MED: &med, NextHop: addr("10.0.0.9"), Peers: []string{"tor"}},
				{Prefix: pfx("10.130.6.0/24"), Peers: []string{"unheard-of"}},
			}
			return c
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checked, errs, fatal := c.checked()
			if fatal != nil || len(errs) > 0 {
				t.Fatal(fatal, errs)
			}
			got := compile(checked).text()
			golden := filepath.Join("testdata", "policy-"+strings.ReplaceAll(name, " ", "-")+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
		})
	}
}

// What concerns one neighbour must not make the routes of another be looked at anew.
func TestChangesConcernTheirNeighbour(t *testing.T) {
	t.Parallel()
	c := ours()
	a, b := them(), them()
	b.Name, b.Address = "other", addr("10.0.1.1")
	c.Peers = []Peer{a, b}
	before := compile(c)
	c.Peers = []Peer{a, b}
	c.Peers[1].Import.Reject = among(within("10.200.0.0/16"))
	after := compile(c)
	in, out := printsOf(before.Import), printsOf(before.Export)
	if !in.same(printsOf(after.Import), a.Address) {
		t.Error("the first neighbour's import rules have changed")
	}
	if in.same(printsOf(after.Import), b.Address) || in.equal(printsOf(after.Import)) {
		t.Error("the second neighbour's import rules have not changed")
	}
	if !out.same(printsOf(after.Export), b.Address) || !out.equal(printsOf(after.Export)) {
		t.Error("the export rules have changed")
	}
	c.Never = nil
	if in.same(printsOf(compile(c).Import), a.Address) {
		t.Error("a rule for all does not concern the first neighbour")
	}
}

func TestSessionKey(t *testing.T) {
	t.Parallel()
	c, _, _ := func() (Config, []error, error) {
		c := ours()
		c.Peers = []Peer{them()}
		return c.checked()
	}()
	p := c.Peers[0]
	for name, change := range map[string]func(*Peer){
		"AS": func(p *Peer) { p.AS++ }, "local AS": func(p *Peer) { p.LocalAS = 64999 }, "port": func(p *Peer) { p.Port = 1790 },
		"password": func(p *Peer) { p.Password = "x" }, "source": func(p *Peer) { p.Local = addr("10.0.0.2") },
		"passive": func(p *Peer) { p.Passive = true }, "multihop": func(p *Peer) { p.MultihopTTL = 2 },
		"TTL security": func(p *Peer) { p.TTLSecurity = 1 }, "hold": func(p *Peer) { p.Hold = time.Minute },
		"families": func(p *Peer) { p.Families = []Family{IPv6} }, "graceful restart": func(p *Peer) { p.GracefulRestart = false },
		"keepalive": func(p *Peer) { p.Keepalive = time.Second }, "override": func(p *Peer) { p.OverrideAS = true },
		"long-lived": func(p *Peer) { p.LongLived = time.Hour }, "receiving": func(p *Peer) { p.ReceivePaths = true },
		"sending": func(p *Peer) { p.SendPaths = true }, "external": func(p *Peer) { p.External = true },
		"restart time": func(p *Peer) { p.RestartTime = time.Minute }, "client": func(p *Peer) { p.ReflectorClient = true },
	} {
		q := p
		change(&q)
		if sessionKey(c, p) == sessionKey(c, q) {
			t.Errorf("a change of %s does not reset the session", name)
		}
	}
	for name, change := range map[string]func(*Peer){
		"name": func(p *Peer) { p.Name = "x" }, "import": func(p *Peer) { p.Import.Accept = among(within("10.0.0.0/8")) },
		"export": func(p *Peer) { p.Export.Reject = among(within("10.0.0.0/8")) }, "only": func(p *Peer) { p.Only = []netip.Prefix{} },
		"maximum": func(p *Peer) { p.MaxPrefixes = 9 }, "next hops": func(p *Peer) { p.NextHops = nil },
		"own AS": func(p *Peer) { p.AllowOwnAS = 1 }, "pass on": func(p *Peer) { p.PassOn = PassOnSelf }, "damping": func(p *Peer) { p.Undamped = true },
	} {
		q := p
		change(&q)
		if sessionKey(c, p) != sessionKey(c, q) {
			t.Errorf("a change of %s resets the session", name)
		}
	}
	other := c
	other.ClusterID = addr("10.9.9.9")
	if sessionKey(c, p) != sessionKey(other, p) {
		t.Error("a change of the cluster ID resets the session with one that is no client")
	}
	if p.ReflectorClient = true; sessionKey(c, p) == sessionKey(other, p) {
		t.Error("a change of the cluster ID does not reset the session with a client")
	}
}

func TestCommunities(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"64512:100": "64512:100", "0:0": "0:0", "65535:65535": "65535:65535", "no-export": "65535:65281",
		"NO_ADVERTISE": "65535:65282", "graceful-shutdown": "65535:0", "blackhole": "65535:666",
		"1:2:3": "1:2:3 large", "4294967295:0:1": "4294967295:0:1 large",
		"": "", "1": "", "1:2:3:4": "", "65536:1": "", "1:65536": "", "-1:1": "", "01:1": "", "1:x": "", "1: 2": "", "4294967296:1:1": "", "noexport": "",
	} {
		text, large, err := parseCommunity(in)
		if large {
			text += " large"
		}
		if text != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", in, text, err, want)
		}
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	c := ours()
	p := them()
	p.Export = Filter{Accept: among(within("10.0.0.0/8")), Reject: among(within("10.1.0.0/16"))}
	c.Peers = []Peer{p}
	c.Paths = []Path{{Prefix: pfx("10.130.2.0/24")}, {Prefix: pfx("10.1.1.0/24")}, {Prefix: pfx("192.168.0.0/24")}, {Prefix: pfx("fd10:2::/64")}}
	c, _, _ = c.checked()
	rules := compile(c).Export
	for prefix, want := range map[string]verdict{
		"10.130.2.0/24": accept, "10.1.1.0/24": reject, "192.168.0.0/24": reject, "fd10:2::/64": reject, "10.130.3.0/24": reject,
	} {
		if got := decide(rules, p.Address, pfx(prefix)); got != want {
			t.Errorf("%s: %v, want %v", prefix, got, want)
		}
	}
}

func TestCheckedConfig(t *testing.T) {
	t.Parallel()
	good := ours()
	for name, change := range map[string]func(*Config){
		"AS 0":         func(c *Config) { c.AS = 0 },
		"AS_TRANS":     func(c *Config) { c.AS = 23456 },
		"last AS":      func(c *Config) { c.AS = 4294967295 },
		"no router ID": func(c *Config) { c.RouterID = netip.Addr{} },
		"IPv6 ID":      func(c *Config) { c.RouterID = addr("fd00::1") },
		"zero ID":      func(c *Config) { c.RouterID = addr("0.0.0.0") },
	} {
		c := good
		change(&c)
		if _, _, fatal := c.checked(); fatal == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	for name, change := range map[string]func(*Peer){
		"no address": func(p *Peer) { p.Address = netip.Addr{} }, "unspecified": func(p *Peer) { p.Address = addr("0.0.0.0") },
		"multicast": func(p *Peer) { p.Address = addr("224.0.0.1") }, "no zone": func(p *Peer) { p.Address = addr("fe80::1") },
		"two families": func(p *Peer) { p.Local = addr("fd00::2") }, "AS 0": func(p *Peer) { p.AS = 0 },
		"long password": func(p *Peer) { p.Password = strings.Repeat("x", 81) },
		"both TTLs":     func(p *Peer) { p.MultihopTTL, p.TTLSecurity = 2, 2 }, "TTL 256": func(p *Peer) { p.MultihopTTL = 256 },
		"hold 2s": func(p *Peer) { p.Hold = 2 * time.Second }, "restart 5000s": func(p *Peer) { p.RestartTime = 5000 * time.Second },
		"port 65536": func(p *Peer) { p.Port = 65536 }, "own AS 11": func(p *Peer) { p.AllowOwnAS = 11 },
		"next hop of another family": func(p *Peer) { p.NextHops = map[Family]netip.Addr{IPv6: addr("10.0.0.2")} },
	} {
		c := good
		p := them()
		change(&p)
		c.Peers = []Peer{p}
		if out, errs, _ := c.checked(); len(errs) != 1 || len(out.Peers) != 0 {
			t.Errorf("%s: %d errors, %d peers are left", name, len(errs), len(out.Peers))
		}
	}
	c := good
	c.Peers = []Peer{{Name: "mapped", Address: addr("::ffff:10.0.0.1"), AS: 1, Families: []Family{IPv6, IPv4, IPv6}}}
	out, errs, _ := c.checked()
	want := Peer{
		Name: "mapped", Address: addr("10.0.0.1"), AS: 1, Port: 179, Hold: 90 * time.Second, Keepalive: 30 * time.Second,
		RestartTime: 120 * time.Second, Families: []Family{IPv4, IPv6}, WarnAt: 75, Retry: 5 * time.Minute,
	}
	if diff := cmp.Diff([]Peer{want}, out.Peers, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || len(errs) != 0 {
		t.Errorf("defaults (-want +got):\n%s%v", diff, errs)
	}
}
