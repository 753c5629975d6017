package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/podroute/podroute/test/e2e/cluster"
	"github.com/podroute/podroute/test/e2e/report"
)

// sideBySide is how many scenarios that disturb nothing run at once.
const sideBySide = 3

// Runner runs scenarios on a cluster. Self is the program's own file, which calls traffic.Serve; Done is
// told of each result, in the order of the list, as soon as it and all before it are there.
type Runner struct {
	Cluster *cluster.Cluster
	Self    string
	Done    func(group int, c report.Case)
}

// Run runs the groups: first all that disturbs nothing, side by side, then the others one by one. Results
// are in the order of the list. Scenarios that ctx cuts off are reported as skipped.
func (r *Runner) Run(ctx context.Context, groups []Group) [][]report.Case {
	results := make([][]report.Case, len(groups))
	for g := range groups {
		results[g] = make([]report.Case, len(groups[g].Scenarios))
	}
	slots, quiet := semaphore.NewWeighted(sideBySide), sync.WaitGroup{}
	for g := range groups {
		for i, s := range groups[g].Scenarios {
			if s.Disturbs || slots.Acquire(ctx, 1) != nil {
				continue
			}
			quiet.Go(func() {
				defer slots.Release(1)
				results[g][i] = r.one(ctx, s)
			})
		}
	}
	quiet.Wait()
	for g := range groups {
		for i, s := range groups[g].Scenarios {
			if results[g][i].Name == "" {
				results[g][i] = r.one(ctx, s)
			}
			r.Done(g, results[g][i])
		}
	}
	return results
}

// one runs a scenario in a namespace of its own.
func (r *Runner) one(ctx context.Context, s Scenario) report.Case {
	c := report.Case{Name: s.Name, Shows: s.Shows}
	if ctx.Err() != nil {
		c.Skipped = "the run was interrupted"
		return c
	}
	if s.Timeout == 0 {
		s.Timeout = 2 * time.Minute
	}
	began := time.Now()
	t := &T{Cluster: r.Cluster, Namespace: "e2e-" + s.Name, bin: r.Self}
	err := t.within(ctx, s)
	if err != nil && ctx.Err() == nil { // before the pods are gone
		file, looked := t.writeFindings(ctx, s.Name)
		err = errors.Join(err, looked, errors.New("what the cluster looked like: "+file))
	}
	if err = errors.Join(err, t.end(ctx, s)); err != nil {
		c.Failure = err.Error()
	}
	c.Took, c.Notes = time.Since(began), t.notes
	return c
}

func (t *T) within(ctx context.Context, s Scenario) error {
	limited, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	for _, args := range [][]string{
		{"delete", "namespace", t.Namespace, "--ignore-not-found"}, // an earlier run's, which may still be ending
		{"create", "namespace", t.Namespace},
	} {
		if _, err := t.Kubectl(limited, args...); err != nil {
			return err
		}
	}
	// The namespace's service account has to be there before a pod.
	err := cluster.Eventually(limited, 20*time.Second, func(ctx context.Context) error {
		_, err := t.kubectl(ctx, "get", "serviceaccount", "default")
		return err
	})
	if err != nil {
		return err
	}
	err = s.Run(limited, t)
	if err != nil && errors.Is(limited.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("not done within %v: %w", s.Timeout, err)
	}
	return err
}

// end puts back what the scenario has changed, also when the run is interrupted.
func (t *T) end(ctx context.Context, s Scenario) error {
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	var errs []error
	for _, f := range slices.Backward(t.afterwards) {
		errs = append(errs, f(undo))
	}
	_, err := t.Kubectl(undo, "delete", "namespace", t.Namespace, "--ignore-not-found", "--wait=false")
	errs = append(errs, err)
	if s.Disturbs && ctx.Err() == nil {
		if err := t.settled(ctx); err != nil {
			errs = append(errs, fmt.Errorf("the cluster does not recover: %w", err))
		}
	}
	return errors.Join(errs...)
}

// settled waits until all nodes are ready and all pods of kube-system run.
func (t *T) settled(ctx context.Context) error {
	var names []string
	for _, n := range cluster.Nodes() {
		names = append(names, n.Name)
	}
	if err := t.NodesReady(ctx, 90*time.Second, names...); err != nil {
		return err
	}
	_, err := t.Kubectl(ctx, "-n", "kube-system", "wait", "--for=condition=ready", "--timeout=60s", "pod", "--all")
	return err
}

// writeFindings keeps what a person asks first after a failure.
func (t *T) writeFindings(ctx context.Context, name string) (file string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var out strings.Builder
	tell := func(text string, err error, where, command string) {
		fmt.Fprintf(&out, "%s %s\n%s", where, command, text)
		if err != nil {
			fmt.Fprintln(&out, err)
		}
	}
	for _, args := range [][]string{
		{"get", "nodes,pods", "-A", "-o", "wide"},
		{"get", "noderoutings,bgppeers,routerconfigs", "-o", "yaml"},
		{"-n", t.Namespace, "get", "events", "--sort-by=.lastTimestamp"},
		{"-n", t.Namespace, "describe", "pods"},
		{"-n", "kube-system", "logs", "-l", "app.kubernetes.io/name=podroute", "--prefix", "--tail=200"},
	} {
		text, err := t.Kubectl(ctx, args...)
		tell(text, err, "$ kubectl", strings.Join(args, " "))
	}
	machines := []string{cluster.MachineSpine, cluster.TopOfRack("1"), cluster.TopOfRack("2"), cluster.Spare().Name}
	for _, n := range cluster.Nodes() {
		machines = append(machines, n.Name)
	}
	for _, machine := range machines {
		const command = "ip route; ip -6 route; ip nexthop; ip neigh"
		text, err := t.On(ctx, machine, "sh", "-c", command)
		tell(text, err, machine+"#", command)
	}
	file = filepath.Join(t.Logs(), "failed-"+name+".txt")
	return file, os.WriteFile(file, []byte(out.String()), 0o644)
}

// kubectl runs kubectl in the scenario's namespace.
func (t *T) kubectl(ctx context.Context, args ...string) (string, error) {
	return t.Kubectl(ctx, append([]string{"-n", t.Namespace}, args...)...)
}
