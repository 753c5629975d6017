package agent

import (
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config/file"
	"github.com/podroute/podroute/routes"
)

var update = flag.Bool("update", false, "write the goldens anew")

// TestDesired computes the desired state of every node named in a case's hosts.txt and compares it,
// written as text, with want.txt. A case is a folder: config/ holds manifests; hosts.txt says what
// each host has, "node NAME", then lines "link INDEX NAME up|down MTU PREFIX...", "route PREFIX" for
// routes of others, "called PEER full|more ADDRESS..." for who has
// called from a peer's prefix, and "restarting".
func TestDesired(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob("testdata/desired/*")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, dir := range cases {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			snapshot, err := file.Load(filepath.Join(dir, "config"))
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, in := range readHosts(t, filepath.Join(dir, "hosts.txt")) {
				in.Snapshot = snapshot
				printDesired(&got, in.NodeName, desired(in))
			}
			golden := filepath.Join(dir, "want.txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("desired state (-want +got):\n%s", diff)
			}
		})
	}
}

func readHosts(t *testing.T, path string) []Inputs {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []Inputs
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if f[0] == "node" {
			out = append(out, Inputs{NodeName: f[1]})
			continue
		}
		in := &out[len(out)-1]
		switch f[0] {
		case "drain": // and "drain over", when service addresses are withdrawn
			in.Drain, in.Withdraw = true, len(f) > 1
		case "called":
			c := bgp.Callers{Full: f[2] == "full"}
			for _, a := range f[3:] {
				c.Addresses = append(c.Addresses, netip.MustParseAddr(a))
			}
			in.Callers = map[string]bgp.Callers{f[1]: c}
		case "restarting":
			in.Restarting = true
		case "route":
			in.Foreign = append(in.Foreign, netip.MustParsePrefix(f[1]))
		case "link":
			in.Links = append(in.Links, readLink(t, f[1:]))
		default:
			t.Fatalf("%s: %s", path, line)
		}
	}
	return out
}

func readLink(t *testing.T, f []string) routes.Link {
	t.Helper()
	index, err1 := strconv.Atoi(f[0])
	mtu, err2 := strconv.Atoi(f[3])
	if err1 != nil || err2 != nil {
		t.Fatal(f, err1, err2)
	}
	l := routes.Link{Index: index, Name: f[1], Up: f[2] == "up", MTU: mtu, Loopback: f[1] == "lo"}
	for _, p := range f[4:] {
		l.Prefixes = append(l.Prefixes, netip.MustParsePrefix(p))
	}
	return l
}

func printDesired(w *strings.Builder, name string, d Desired) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("node %s role=%s as=%d router-id=%v addresses=%v sources=%v min-sessions=%d", name, d.Role, d.AS, d.RouterID, d.Addresses, d.Sources, d.MinSessions)
	for _, r := range d.Local {
		p("  route %v unreachable=%t", r.Dst, r.Unreachable)
	}
	p("  cni mtu=%d not-ready=%v", d.CNI.MTU, d.CNI.NotReady)
	p("  nft masquerade=%t pods=%v direct=%v to=%v", d.NFT.Masquerade, d.NFT.PodCIDRs, d.NFT.Direct, d.NFT.NodeAddrs)
	if len(d.NFT.Services) > 0 {
		p("  nft refused=%v", d.NFT.Services)
	}
	b := d.BGP
	p("  bgp port=%d max-paths=%d restarting=%t deferral=%v transit=%t cluster-id=%v", b.ListenPort, b.MaxPaths, b.Restarting, b.Deferral, b.Transit, b.ClusterID)
	p("    accept %s", rangesText(b.Import))
	p("    never %s", rangesText(b.Never))
	p("    never-ever %v", b.NeverEver)
	for _, path := range b.Paths {
		p("    path %v communities=%v med=%v local-pref=%v prepend=%d peers=%v", path.Prefix, path.Communities, deref(path.MED), deref(path.LocalPref), path.Prepend, path.Peers)
		if path.Aggregate {
			p("      aggregate while-known=%t summary-only=%t", slices.Contains(d.Aggregates, path.Prefix), path.SummaryOnly)
		}
	}
	for _, r := range b.Ranges {
		p("    range %s %v password=%t most=%d", r.Name, r.Prefix, r.Password != "", r.Most)
	}
	for _, q := range b.Peers {
		p("    peer %s %v as=%d families=%v next-hops=%v down=%t passive=%t password=%t client=%t only=%v max=%d gr=%t/%v hold=%v import=+%s-%s export=+%s-%s",
			q.Name, q.Address, q.AS, q.Families, q.NextHops, q.Down, q.Passive, q.Password != "", q.ReflectorClient, q.Only, q.MaxPrefixes,
			q.GracefulRestart, q.RestartTime, q.Hold, matchText(q.Import.Accept), matchText(q.Import.Reject), matchText(q.Export.Accept), matchText(q.Export.Reject))
	}
	for _, w := range d.BFD.Peers {
		if w.Off && strings.HasPrefix(w.Name, "mesh-") {
			continue // as ever, unless the mesh has BFD
		}
		p("    bfd %s %v off=%t multihop=%t/%d tx=%v rx=%v multiplier=%d passive=%t auth={%v} key=%t",
			w.Name, w.Address, w.Off, w.Multihop, w.MaxHops, w.MinTX, w.MinRX, w.Multiplier, w.Passive, w.Auth, w.Auth.Key != "")
	}
	if len(d.Served) > 0 {
		p("  served %v", d.Served)
	}
	for _, prefix := range slices.SortedFunc(maps.Keys(d.Origins), comparePrefixes) {
		p("  origin %v %s", prefix, d.Origins[prefix])
	}
	for _, q := range d.Problems {
		p("  problem %v", q)
	}
}

func rangesText(rs []bgp.PrefixRange) string {
	var parts []string
	for _, r := range rs {
		parts = append(parts, fmt.Sprintf("%v{%d,%d}", r.Prefix, r.Min, r.Max))
	}
	return "[" + strings.Join(parts, " ") + "]"
}

func matchText(ms []bgp.Match) string {
	var parts []string
	for _, m := range ms {
		text := "all"
		if r := m.Prefixes; r.Prefix.IsValid() {
			text = fmt.Sprintf("%v{%d,%d}", r.Prefix, r.Min, r.Max)
		}
		if m.Family != 0 {
			text += " " + m.Family.String()
		}
		if len(m.Communities) > 0 {
			text += fmt.Sprintf(" carrying %v", m.Communities)
		}
		parts = append(parts, text+m.Path.String())
	}
	return "[" + strings.Join(parts, " ") + "]"
}

func deref(p *uint32) string {
	if p == nil {
		return "-"
	}
	return strconv.Itoa(int(*p))
}
