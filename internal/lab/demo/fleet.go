package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/podroute/podroute/internal/lab"
	"github.com/podroute/podroute/internal/lab/demo/probe"
)

// fleet is the running lab with a probe in every node.
type fleet struct {
	lab     *lab.Lab
	routers string
	self    []string // command that serves as a probe, inside a node
	facts   map[string]nodeFacts
	probes  map[string]*probe.Client
	pods    []pod
	errors  *shared // what probes print to standard error
}

// pod is a wired pod. Its addresses are one a family.
type pod struct {
	name, node string
	addresses  []netip.Addr
}

// shared is a buffer that several processes write to.
type shared struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimSpace(s.buf.String())
}

// deploy loads the topology with the chosen routers and starts it.
func deploy(ctx context.Context, o Options) (*fleet, error) {
	if o.Router == "frr" && os.Geteuid() != 0 {
		return nil, errors.New("FRR runs as its own user, and a plain user's lab has no other user: run as root, or choose another router")
	}
	if daemon, ok := map[string]string{"frr": "/usr/lib/frr/bgpd", "bird": "/usr/sbin/bird"}[o.Router]; ok {
		if _, err := os.Stat(daemon); err != nil {
			return nil, fmt.Errorf("router %s: %w: install it (Debian: apt-get install frr bird2), or choose another router", o.Router, err)
		}
	}
	top, err := lab.LoadWith(o.Topology, func(name string) (string, bool) { return o.Router, name == "ROUTER" })
	if err != nil {
		return nil, err
	}
	facts, err := readManifests(filepath.Join(filepath.Dir(o.Topology), "two-racks", "config"))
	if err != nil {
		return nil, err
	}
	l, err := deployFree(ctx, top, lab.Options{Reconfigure: true, Holder: os.Getpid(), StateDir: o.StateDir, PathDir: o.PathDir})
	if err != nil {
		return nil, err
	}
	return &fleet{lab: l, routers: o.Router, self: o.Probe, facts: facts, probes: map[string]*probe.Client{}, errors: &shared{}}, nil
}

// deployFree deploys a lab under its own name, or, where another demo is using that, with a number
// behind it.
func deployFree(ctx context.Context, top *lab.Topology, o lab.Options) (*lab.Lab, error) {
	name := top.Name
	for i := 2; ; i++ {
		l, err := lab.Deploy(ctx, top, o)
		if !errors.Is(err, lab.ErrExists) {
			return l, err
		}
		top.Name = fmt.Sprintf("%s-%d", name, i)
	}
}

// startProbes starts one in every node.
func (f *fleet) startProbes(ctx context.Context) error {
	for _, n := range f.lab.Topology().Nodes {
		cmd, err := f.lab.Command(ctx, n.Name, f.self...)
		if err != nil {
			return err
		}
		cmd.Stderr = f.errors
		if f.probes[n.Name], err = probe.Start(cmd); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	return nil
}

// close ends the probes, and the lab unless it is to be kept.
func (f *fleet) close(ctx context.Context, keep bool) error {
	for _, p := range f.probes {
		_ = p.Close()
	}
	if keep {
		return nil
	}
	return f.lab.Destroy(ctx)
}

// ended tells of nodes whose cmd has ended by itself, with the last line of their logs.
func (f *fleet) ended(ctx context.Context) (out []string) {
	for _, n := range f.lab.Topology().Nodes {
		st, err := f.lab.Status(ctx, n.Name)
		if err != nil || st.Running || len(n.Cmd) == 0 {
			continue
		}
		text, _ := os.ReadFile(f.lab.LogFile(n.Name))
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if len(lines) > 1 {
			lines = lines[len(lines)-2:] // the last line is the init's own
		}
		out = append(out, fmt.Sprintf("%s: %q has ended: %s: %s", n.Name, n.Cmd[0], st.Ended, lines[0]))
	}
	return out
}

// role lists the nodes with one of the labels role=..., in the order of the file.
func (f *fleet) role(roles ...string) []string {
	var names []string
	for _, n := range f.lab.Topology().Nodes {
		if slices.Contains(roles, n.Labels["role"]) {
			names = append(names, n.Name)
		}
	}
	return names
}

// each does something for several nodes at once.
func each(nodes []string, do func(node string) error) error {
	var g errgroup.Group
	for _, n := range nodes {
		g.Go(func() error {
			if err := do(n); err != nil {
				return fmt.Errorf("%s: %w", n, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// until polls until cond returns nil, and returns its last error when time is up.
func until(ctx context.Context, cond func(context.Context) error) error {
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := cond(limit)
		if err == nil {
			return nil
		}
		if last == nil || limit.Err() == nil {
			last = err // rather than that of being interrupted
		}
		select {
		case <-limit.Done():
			return errors.Join(ctx.Err(), fmt.Errorf("not within %v: %w", patience, last))
		case <-tick.C:
		}
	}
}

// converged is nil when every node and router has a route to every pod subnet, and every node one
// out of the cluster.
func (f *fleet) converged(ctx context.Context) error {
	var want []netip.Prefix
	for _, n := range f.role("node") {
		want = append(want, f.facts[n].subnets...)
	}
	out := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	return each(f.role("node", "tor", "spine"), func(n string) error {
		have, err := f.probes[n].Routes(ctx)
		if err != nil {
			return err
		}
		need := want
		if slices.Contains(f.role("node"), n) {
			need = slices.Concat(want, out)
		}
		for _, p := range need {
			if !slices.Contains(have, p) {
				return fmt.Errorf("no route to %v", p)
			}
		}
		return nil
	})
}

// session is what podroute peers tells of one.
type session struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Flaps    int    `json:"flaps"`
	Families []struct {
		Received int `json:"received"`
	} `json:"families"`
}

// received counts the routes that the peer has sent, of all families.
func (s session) received() (n int) {
	for _, f := range s.Families {
		n += f.Received
	}
	return n
}

// sessions of a node, by their names.
func (f *fleet) sessions(ctx context.Context, node string) (map[string]session, error) {
	out, err := f.lab.Run(ctx, node, "podroute", "peers", "-o", "json")
	if err != nil {
		return nil, err
	}
	var r struct {
		Peers []session `json:"peers"`
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return nil, fmt.Errorf("podroute peers: %w", err)
	}
	all := map[string]session{}
	for _, s := range r.Peers {
		all[s.Name] = s
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no sessions", node)
	}
	return all, nil
}

// back is nil when a node has all sessions of before again, with as many routes received. Not before
// that is a graceful restart over, and another may follow (RFC 4724 section 4.2: a peer that restarts
// again loses what it has not sent anew).
func (f *fleet) back(ctx context.Context, node string, before map[string]session) error {
	now, err := f.sessions(ctx, node)
	if err != nil {
		return err
	}
	for name, b := range before {
		n := now[name]
		switch {
		case n.State != "Established":
			return fmt.Errorf("session %s is %s", name, n.State)
		case n.received() < b.received():
			return fmt.Errorf("session %s has brought %d routes of %d", name, n.received(), b.received())
		}
	}
	return nil
}
