package routers

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podroute/podroute/internal/nstest"
)

// bird is BIRD 2 (Debian's bird2).
type bird struct {
	base
	conf Config
}

func (b *bird) write(c Config) error {
	b.conf = c
	var s strings.Builder
	fmt.Fprintf(&s, "log stderr all;\nrouter id %v;\nprotocol device { scan time 1; }\n", c.RouterID)
	s.WriteString(b.bfd(c))
	for _, fam := range []string{"ipv4", "ipv6"} {
		gr, merge := "", ""
		if slices.ContainsFunc(c.Neighbors, func(n Neighbor) bool { return n.GracefulRestart }) {
			gr = "persist; graceful restart on; " // kernel routes outlive the daemon, and are not pruned before recovery
		}
		if c.Multipath {
			merge = "merge paths on; "
		}
		fmt.Fprintf(&s, "protocol kernel kernel_%[1]s { %[2]s%[3]slearn off; %[1]s { import none; export where source = RTS_BGP; }; }\n", fam, gr, merge)
		fmt.Fprintf(&s, "protocol direct direct_%[1]s { %[1]s { import all; }; }\n", fam)
		fmt.Fprintf(&s, "protocol static own_%[1]s { %[1]s;\n", fam)
		for _, p := range c.Announce {
			if p.Addr().Is4() == (fam == "ipv4") {
				fmt.Fprintf(&s, "  route %v unreachable;\n", p)
			}
		}
		s.WriteString("}\n")
	}
	for i, n := range c.Neighbors {
		s.WriteString(b.neighbor(c, i, n))
	}
	return b.file("bird.conf", s.String())
}

func (b *bird) neighbor(c Config, i int, n Neighbor) string {
	var s strings.Builder
	as, local := c.AS, ""
	if n.LocalAS != 0 {
		as = n.LocalAS
	}
	if n.Local.IsValid() {
		local = n.Local.String() + " "
	}
	port := ""
	if n.Port != 0 {
		port = fmt.Sprintf(" port %d", n.Port)
	}
	fmt.Fprintf(&s, "protocol bgp n%d {\n  local %sas %d;\n  neighbor %v%s as %d;\n  hold time %d;\n  connect delay time 1;\n  connect retry time 2;\n  error wait time 1,2;\n",
		i, local, as, n.Address, port, n.AS, n.hold())
	if n.TTLSecurity {
		s.WriteString("  ttl security on;\n")
	}
	if n.Multihop > 0 {
		fmt.Fprintf(&s, "  multihop %d;\n", n.Multihop)
	}
	if n.Password != "" {
		fmt.Fprintf(&s, "  password %q;\n", n.Password)
	}
	s.WriteString(b.neighborBFD(n))
	if n.Passive {
		s.WriteString("  passive on;\n")
	}
	if n.ReflectorClient {
		s.WriteString("  rr client;\n")
		if c.ClusterID.IsValid() {
			fmt.Fprintf(&s, "  rr cluster id %v;\n", c.ClusterID)
		}
	}
	if n.GracefulRestart {
		fmt.Fprintf(&s, "  graceful restart on;\n  graceful restart time %d;\n%s", n.restartTime(), b.longLived(n))
	} else {
		s.WriteString("  graceful restart off;\n")
	}
	for _, fam := range []string{"ipv4", "ipv6"} {
		if n.carries(fam) {
			s.WriteString(b.channel(c, n, fam))
		}
	}
	s.WriteString("}\n")
	return s.String()
}

// channel is what a session carries of a family.
func (b *bird) channel(c Config, n Neighbor, fam string) string {
	extra := ""
	if fam == "ipv6" && n.NextHop6.IsValid() {
		extra = fmt.Sprintf("next hop address %v; ", n.NextHop6)
	}
	if fam == "ipv4" && n.NextHop4.IsValid() {
		extra = fmt.Sprintf("next hop address %v; ", n.NextHop4)
	}
	if fam == "ipv4" && n.ExtendedNextHop {
		extra = "extended next hop on; "
	}
	if n.AS != c.AS || n.NextHopSelf {
		extra += "next hop self; "
	}
	if n.AddPath {
		extra += "add paths on; "
	}
	tags := b.tags(c.Tags, c.AS)
	if n.OverrideAS {
		tags += fmt.Sprintf("bgp_path.delete(%d); ", n.AS)
	}
	imports := "import all"
	if c.HonourShutdown {
		imports = "import filter { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; accept; }"
	}
	return fmt.Sprintf("  %s { %s; export filter { if source != RTS_STATIC && source != RTS_BGP then reject; %saccept; }; %s};\n", fam, imports, tags, extra)
}

// tags are statements of a filter that put attributes on everything.
func (b *bird) tags(t Tags, as uint32) string {
	var s strings.Builder
	for _, c := range t.Communities {
		fmt.Fprintf(&s, "bgp_community.add((%s)); ", strings.ReplaceAll(c, ":", ","))
	}
	for _, c := range t.Large {
		fmt.Fprintf(&s, "bgp_large_community.add((%s)); ", strings.ReplaceAll(c, ":", ","))
	}
	if t.MED != 0 {
		fmt.Fprintf(&s, "bgp_med = %d; ", t.MED)
	}
	if t.LocalPref != 0 {
		fmt.Fprintf(&s, "bgp_local_pref = %d; ", t.LocalPref)
	}
	for range t.Prepend {
		fmt.Fprintf(&s, "bgp_path.prepend(%d); ", as)
	}
	return s.String()
}

func (b *bird) start(restarting bool) ([]*nstest.Process, error) {
	args := []string{"-f", "-c", b.path("bird.conf"), "-s", b.path("ctl"), "-P", b.path("pid")}
	if restarting {
		args = append(args, "-R")
	}
	p, err := b.launch("bird", args...)
	if err != nil {
		return nil, err
	}
	return []*nstest.Process{p}, ready(p, func() error { _, err := b.show("show status"); return err })
}

func (b *bird) show(cmd string) (string, error) {
	return b.output("birdc", "-s", b.path("ctl"), cmd)
}

func (b *bird) apply(_, c Config) error {
	if err := b.write(c); err != nil {
		return err
	}
	_, err := b.show("configure")
	return err
}

func (b *bird) session(n Neighbor) (string, bool, error) {
	out, err := b.show("show protocols all")
	if err != nil {
		return "", false, err
	}
	state := "not configured"
	for _, line := range strings.Split(out, "\n") {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), ":"); key {
		case "BGP state":
			state = strings.TrimSpace(value)
		case "Neighbor address":
			if strings.TrimSpace(value) == n.Address.String() {
				return state, state == "Established", nil
			}
		}
	}
	return "not configured", false, nil
}

// routes reads lines such as
//
//	10.1.0.0/24          unicast [n0 09:00:00.000] * (100) [AS65002i]
//		via 10.0.0.2 on e0
//
// where * marks the best of several, and the paths merged with it for the kernel are not marked at all.
func (b *bird) routes() (map[netip.Prefix]Route, error) {
	out, err := b.show("show route where source = RTS_BGP || source = RTS_STATIC")
	if err != nil {
		return nil, err
	}
	routes := map[netip.Prefix]Route{}
	var at netip.Prefix
	best := false
	for _, line := range strings.Split(out, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if !strings.HasPrefix(line, "\t") {
			if p, err := netip.ParsePrefix(f[0]); err == nil {
				at = p
			}
			best = strings.Contains(line, "] * (")
			if best {
				routes[at] = Route{}
			}
		}
		if best && len(f) >= 2 && f[0] == "via" {
			if hop, err := netip.ParseAddr(f[1]); err == nil {
				r := routes[at]
				r.NextHops = append(r.NextHops, hop)
				slices.SortFunc(r.NextHops, netip.Addr.Compare)
				routes[at] = r
			}
		}
	}
	return routes, nil
}

// attributes reads lines such as
//
//	BGP.as_path: 65002 65002
//	BGP.community: (65010,100) (65535,0)
//
// of the best path, which comes first.
func (b *bird) attributes(p netip.Prefix) (Attributes, error) {
	out, err := b.show(fmt.Sprintf("show route for %v primary all", p))
	if err != nil {
		return Attributes{}, err
	}
	var a Attributes
	found := false
	for line := range strings.Lines(out) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		communities := strings.Fields(strings.NewReplacer("(", "", ")", "", ", ", ":", ",", ":").Replace(value))
		switch key {
		case "BGP.as_path":
			a.ASPath = path(value)
		case "BGP.origin":
			found = true
		case "BGP.community":
			a.Communities = communities
		case "BGP.large_community":
			a.Large = communities
		case "BGP.local_pref":
			a.LocalPref = number(value)
		case "BGP.med":
			a.MED = number(value)
		case "BGP.originator_id":
			a.Originator, _ = netip.ParseAddr(value)
		case "BGP.cluster_list":
			a.Clusters = addresses(strings.Fields(value))
		}
	}
	if !found {
		return a, fmt.Errorf("no route to %v: %s", p, out)
	}
	return a, nil
}
