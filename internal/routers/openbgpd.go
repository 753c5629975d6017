package routers

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podroute/podroute/internal/nstest"
)

// openbgpd is OpenBGPD (Debian's openbgpd). Elsewhere than on OpenBSD it has no forwarding table.
type openbgpd struct{ base }

func (o *openbgpd) write(c Config) error {
	var s strings.Builder
	fmt.Fprintf(&s, "AS %d\nrouter-id %v\nsocket %q\nconnect-retry 2\n", c.AS, c.RouterID, o.path("ctl"))
	for _, p := range c.Announce {
		fmt.Fprintf(&s, "network %v%s\n", p, o.set(c.Tags))
	}
	for _, n := range c.Neighbors {
		s.WriteString(o.neighbor(c, n))
	}
	for _, n := range c.Neighbors {
		if n.NextHopSelf {
			fmt.Fprintf(&s, "match to %v set nexthop self\n", n.Address)
		}
	}
	for _, x := range c.Tags.Communities {
		if strings.HasPrefix(x, "65535:") { // it keeps to itself what it originates with some of these
			fmt.Fprintf(&s, "match to any set community %s\n", x)
		}
	}
	s.WriteString("allow from any\nallow to any\n")
	return o.file("bgpd.conf", s.String())
}

func (o *openbgpd) set(t Tags) string {
	var list []string
	for _, c := range t.Communities {
		if strings.HasPrefix(c, "65535:") {
			continue // below
		}
		list = append(list, "community "+c)
	}
	for _, c := range t.Large {
		list = append(list, "large-community "+c)
	}
	if t.MED != 0 {
		list = append(list, fmt.Sprint("med ", t.MED))
	}
	if t.LocalPref != 0 {
		list = append(list, fmt.Sprint("localpref ", t.LocalPref))
	}
	if t.Prepend > 0 {
		list = append(list, fmt.Sprint("prepend-self ", t.Prepend))
	}
	if list == nil {
		return ""
	}
	return " set { " + strings.Join(list, ", ") + " }"
}

func (o *openbgpd) neighbor(c Config, n Neighbor) string {
	var s strings.Builder
	fmt.Fprintf(&s, "neighbor %v {\n  remote-as %d\n  holdtime %d\n", n.Address, n.AS, n.hold())
	if n.Port != 0 {
		fmt.Fprintf(&s, "  port %d\n", n.Port)
	}
	if n.carries("ipv4") {
		s.WriteString("  announce IPv4 unicast\n")
	} else {
		s.WriteString("  announce IPv4 none\n")
	}
	if n.carries("ipv6") {
		s.WriteString("  announce IPv6 unicast\n")
	} else {
		s.WriteString("  announce IPv6 none\n")
	}
	if n.Password != "" {
		fmt.Fprintf(&s, "  tcp md5sig password %q\n", n.Password)
	}
	if n.Passive {
		s.WriteString("  passive\n")
	}
	if n.TTLSecurity {
		s.WriteString("  ttl-security yes\n")
	}
	if n.Multihop > 0 {
		fmt.Fprintf(&s, "  multihop %d\n", n.Multihop)
	}
	if n.LocalAS != 0 {
		fmt.Fprintf(&s, "  local-as %d\n", n.LocalAS)
	}
	if n.OverrideAS {
		s.WriteString("  as-override yes\n")
	}
	if n.Local.IsValid() {
		fmt.Fprintf(&s, "  local-address %v\n", n.Local)
	}
	if n.ReflectorClient {
		cluster := ""
		if c.ClusterID.IsValid() {
			cluster = " " + c.ClusterID.String()
		}
		fmt.Fprintf(&s, "  route-reflector%s\n", cluster)
	}
	if n.AddPath {
		s.WriteString("  announce add-path recv yes\n  announce add-path send all\n")
	}
	if !n.GracefulRestart {
		s.WriteString("  announce restart no\n")
	}
	s.WriteString("}\n")
	return s.String()
}

// start runs it with a /run of its own, where it changes its root to an empty folder of a fixed name.
func (o *openbgpd) start(bool) ([]*nstest.Process, error) {
	p, err := o.launch("unshare", "--mount", "sh", "-c",
		"mount -t tmpfs run /run && mkdir -m 755 /run/openbgpd && exec bgpd -d -v -f "+o.path("bgpd.conf"))
	if err != nil {
		return nil, err
	}
	return []*nstest.Process{p}, ready(p, func() error { _, err := o.bgpctl("show"); return err })
}

func (o *openbgpd) bgpctl(args ...string) (string, error) {
	return o.output("bgpctl", append([]string{"-j", "-s", o.path("ctl")}, args...)...)
}

func (o *openbgpd) apply(_, c Config) error {
	if err := o.write(c); err != nil {
		return err
	}
	_, err := o.output("bgpctl", "-s", o.path("ctl"), "reload")
	return err
}

func (o *openbgpd) session(n Neighbor) (string, bool, error) {
	out, err := o.bgpctl("show", "neighbor")
	if err != nil {
		return "", false, err
	}
	var all struct {
		Neighbors []struct {
			Address string `json:"remote_addr"`
			State   string `json:"state"`
		} `json:"neighbors"`
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return "", false, fmt.Errorf("bgpctl show neighbor: %w", err)
	}
	for _, x := range all.Neighbors {
		if a, err := netip.ParseAddr(x.Address); err == nil && n.is(a) {
			return x.State, x.State == "Established", nil
		}
	}
	return "not configured", false, nil
}

// openPath is a path as bgpctl shows it.
type openPath struct {
	Prefix      netip.Prefix `json:"prefix"`
	NextHop     netip.Addr   `json:"exit_nexthop"`
	Best        bool         `json:"best"`
	ASPath      string       `json:"aspath"`
	LocalPref   uint32       `json:"localpref"`
	MED         uint32       `json:"metric"`
	Communities []string     `json:"communities"`
	Large       []string     `json:"large_communities"`
	Attributes  []struct {
		Originator netip.Addr   `json:"originator"`
		Clusters   []netip.Addr `json:"cluster_list"`
	} `json:"attributes"`
}

func (o *openbgpd) rib(args ...string) ([]openPath, error) {
	out, err := o.bgpctl(append([]string{"show", "rib"}, args...)...)
	if err != nil {
		return nil, err
	}
	var table struct {
		RIB []openPath `json:"rib"`
	}
	if err := json.Unmarshal([]byte(out), &table); err != nil {
		return nil, fmt.Errorf("bgpctl show rib: %w", err)
	}
	return table.RIB, nil
}

func (o *openbgpd) routes() (map[netip.Prefix]Route, error) {
	paths, err := o.rib()
	if err != nil {
		return nil, err
	}
	routes := map[netip.Prefix]Route{}
	for _, p := range paths {
		if !p.Best {
			continue
		}
		r := routes[p.Prefix]
		if !p.NextHop.IsUnspecified() {
			r.NextHops = append(r.NextHops, p.NextHop)
		}
		slices.SortFunc(r.NextHops, netip.Addr.Compare)
		routes[p.Prefix] = r
	}
	return routes, nil
}

func (o *openbgpd) attributes(p netip.Prefix) (Attributes, error) {
	paths, err := o.rib("detail", p.String())
	if err != nil {
		return Attributes{}, err
	}
	for _, x := range paths {
		if x.Best {
			a := Attributes{
				ASPath: path(x.ASPath), Communities: x.Communities, Large: x.Large, LocalPref: x.LocalPref, MED: x.MED,
			}
			for _, y := range x.Attributes {
				if y.Originator.IsValid() {
					a.Originator = y.Originator
				}
				a.Clusters = append(a.Clusters, y.Clusters...)
			}
			return a, nil
		}
	}
	return Attributes{}, fmt.Errorf("no route to %v", p)
}
