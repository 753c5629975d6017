package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// OnPools is what runs where nodes claim blocks of address pools. Those that take long begin first.
func OnPools() []Group {
	return []Group{
		{"Address pools", pools()},
		{"The Kubernetes network model", model()},
	}
}

// pools as an administrator uses them. Most scenarios have pools of their own, for their own namespace.
func pools() []Scenario {
	return []Scenario{
		{
			Name: "several-blocks", Shows: "40 pods at once on a node get several blocks, and empty ones are given back",
			Timeout: 6 * time.Minute, Run: severalBlocks,
		},
		{
			Name: "pool-replaced", Shows: "a pool is disabled for another: pods keep their addresses, its blocks go",
			Timeout: 6 * time.Minute, Run: poolReplaced,
		},
		{
			Name: "blocks", Shows: "every block is one node's, has its routes, and serves that node's pods",
			Run: blocksAreOwned,
		},
		{
			Name: "pool-shrunk", Shows: "nothing is given from a pool's exclusions, and pods there keep what they have",
			Run: poolShrunk,
		},
		{
			Name: "requested-address", Shows: "a pod gets the address that it asks for, or says why not",
			Run: requestedAddress,
		},
		{
			Name: "rack-ranges", Shows: "the blocks of a rack lie in one range of the pool",
			Run: rackRanges,
		},
		{
			Name: "pools-overlap", Shows: "of pools that overlap the older is in force; services' and nodes' ranges are refused",
			Run: poolsOverlap,
		},
	}
}

// owned is an AddressBlock.
type owned struct {
	Metadata struct{ Name string }
	Spec     struct {
		CIDR                      netip.Prefix
		Node, Pool, TopologyValue string
	}
}

// ownedBlocks lists those of some pools, of a node or of all, in the order of their names.
func (t *T) ownedBlocks(ctx context.Context, node string, pools ...string) ([]owned, error) {
	var list struct{ Items []owned }
	if err := t.Get(ctx, &list, "addressblocks"); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(b owned) bool {
		return b.Spec.Node == "" || node != "" && b.Spec.Node != node || len(pools) > 0 && !slices.Contains(pools, b.Spec.Pool)
	}), nil
}

// poolNames are the names of pools of each family that are of this scenario.
func (t *T) poolNames(name string) []string {
	return []string{t.Namespace + "-" + name, t.Namespace + "-" + name + "6"}
}

// ownPools writes a pool of each family for the scenario's namespace, to be deleted afterwards.
func (t *T) ownPools(ctx context.Context, name, ipv4, ipv6 string, more map[string]any) error {
	for family, pool := range t.poolNames(name) {
		spec := map[string]any{
			"cidr": []string{ipv4, ipv6}[family], "blockSize": []int{28, 124}[family],
			"namespaceSelector": map[string]any{"matchLabels": map[string]string{corev1.LabelMetadataName: t.Namespace}},
		}
		maps.Copy(spec, more)
		if more["topologyKey"] != nil {
			spec["topologySize"] = []int{24, 120}[family]
		}
		if err := t.Apply(ctx, object("AddressPool", pool, spec)); err != nil {
			return err
		}
		t.Afterwards(func(ctx context.Context) error {
			_, err := t.Kubectl(ctx, "delete", "addresspool", pool, "--ignore-not-found")
			return err
		})
		if _, err := t.judged(ctx, "addresspool", pool, true, "in force"); err != nil {
			return err
		}
	}
	return nil
}

// inForceAt is nil if a block is where it has to be: its owner's agent has it, its owner's kernel refuses what is
// unassigned in it, and routers know the way.
func (t *T) inForceAt(ctx context.Context, b owned) error {
	p, owner := b.Spec.CIDR, nodeNamed(b.Spec.Node)
	blocks, err := t.blocks(ctx, owner.Name)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(blocks, func(have block) bool { return have.Prefix == p }) {
		return fmt.Errorf("the agent of %s does not have its block %s", owner.Name, p)
	}
	own, via := cluster.TopOfRack(owner.Rack), "via "+nodeAddresses(owner)[family(p)].String()
	for machine, words := range map[string]string{owner.Name: "unreachable", own: via, otherRack(own): "via"} {
		text, err := t.routeTo(ctx, machine, p)
		if err == nil && !strings.Contains(text, words) {
			err = fmt.Errorf("%s has the route %q to block %s of %s", machine, text, p, owner.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func otherRack(tor string) string {
	if tor == cluster.TopOfRack("1") {
		return cluster.TopOfRack("2")
	}
	return cluster.TopOfRack("1")
}

// family is an index: 0 of IPv4, 1 of IPv6.
func family(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

// routeTo is a machine's route to a very prefix; empty: it has none.
func (t *T) routeTo(ctx context.Context, machine string, p netip.Prefix) (string, error) {
	text, err := t.On(ctx, machine, "ip", []string{"-4", "-6"}[family(p)], "route", "show", "exact", p.String())
	return strings.TrimSpace(text), err
}

// gone is nil once nothing is left of a block.
func (t *T) gone(ctx context.Context, b owned) error {
	now, err := t.ownedBlocks(ctx, "")
	if err != nil {
		return err
	}
	if slices.ContainsFunc(now, func(x owned) bool { return x.Metadata.Name == b.Metadata.Name }) {
		return fmt.Errorf("AddressBlock %s of %s is still there", b.Metadata.Name, b.Spec.Node)
	}
	for _, machine := range []string{b.Spec.Node, cluster.TopOfRack("1"), cluster.TopOfRack("2"), cluster.MachineSpine} {
		text, err := t.routeTo(ctx, machine, b.Spec.CIDR)
		if err == nil && text != "" {
			err = fmt.Errorf("%s has the route %q to a block that was given back", machine, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// blocksAreOwned compares what the API tells with what agents, kernels and routers do, for every block there is.
func blocksAreOwned(ctx context.Context, t *T) error {
	text, err := t.Kubectl(ctx, "get", "addresspools,addressblocks", "--no-headers")
	if err != nil {
		return err
	}
	for _, name := range []string{"addresspool.podroute.io/pods ", "addresspool.podroute.io/pods6 ", "addressblock.podroute.io/10-244-"} {
		if !strings.Contains(text, name) {
			return fmt.Errorf("kubectl get addresspools,addressblocks does not tell of %s: %s", name, text)
		}
	}
	var wants []Want
	for _, n := range cluster.Nodes() {
		wants = append(wants, Want{Name: "pod-" + n.Name, Node: n.Name})
	}
	pods, err := t.StartPods(ctx, wants...)
	if err != nil {
		return err
	}
	all, err := t.ownedBlocks(ctx, "", "pods", "pods6")
	if err != nil {
		return err
	}
	if err := apart(all); err != nil {
		return err
	}
	for _, b := range all {
		// One that was claimed or given back this moment is not yet, or no longer, everywhere.
		err := cluster.Eventually(ctx, 20*time.Second, func(ctx context.Context) error {
			err := t.inForceAt(ctx, b)
			if err != nil && t.gone(ctx, b) == nil {
				err = nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, p := range pods {
		for _, ip := range p.IPs {
			if !slices.ContainsFunc(all, func(b owned) bool { return b.Spec.Node == p.Node && b.Spec.CIDR.Contains(ip) }) {
				return fmt.Errorf("pod %s on %s has %s, which is in no block of the node", p.Name, p.Node, ip)
			}
		}
	}
	t.Note("%d blocks of 2 pools on %d nodes, each routed at both top-of-racks and unreachable on its node", len(all), len(pods))
	return nil
}

// apart is an error if blocks overlap.
func apart(all []owned) error {
	for i, b := range all {
		for _, other := range all[:i] {
			if b.Spec.CIDR.Overlaps(other.Spec.CIDR) {
				return fmt.Errorf("block %s of %s overlaps %s of %s", b.Spec.CIDR, b.Spec.Node, other.Spec.CIDR, other.Spec.Node)
			}
		}
	}
	return nil
}

// severalBlocks starts more pods than a block has addresses, and waits until the blocks that they leave are given
// back.
func severalBlocks(ctx context.Context, t *T) error {
	const node, size = "n1", 40
	if err := t.ownPools(ctx, "own", "10.244.128.0/20", "fd00:244:0:1::/64", nil); err != nil {
		return err
	}
	var wants []Want
	for i := range size {
		wants = append(wants, idle(fmt.Sprintf("many-%03d", i), node))
	}
	began := time.Now()
	pods, err := t.startMany(ctx, wants)
	if err != nil {
		return err
	}
	took := time.Since(began)
	all, err := t.ownedBlocks(ctx, node, t.poolNames("own")...)
	if err != nil {
		return err
	}
	if err := apart(all); err != nil {
		return err
	}
	used := map[netip.Prefix]int{}
	seen := map[netip.Addr]string{}
	for _, p := range pods {
		for _, ip := range p.IPs {
			i := slices.IndexFunc(all, func(b owned) bool { return b.Spec.CIDR.Contains(ip) })
			if i < 0 || seen[ip] != "" {
				return fmt.Errorf("pod %s has %s, of no block of %s or of pod %q too", p.Name, ip, node, seen[ip])
			}
			seen[ip] = p.Name
			used[all[i].Spec.CIDR]++
		}
	}
	retried, err := t.retried(ctx)
	if err != nil {
		return err
	}
	t.Note("%d pods ready on %s in %.1f s, in %d blocks of 14 and 15 addresses; %d were refused once or more, to be tried again",
		size, node, took.Seconds(), len(used), retried)
	if len(used) < 6 {
		return fmt.Errorf("%d pods in %d blocks: %v", size, len(used), used)
	}
	for _, b := range all {
		if err := cluster.Eventually(ctx, 10*time.Second, func(ctx context.Context) error { return t.inForceAt(ctx, b) }); err != nil {
			return err
		}
	}
	from, err := t.at(cluster.MachineClient)
	if err != nil {
		return err
	}
	if err := from.reaches(ctx, pods); err != nil {
		return err
	}
	if err := t.endAll(ctx); err != nil {
		return err
	}
	return t.givenBack(ctx, all, time.Now())
}

// retried counts the pods that kubelet could not start at the first try for want of an address.
func (t *T) retried(ctx context.Context) (int, error) {
	var list corev1.EventList
	if err := t.Get(ctx, &list, "events", "-n", t.Namespace, "--field-selector", "reason=FailedCreatePodSandBox"); err != nil {
		return 0, err
	}
	pods := map[string]bool{}
	for _, e := range list.Items {
		pods[e.InvolvedObject.Name] = true
	}
	return len(pods), nil
}

// givenBack waits until nothing is left of blocks, but for one of each family.
func (t *T) givenBack(ctx context.Context, all []owned, since time.Time) error {
	return cluster.Eventually(ctx, 4*time.Minute, func(ctx context.Context) error {
		left := 0
		var last error
		for _, b := range all {
			switch err := t.gone(ctx, b); {
			case err == nil:
			case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
				return err
			default:
				left++
				last = err
			}
		}
		if left > 2 {
			return errors.Join(fmt.Errorf("%d of %d blocks are left: %w", left, len(all), last), t.pause(ctx, 2*time.Second))
		}
		t.Note("%d of %d blocks are gone %.0f s after the last pod, from the API, the kernel and the routers", len(all)-left, len(all), time.Since(since).Seconds())
		return nil
	})
}

// sandboxSays waits until kubelet says of a pod why it does not start.
func (t *T) sandboxSays(ctx context.Context, pod, words string) (message string, err error) {
	err = cluster.Eventually(ctx, 30*time.Second, func(ctx context.Context) error {
		var list corev1.EventList
		if err := t.Get(ctx, &list, "events", "-n", t.Namespace, "--field-selector", "involvedObject.name="+pod); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == "FailedCreatePodSandBox" && strings.Contains(e.Message, words) {
				message = e.Message
				return nil
			}
		}
		text, _ := json.Marshal(list.Items)
		return fmt.Errorf("no Event of pod %s says %q: %s", pod, words, text)
	})
	return message, err
}
