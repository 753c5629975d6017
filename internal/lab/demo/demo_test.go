package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/lab"
	"github.com/podroute/podroute/internal/lab/demo/probe"
)

// TestMain also serves as the init of nodes and as their probes.
func TestMain(m *testing.M) {
	if code, ran := lab.Reexec(); ran {
		os.Exit(code)
	}
	if len(os.Args) == 2 && os.Args[1] == "probe" {
		if err := probe.Serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// programs builds the agent and the plugin.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join("..", "..", "..")
	c := exec.Command("go", "build", "-o", dir, "./cmd/podroute", "./cmd/podroute-cni")
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// inUse brings the demo's lab up for a test.
func inUse(t *testing.T, router, programs string) (*fleet, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	o := Options{
		Topology: filepath.Join("..", "..", "..", "deploy", "containerlab", "two-racks.clab.yml"),
		Router:   router, StateDir: t.TempDir(), PathDir: programs,
		Probe:    []string{"/proc/1/exe", "probe"},
		Progress: func(stage, result string, done bool) { t.Log(stage, result, done) },
	}
	r := &Report{}
	f, err := up(ctx, o, r)
	if f != nil {
		t.Cleanup(func() {
			for _, n := range f.lab.Topology().Nodes {
				if text, err := os.ReadFile(f.lab.LogFile(n.Name)); err == nil && t.Failed() {
					t.Logf("log of %s:\n%s", n.Name, text)
				}
			}
			f.finish(ctx, o, r)
			if len(r.Failures) > 0 {
				t.Error(r.Failures)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return f, ctx
}

func (f *fleet) proofs(ctx context.Context, t *testing.T) *Report {
	t.Helper()
	r := &Report{}
	for _, prove := range []func(context.Context, *Report) (string, error){f.proveCluster, f.proveOutside} {
		if _, err := prove(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// With each kind of router the network does what it promises; and where it is sabotaged, the proofs
// notice.
func TestProofs(t *testing.T) {
	bin := programs(t)
	for _, router := range Routers() {
		t.Run(router, func(t *testing.T) {
			f, ctx := inUse(t, router, bin)
			r := f.proofs(ctx, t)
			if len(r.Failures) > 0 || r.Pairs != 132 || r.Reached != 132 || r.Natted+r.Encapsulated != 0 || len(r.Proofs) != 6 {
				t.Errorf("%+v", r)
			}
			if router == Routers()[0] {
				sabotage(ctx, t, f)
			}
			stray(ctx, t, f)
		})
	}
}

// stray: what is for nobody does not circle between the switches and the spine until its hops are
// used up: neither an address of the cluster that no node has, nor one of n2 while all is changing
// because both its uplinks are cut.
func stray(ctx context.Context, t *testing.T, f *fleet) {
	t.Helper()
	send := func(addresses ...string) {
		t.Helper()
		for _, a := range addresses {
			err := each([]string{"n1", "n3", "client"}, func(n string) error {
				out, err := f.lab.Exec(ctx, n, "ping", "-n", "-i", "0.01", "-c", "40", "-W", "0.1", a)
				if err == nil && !strings.Contains(out.Stdout, "100% packet loss") {
					err = fmt.Errorf("ping %s: %s", a, out.Stdout+out.Stderr)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
	send("10.244.99.1", "10.0.255.99", "fd00:244:0:99::1", "fd00:10:0:ffff::99")
	for _, end := range []struct{ node, port string }{{"tor1", "eth3"}, {"tor2", "eth2"}} {
		if _, err := f.lab.Run(ctx, end.node, "ip", "link", "set", end.port, "down"); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range f.pod("n2-a").addresses {
		send(a.String())
	}
	for _, n := range f.role("tor", "spine") {
		for _, counter := range []string{"IpInHdrErrors", "Ip6InHdrErrors"} {
			out, err := f.lab.Run(ctx, n, "nstat", "-asz", counter)
			if err != nil {
				t.Fatal(err)
			}
			if fields := strings.Fields(out); len(fields) < 3 || fields[len(fields)-2] != "0" {
				t.Errorf("%s: packets died of old age:\n%s", n, out)
			}
		}
	}
}

func sabotage(ctx context.Context, t *testing.T, f *fleet) {
	run := func(node string, lines ...string) {
		t.Helper()
		for _, l := range lines {
			argv, err := lab.Split(l)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.lab.Run(ctx, node, argv...); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		do, undo func()
		noticed  func(*Report) bool
	}{
		"a switch that translates addresses": {
			func() {
				run("tor1", "nft add table ip bad", "nft add chain ip bad c '{type nat hook postrouting priority 100;}'",
					"nft add rule ip bad c oifname eth1 ip saddr 10.244.0.0/16 masquerade")
			},
			func() { run("tor1", "nft delete table ip bad") },
			func(r *Report) bool { return r.Natted > 0 && r.Reached == 132 },
		},
		"a tunnel between two nodes": {
			func() {
				for i, n := range []string{"n3", "n4"} {
					run(n, fmt.Sprintf("ip link add tunnel type vxlan id 7 dstport 4789 local 10.0.2%d.3 remote 10.0.2%d.3", 3+i, 4-i),
						fmt.Sprintf("ip address add 192.168.7.%d/24 dev tunnel", 3+i), "ip link set tunnel up",
						fmt.Sprintf("ip route add 10.244.%d.0/24 via 192.168.7.%d metric 1", 4-i, 4-i))
				}
			},
			func() { run("n3", "ip link delete tunnel"); run("n4", "ip link delete tunnel") },
			func(r *Report) bool { return r.Encapsulated > 0 && r.Natted == 0 },
		},
		"a switch that refuses traffic to one node's pods": {
			func() {
				run("tor2", "nft add table ip6 bad", "nft add chain ip6 bad c '{type filter hook forward priority 0;}'",
					"nft add rule ip6 bad c ip6 daddr fd00:244:0:4::/64 'tcp flags & (syn|ack) == syn' reject with tcp reset")
			},
			func() { run("tor2", "nft delete table ip6 bad") },
			func(r *Report) bool { return r.Reached < 132 && r.Reached > 0 },
		},
	} {
		c.do()
		if r := f.proofs(ctx, t); len(r.Failures) == 0 || !c.noticed(r) {
			t.Errorf("%s: not noticed: %s", name, strings.Join(r.Failures, "\n"))
		}
		c.undo()
	}
	if r := f.proofs(ctx, t); len(r.Failures) > 0 {
		t.Errorf("after all: %v", r.Failures)
	}
}
