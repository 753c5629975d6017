package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// model is what the Kubernetes network model asks to see.
func model() []Scenario {
	return []Scenario{
		{
			Name: "pod-addresses", Shows: "every pod has an address of its own, of each family",
			Run: podAddresses,
		},
		{
			Name: "no-nat", Shows: "pods reach pods under their own addresses, on a node and over racks",
			Run: noNAT,
		},
	}
}

// podAddresses looks at all pods of the cluster, with some of its own on every node.
func podAddresses(ctx context.Context, t *T) error {
	var wants []Want
	for _, n := range cluster.Nodes() {
		for i := range 4 {
			wants = append(wants, Want{Name: fmt.Sprintf("%s-%d", n.Name, i), Node: n.Name})
		}
	}
	if _, err := t.StartPods(ctx, wants...); err != nil {
		return err
	}
	var pods corev1.PodList
	if err := t.Get(ctx, &pods, "pods", "-A"); err != nil {
		return err
	}
	owner := map[string]string{}
	var errs []error
	for _, p := range pods.Items {
		name := p.Namespace + "/" + p.Name
		if p.Spec.HostNetwork || p.Status.Phase != corev1.PodRunning {
			continue
		}
		if len(p.Status.PodIPs) != 2 {
			errs = append(errs, fmt.Errorf("pod %s has %d addresses, not one a family", name, len(p.Status.PodIPs)))
		}
		for _, ip := range p.Status.PodIPs {
			if other, ok := owner[ip.IP]; ok {
				errs = append(errs, fmt.Errorf("pods %s and %s both have the address %s", other, name, ip.IP))
			}
			owner[ip.IP] = name
		}
	}
	t.Note("%d pods, %d addresses, all different", len(pods.Items), len(owner))
	return errors.Join(errs...)
}

// noNAT lets every pod ask every other who it is that asks.
func noNAT(ctx context.Context, t *T) error {
	pods, err := t.StartPods(ctx, Want{Name: "a", Node: "n1"}, Want{Name: "b", Node: "n1"}, Want{Name: "c", Node: "n3"})
	if err != nil {
		return err
	}
	var errs []error
	flows := 0
	for _, from := range pods {
		for _, to := range pods {
			if from.Name == to.Name {
				continue
			}
			for family, ip := range to.IPs {
				seen, err := t.Fetch(ctx, from, to.URL(ip, "/clientip"))
				if err == nil {
					err = isAddress(seen, from.IPs[family])
				}
				if err != nil {
					errs = append(errs, fmt.Errorf("pod %s on %s to pod %s on %s at %s: %w", from.Name, from.Node, to.Name, to.Node, ip, err))
				}
				flows++
			}
		}
	}
	t.Note("%d flows, each seen under the sender's own address", flows-len(errs))
	return errors.Join(errs...)
}

// isAddress compares what /clientip answers, ADDRESS:PORT, with an address.
func isAddress(seen string, want netip.Addr) error {
	got, err := netip.ParseAddrPort(strings.TrimSpace(seen))
	if err != nil {
		return fmt.Errorf("the answer is %q: %w", seen, err)
	}
	if got.Addr().Unmap() != want {
		return fmt.Errorf("seen as %s, not %s", got.Addr().Unmap(), want)
	}
	return nil
}
