package routers

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podroute/podroute/internal/nstest"
)

// frr is FRR's zebra and bgpd (Debian's frr).
type frr struct {
	base
	conf  Config
	zebra bool // runs
	bfdd  struct{ wanted, runs bool }
}

const frrDir = "/usr/lib/frr/"

func (f *frr) write(c Config) error {
	f.conf = c
	var s strings.Builder
	fmt.Fprintf(&s, "log stdout\nrouter bgp %d\n bgp router-id %v\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n no bgp network import-check\n", c.AS, c.RouterID)
	s.WriteString(" timers bgp 30 90\n")
	if c.ClusterID.IsValid() {
		fmt.Fprintf(&s, " bgp cluster-id %v\n", c.ClusterID)
	}
	if c.Multipath {
		s.WriteString(" bgp bestpath as-path multipath-relax\n")
	}
	for _, n := range c.Neighbors {
		if n.GracefulRestart {
			fmt.Fprintf(&s, " bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp graceful-restart restart-time %d\n", n.restartTime())
			break
		}
	}
	s.WriteString(f.longLived(c))
	for _, n := range c.Neighbors {
		s.WriteString(f.neighbor(n))
	}
	tags := f.tags(c.Tags, c.AS)
	for _, fam := range []string{"ipv4", "ipv6"} {
		s.WriteString(f.family(c, fam, tags != ""))
	}
	s.WriteString(tags)
	if err := f.writeBFD(c); err != nil {
		return err
	}
	if err := f.file("zebra.conf", "log stdout\n"); err != nil {
		return err
	}
	if err := f.file("vtysh.conf", ""); err != nil {
		return err
	}
	return f.file("bgpd.conf", s.String())
}

// family is what concerns one address family.
func (f *frr) family(c Config, fam string, tagged bool) string {
	var s strings.Builder
	fmt.Fprintf(&s, " address-family %s unicast\n", fam)
	if c.Multipath {
		s.WriteString("  maximum-paths 8\n  maximum-paths ibgp 8\n")
	}
	for _, n := range c.Neighbors {
		if !n.carries(fam) {
			continue
		}
		fmt.Fprintf(&s, "  neighbor %v activate\n  neighbor %v soft-reconfiguration inbound\n", zoneless(n), zoneless(n))
		if n.ReflectorClient {
			fmt.Fprintf(&s, "  neighbor %v route-reflector-client\n", zoneless(n))
		}
		if n.OverrideAS {
			fmt.Fprintf(&s, "  neighbor %v as-override\n", zoneless(n))
		}
		if n.NextHopSelf {
			fmt.Fprintf(&s, "  neighbor %v next-hop-self force\n", zoneless(n))
		}
		if n.AddPath {
			fmt.Fprintf(&s, "  neighbor %v addpath-tx-all-paths\n", zoneless(n))
		}
		if tagged {
			fmt.Fprintf(&s, "  neighbor %v route-map tags out\n", zoneless(n))
		}
	}
	for _, p := range c.Announce {
		if p.Addr().Is4() == (fam == "ipv4") {
			fmt.Fprintf(&s, "  network %v\n", p)
		}
	}
	s.WriteString(" exit-address-family\n")
	return s.String()
}

// tags is a route map that puts attributes on everything.
func (f *frr) tags(t Tags, as uint32) string {
	var s strings.Builder
	if len(t.Communities) > 0 {
		fmt.Fprintf(&s, " set community %s additive\n", strings.Join(t.Communities, " "))
	}
	if len(t.Large) > 0 {
		fmt.Fprintf(&s, " set large-community %s additive\n", strings.Join(t.Large, " "))
	}
	if t.MED != 0 {
		fmt.Fprintf(&s, " set metric %d\n", t.MED)
	}
	if t.LocalPref != 0 {
		fmt.Fprintf(&s, " set local-preference %d\n", t.LocalPref)
	}
	if t.Prepend > 0 {
		fmt.Fprintf(&s, " set as-path prepend%s\n", strings.Repeat(fmt.Sprintf(" %d", as), t.Prepend))
	}
	if s.Len() == 0 {
		return ""
	}
	return "route-map tags permit 10\n" + s.String()
}

// zoneless is what FRR calls a neighbour.
func zoneless(n Neighbor) string {
	if n.Unnumbered {
		return n.Address.Zone()
	}
	return n.Address.WithZone("").String()
}

func (f *frr) neighbor(n Neighbor) string {
	var s strings.Builder
	a := zoneless(n)
	if n.Unnumbered {
		fmt.Fprintf(&s, " neighbor %v interface remote-as external\n", a)
	} else {
		fmt.Fprintf(&s, " neighbor %v remote-as %d\n", a, n.AS)
	}
	fmt.Fprintf(&s, " neighbor %v timers %d %d\n neighbor %v timers connect 2\n neighbor %v advertisement-interval 0\n",
		a, max(n.hold()/3, 1), n.hold(), a, a)
	if z := n.Address.Zone(); z != "" && !n.Unnumbered {
		fmt.Fprintf(&s, " neighbor %v interface %s\n", a, z)
	}
	if n.Password != "" {
		fmt.Fprintf(&s, " neighbor %v password %s\n", a, n.Password)
	}
	s.WriteString(f.neighborBFD(n))
	if n.Port != 0 {
		fmt.Fprintf(&s, " neighbor %v port %d\n", a, n.Port)
	}
	if n.Passive {
		fmt.Fprintf(&s, " neighbor %v passive\n", a)
	}
	if n.TTLSecurity {
		fmt.Fprintf(&s, " neighbor %v ttl-security hops 1\n", a)
	}
	if n.Multihop > 0 {
		fmt.Fprintf(&s, " neighbor %v ebgp-multihop %d\n", a, n.Multihop)
	}
	if n.LocalAS != 0 {
		fmt.Fprintf(&s, " neighbor %v local-as %d no-prepend replace-as\n", a, n.LocalAS)
	}
	if n.Local.IsValid() {
		fmt.Fprintf(&s, " neighbor %v update-source %v\n", a, n.Local)
	}
	if n.ExtendedNextHop {
		fmt.Fprintf(&s, " neighbor %v capability extended-nexthop\n", a)
	}
	if !n.GracefulRestart {
		fmt.Fprintf(&s, " neighbor %v graceful-restart-disable\n", a)
	}
	return s.String()
}

func (f *frr) start(bool) ([]*nstest.Process, error) {
	common := []string{"--vty_socket", f.dir, "-z", f.path("zserv.api"), "-u", "frr", "-g", "frr", "-P", "0", "--log", "stdout"}
	var procs []*nstest.Process
	if !f.zebra {
		p, err := f.launch(frrDir+"zebra", append([]string{"-f", f.path("zebra.conf"), "-i", f.path("zebra.pid")}, common...)...)
		if err != nil {
			return procs, err
		}
		f.zebra, procs = true, append(procs, p)
		if err := ready(p, func() error { _, err := f.vtysh("zebra", "show version"); return err }); err != nil {
			return procs, fmt.Errorf("zebra: %w", err)
		}
	}
	if f.bfdd.wanted && !f.bfdd.runs {
		more, err := f.startBFD(common)
		procs = append(procs, more...)
		if err != nil {
			return procs, fmt.Errorf("bfdd: %w", err)
		}
		f.bfdd.runs = true
	}
	p, err := f.launch(frrDir+"bgpd", append([]string{"-f", f.path("bgpd.conf"), "-i", f.path("bgpd.pid")}, common...)...)
	if err != nil {
		return procs, err
	}
	procs = append(procs, p)
	return procs, ready(p, func() error { _, err := f.show("show bgp summary json"); return err })
}

func (f *frr) vtysh(daemon string, cmds ...string) (string, error) {
	args := []string{"--vty_socket", f.dir, "--config_dir", f.dir, "-d", daemon}
	for _, c := range cmds {
		args = append(args, "-c", c)
	}
	return f.output("vtysh", args...)
}

func (f *frr) show(cmd string) (string, error) { return f.vtysh("bgpd", cmd) }

func (f *frr) apply(old, c Config) error {
	if err := f.write(c); err != nil {
		return err
	}
	cmds := []string{"configure terminal", fmt.Sprintf("router bgp %d", c.AS)}
	change := func(prefix netip.Prefix, no string) {
		fam := "ipv4"
		if prefix.Addr().Is6() {
			fam = "ipv6"
		}
		cmds = append(cmds, "address-family "+fam+" unicast", no+"network "+prefix.String(), "exit-address-family")
	}
	for i, n := range c.Neighbors {
		if n.Password != old.Neighbors[i].Password {
			cmds = append(cmds, fmt.Sprintf("neighbor %v password %s", zoneless(n), n.Password))
		}
	}
	for _, p := range old.Announce {
		if !slices.Contains(c.Announce, p) {
			change(p, "no ")
		}
	}
	for _, p := range c.Announce {
		if !slices.Contains(old.Announce, p) {
			change(p, "")
		}
	}
	_, err := f.vtysh("bgpd", cmds...)
	return err
}

func (f *frr) session(n Neighbor) (string, bool, error) {
	out, err := f.show("show bgp neighbors json")
	if err != nil {
		return "", false, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return "", false, fmt.Errorf("show bgp neighbors: %w", err)
	}
	var one struct{ BGPState string }
	if err := json.Unmarshal(all[zoneless(n)], &one); err != nil {
		return "", false, fmt.Errorf("no neighbour %v: %w", n.Address, err)
	}
	return one.BGPState, one.BGPState == "Established", nil
}

func (f *frr) routes() (map[netip.Prefix]Route, error) {
	routes := map[netip.Prefix]Route{}
	for _, fam := range []string{"ipv4", "ipv6"} {
		out, err := f.show("show bgp " + fam + " unicast json")
		if err != nil {
			return nil, err
		}
		var table struct {
			Routes map[netip.Prefix][]struct {
				Bestpath, Multipath bool
				Nexthops            []struct {
					IP   netip.Addr
					Used bool
				}
			}
		}
		if err := json.Unmarshal([]byte(out), &table); err != nil {
			return nil, fmt.Errorf("show bgp %s unicast: %w", fam, err)
		}
		for prefix, paths := range table.Routes {
			r := Route{}
			for _, p := range paths {
				if !p.Bestpath && !p.Multipath {
					continue
				}
				for i, h := range p.Nexthops {
					if h.Used && i > 0 && h.IP.IsUnspecified() {
						h = p.Nexthops[i-1] // a link-local next hop in the place of a global one
						h.Used = true
					}
					if h.Used && !h.IP.IsUnspecified() {
						r.NextHops = append(r.NextHops, h.IP)
					}
				}
			}
			slices.SortFunc(r.NextHops, netip.Addr.Compare)
			routes[prefix] = r
		}
	}
	return routes, nil
}

func (f *frr) attributes(p netip.Prefix) (Attributes, error) {
	fam := "ipv4"
	if p.Addr().Is6() {
		fam = "ipv6"
	}
	out, err := f.show(fmt.Sprintf("show bgp %s unicast %v json", fam, p))
	if err != nil {
		return Attributes{}, err
	}
	type words struct{ String string }
	var route struct {
		Paths []struct {
			Bestpath       struct{ Overall bool }
			ASPath         words `json:"aspath"`
			Community      words
			LargeCommunity words
			LocPrf, Metric uint32
			OriginatorID   string
			ClusterList    struct{ List []string }
		}
	}
	if err := json.Unmarshal([]byte(out), &route); err != nil {
		return Attributes{}, fmt.Errorf("show bgp %s unicast %v: %w: %s", fam, p, err, out)
	}
	for _, x := range route.Paths {
		if x.Bestpath.Overall {
			originator, _ := netip.ParseAddr(x.OriginatorID)
			return Attributes{
				Originator: originator, Clusters: addresses(x.ClusterList.List),
				ASPath: path(x.ASPath.String), Communities: strings.Fields(x.Community.String),
				Large: strings.Fields(x.LargeCommunity.String), LocalPref: x.LocPrf, MED: x.Metric,
			}, nil
		}
	}
	return Attributes{}, fmt.Errorf("no route to %v", p)
}
