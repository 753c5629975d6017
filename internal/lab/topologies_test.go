package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTopologies deploys what lies in deploy/containerlab, with the agent as it is, and checks what each file says of itself.
func TestTopologies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := exec.Command("go", "build", "-o", dir, "./cmd/podroute")
	c.Dir = filepath.Join("..", "..")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v: %s", err, out)
	}
	for name, check := range map[string]func(s shipped){
		"unnumbered": unnumbered, "reflectors": reflectors, "racks": racks, "services": services,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(ship(t, name, dir))
		})
	}
}

// shipped is one of the topologies that users get, running.
type shipped struct {
	*Lab
	t   *testing.T
	ctx context.Context //nolint:containedctx // of one test
}

// ship deploys a file of deploy/containerlab under a name of the test's own.
func ship(t *testing.T, name, programs string) shipped {
	t.Helper()
	top, err := Load(filepath.Join("..", "..", "deploy", "containerlab", name+".clab.yml"))
	if err != nil {
		t.Fatal(err)
	}
	top.Name = labName(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	l, err := Deploy(ctx, top, Options{StateDir: t.TempDir(), PathDir: programs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range top.Nodes {
				text, _ := os.ReadFile(l.LogFile(n.Name))
				t.Logf("log of %s:\n%s", n.Name, text)
			}
		}
		if err := l.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return shipped{Lab: l, t: t, ctx: ctx}
}

// within tries until it succeeds.
func (s shipped) within(what string, try func() error) {
	s.t.Helper()
	var err error
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	s.t.Fatalf("%s: %v", what, err)
}

// says waits until a command in a node prints all of these, and none of those that begin with "!".
func (s shipped) says(node, line string, want ...string) {
	s.t.Helper()
	s.within(node+": "+line, func() error {
		out, err := s.Run(s.ctx, node, strings.Fields(line)...)
		for _, w := range want {
			if text, not := strings.CutPrefix(w, "!"); strings.Contains(out, text) == not {
				err = errors.Join(err, fmt.Errorf("want %s in\n%s", w, out))
			}
		}
		return err
	})
}

// has waits until a node's sessions are these, established, and with BFD up where it is watched.
func (s shipped) has(node string, sessions ...string) {
	s.t.Helper()
	slices.Sort(sessions)
	s.within("sessions of "+node, func() error {
		out, err := s.Run(s.ctx, node, "podroute", "peers", "-o", "json")
		if err != nil {
			return err
		}
		var p struct {
			Peers []struct {
				Name, State string
				BFD         *struct {
					State string
					Off   bool
				}
			}
		}
		if err := json.Unmarshal([]byte(out), &p); err != nil {
			return err
		}
		var names []string
		for _, q := range p.Peers {
			names = append(names, q.Name)
			if q.State != "Established" || q.BFD != nil && !q.BFD.Off && q.BFD.State != "Up" {
				return fmt.Errorf("%s is not up: %s", q.Name, out)
			}
		}
		slices.Sort(names)
		if !slices.Equal(names, sessions) {
			return fmt.Errorf("sessions are %v, want %v", names, sessions)
		}
		return nil
	})
}

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
	if _, err := s.Run(s.ctx, "tor1", "ip", "link", "set", "eth2", "down"); err != nil {
		s.t.Fatal(err)
	}
	s.says("n1", "ip route show 10.244.2.0/24", "!dev eth1", "dev eth2")
	s.says("n1", "ping -c 1 -W 1 -I 10.0.255.1 10.0.255.2", " 0% packet loss")
}

// reflectors: two reflectors, and a gateway that takes whoever calls; of what it says, filters let through what carries a
// community.
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
}

// racks: a rack's range in the place of its parts, its switch in the way of its nodes, a session over several hops,
// and a collector that hears it all.
func racks(s shipped) {
	s.has("spine", "spine-tor1", "spine-tor2", "spine-n3")
	s.has("tor1", "tor1-spine", "tor1-n1", "tor1-n2")
	s.has("n3", "n3-tor2", "n3-spine")
	s.says("spine", "ip route show root 10.244.0.0/16", "10.244.0.0/20 ", "!10.244.1.0/24", "!10.244.2.0/24", "10.244.16.0/20 ", "10.244.17.0/24 ")
	s.says("tor1", "ip route show 10.244.0.0/20", "unreachable")
	s.says("n1", "ip route show 10.244.2.0/24", "via 10.0.11.2 dev eth1")
	s.says("n1", "ip route show 10.244.17.0/24", "via 10.0.11.2 dev eth1")
	s.says("n3", "ip route show 10.244.0.0/20", "via 10.0.23.2 dev eth1")
	s.says("spine", "podroute status", "198.51.100.20:11019 connected")
	s.says("collector", "cat /run/bmp.log", `"peer_up"`, `"10.244.17.0/24"`, `"10.244.0.0/20"`)
}

// services: a service's address at two nodes, of which one is drained and comes back.
func services(s shipped) {
	s.has("tor", "tor-n1", "tor-n2")
	both := func() { s.t.Helper(); s.says("tor", "ip route show 203.0.113.10", "dev eth1", "dev eth2") }
	both()
	s.says("client", "ping -c 1 -W 1 203.0.113.10", " 0% packet loss")
	if out, err := s.Run(s.ctx, "n1", "podroute", "drain", "--wait=false"); err != nil {
		s.t.Fatal(out, err)
	}
	s.says("tor", "ip route show 203.0.113.10", "!dev eth1", "dev eth2")
	s.says("tor", "ip route show 10.244.1.0/24", "dev eth1")
	s.says("client", "ping -c 1 -W 1 203.0.113.10", " 0% packet loss")
	if out, err := s.Run(s.ctx, "n1", "podroute", "undrain"); err != nil {
		s.t.Fatal(out, err)
	}
	both()
}
