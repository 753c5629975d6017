package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	corev1 "k8s.io/api/core/v1"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// crowds of pods.
func crowds() []Scenario {
	return []Scenario{
		{
			Name: "110-pods", Shows: "110 pods at once on one node start, and no packet of others is lost", Disturbs: true,
			Timeout: 4 * time.Minute, Run: crowd,
		},
		{
			Name: "churn", Shows: "500 pods come and go, and nothing of them is left", Disturbs: true,
			Timeout: 5 * time.Minute, Run: churn,
		},
	}
}

// idle is a pod that does nothing, which is cheap.
func idle(name, node string) Want {
	return Want{Name: name, Node: node, Change: func(p *corev1.Pod) {
		no, grace := false, int64(0)
		p.Spec.AutomountServiceAccountToken, p.Spec.EnableServiceLinks = &no, &no
		p.Spec.TerminationGracePeriodSeconds = &grace
		p.Spec.Containers = []corev1.Container{{Name: "idle", Image: "registry.k8s.io/pause:3.10.1", ImagePullPolicy: corev1.PullNever}}
	}}
}

// startMany creates pods, and asks for all of them at once, once a second. (kubectl wait and kubectl delete take
// turns over the pods, which takes longer than what they wait for.)
func (t *T) startMany(ctx context.Context, wants []Want) (pods []Pod, err error) {
	if err := t.CreatePods(ctx, wants...); err != nil {
		return nil, err
	}
	err = cluster.Eventually(ctx, 3*time.Minute, func(ctx context.Context) (err error) {
		if pods, err = t.ready(ctx, wants); err != nil {
			err = errors.Join(err, t.pause(ctx, time.Second))
		}
		return err
	})
	return pods, err
}

// endAll deletes all pods of the scenario.
func (t *T) endAll(ctx context.Context) error {
	_, err := t.Kubectl(ctx, "delete", "--raw", "/api/v1/namespaces/"+t.Namespace+"/pods")
	return err
}

// crowd starts 110 pods on one node.
func crowd(ctx context.Context, t *T) error {
	const node, size = "n2", 110
	return t.underTraffic(ctx, func(ctx context.Context, p bed) error {
		var wants []Want
		for i := range size {
			wants = append(wants, idle(fmt.Sprintf("crowd-%03d", i), node))
		}
		began := time.Now()
		pods, err := t.startMany(ctx, wants)
		if err != nil {
			return err
		}
		t.Note("%d pods ready on %s in %.1f s", len(pods), node, time.Since(began).Seconds())
		from, err := t.in(p.a)
		if err != nil {
			return err
		}
		owner := map[netip.Addr]string{}
		var errs []error
		for _, q := range pods {
			for _, ip := range q.IPs {
				if other := owner[ip]; other != "" {
					errs = append(errs, fmt.Errorf("pods %s and %s both have the address %s", other, q.Name, ip))
				}
				owner[ip] = q.Name
			}
		}
		return errors.Join(errors.Join(errs...), from.reaches(ctx, pods))
	})
}

// reaches asks every address of pods for a port that nothing listens on: that it is refused tells that the
// packet has been there and back.
func (p place) reaches(ctx context.Context, pods []Pod) error {
	var (
		group errgroup.Group
		mu    sync.Mutex
		errs  []error
	)
	group.SetLimit(16)
	for _, q := range pods {
		for _, ip := range q.IPs {
			group.Go(func() error {
				if err := p.connects(ctx, netip.AddrPortFrom(ip, 1).String()); !errors.Is(err, unix.ECONNREFUSED) {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, fmt.Errorf("pod %s at %s: %w", q.Name, ip, err))
				}
				return nil
			})
		}
	}
	_ = group.Wait()
	return errors.Join(errs...)
}

// churn starts and deletes 500 pods, a hundred at a time on three nodes, and compares what nodes hold. While one
// hundred ends the next starts.
func churn(ctx context.Context, t *T) error {
	const rounds, size = 5, 100
	before, err := t.quiet(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	seen := map[netip.Addr]bool{}
	most := 0
	for round := range rounds {
		var wants []Want
		for i := range size {
			wants = append(wants, idle(fmt.Sprintf("churn-%d-%03d", round, i), cluster.Nodes()[i%3].Name))
		}
		pods, err := t.startMany(ctx, wants)
		if err != nil {
			return err
		}
		for _, p := range pods {
			seen[p.IPv4()] = true
		}
		during, err := t.ledger(ctx)
		if err != nil {
			return err
		}
		most = max(most, during["n1"]["links"])
		if err := t.endAll(ctx); err != nil {
			return err
		}
	}
	t.Note("%d pods in %.1f s, %d IPv4 addresses used; up to %d links on n1", rounds*size, time.Since(began).Seconds(), len(seen), most)
	if most <= before["n1"]["links"] {
		return fmt.Errorf("the ledger does not see pods: %d links before and with them", most)
	}
	err = cluster.Eventually(ctx, 30*time.Second, func(ctx context.Context) error {
		after, err := t.ledger(ctx)
		if err != nil {
			return err
		}
		return before.compare(after)
	})
	for _, n := range cluster.Nodes() {
		t.Note("%s before and after: %s", n.Name, before[n.Name])
	}
	return err
}

// quiet waits until the pods of earlier scenarios are gone, from nodes too, which may come later, and returns what
// nodes hold then.
func (t *T) quiet(ctx context.Context) (still ledger, err error) {
	err = cluster.Eventually(ctx, time.Minute, func(ctx context.Context) error {
		text, err := t.Kubectl(ctx, "get", "namespaces", "-o", "name")
		if err != nil {
			return err
		}
		for _, name := range strings.Fields(text) {
			if name = strings.TrimPrefix(name, "namespace/"); strings.HasPrefix(name, "e2e-") && name != t.Namespace {
				return fmt.Errorf("namespace %s is still there", name)
			}
		}
		for _, n := range cluster.Nodes() {
			have, err := t.wired(ctx, n.Name)
			if err != nil {
				return err
			}
			for _, w := range have {
				if strings.HasPrefix(w.Namespace, "e2e-") {
					return fmt.Errorf("pod %s/%s is still on node %s", w.Namespace, w.Name, n.Name)
				}
			}
		}
		first, err := t.ledger(ctx)
		if err != nil {
			return err
		}
		if err := t.pause(ctx, time.Second); err != nil {
			return err
		}
		if still, err = t.ledger(ctx); err != nil {
			return err
		}
		return first.compare(still)
	})
	return still, err
}

// ledger is what nodes hold for pods: by node and kind, how many.
type ledger map[string]account

type account map[string]int

// counts are commands whose lines of output are counted.
func counts() map[string]string {
	return map[string]string{
		"links":      "ip -o link show type veth | grep ': pr'",
		"aliases":    "ip -o link show type veth | grep ': pr' | grep ' alias '",
		"IPv4":       "ip -4 route show proto 179",
		"IPv6":       "ip -6 route show proto 179",
		"neighbours": "ip neigh show nud permanent",
		"nexthops":   "ip nexthop show",
		"namespaces": "ls /run/netns",
	}
}

func (t *T) ledger(ctx context.Context) (ledger, error) {
	all := ledger{}
	for _, n := range cluster.Nodes() {
		a := account{}
		for kind, command := range counts() {
			text, err := t.On(ctx, n.Name, "sh", "-c", "{ "+command+"; } | wc -l")
			if err != nil {
				return nil, err
			}
			if a[kind], err = strconv.Atoi(strings.TrimSpace(text)); err != nil {
				return nil, err
			}
		}
		blocks, err := t.blocks(ctx, n.Name)
		if err != nil {
			return nil, err
		}
		for _, b := range blocks {
			a["addresses"] += b.Used
		}
		all[n.Name] = a
	}
	return all, nil
}

func (l ledger) compare(now ledger) error {
	var errs []error
	for node, was := range l {
		for kind, n := range was {
			if now[node][kind] != n {
				errs = append(errs, fmt.Errorf("node %s: %d %s, %d before", node, now[node][kind], kind, n))
			}
		}
	}
	return errors.Join(errs...)
}

func (a account) String() string {
	return fmt.Sprintf("%d links, %d aliases, %d and %d routes, %d neighbours, %d next hops, %d namespaces, %d addresses",
		a["links"], a["aliases"], a["IPv4"], a["IPv6"], a["neighbours"], a["nexthops"], a["namespaces"], a["addresses"])
}
