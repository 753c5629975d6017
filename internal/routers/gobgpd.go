package routers

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podroute/podroute/internal/nstest"
)

// gobgpd is the daemon of the gobgp project (Debian's gobgpd, version 3).
type gobgpd struct {
	base
	conf Config
}

func (g *gobgpd) write(c Config) error {
	g.conf = c
	var s strings.Builder
	fmt.Fprintf(&s, "[global.config]\n  as = %d\n  router-id = %q\n", c.AS, c.RouterID)
	if slices.ContainsFunc(c.Neighbors, func(n Neighbor) bool { return n.NextHopSelf }) {
		s.WriteString("[global.apply-policy.config]\n  export-policy-list = [\"self\"]\n  default-export-policy = \"accept-route\"\n")
	}
	if c.Multipath {
		s.WriteString("[global.use-multiple-paths.config]\n  enabled = true\n")
	}
	self := false
	for _, n := range c.Neighbors {
		s.WriteString(g.neighbor(c, n))
		self = self || n.NextHopSelf
	}
	if self {
		s.WriteString("[[policy-definitions]]\n  name = \"self\"\n  [[policy-definitions.statements]]\n    name = \"self\"\n    [policy-definitions.statements.actions]\n      route-disposition = \"accept-route\"\n      [policy-definitions.statements.actions.bgp-actions]\n        set-next-hop = \"self\"\n")
	}
	return g.file("gobgpd.toml", s.String())
}

func (g *gobgpd) neighbor(c Config, n Neighbor) string {
	var s strings.Builder
	fmt.Fprintf(&s, "[[neighbors]]\n  [neighbors.config]\n    neighbor-address = %q\n    peer-as = %d\n", n.Address, n.AS)
	if n.Password != "" {
		fmt.Fprintf(&s, "    auth-password = %q\n", n.Password)
	}
	if n.LocalAS != 0 {
		fmt.Fprintf(&s, "    local-as = %d\n", n.LocalAS)
	}
	fmt.Fprintf(&s, "  [neighbors.transport.config]\n    passive-mode = %t\n", n.Passive)
	if n.Port != 0 {
		fmt.Fprintf(&s, "    remote-port = %d\n", n.Port)
	}
	if n.Local.IsValid() {
		fmt.Fprintf(&s, "    local-address = %q\n", n.Local)
	}
	if n.TTLSecurity {
		s.WriteString("  [neighbors.ttl-security.config]\n    enabled = true\n    ttl-min = 255\n")
	}
	if n.Multihop > 0 {
		fmt.Fprintf(&s, "  [neighbors.ebgp-multihop.config]\n    enabled = true\n    multihop-ttl = %d\n", n.Multihop)
	}
	fmt.Fprintf(&s, "  [neighbors.timers.config]\n    hold-time = %d\n    connect-retry = 2\n    idle-hold-time-after-reset = 1\n", n.hold())
	if n.OverrideAS {
		s.WriteString("  [neighbors.as-path-options.config]\n    replace-peer-as = true\n")
	}
	if n.ReflectorClient {
		s.WriteString("  [neighbors.route-reflector.config]\n    route-reflector-client = true\n")
		if c.ClusterID.IsValid() {
			fmt.Fprintf(&s, "    route-reflector-cluster-id = %q\n", c.ClusterID)
		}
	}
	longNeighbor, longFamily := g.longLived(n)
	if n.GracefulRestart {
		fmt.Fprintf(&s, "  [neighbors.graceful-restart.config]\n    enabled = true\n    restart-time = %d\n    deferral-time = 5\n    notification-enabled = true\n%s",
			n.restartTime(), longNeighbor)
	}
	for _, fam := range []string{"ipv4-unicast", "ipv6-unicast"} {
		if !n.carries(fam[:4]) {
			continue
		}
		fmt.Fprintf(&s, "  [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = %q\n", fam)
		if n.GracefulRestart {
			s.WriteString("    [neighbors.afi-safis.mp-graceful-restart.config]\n      enabled = true\n" + longFamily)
		}
		if n.AddPath {
			s.WriteString("    [neighbors.afi-safis.add-paths.config]\n      receive = true\n      send-max = 8\n")
		}
	}
	return s.String()
}

func (g *gobgpd) start(restarting bool) ([]*nstest.Process, error) {
	args := []string{"-f", g.path("gobgpd.toml"), "--api-hosts", "127.0.0.1:50051", "--pprof-disable"}
	if restarting {
		args = append(args, "-r")
	}
	p, err := g.launch("gobgpd", args...)
	if err != nil {
		return nil, err
	}
	started := func() error { // it answers before it has begun, and then with AS 0
		out, err := g.gobgp("global")
		if err == nil && !strings.Contains(out, fmt.Sprint(g.conf.AS)) {
			err = fmt.Errorf("it has not begun: %s", out)
		}
		return err
	}
	if err := ready(p, started); err != nil {
		return []*nstest.Process{p}, err
	}
	return []*nstest.Process{p}, g.apply(Config{}, g.conf)
}

func (g *gobgpd) gobgp(args ...string) (string, error) { return g.output("gobgp", args...) }

func (g *gobgpd) apply(old, c Config) error {
	g.conf = c
	for _, p := range old.Announce {
		if !slices.Contains(c.Announce, p) {
			if _, err := g.gobgp(append([]string{"global", "rib", "del", p.String()}, familyFlag(p)...)...); err != nil {
				return err
			}
		}
	}
	for _, p := range c.Announce {
		if slices.Contains(old.Announce, p) {
			continue
		}
		args := []string{"global", "rib", "add", p.String()}
		if hop := nextHop(c, p); hop.IsValid() {
			args = append(args, "nexthop", hop.String())
		}
		args = append(args, c.Tags.words(c.AS)...)
		if _, err := g.gobgp(append(args, familyFlag(p)...)...); err != nil {
			return err
		}
	}
	return nil
}

// words are the arguments of gobgp that put attributes on a route.
func (t Tags) words(as uint32) []string {
	var out []string
	if len(t.Communities) > 0 {
		out = append(out, "community", strings.Join(t.Communities, ","))
	}
	if len(t.Large) > 0 {
		out = append(out, "large-community", strings.Join(t.Large, ","))
	}
	if t.MED != 0 {
		out = append(out, "med", fmt.Sprint(t.MED))
	}
	if t.LocalPref != 0 {
		out = append(out, "local-pref", fmt.Sprint(t.LocalPref))
	}
	if t.Prepend > 0 {
		out = append(out, "aspath", strings.TrimSuffix(strings.Repeat(fmt.Sprintf("%d,", as), t.Prepend), ","))
	}
	return out
}

// nextHop is the one that the first neighbour wants; gobgpd has one for all.
func nextHop(c Config, p netip.Prefix) netip.Addr {
	switch {
	case len(c.Neighbors) == 0:
		return netip.Addr{}
	case p.Addr().Is6():
		return c.Neighbors[0].NextHop6
	}
	return c.Neighbors[0].NextHop4
}

func familyFlag(p netip.Prefix) []string {
	if p.Addr().Is4() {
		return []string{"-a", "ipv4"}
	}
	return []string{"-a", "ipv6"}
}

func (g *gobgpd) session(n Neighbor) (string, bool, error) {
	out, err := g.gobgp("neighbor", n.Address.String())
	if err != nil {
		return "", false, err
	}
	for _, line := range strings.Split(out, "\n") {
		if _, rest, ok := strings.Cut(line, "BGP state = "); ok {
			state, _, _ := strings.Cut(rest, ",")
			return state, strings.EqualFold(state, "established"), nil
		}
	}
	return "unknown", false, nil
}

// gobgpPath is a path as gobgp shows it.
type gobgpPath struct {
	Best  bool
	Attrs []struct {
		Type        int
		Nexthop     netip.Addr
		ASPaths     []struct{ ASNs []uint32 } `json:"as_paths"`
		Metric      uint32
		Communities []uint32
		Value       json.RawMessage
	}
}

func (g *gobgpd) rib(fam string, args ...string) (map[netip.Prefix][]gobgpPath, error) {
	out, err := g.gobgp(append(append([]string{"-j", "global", "rib"}, args...), "-a", fam)...)
	if err != nil {
		return nil, err
	}
	var table map[netip.Prefix][]gobgpPath
	if err := json.Unmarshal([]byte(out), &table); err != nil {
		return nil, fmt.Errorf("gobgp global rib: %w: %s", err, out)
	}
	return table, nil
}

func (g *gobgpd) routes() (map[netip.Prefix]Route, error) {
	routes := map[netip.Prefix]Route{}
	for _, fam := range []string{"ipv4", "ipv6"} {
		table, err := g.rib(fam)
		if err != nil {
			return nil, err
		}
		for prefix, paths := range table {
			r := Route{}
			for i, p := range paths {
				if i > 0 && !p.Best {
					continue
				}
				for _, a := range p.Attrs {
					if a.Nexthop.IsValid() && !a.Nexthop.IsUnspecified() {
						r.NextHops = append(r.NextHops, a.Nexthop)
					}
				}
			}
			slices.SortFunc(r.NextHops, netip.Addr.Compare)
			routes[prefix] = r
		}
	}
	return routes, nil
}

func (g *gobgpd) attributes(p netip.Prefix) (Attributes, error) {
	table, err := g.rib(familyFlag(p)[1])
	if err != nil {
		return Attributes{}, err
	}
	if len(table[p]) == 0 {
		return Attributes{}, fmt.Errorf("no route to %v", p)
	}
	var out Attributes
	for _, a := range table[p][0].Attrs {
		switch a.Type {
		case 2:
			for _, seg := range a.ASPaths {
				out.ASPath = append(out.ASPath, seg.ASNs...)
			}
		case 4:
			out.MED = a.Metric
		case 5:
			out.LocalPref = number(string(a.Value))
		case 9:
			if err := json.Unmarshal(a.Value, &out.Originator); err != nil {
				return out, fmt.Errorf("originator: %w", err)
			}
		case 10:
			if err := json.Unmarshal(a.Value, &out.Clusters); err != nil {
				return out, fmt.Errorf("clusters: %w", err)
			}
		case 8:
			for _, c := range a.Communities {
				out.Communities = append(out.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
			}
		case 32:
			var large []struct{ ASN, LocalData1, LocalData2 uint32 }
			if err := json.Unmarshal(a.Value, &large); err != nil {
				return out, fmt.Errorf("large communities: %w", err)
			}
			for _, c := range large {
				out.Large = append(out.Large, fmt.Sprintf("%d:%d:%d", c.ASN, c.LocalData1, c.LocalData2))
			}
		}
	}
	return out, nil
}
