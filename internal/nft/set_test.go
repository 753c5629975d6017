package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/internal/nstest"
)

func exampleConfig() Config {
	return Config{
		PodLinks: "pr", Masquerade: true,
		PodCIDRs:  prefixes("10.1.0.0/24", "fd00:1::/64"),
		Direct:    prefixes("10.0.0.0/8", "192.0.2.0/24", "fd00::/8"),
		NodeAddrs: addrs("192.0.2.1", "2001:db8::1"),
		Services:  prefixes("203.0.113.0/24", "2001:db8:f::/112"),
	}
}

// TestRepair: whatever others do to the table, Drifted tells and Set mends.
func TestRepair(t *testing.T) {
	t.Parallel()
	pods := "pods4-" + digest(spans(prefixes("10.1.0.0/24"), true))
	tests := []struct{ name, command string }{
		{"table deleted", "delete table inet podroute"},
		{"ruleset flushed", "flush ruleset"},
		{"rules flushed", "flush table inet podroute"},
		{"rule added", "add rule inet podroute prerouting counter accept"},
		{"rule inserted before ours", "insert rule inet podroute postrouting accept"},
		{"rule of a kind unknown here", `insert rule inet podroute postrouting ip saddr 10.1.0.9 meta mark set 5 accept comment "leaves the cluster"`},
		{"rule deleted", "delete rule inet podroute prerouting handle HANDLE"},
		{"element added", "add element inet podroute " + pods + " { 10.9.0.0/24 }"},
		{"element deleted", "delete element inet podroute " + pods + " { 10.1.0.0/24 }"},
		{"everything is direct", "add element inet podroute direct4-" + digest(spans(exampleConfig().Direct, true)) + " { 128.0.0.0/2 }"},
		{"nothing is refused", "flush chain inet podroute forward"},
		{"set added", "add set inet podroute mine { type ipv4_addr; }"},
		{"map added", "add map inet podroute mine { type ipv4_addr : verdict; }"},
		{"base chain added", "add chain inet podroute mine { type filter hook forward priority 0; policy drop; }"},
		{"chain added", "add chain inet podroute mine"},
		{"counter added", "add counter inet podroute mine"},
		{"policy changed", "add chain inet podroute prerouting { policy drop; }"},
		{"table asleep", "add table inet podroute { flags dormant; }"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ns := nstest.New(t)
			table := newTable(t, ns)
			mustSet(t, table, exampleConfig())
			want := list(t, ns)

			nft(t, ns, strings.Replace(tt.command, "HANDLE", handle(t, ns, "forged source"), 1))
			expectDrift(t, table, true)
			mustSet(t, table, exampleConfig())
			expectDrift(t, table, false)
			if diff := cmp.Diff(want, list(t, ns)); diff != "" {
				t.Errorf("table after repair (-want +got):\n%s", diff)
			}
		})
	}
}

func TestForeignTablesAreLeftAlone(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	const mine = "table inet mine {\n\tset s {\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.7 }\n\t}\n\n" +
		"\tchain prerouting {\n\t\ttype filter hook prerouting priority raw; policy accept;\n\t\tip saddr @s counter packets 0 bytes 0\n\t}\n}\n" +
		"table ip podroute {\n\tchain c {\n\t}\n}\n"
	nft(t, ns, mine)
	table := newTable(t, ns)
	mustSet(t, table, exampleConfig())
	mustSet(t, table, Config{PodLinks: "pr"})
	for range 2 { // the second time there is nothing to remove
		if err := table.Remove(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(mine, ns.Run(t, "nft list ruleset")); diff != "" {
		t.Errorf("ruleset after Remove (-want +got):\n%s", diff)
	}
	expectDrift(t, table, false)
}

// TestSetWritesOnlyDifferences: an equal table is not written, and counters of chains that stay as they
// are go on counting.
func TestSetWritesOnlyDifferences(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	table := newTable(t, ns)
	c := exampleConfig()
	mustSet(t, table, c)

	before := generation(t, table)
	mustSet(t, table, c)
	c.Direct = append(prefixes("10.200.0.0/16"), c.Direct[2], c.Direct[1], c.Direct[0]) // the same, said otherwise
	mustSet(t, table, c)
	if got := generation(t, table); got != before {
		t.Errorf("generation %d after Set of an equal Config, want %d", got, before)
	}

	rule := handle(t, ns, "forged source")
	for _, change := range []func(){
		func() { c.PodCIDRs = prefixes("10.1.0.0/26", "10.1.9.0/26", "fd00:1::/64") },
		func() { c.NodeAddrs = nil },
		func() { c.Direct = nil },
	} {
		change()
		mustSet(t, table, c)
		expectDrift(t, table, false)
		if got := handle(t, ns, "forged source"); got != rule {
			t.Errorf("the anti-spoofing rule was written again: handle %s, was %s", got, rule)
		}
		if n := strings.Count(list(t, ns), "\tset "); n != 6 {
			t.Errorf("%d sets in the table, want 6:\n%s", n, list(t, ns))
		}
	}
}

// TestAdoption: a new process finds the table of the one before, and leaves it.
func TestAdoption(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	first := newTable(t, ns)
	mustSet(t, first, exampleConfig())
	before := generation(t, first)
	second := newTable(t, ns)
	expectDrift(t, second, false) // it has not been told yet what to want
	mustSet(t, second, exampleConfig())
	if got := generation(t, second); got != before {
		t.Errorf("generation %d, want %d: the table was written again", got, before)
	}
}

// TestManyPrefixes: the destinations of a cluster whose every node has its own prefix.
func TestManyPrefixes(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	table := newTable(t, ns)
	c := exampleConfig()
	const nodes = 5000
	for i := range nodes {
		c.Direct = append(c.Direct,
			netip.MustParsePrefix(fmt.Sprintf("100.%d.%d.0/25", 64+i/256, i%256)),
			netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::/64", i)))
	}
	start := time.Now()
	mustSet(t, table, c)
	wrote := time.Since(start)
	start = time.Now()
	expectDrift(t, table, false)
	t.Logf("%d prefixes: written in %v, compared in %v", 2*nodes, wrote, time.Since(start))
	if n := strings.Count(list(t, ns), "/64"); n != nodes+1 {
		t.Errorf("%d IPv6 prefixes of 64 bits in the kernel's table, want %d", n, nodes+1)
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	table := newTable(t, ns)
	mustSet(t, table, exampleConfig())
	want := list(t, ns)
	tests := []struct {
		name   string
		change func(*Config)
		errHas string
	}{
		{"no link prefix", func(c *Config) { c.PodLinks = "" }, "every link would count"},
		{"long link prefix", func(c *Config) { c.PodLinks = "0123456789abcdef" }, "longer than a link's name"},
		{"zero prefix", func(c *Config) { c.Direct = append(c.Direct, netip.Prefix{}) }, "not valid"},
		{"two node addresses", func(c *Config) { c.NodeAddrs = addrs("192.0.2.1", "192.0.2.2") }, "192.0.2.1 and 192.0.2.2: at most one a family"},
		{"zoned node address", func(c *Config) { c.NodeAddrs = addrs("fe80::1%eth0") }, "not an address to send from"},
		{"zero service address", func(c *Config) { c.Watch = &Watch{Services: []netip.Prefix{{}}} }, "not valid"},
		{"long uplink", func(c *Config) { c.Watch = &Watch{Uplinks: []string{"0123456789abcdef"}} }, "no name of a link"},
		{"zero node address", func(c *Config) { c.NodeAddrs = append(c.NodeAddrs, netip.Addr{}) }, "not an address to send from"},
	}
	for _, tt := range tests {
		c := exampleConfig()
		tt.change(&c)
		err := table.Set(context.Background(), c)
		if err == nil || !strings.Contains(err.Error(), tt.errHas) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.errHas)
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := table.Set(ended, Config{PodLinks: "pr"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Set with an ended context: %v", err)
	}
	if diff := cmp.Diff(want, list(t, ns)); diff != "" {
		t.Errorf("a refused Set changed the table (-want +got):\n%s", diff)
	}
}

// nft hands commands to the nft program.
func nft(t *testing.T, ns *nstest.NS, commands string) {
	t.Helper()
	cmd := ns.Command(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(commands + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft %s: %v: %s", commands, err, out)
	}
}

func list(t *testing.T, ns *nstest.NS) string {
	t.Helper()
	return ns.Run(t, "nft list table inet podroute")
}

// handle is the number that the kernel gave to the rule with a comment.
func handle(t *testing.T, ns *nstest.NS, comment string) string {
	t.Helper()
	for line := range strings.Lines(ns.Run(t, "nft -a list table inet podroute")) {
		if _, h, ok := strings.Cut(line, "# handle "); ok && strings.Contains(line, comment) {
			return strings.TrimSpace(h)
		}
	}
	t.Fatalf("no rule with comment %q", comment)
	return ""
}

func generation(t *testing.T, table *Table) uint32 {
	t.Helper()
	k, err := open(context.Background(), table.netns)
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	g, err := k.generation()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func expectDrift(t *testing.T, table *Table, want bool) {
	t.Helper()
	got, err := table.Drifted(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("Drifted: %v, want %v", got, want)
	}
}
