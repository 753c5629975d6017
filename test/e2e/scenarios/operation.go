package scenarios

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/test/e2e/cluster"
	"github.com/podroute/podroute/test/e2e/traffic"
)

// operation is what operators do, and what happens to them, under traffic.
func operation() []Scenario {
	return []Scenario{
		{
			Name: "rolling-update", Shows: "the DaemonSet is rolled over and no packet is lost", Disturbs: true,
			Timeout: 4 * time.Minute, Run: rollingUpdate,
		},
		{
			Name: "agent-killed", Shows: "agents killed without a warning come back and no packet is lost", Disturbs: true,
			Run: agentKilled,
		},
		{
			Name: "api-outage", Shows: "60 s without the API: pods start and end, and no packet is lost", Disturbs: true,
			Timeout: 4 * time.Minute, Run: apiOutage,
		},
		{
			Name: "tor-restarted", Shows: "a top-of-rack's BGP is killed and started, and no packet is lost", Disturbs: true,
			Run: torRestarted,
		},
		{
			Name: "runtime-restarted", Shows: "kubelets and container runtimes restart, pods stay and no packet is lost", Disturbs: true,
			Run: runtimeRestarted,
		},
	}
}

// bed is the pods that traffic runs between while something is done: one a node, with a service of the last two.
type bed struct{ a, b, c Pod }

// stream is traffic with a name.
type stream struct {
	name string
	*traffic.Stream
}

// underTraffic does something while pods ping each other, every 10 ms, over racks in both families and within
// a rack, and ask each other and a service over HTTP. What became of the streams is noted, and a loss is an
// error.
func (t *T) underTraffic(ctx context.Context, do func(context.Context, bed) error) (err error) {
	pods, err := t.StartPods(ctx, Want{Name: "a", Node: "n1"}, web("b", "n2"), web("c", "n3"))
	if err != nil {
		return err
	}
	p := bed{pods[0], pods[1], pods[2]}
	streams, err := t.startStreams(ctx, p)
	began := time.Now()
	if err == nil {
		err = do(ctx, p)
	}
	errs := []error{err}
	for i, s := range streams {
		tally, err := s.Stop()
		if i == 0 {
			t.Note("traffic for %.1f s", time.Since(began).Seconds())
		}
		t.Note("  %s: %v", s.name, tally)
		if err == nil && tally.Lost > 0 {
			err = fmt.Errorf("%s: %v %s", s.name, tally, tally.Error)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// startStreams returns those that were started, also with an error.
func (t *T) startStreams(ctx context.Context, p bed) (streams []stream, err error) {
	s, err := t.StartService(ctx, serviceOf("web", nil))
	if err != nil {
		return nil, err
	}
	in, err := t.in(p.a)
	if err != nil {
		return nil, err
	}
	service := url(clusterIPs(s)[0], 80, "/hostname")
	if err := in.answersFrom(ctx, service, []string{"b", "c"}); err != nil {
		return nil, err
	}
	var (
		group errgroup.Group
		mu    sync.Mutex
	)
	for _, q := range []struct {
		name  string
		start func() (*traffic.Stream, error)
	}{
		{"ping over racks, IPv4", func() (*traffic.Stream, error) { return t.StartPing(ctx, p.a, p.c.IPs[0]) }},
		{"ping over racks, IPv6", func() (*traffic.Stream, error) { return t.StartPing(ctx, p.a, p.c.IPs[1]) }},
		{"ping within a rack, IPv4", func() (*traffic.Stream, error) { return t.StartPing(ctx, p.a, p.b.IPs[0]) }},
		{"HTTP to a service, IPv4", func() (*traffic.Stream, error) { return t.StartLoad(ctx, p.a, service) }},
		{"HTTP over racks, IPv6", func() (*traffic.Stream, error) {
			return t.StartLoad(ctx, p.c, p.a.URL(p.a.IPs[1], "/hostname"))
		}},
	} {
		group.Go(func() error {
			s, err := q.start()
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			streams = append(streams, stream{q.name, s})
			return nil
		})
	}
	err = group.Wait()
	slices.SortFunc(streams, func(a, b stream) int { return strings.Compare(b.name, a.name) }) // pings first
	return streams, err
}

// rollingUpdate restarts every agent, one node at a time.
func rollingUpdate(ctx context.Context, t *T) error {
	return t.underTraffic(ctx, func(ctx context.Context, _ bed) error {
		if t.Options().Install == cluster.InstallProcess {
			for _, n := range cluster.Nodes() {
				if err := t.Service(ctx, n.Name, "restart", "podroute"); err != nil {
					return err
				}
				if err := t.agentReady(ctx, n.Name, 30*time.Second); err != nil {
					return err
				}
			}
			return nil
		}
		if _, err := t.Kubectl(ctx, "-n", "kube-system", "rollout", "restart", "daemonset/podroute"); err != nil {
			return err
		}
		_, err := t.Kubectl(ctx, "-n", "kube-system", "rollout", "status", "daemonset/podroute", "--timeout=150s")
		return err
	})
}

// agentKilled sends what the kernel's out-of-memory killer sends, in both racks at once.
func agentKilled(ctx context.Context, t *T) error {
	return t.underTraffic(ctx, func(ctx context.Context, _ bed) error {
		before := map[string]int{}
		for _, node := range []string{"n1", "n3"} {
			pid, err := t.agentPID(node)
			if err != nil {
				return err
			}
			before[node] = pid
		}
		for node, pid := range before {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				return fmt.Errorf("agent of %s: %w", node, err)
			}
		}
		for node, pid := range before {
			if err := t.nextAgent(ctx, node, pid); err != nil {
				return err
			}
		}
		return t.pause(ctx, 2*time.Second) // what an agent does wrong, it may do a moment after its start
	})
}

// pause lets the traffic run on.
func (t *T) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// torRestarted kills zebra and bgpd of rack 1, which keep nothing but what the kernel has.
func torRestarted(ctx context.Context, t *T) error {
	tor := cluster.TopOfRack("1")
	return t.underTraffic(ctx, func(ctx context.Context, _ bed) error {
		if err := t.Lab().Signal(ctx, tor, unix.SIGKILL, true); err != nil {
			return err
		}
		if err := t.pause(ctx, time.Second); err != nil {
			return err
		}
		began := time.Now()
		if err := t.Lab().Start(ctx, tor); err != nil {
			return err
		}
		for _, node := range []string{"n1", "n2"} {
			if err := t.established(ctx, node, began); err != nil {
				return err
			}
		}
		t.Note("sessions are back after %.1f s", time.Since(began).Seconds())
		return t.pause(ctx, 12*time.Second) // FRR waits 10 s before it tells what it has chosen
	})
}

// established waits until all of a node's sessions are established, and have been so since no earlier than a time.
func (t *T) established(ctx context.Context, node string, since time.Time) error {
	return cluster.Eventually(ctx, 45*time.Second, func(ctx context.Context) error {
		all, err := t.sessions(ctx, node)
		if err != nil {
			return err
		}
		for _, s := range all {
			at, err := time.Parse(time.RFC3339, s.Since)
			if err != nil {
				return err
			}
			if s.State != "Established" || at.Before(since.Truncate(time.Second)) {
				return fmt.Errorf("node %s: session %s is %s since %s", node, s.Name, s.State, s.Since)
			}
		}
		return nil
	})
}

// runtimeRestarted restarts the kubelets, then the container runtimes, of both racks. Pods stay, and new ones
// start.
func runtimeRestarted(ctx context.Context, t *T) error {
	return t.underTraffic(ctx, func(ctx context.Context, p bed) error {
		for _, service := range []string{"kubelet", "containerd"} {
			var group errgroup.Group
			for _, node := range []string{"n1", "n3"} {
				group.Go(func() error { return t.Service(ctx, node, "restart", service) })
			}
			if err := group.Wait(); err != nil {
				return err
			}
			if _, err := t.StartPods(ctx, Want{Name: "after-" + service + "-1", Node: "n1"}, Want{Name: "after-" + service + "-3", Node: "n3"}); err != nil {
				return fmt.Errorf("pods after a restart of %s: %w", service, err)
			}
		}
		now, err := t.AwaitPods(ctx, Want{Name: "a"}, Want{Name: "b"}, Want{Name: "c"})
		if err != nil {
			return err
		}
		for i, was := range []Pod{p.a, p.b, p.c} {
			if now[i].container != was.container || !slices.Equal(now[i].IPs, was.IPs) {
				return fmt.Errorf("pod %s was restarted", was.Name)
			}
		}
		return nil
	})
}
