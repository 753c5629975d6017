package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// poolReplaced moves the scenario's namespace from one pool to another.
func poolReplaced(ctx context.Context, t *T) error {
	if err := t.ownPools(ctx, "old", "10.244.144.0/20", "fd00:244:0:2::/64", nil); err != nil {
		return err
	}
	before, err := t.StartPods(ctx, Want{Name: "before-1", Node: "n1"}, Want{Name: "before-3", Node: "n3"})
	if err != nil {
		return err
	}
	if err := allOf(before, "10.244.144.0/20", "fd00:244:0:2::/64"); err != nil {
		return err
	}
	old, err := t.ownedBlocks(ctx, "", t.poolNames("old")...)
	if err != nil {
		return err
	}
	if err := t.ownPools(ctx, "new", "10.244.160.0/20", "fd00:244:0:3::/64", nil); err != nil {
		return err
	}
	for _, name := range t.poolNames("old") {
		if _, err := t.Kubectl(ctx, "patch", "addresspool", name, "--type=merge", "-p", `{"spec": {"disabled": true}}`); err != nil {
			return err
		}
		if _, err := t.judged(ctx, "addresspool", name, true, ""); err != nil {
			return err
		}
	}
	after, err := t.StartPods(ctx, Want{Name: "after-1", Node: "n1"}, Want{Name: "after-3", Node: "n3"})
	if err != nil {
		return err
	}
	if err := allOf(after, "10.244.160.0/20", "fd00:244:0:3::/64"); err != nil {
		return err
	}
	for _, from := range after {
		in, err := t.in(from)
		if err != nil {
			return err
		}
		for _, to := range before { // those that were there before are where they were
			for _, ip := range to.IPs {
				if err := in.seenAs(ctx, to.URL(ip, "/clientip"), from.IPs[family(netip.PrefixFrom(ip, 0))]); err != nil {
					return err
				}
			}
		}
	}
	if _, err := t.kubectl(ctx, "delete", "pod", "before-1", "before-3", "--wait=true"); err != nil {
		return err
	}
	since := time.Now()
	for _, b := range old {
		if err := cluster.Eventually(ctx, 4*time.Minute, func(ctx context.Context) error { return t.gone(ctx, b) }); err != nil {
			return err
		}
	}
	t.Note("all %d blocks of the disabled pools are gone %.0f s after their last pod", len(old), time.Since(since).Seconds())
	return nil
}

// allOf is an error if a pod has an address outside its family's range.
func allOf(pods []Pod, ranges ...string) error {
	for _, p := range pods {
		for i, ip := range p.IPs {
			if !netip.MustParsePrefix(ranges[i]).Contains(ip) {
				return fmt.Errorf("pod %s has %s, not of %s", p.Name, ip, ranges[i])
			}
		}
		if len(p.IPs) != len(ranges) {
			return fmt.Errorf("pod %s has the addresses %v", p.Name, p.IPs)
		}
	}
	return nil
}

// poolShrunk excludes what a pod has from its pool. The next ones get others, the pod keeps its own.
func poolShrunk(ctx context.Context, t *T) error {
	const node = "n2"
	if err := t.ownPools(ctx, "own", "10.244.176.0/20", "fd00:244:0:4::/64", nil); err != nil {
		return err
	}
	pods, err := t.StartPods(ctx, Want{Name: "first", Node: node})
	if err != nil {
		return err
	}
	first := pods[0]
	var excluded []netip.Prefix
	for i, name := range t.poolNames("own") {
		p, err := first.IPs[i].Prefix(first.IPs[i].BitLen() - 3) // half of its block
		if err != nil {
			return err
		}
		excluded = append(excluded, p)
		patch := fmt.Sprintf(`{"spec": {"exclusions": [%q]}}`, p)
		if _, err := t.Kubectl(ctx, "patch", "addresspool", name, "--type=merge", "-p", patch); err != nil {
			return err
		}
		if _, err := t.judged(ctx, "addresspool", name, true, "in force"); err != nil {
			return err
		}
	}
	var wants []Want
	for i := range 12 { // more than the other half holds
		wants = append(wants, idle(fmt.Sprintf("later-%02d", i), node))
	}
	later, err := t.startMany(ctx, wants)
	if err != nil {
		return err
	}
	for _, p := range later {
		for i, ip := range p.IPs {
			if excluded[i].Contains(ip) {
				return fmt.Errorf("pod %s has %s, of the excluded %s", p.Name, ip, excluded[i])
			}
		}
	}
	now, err := t.AwaitPods(ctx, Want{Name: "first"})
	if err != nil {
		return err
	}
	if !slices.Equal(now[0].IPs, first.IPs) || now[0].container != first.container {
		return fmt.Errorf("the pod with excluded addresses has %v, had %v", now[0].IPs, first.IPs)
	}
	from, err := t.at(cluster.MachineClient)
	if err != nil {
		return err
	}
	t.Note("%v excluded: a pod there stays, %d others have none of it", excluded, len(later))
	return from.reaches(ctx, append(later, first))
}

// asking is a pod that asks for addresses.
func asking(name, node string, ips ...netip.Addr) Want {
	var text []string
	for _, ip := range ips {
		text = append(text, ip.String())
	}
	w := idle(name, node)
	w.Annotations = map[string]string{"podroute.io/addresses": strings.Join(text, ", ")}
	return w
}

// requestedAddress asks for what is free, for what is in use, and for what another node has.
func requestedAddress(ctx context.Context, t *T) error {
	if err := t.ownPools(ctx, "own", "10.244.192.0/20", "fd00:244:0:5::/64", nil); err != nil {
		return err
	}
	pods, err := t.StartPods(ctx, Want{Name: "first", Node: "n3"}, Want{Name: "far", Node: "n1"})
	if err != nil {
		return err
	}
	first, far := pods[0], pods[1]
	var free []netip.Addr
	for _, ip := range first.IPs {
		p, err := ip.Prefix(ip.BitLen() - 4)
		if err != nil {
			return err
		}
		next := p.Addr().Next().Next() // neither the network's own nor the first
		if next == ip {
			next = next.Next()
		}
		free = append(free, next)
	}
	if err := t.CreatePods(ctx, asking("free", "n3", free...), asking("in-use", "n3", first.IPs...), asking("far-off", "n3", far.IPv4())); err != nil {
		return err
	}
	pods, err = t.AwaitPods(ctx, Want{Name: "free"})
	if err != nil {
		return err
	}
	if !slices.Equal(pods[0].IPs, free) {
		return fmt.Errorf("a pod that asks for %v has %v", free, pods[0].IPs)
	}
	from, err := t.at(cluster.MachineClient)
	if err != nil {
		return err
	}
	t.Note("asked for and got: %v", free)
	for pod, words := range map[string]string{"in-use": "in use", "far-off": far.IPv4().String()} {
		message, err := t.sandboxSays(ctx, pod, words)
		if err != nil {
			return err
		}
		_, said, _ := strings.Cut(message, "failed (add): ")
		t.Note("%s: %s", pod, said)
	}
	return from.reaches(ctx, pods)
}

// rackRanges cuts the scenario's pools by rack.
func rackRanges(ctx context.Context, t *T) error {
	err := t.ownPools(ctx, "own", "10.244.208.0/20", "fd00:244:0:6::/112", map[string]any{"topologyKey": "podroute.io/rack"})
	if err != nil {
		return err
	}
	var wants []Want
	for _, n := range cluster.Nodes() {
		wants = append(wants, Want{Name: "pod-" + n.Name, Node: n.Name})
	}
	pods, err := t.StartPods(ctx, wants...)
	if err != nil {
		return err
	}
	var list struct{ Items []owned }
	if err := t.Get(ctx, &list, "addressblocks"); err != nil {
		return err
	}
	ranges := map[string]netip.Prefix{} // by pool and rack
	for _, b := range list.Items {
		if slices.Contains(t.poolNames("own"), b.Spec.Pool) && b.Spec.TopologyValue != "" {
			ranges[b.Spec.Pool+" "+b.Spec.TopologyValue] = b.Spec.CIDR
			t.Afterwards(func(ctx context.Context) error { // a range stays its rack's until somebody deletes it
				_, err := t.Kubectl(ctx, "delete", "addressblock", b.Metadata.Name)
				return err
			})
		}
	}
	var errs []error
	for _, p := range pods {
		for i, ip := range p.IPs {
			key := t.poolNames("own")[i] + " " + nodeNamed(p.Node).Rack
			if !ranges[key].IsValid() || !ranges[key].Contains(ip) {
				errs = append(errs, fmt.Errorf("pod %s has %s, not of its rack's range %v", p.Name, ip, ranges[key]))
			}
		}
	}
	if len(ranges) != 4 {
		errs = append(errs, fmt.Errorf("2 pools and 2 racks have %d ranges: %v", len(ranges), ranges))
	}
	t.Note("by pool and rack: %v", ranges)
	from, err := t.at(cluster.MachineClient)
	return errors.Join(errors.Join(errs...), err, from.reaches(ctx, pods))
}

// poolsOverlap writes pools that must not be in force.
func poolsOverlap(ctx context.Context, t *T) error {
	before, err := t.ownedBlocks(ctx, "", "pods", "pods6")
	if err != nil {
		return err
	}
	err = t.refusedPools(ctx, map[string]string{
		"10.244.64.0/20": "10.244.64.0/20 overlaps 10.244.0.0/17 of AddressPool/pods: make them disjoint: the older one is in force",
		"10.96.128.0/20": "10.96.128.0/20 overlaps 10.96.0.0/16 of RouterConfig's serviceCIDRs",
		"10.0.1.0/24":    "10.0.1.0/24 overlaps 10.0.0.0/16 of RouterConfig's nodeCIDRs",
	})
	if err != nil {
		return err
	}
	if err := t.refuses(ctx, object("AddressPool", "pods", map[string]any{"cidr": "10.244.0.0/18", "blockSize": 28}), "must not change"); err != nil {
		return err
	}
	now, err := t.ownedBlocks(ctx, "", "pods", "pods6")
	if err != nil {
		return err
	}
	for _, b := range before {
		if !slices.Contains(now, b) {
			err = errors.Join(err, t.gone(ctx, b)) // given back at the same time, or lost
		}
	}
	return err
}
