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
	checks := map[string]func(s shipped){
		"unnumbered": unnumbered, "reflectors": reflectors, "racks": racks, "services": services, "ipv6-only": ipv6Only,
	}
	for name, check := range checks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(ship(t, name, dir))
		})
	}
	files, err := filepath.Glob(filepath.Join(topologies, "*.clab.yml"))
	if err != nil || len(files) < len(checks) {
		t.Errorf("%d topologies, %v", len(files), err)
	}
	for _, file := range files {
		// The demo checks the former, the latter is for kind.
		if name := strings.TrimSuffix(filepath.Base(file), ".clab.yml"); checks[name] == nil && name != "two-racks" && name != "k8s-kind" {
			t.Errorf("nothing checks %s", file)
		}
	}
}

// topologies is the folder of what users get.
const topologies = "../../deploy/containerlab"

// shipped is one of the topologies that users get, running.
type shipped struct {
	*Lab
	t   *testing.T
	dir string          // of its configuration: a copy, to be changed
	ctx context.Context //nolint:containedctx // of one test
}

// ship deploys a file of deploy/containerlab under a name of the test's own.
func ship(t *testing.T, name, programs string) shipped {
	t.Helper()
	files := t.TempDir()
	if err := os.CopyFS(files, os.DirFS(topologies)); err != nil {
		t.Fatal(err)
	}
	top, err := Load(filepath.Join(files, name+".clab.yml"))
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
	return shipped{Lab: l, t: t, dir: filepath.Join(files, name), ctx: ctx}
}

// edit changes a word of the configuration, as a person would while the lab runs.
func (s shipped) edit(old, now string) {
	s.t.Helper()
	file := filepath.Join(s.dir, "fabric.yaml")
	text, err := os.ReadFile(file)
	if err == nil && strings.Count(string(text), old) != 1 {
		err = fmt.Errorf("%s has not %q once", file, old)
	}
	if err == nil {
		err = os.WriteFile(file+".new", []byte(strings.Replace(string(text), old, now, 1)), 0o644)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// do runs a command in a node.
func (s shipped) do(node, line string) {
	s.t.Helper()
	if out, err := s.Run(s.ctx, node, strings.Fields(line)...); err != nil {
		s.t.Fatalf("%s: %s: %v: %s", node, line, err, out)
	}
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

// peer is a session as podroute peers tells of it.
type peer struct {
	Name, State string
	Flaps       int
	BFD         *struct {
		State string
		Off   bool
	}
}

// peers asks a node for its sessions.
func (s shipped) peers(node string) (all []peer, out string, err error) {
	out, err = s.Run(s.ctx, node, "podroute", "peers", "-o", "json")
	if err != nil {
		return nil, out, err
	}
	var p struct{ Peers []peer }
	err = json.Unmarshal([]byte(out), &p)
	return p.Peers, out, err
}

// has waits until a node's sessions are these, established, and with BFD up where it is watched.
func (s shipped) has(node string, sessions ...string) {
	s.t.Helper()
	slices.Sort(sessions)
	s.within("sessions of "+node, func() error {
		all, out, err := s.peers(node)
		if err != nil {
			return err
		}
		var names []string
		for _, q := range all {
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
