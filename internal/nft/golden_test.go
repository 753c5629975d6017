package nft

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/internal/nstest"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestGolden holds what people see with `nft list table inet podroute`.
func TestGolden(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		config Config
	}{
		{"anti-spoofing-only", Config{PodLinks: "pr", PodCIDRs: prefixes("10.1.0.0/24")}},
		{"dual-stack", Config{
			PodLinks: "pr", Masquerade: true,
			PodCIDRs:  prefixes("10.1.0.0/24", "10.1.7.0/26", "fd00:1::/64"),
			Direct:    prefixes("10.0.0.0/8", "192.0.2.0/25", "192.0.2.128/25", "10.2.0.0/16", "fd00::/16"),
			NodeAddrs: addrs("192.0.2.1", "2001:db8::1"),
		}},
		{"ipv4-pods-no-node-address", Config{PodLinks: "pr", Masquerade: true, PodCIDRs: prefixes("10.1.0.0/24")}},
		{"ipv6-only", Config{
			PodLinks: "pr", Masquerade: true, PodCIDRs: prefixes("fd00:1::/64"), Direct: prefixes("fd00::/16"),
			NodeAddrs: addrs("192.0.2.1", "2001:db8::1"),
		}},
		{"everything-direct", Config{
			PodLinks: "pr", Masquerade: true, PodCIDRs: prefixes("10.1.0.0/24", "fd00:1::/64"),
			Direct: prefixes("0.0.0.0/1", "128.0.0.0/1", "ff00::/8"),
		}},
		{"services", Config{
			PodLinks: "pr", Masquerade: true, PodCIDRs: prefixes("10.1.0.0/24"), Direct: prefixes("10.0.0.0/8"), NodeAddrs: addrs("192.0.2.1"),
			Services: prefixes("203.0.113.0/24", "198.51.100.7/32", "203.0.113.9/32", "2001:db8:f::7/128"),
		}},
		{"watched", Config{PodLinks: "pr", Watch: &Watch{
			Services: prefixes("203.0.113.7/32", "203.0.113.9/32", "2001:db8:f::7/128"), Uplinks: []string{"eth0", "eth1"},
		}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ns := nstest.New(t)
			table := newTable(t, ns)
			mustSet(t, table, tt.config)
			got := ns.Run(t, "nft list table inet podroute")
			file := filepath.Join("testdata", tt.name+".nft")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("nft list table inet podroute (-want +got):\n%s", diff)
			}
			if drifted, err := table.Drifted(context.Background()); drifted || err != nil {
				t.Errorf("Drifted right after Set: %v, %v", drifted, err)
			}
		})
	}
}

// newTable returns a Table of a namespace.
func newTable(t *testing.T, ns *nstest.NS) *Table {
	t.Helper()
	var table *Table
	err := ns.Do(func() (err error) {
		table, err = New(Options{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	return table
}

func mustSet(t *testing.T, table *Table, c Config) {
	t.Helper()
	if err := table.Set(context.Background(), c); err != nil {
		t.Fatal(err)
	}
}

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// waitFor polls cond until it returns nil, for ten seconds at most.
func waitFor(t *testing.T, cond func() error) {
	t.Helper()
	nstest.Within(t, 10*time.Second, cond)
}
