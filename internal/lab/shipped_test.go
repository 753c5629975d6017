package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// unnumbered: dual-homed nodes over links without addresses; a link lost costs one of two ways.
func unnumbered(s shipped) {
	for _, n := range []string{"tor1", "tor2", "n1", "n2"} {
		s.has(n, "eth1", "eth2")
	}
	s.says("n1", "ip route show 10.244.2.0/24", "via inet6 fe80::", "dev eth1", "dev eth2")
	s.says("n1", "ip -6 route show fd00:244:0:2::/64", "via fe80::", "dev eth1", "dev eth2")
	s.says("n1", "ping -c 1 -W 1 -I 10.0.255.1 10.0.255.2", " 0% packet loss")
	s.says("n1", "ping -c 1 -W 1 -I fd00:10:0:ffff::1 fd00:10:0:ffff::2", " 0% packet loss")
	s.says("n1", "podroute peers", "BFD", "Up")
	for lost := 1; lost <= 5; lost++ {
		s.do("tor1", "ip link set eth2 down")
		if lost == 1 {
			s.says("n1", "ip route show 10.244.2.0/24", "!dev eth1", "dev eth2")
			s.says("n1", "ping -c 1 -W 1 -I 10.0.255.1 10.0.255.2", " 0% packet loss")
		}
		s.lost("n2", "eth1", lost)
		s.do("tor1", "ip link set eth2 up")
		s.has("n2", "eth1", "eth2")
		if lost < 5 {
			s.says("n2", "ip route show 10.244.1.0/24", "dev eth1", "dev eth2")
		}
	}
	s.says("n2", "podroute peers", "it was lost ")
	s.says("n2", "ip route show 10.244.1.0/24", "!dev eth1", "dev eth2")
	s.edit("flapDamping: {disabled: false}", "flapDamping: {disabled: true}")
	s.says("n2", "ip route show 10.244.1.0/24", "dev eth1", "dev eth2")
}

// lost waits until a session has been lost so many times, or more.
func (s shipped) lost(node, session string, times int) {
	s.t.Helper()
	s.within(fmt.Sprintf("session %s of %s lost %d times", session, node, times), func() error {
		all, out, err := s.peers(node)
		if err == nil && !slices.ContainsFunc(all, func(p peer) bool { return p.Name == session && p.Flaps >= times }) {
			err = errors.New(out)
		}
		return err
	})
}

// reflectors: two reflectors, and a gateway that takes whoever calls; of what it says, filters let through what carries a
// community. A reflector is killed; then there is a full mesh in place of them, and reflectors again. A node that says too much is warned of.
func reflectors(s shipped) {
	s.has("gw", "nodes/10.0.9.1", "nodes/10.0.9.2", "nodes/10.0.9.11", "nodes/10.0.9.12")
	s.has("r1", "gateway", "mesh-r2", "mesh-n1", "mesh-n2")
	s.has("n1", "gateway", "mesh-r1", "mesh-r2")
	s.says("n1", "ip route show 10.244.12.0/24", "via 10.0.9.12 dev eth1")
	s.says("n1", "ip route show 203.0.113.0/24", "via 10.0.9.254 dev eth1")
	s.says("n1", "ip route show 203.0.114.0/24", "!via")
	s.says("gw", "ip route show 10.244.11.0/24", "via 10.0.9.11 dev eth1")
	if err := s.Signal(s.ctx, "r1", 9, true); err != nil {
		s.t.Fatal(err)
	}
	s.says("n1", "ip route show 10.244.12.0/24", "via 10.0.9.12 dev eth1")
	if err := s.Start(s.ctx, "r1"); err != nil {
		s.t.Fatal(err)
	}
	s.has("r1", "gateway", "mesh-r2", "mesh-n1", "mesh-n2")
	const mesh = "  mesh: Reflectors\n  reflectorSelector: {matchLabels: {reflector: \"true\"}}\n  clusterID: 10.0.9.100\n"
	s.edit(mesh, "  mesh: Full\n")
	s.has("n1", "gateway", "mesh-r1", "mesh-r2", "mesh-n2")
	s.says("n1", "ip route show 10.244.12.0/24", "via 10.0.9.12 dev eth1")
	s.edit("  mesh: Full\n", mesh)
	s.edit("prefixes: [203.0.114.0/24]", "prefixes: [203.0.114.0/24, 10.244.200.0/24, 10.244.201.0/24, 10.244.202.0/24]")
	s.edit("  import:\n    accept: [{cidr: 203.0.112.0/22,", "  maxPrefixes: 4\n  maxPrefixesAction: Warn\n  import:\n    accept: [{cidr: 203.0.112.0/22,")
	s.says("n1", "podroute peers", "more than the 4 that maxPrefixes allows")
	s.has("n1", "gateway", "mesh-r1", "mesh-r2")
	s.says("n1", "ip route show 10.244.12.0/24", "via 10.0.9.12 dev eth1")
}

// racks: a rack's range in the place of its parts, its switch in the way of its nodes, two paths over one session, a session over
// several hops, and a collector that hears it all.
func racks(s shipped) {
	s.has("spine", "spine-tor1", "spine-tor2", "spine-n3")
	s.has("tor1", "tor1-spine", "tor1-n1", "tor1-n2", "tor1-n4")
	s.has("n3", "n3-tor2", "n3-spine")
	s.says("spine", "ip route show root 10.244.0.0/16", "10.244.0.0/20 ", "!10.244.1.0/24", "!10.244.2.0/24", "10.244.16.0/20 ", "10.244.17.0/24 ")
	s.says("tor1", "ip route show 10.244.0.0/20", "unreachable")
	s.says("n1", "ip route show 10.244.2.0/24", "via 10.0.11.2 dev eth1")
	s.says("n1", "ip route show 10.244.17.0/24", "via 10.0.11.2 dev eth1")
	s.says("n3", "ip route show 10.244.0.0/20", "via 10.0.23.2 dev eth1")
	s.says("n3", "ip route show 203.0.113.100", "via 10.0.23.2 dev eth1 proto 179")
	s.says("n3", "ping -c 1 -W 1 203.0.113.100", " 0% packet loss")
	s.do("n3", "ip route del 10.0.255.100")
	s.says("n3", "ip route show 203.0.113.100", "!via")
	s.do("n3", "ip route add 10.0.255.100/32 via 10.0.23.2")
	s.says("n3", "ip route show 203.0.113.100", "via 10.0.23.2 dev eth1 proto 179")
	s.says("tor1", "ip route show 203.0.113.8", "via 10.0.11.3 dev eth2", "via 10.0.12.3 dev eth3")
	s.within("n4: both paths to 203.0.113.8", func() error { return s.originators("n4", "203.0.113.8/32", "10.0.11.3", "10.0.12.3") })
	s.says("spine", "podroute status", "198.51.100.20:11019 connected")
	s.says("collector", "cat /run/bmp.log", `"peer_up"`, `"10.244.17.0/24"`, `"10.244.0.0/20"`)
}

// originators checks from whom the paths to a prefix come that a node has been told of.
func (s shipped) originators(node, prefix string, want ...string) error {
	out, err := s.Run(s.ctx, node, "podroute", "routes", "--learned", "-o", "json")
	if err != nil {
		return err
	}
	var r struct {
		Routes []struct {
			Prefix     string
			Originator string `json:"originator_id"`
		}
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return err
	}
	var got []string
	for _, x := range r.Routes {
		if x.Prefix == prefix {
			got = append(got, x.Originator)
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		return fmt.Errorf("paths from %v, want from %v:\n%s", got, want, out)
	}
	return nil
}

// services: a service's address at two nodes, of which one is drained and comes back, and then its agent is killed: after its restart time
// the address leads to the other one alone, and what nobody else has still to it.
func services(s shipped) {
	s.has("tor", "tor-n1", "tor-n2")
	both := func() { s.t.Helper(); s.says("tor", "ip route show 203.0.113.10", "dev eth1", "dev eth2") }
	both()
	s.says("client", "ping -c 1 -W 1 203.0.113.10", " 0% packet loss")
	s.do("n1", "podroute drain --wait=false")
	s.says("tor", "ip route show 203.0.113.10", "!dev eth1", "dev eth2")
	s.says("tor", "ip route show 10.244.1.0/24", "dev eth1")
	s.says("client", "ping -c 1 -W 1 203.0.113.10", " 0% packet loss")
	s.do("n1", "podroute undrain")
	both()
	killed := time.Now()
	if err := s.Signal(s.ctx, "n1", 9, true); err != nil {
		s.t.Fatal(err)
	}
	s.says("tor", "ip route show 203.0.113.10", "!dev eth1", "dev eth2")
	if took := time.Since(killed); took < 5*time.Second {
		s.t.Errorf("the address has left n1 %v after the end of its agent, its restart time is 10 s", took)
	}
	s.says("tor", "ip route show 10.244.1.0/24", "dev eth1")
	s.says("client", "ping -c 1 -W 1 203.0.113.10", " 0% packet loss")
	if err := s.Start(s.ctx, "n1"); err != nil {
		s.t.Fatal(err)
	}
	both()
}

// ipv6Only: sessions, routes and packets without any IPv4 address, and router IDs that differ.
func ipv6Only(s shipped) {
	s.has("tor", "tor-n1", "tor-n2")
	ids := map[string]string{}
	for _, n := range []string{"tor", "n1", "n2"} {
		s.says(n, "ip -4 address show", "!inet")
		out, err := s.Run(s.ctx, n, "podroute", "status", "-o", "json")
		var status struct {
			RouterID string `json:"router_id"`
		}
		if err == nil {
			err = json.Unmarshal([]byte(out), &status)
		}
		if other := ids[status.RouterID]; err != nil || other != "" || status.RouterID == "" {
			s.t.Errorf("router ID of %s: %q, which %s has too; %v", n, status.RouterID, other, err)
		}
		ids[status.RouterID] = n
	}
	s.says("n1", "ip -6 route show fd00:244:0:2::/64", "via fd00:10:0:11::2 dev eth1")
	s.says("tor", "ip -6 route show fd00:244:0:2::/64", "via fd00:10:0:12::3 dev eth2")
	s.says("n1", "ping -c 1 -W 1 -I fd00:244:0:1::7 fd00:244:0:2::7", " 0% packet loss")
	s.says("client", "ping -c 1 -W 1 fd00:244:0:1::7", " 0% packet loss")
}
