package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	corev1 "k8s.io/api/core/v1"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// nodes that come and go.
func nodes() []Scenario {
	return []Scenario{
		{
			Name: "node-added", Shows: "a node joins, has no pods before its routes, and others notice nothing", Disturbs: true,
			Timeout: 3 * time.Minute, Run: nodeAdded,
		},
		{
			Name: "node-deleted", Shows: "a node is drained and deleted: its agent withdraws it at once, nothing is lost", Disturbs: true,
			Timeout: 3 * time.Minute, Run: nodeDeleted,
		},
	}
}

// needsManifest is an error where podroute does not come to a new node by itself.
func (t *T) needsManifest() error {
	if !t.Options().DaemonSet() {
		return errors.New("a node gets its agent from the DaemonSet only: run it with -install manifest or helm")
	}
	return nil
}

// nodeAdded starts the spare machine under traffic, with a pod that waits for it.
func nodeAdded(ctx context.Context, t *T) error {
	if err := t.needsManifest(); err != nil {
		return err
	}
	t.Afterwards(t.removeSpare)
	return t.underTraffic(ctx, func(ctx context.Context, p bed) error {
		began := time.Now()
		d, err := t.addSpare(ctx)
		if err != nil {
			return err
		}
		t.Note("from starting the kubelet to a pod that is ready: %.1f s", time.Since(began).Seconds())
		for _, q := range []Pod{p.a, p.b, p.c} {
			in, err := t.in(q)
			if err != nil {
				return err
			}
			to, err := t.in(d)
			if err != nil {
				return err
			}
			for family := range d.IPs {
				if err := in.seenAs(ctx, d.URL(d.IPs[family], "/clientip"), q.IPs[family]); err != nil {
					return err
				}
				if err := to.seenAs(ctx, q.URL(q.IPs[family], "/clientip"), d.IPs[family]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// addSpare makes the spare machine a node, and returns a pod there, which waits from the beginning. A node has
// the startup taint until podroute takes it away; a pod that starts before could reach nobody.
func (t *T) addSpare(ctx context.Context) (Pod, error) {
	spare := cluster.Spare()
	want := lingering(web("d", spare.Name))
	if err := t.CreatePods(ctx, want); err != nil {
		return Pod{}, err
	}
	if err := t.StartNode(ctx, spare); err != nil {
		return Pod{}, err
	}
	var n corev1.Node
	if err := t.Get(ctx, &n, "node", spare.Name); err != nil {
		return Pod{}, err
	}
	tainted := slices.ContainsFunc(n.Spec.Taints, func(taint corev1.Taint) bool {
		return strings.HasPrefix(cluster.Taint, taint.Key+"=")
	})
	t.Note("the node registers with the taint %s: %v", cluster.Taint, tainted)
	pods, err := t.AwaitPods(ctx, want)
	if err != nil {
		return Pod{}, err
	}
	if err := t.NodesReady(ctx, 30*time.Second, spare.Name); err != nil {
		return Pod{}, err
	}
	return pods[0], t.startedAfter(ctx, pods[0], spare.Name)
}

// lingering has a pod serve on for 3 s when it is asked to end, until no proxy sends it anything.
func lingering(w Want) Want {
	w.Change = func(p *corev1.Pod) {
		grace := int64(5)
		p.Spec.TerminationGracePeriodSeconds = &grace
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 3}}}
	}
	return w
}

// startedAfter compares when a pod was bound with when its node's network became available.
func (t *T) startedAfter(ctx context.Context, p Pod, node string) error {
	var n corev1.Node
	if err := t.Get(ctx, &n, "node", node); err != nil {
		return err
	}
	var made corev1.Pod
	if err := t.Get(ctx, &made, "pod", p.Name, "-n", t.Namespace); err != nil {
		return err
	}
	var available, bound time.Time
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionFalse {
			available = c.LastTransitionTime.Time
		}
	}
	for _, c := range made.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			bound = c.LastTransitionTime.Time
		}
	}
	if available.IsZero() || bound.Before(available.Add(-time.Second)) { // times of the API are whole seconds
		return fmt.Errorf("pod %s was bound at %v, the network of node %s was available at %v", p.Name, bound, node, available)
	}
	return nil
}

// nodeDeleted drains the spare node, deletes it, and ends its agent, as a machine that shuts down does.
func nodeDeleted(ctx context.Context, t *T) error {
	if err := t.needsManifest(); err != nil {
		return err
	}
	t.Afterwards(t.removeSpare)
	return t.underTraffic(ctx, func(ctx context.Context, _ bed) error {
		d, err := t.addSpare(ctx)
		if err != nil {
			return err
		}
		if err := t.serves(ctx, d); err != nil {
			return err
		}
		subnets, err := t.subnetsAt(ctx, cluster.TopOfRack(cluster.Spare().Rack), d.Node)
		if err != nil {
			return err
		}
		if _, err := t.Kubectl(ctx, "drain", d.Node, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=60s"); err != nil {
			return err
		}
		if _, err := t.Kubectl(ctx, "delete", "node", d.Node); err != nil {
			return err
		}
		return t.leaves(ctx, d.Node, subnets)
	})
}

// serves waits until the service's traffic goes to a pod too.
func (t *T) serves(ctx context.Context, p Pod) error {
	var s corev1.Service
	if err := t.Get(ctx, &s, "service", "web", "-n", t.Namespace); err != nil {
		return err
	}
	at, err := t.at("n1")
	if err != nil {
		return err
	}
	return at.answersFrom(ctx, url(clusterIPs(s)[0], 80, "/hostname"), []string{"b", "c", p.Name})
}

// subnetsAt are a node's pod subnets, each of which the router must have a route to.
func (t *T) subnetsAt(ctx context.Context, router, node string) ([]netip.Prefix, error) {
	blocks, err := t.blocks(ctx, node)
	if err != nil {
		return nil, err
	}
	var all []netip.Prefix
	for _, b := range blocks {
		all = append(all, b.Prefix)
	}
	left, err := t.routed(ctx, router, all)
	if err != nil {
		return nil, err
	}
	if len(all) != 2 || len(left) != len(all) {
		return nil, fmt.Errorf("%s has routes to %v of the subnets %v of %s", router, left, all, node)
	}
	return all, nil
}

// routed are those of prefixes that a machine has a route to.
func (t *T) routed(ctx context.Context, machine string, all []netip.Prefix) (have []netip.Prefix, err error) {
	for _, p := range all {
		family := "-6"
		if p.Addr().Is4() {
			family = "-4"
		}
		text, err := t.On(ctx, machine, "ip", family, "route", "show", p.String())
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(text) != "" {
			have = append(have, p)
		}
	}
	return have, nil
}

// leaves ends the agent of a node that has been deleted. The top-of-rack must forget the node's subnets at once,
// not after the time that it grants to an agent that restarts; nothing of ours is left on the node.
func (t *T) leaves(ctx context.Context, node string, subnets []netip.Prefix) error {
	// The kubelet, which would start it again, goes first: so does a machine that shuts down.
	if err := t.Service(ctx, node, "stop", "kubelet"); err != nil {
		return err
	}
	pid, err := t.agentPID(node)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		return err
	}
	router := cluster.TopOfRack(nodeNamed(node).Rack)
	err = cluster.Eventually(ctx, 10*time.Second, func(ctx context.Context) error {
		left, err := t.routed(ctx, router, subnets)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%s still has routes to %v", router, left)
		}
		return err
	})
	if err != nil {
		return err
	}
	t.Note("%s forgot %v %.1f s after its agent was asked to end", router, subnets, time.Since(began).Seconds())
	return cluster.Eventually(ctx, 20*time.Second, func(ctx context.Context) error {
		text, err := t.On(ctx, node, "sh", "-c", "ip route show proto 179; ip -6 route show proto 179; ip nexthop show; nft list tables | grep podroute || true")
		if err == nil && strings.TrimSpace(text) != "" {
			err = fmt.Errorf("left on the node: %s", text)
		}
		return err
	})
}

// removeSpare makes the spare node a mere machine again, as if it had been installed anew.
func (t *T) removeSpare(ctx context.Context) error {
	node := cluster.Spare().Name
	if _, err := t.Kubectl(ctx, "delete", "node", node, "--ignore-not-found"); err != nil {
		return err
	}
	// Every container with it, and its control group: a kubelet that finds one and no container to it does not
	// register its node for a long time.
	_, err := t.On(ctx, node, "sh", "-c", `
for s in kubelet kube-proxy; do sv -w 10 force-stop /etc/service/$s; done
for id in $(ctr -n k8s.io task ls -q); do ctr -n k8s.io task rm -f $id; done
for id in $(ctr -n k8s.io container ls -q); do ctr -n k8s.io container rm $id; done
sv -w 10 force-stop /etc/service/containerd
for p in $(pidof containerd-shim-runc-v2); do kill -9 $p; done
grep -E ' (/var/lib/kubelet|/run/containerd|/run/netns|/var/lib/containerd)/' /proc/self/mounts | cut -d' ' -f2 | sort -r | xargs -r -n1 umount -l
find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} ';'
rm -rf /var/lib/kubelet/* /run/containerd /run/netns/* /run/podroute /etc/cni/net.d/* /var/lib/cni/*
kube-proxy --cleanup
nft delete table inet podroute
ip route flush proto 179; ip -6 route flush proto 179; ip nexthop flush proto 179
true`)
	if err != nil {
		return err
	}
	return cluster.Eventually(ctx, 60*time.Second, func(ctx context.Context) error {
		text, err := t.Kubectl(ctx, "get", "pods", "-A", "-o", "name", "--field-selector", "spec.nodeName="+node)
		if err == nil && strings.TrimSpace(text) != "" {
			names := strings.Join(strings.Fields(text), " ")
			_, err = t.Kubectl(ctx, "delete", "pods", "-A", "--field-selector", "spec.nodeName="+node, "--force", "--grace-period=0")
			err = errors.Join(err, fmt.Errorf("pods of %s are still there: %s", node, names))
		}
		return err
	})
}
