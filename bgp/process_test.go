//go:debug multipathtcp=0

package bgp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// A speaker lives in the network namespace of its process, so tests run theirs in processes of their own:
// this test binary again, told what to do by lines of JSON.

const childEnv = "PODROUTE_TEST_SPEAKER"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		serveSpeaker()
		os.Exit(0)
	}
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("24") // they mostly wait for sessions
	}
	os.Exit(m.Run())
}

type request struct {
	Op     string
	Config Config
}

type answer struct {
	Err        string
	Routes     map[netip.Prefix][]Via
	Synced     bool
	Count      int
	Turns      int // routes that Learned has told to have changed
	Peers      []PeerState
	Advertised []AdvertisedRoute
	Callers    map[string]Callers
	RSS        int // kilobytes
	Goroutines int // without those that gobgp leaves behind
	Left       int // those
}

// serveSpeaker is the child: it does what it reads until its input ends.
func serveSpeaker() {
	level := slog.LevelInfo
	if os.Getenv("PODROUTE_TEST_DEBUG") != "" {
		level = slog.LevelDebug
	}
	s := New(Options{Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))})
	ctx := context.Background()
	go func() { _ = s.Run(ctx) }()
	c := &child{s: s, routes: map[netip.Prefix][]Via{}}
	go c.follow()
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var r request
		a := answer{}
		if err := json.Unmarshal(line, &r); err != nil {
			a.Err = err.Error()
		} else if err := c.do(ctx, r, &a); err != nil {
			a.Err = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return
		}
	}
}

type child struct {
	s      *Speaker
	mu     sync.Mutex
	routes map[netip.Prefix][]Via
	synced bool
	turns  int
}

func (c *child) follow() {
	for range c.s.Changed() {
		c.mu.Lock()
		changes, all := c.s.Learned()
		c.turns += len(changes)
		c.synced = c.s.Synced()
		if all {
			clear(c.routes)
		}
		for _, l := range changes {
			if len(l.Via) == 0 {
				delete(c.routes, l.Prefix)
			} else {
				c.routes[l.Prefix] = l.Via
			}
		}
		c.mu.Unlock()
	}
}

func (c *child) do(ctx context.Context, r request, a *answer) (err error) {
	switch r.Op {
	case "set":
		return c.s.Set(ctx, r.Config)
	case "routes", "count":
		c.mu.Lock()
		defer c.mu.Unlock()
		a.Synced, a.Count, a.Turns = c.synced, len(c.routes), c.turns
		if r.Op == "routes" {
			a.Routes = maps.Clone(c.routes)
		}
		a.RSS = rss()
		a.Goroutines, a.Left = goroutines()
	case "peers":
		a.Peers, err = c.s.Peers(ctx)
	case "heard":
		a.Count, err = c.heard(ctx)
	case "callers":
		a.Callers = c.s.Callers()
	case "advertised":
		a.Advertised, err = c.s.Advertised(ctx)
	case "restart":
		return c.s.Restart(ctx)
	case "leave":
		return c.s.Leave(ctx)
	}
	return err
}

// goroutines counts those that run, and apart from them those that gobgp leaves behind; see docs/adr/0019.
func goroutines() (running, left int) {
	buf := make([]byte, 1<<20)
	for range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "infiniteBuffer(") {
		left++
	}
	left--
	return runtime.NumGoroutine() - left, left
}

func rss() int {
	b, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	var n int
	_, _ = fmt.Sscan(rest, &n)
	return n
}

// process is a speaker in a namespace, as the test sees it.
type process struct {
	t    testing.TB
	name string
	cmd  interface{ Wait() error }
	pid  int
	in   io.WriteCloser
	out  *bufio.Reader
	log  *nstest.Output
	mu   sync.Mutex
	dead bool
}

// startSpeaker runs a speaker in ns until the test ends.
func startSpeaker(t testing.TB, ns *nstest.NS, name string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := ns.Command(context.Background(), exe)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it ends with its standard input
	cmd.Env = append(os.Environ(), childEnv+"=1")
	p := &process{t: t, name: name, cmd: cmd, log: &nstest.Output{}}
	cmd.Stderr = p.log
	if p.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("speaker %s:\n%s", name, p.log)
		}
	})
	return p
}

// kill ends the process with SIGKILL.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return
	}
	p.dead = true
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

// call has the process do something; the error is what the speaker returned.
func (p *process) call(r request) (answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var a answer
	b, err := json.Marshal(r)
	if err == nil {
		_, err = p.in.Write(append(b, '\n'))
	}
	if err != nil {
		return a, fmt.Errorf("speaker %s: %w", p.name, err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return a, fmt.Errorf("speaker %s has died: %w", p.name, err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, err
	}
	if a.Err != "" {
		return a, errors.New(a.Err)
	}
	return a, nil
}

func (p *process) must(op string) answer {
	p.t.Helper()
	a, err := p.call(request{Op: op})
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func (p *process) set(c Config) {
	p.t.Helper()
	if _, err := p.call(request{Op: "set", Config: c}); err != nil {
		p.t.Fatal(err)
	}
}

// peer is the state of one peer.
func (p *process) peer(name string) PeerState {
	p.t.Helper()
	all := p.must("peers").Peers
	i := slices.IndexFunc(all, func(s PeerState) bool { return s.Name == name })
	if i < 0 {
		p.t.Fatalf("no peer %s in %v", name, all)
	}
	return all[i]
}

// established waits until sessions are up.
func (p *process) established(names ...string) {
	p.t.Helper()
	nstest.Within(p.t, 20*time.Second, func() error {
		for _, n := range names {
			if st := p.peer(n); st.State != "Established" {
				return fmt.Errorf("%s: session with %s is %s: %s", p.name, n, st.State, st.LastError)
			}
		}
		return nil
	})
}

// learns waits until the learned routes are exactly these: "10.0.0.0/24 via 192.0.2.1", next hops comma-separated.
func (p *process) learns(want ...string) {
	p.t.Helper()
	slices.Sort(want)
	nstest.Within(p.t, 15*time.Second, func() error {
		if got := p.learned(); !slices.Equal(got, want) {
			return fmt.Errorf("%s learned %q, want %q", p.name, got, want)
		}
		return nil
	})
}

func (p *process) learned() []string {
	p.t.Helper()
	return viaText(p.must("routes").Routes)
}

// viaText is each route as learns has it, sorted.
func viaText(routes map[netip.Prefix][]Via) []string {
	got := []string{}
	for prefix, via := range routes {
		hops := make([]string, len(via))
		for i, v := range via {
			hops[i] = v.Addr.String()
		}
		got = append(got, prefix.String()+" via "+strings.Join(hops, ","))
	}
	slices.Sort(got)
	return got
}
