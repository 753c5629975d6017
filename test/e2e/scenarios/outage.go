package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	corev1 "k8s.io/api/core/v1"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// outage is how long the API server is away.
const outage = 60 * time.Second

// staticPods is where kubelets look for pods that the API does not know (cluster/services/kubelet.yaml).
const staticPods = "/run/static-pods"

// apiOutage stops the API server. Meanwhile, on both racks: a static pod is started, another removed; a pod that
// was deleted just before ends; a pod whose sandbox dies gets another. All of it needs ADD and DEL.
func apiOutage(ctx context.Context, t *T) error {
	return t.underTraffic(ctx, func(ctx context.Context, p bed) (err error) {
		bound, err := t.StartPods(ctx, Want{Name: "bound-1", Node: "n1"}, Want{Name: "bound-3", Node: "n3"},
			slow("deleted-1", "n1"), slow("deleted-3", "n3"))
		if err != nil {
			return err
		}
		defer func() {
			clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			err = errors.Join(err, t.endOutage(clean))
		}()
		var early errgroup.Group
		for _, node := range []string{"n1", "n3"} { // to be removed during the outage
			early.Go(func() error { return t.startStatic(ctx, "early", node) })
		}
		if err := early.Wait(); err != nil {
			return err
		}
		if _, err := t.kubectl(ctx, "delete", "pod", "deleted-1", "deleted-3", "--wait=false"); err != nil {
			return err
		}
		if err := t.killAPI(ctx); err != nil {
			return err
		}
		began := time.Now()
		from, err := t.in(p.b)
		if err != nil {
			return err
		}
		for _, q := range bound[:2] {
			if err := t.onNodeWithoutAPI(ctx, q, from); err != nil {
				return fmt.Errorf("without the API, node %s: %w", q.Node, err)
			}
		}
		t.Note("without the API: everything started and ended within %.0f s", time.Since(began).Seconds())
		if err := t.pause(ctx, outage-time.Since(began)); err != nil {
			return err
		}
		if _, err := t.tellAll(ctx); err != nil {
			return err
		}
		if err := t.startAPI(ctx); err != nil {
			return err
		}
		t.Note("the API was away for %.0f s", time.Since(began).Seconds())
		back := time.Now()
		if err := t.afterOutage(ctx, bound[:2]); err != nil {
			return err
		}
		t.Note("kubelets have told what became of their pods %.0f s later", time.Since(back).Seconds())
		if err := t.restartKubernetes(ctx); err != nil {
			return err
		}
		if err := t.servicesAgain(ctx, from); err != nil {
			return err
		}
		t.Note("a new service works %.0f s later, all of Kubernetes having been started anew", time.Since(back).Seconds())
		return nil
	})
}

// slow is a pod that takes some seconds to end.
func slow(name, node string) Want {
	return Want{Name: name, Node: node, Change: func(p *corev1.Pod) {
		grace := int64(8)
		p.Spec.TerminationGracePeriodSeconds = &grace
		c := &p.Spec.Containers[0]
		c.Command, c.Args, c.ReadinessProbe = []string{"sh", "-c", "trap '' TERM; while :; do sleep 1; done"}, nil, nil
	}}
}

// onNodeWithoutAPI starts and ends pods on the node of a pod that is bound there, and asks those that run.
func (t *T) onNodeWithoutAPI(ctx context.Context, bound Pod, from place) error {
	if err := killSandbox(bound); err != nil {
		return err
	}
	if err := t.startStatic(ctx, "late", bound.Node); err != nil {
		return err
	}
	if _, err := t.On(ctx, bound.Node, "rm", staticPods+"/early.yaml"); err != nil {
		return err
	}
	number := strings.TrimPrefix(bound.Node, "n")
	return cluster.Eventually(ctx, 45*time.Second, func(ctx context.Context) error {
		have, err := t.wired(ctx, bound.Node)
		if err != nil {
			return err
		}
		at := map[string][]netip.Addr{}
		for _, w := range have {
			if w.Namespace == t.Namespace {
				at[w.Name] = w.Addresses
			}
		}
		for _, gone := range []string{"deleted-" + number, "early-" + bound.Node} {
			if _, ok := at[gone]; ok {
				return fmt.Errorf("pod %s still has its address", gone)
			}
		}
		if slices.Equal(at[bound.Name], bound.IPs) {
			return fmt.Errorf("pod %s still has its first sandbox", bound.Name)
		}
		for _, name := range []string{"late-" + bound.Node, bound.Name} {
			if len(at[name]) != 2 {
				return fmt.Errorf("pod %s has the addresses %v", name, at[name])
			}
			for _, ip := range at[name] {
				if _, err := from.ask(ctx, url(ip, HTTPPort, "/hostname")); err != nil {
					return fmt.Errorf("pod %s: %w", name, err)
				}
			}
		}
		return nil
	})
}

// killSandbox kills the process that holds a pod's namespaces. The kubelet starts the pod again, in others.
func killSandbox(p Pod) error {
	pids, err := processes("pod" + p.uid)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil && strings.TrimSpace(string(name)) == "pause" {
			return unix.Kill(pid, unix.SIGKILL)
		}
	}
	return fmt.Errorf("pod %s has no sandbox among its processes %v", p.Name, pids)
}

// startStatic has a kubelet start a pod, NAME-NODE, and waits for its address.
func (t *T) startStatic(ctx context.Context, name, node string) error {
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": %q, "namespace": %q}, "spec": {
  "terminationGracePeriodSeconds": 1,
  "containers": [{"name": "agnhost", "image": %q, "imagePullPolicy": "Never", "args": ["netexec", "--http-port=%d"]}]}}
`, name, t.Namespace, agnhost, HTTPPort)
	// The name is changed at the end: the kubelet must not read half a file.
	script := `mkdir -p "$1" && printf '%s' "$3" >"$1/.$2" && mv "$1/.$2" "$1/$2"`
	if _, err := t.On(ctx, node, "sh", "-euc", script, "sh", staticPods, name+".yaml", text); err != nil {
		return err
	}
	return cluster.Eventually(ctx, 30*time.Second, func(ctx context.Context) error {
		have, err := t.wired(ctx, node)
		if err == nil && !slices.ContainsFunc(have, func(w wired) bool { return w.Name == name+"-"+node }) {
			err = fmt.Errorf("static pod %s is not wired on %s", name, node)
		}
		return err
	})
}

// tellAll asks every agent for its sessions, all of which must be established.
func (t *T) tellAll(ctx context.Context) (all []session, err error) {
	for _, n := range cluster.Nodes() {
		have, err := t.sessions(ctx, n.Name)
		if err != nil {
			return nil, err
		}
		for _, s := range have {
			if s.State != "Established" {
				return nil, fmt.Errorf("node %s: session %s is %s", n.Name, s.Name, s.State)
			}
		}
		all = append(all, have...)
	}
	return all, nil
}

// killAPI kills the API server, which is not started again: when it is asked to end, it takes itself out of the
// service "kubernetes", and goes on for a minute with those that are connected.
func (t *T) killAPI(ctx context.Context) error {
	_, err := t.On(ctx, cluster.MachineControlPlane, "sh", "-c", "cd /etc/service && sv once kube-apiserver && sv kill kube-apiserver")
	return err
}

func (t *T) startAPI(ctx context.Context) error {
	if err := t.Service(ctx, cluster.MachineControlPlane, "start", "kube-apiserver"); err != nil {
		return err
	}
	return cluster.Eventually(ctx, 90*time.Second, func(ctx context.Context) error {
		_, err := t.Kubectl(ctx, "get", "--raw", "/readyz")
		return err
	})
}

// afterOutage waits until the API tells of the pods what they have become.
func (t *T) afterOutage(ctx context.Context, bound []Pod) error {
	return cluster.Eventually(ctx, time.Minute, func(ctx context.Context) error {
		var list corev1.PodList
		if err := t.Get(ctx, &list, "pods", "-n", t.Namespace); err != nil {
			return err
		}
		state := map[string]Pod{}
		for _, p := range list.Items {
			if strings.HasPrefix(p.Name, "deleted-") {
				return fmt.Errorf("pod %s is still there", p.Name)
			}
			if now, err := running(&p); err == nil {
				state[p.Name] = now
			}
		}
		for _, was := range bound {
			now, ok := state[was.Name]
			if !ok || slices.Equal(now.IPs, was.IPs) {
				return fmt.Errorf("pod %s is not told to have moved from %v: %v", was.Name, was.IPs, now.IPs)
			}
		}
		return nil
	})
}

// restartKubernetes starts those anew that after an outage may wait a minute before they ask the API again. The
// agents are not among them.
func (t *T) restartKubernetes(ctx context.Context) error {
	var group errgroup.Group
	for _, service := range []string{"kube-controller-manager", "kube-scheduler"} {
		group.Go(func() error { return t.Service(ctx, cluster.MachineControlPlane, "restart", service) })
	}
	for _, n := range cluster.Nodes() {
		for _, service := range []string{"kubelet", "kube-proxy"} {
			group.Go(func() error { return t.Service(ctx, n.Name, "restart", service) })
		}
	}
	return group.Wait()
}

// servicesAgain waits until the rest of the cluster has caught up: agents hear the API, a new service works.
func (t *T) servicesAgain(ctx context.Context, from place) error {
	for _, n := range cluster.Nodes() {
		if err := t.hears(ctx, n.Name); err != nil {
			return err
		}
	}
	s, err := t.StartService(ctx, serviceOf("after", nil))
	if err != nil {
		return err
	}
	return cluster.Eventually(ctx, time.Minute, func(ctx context.Context) error {
		_, err := from.ask(ctx, url(clusterIPs(s)[0], 80, "/hostname"))
		return err
	})
}

// hears waits until a node's agent has no complaint of the API.
func (t *T) hears(ctx context.Context, node string) error {
	return cluster.Eventually(ctx, time.Minute, func(ctx context.Context) error {
		var status struct {
			Problems []struct{ Source, Message string }
		}
		if err := t.tell(ctx, node, &status, "status"); err != nil {
			return err
		}
		for _, p := range status.Problems {
			if p.Source == "Kubernetes API" {
				return fmt.Errorf("the agent of %s: %s", node, p.Message)
			}
		}
		return nil
	})
}

// endOutage brings the API back, whatever happened, and ends the static pods.
func (t *T) endOutage(ctx context.Context) error {
	errs := []error{t.startAPI(ctx)}
	for _, node := range []string{"n1", "n3"} {
		_, err := t.On(ctx, node, "rm", "-rf", staticPods+"/early.yaml", staticPods+"/late.yaml")
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
