package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// balancerRanges are small: what is asked for has to be found in them. The routers carry routes of theirs.
func balancerRanges() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("203.0.113.192/29"), netip.MustParsePrefix("2001:db8:5::c0/125")}
}

// loadBalancers has a pool for the scenario's namespace, an Advertisement, two pods, and Services that ask for more or less.
func loadBalancers(ctx context.Context, t *T) error {
	for family, pool := range t.poolNames("web") {
		if err := t.own(ctx, "AddressPool", pool, map[string]any{
			"cidr": balancerRanges()[family].String(), "use": "loadBalancers",
			"namespaceSelector": map[string]any{"matchLabels": map[string]string{corev1.LabelMetadataName: t.Namespace}},
		}); err != nil {
			return err
		}
	}
	labels := map[string]string{"scenario": t.Namespace}
	if err := t.own(ctx, "Advertisement", t.Namespace, map[string]any{"services": map[string]any{
		"addresses": []string{"LoadBalancer"}, "selector": map[string]any{"matchLabels": labels},
	}}); err != nil {
		return err
	}
	pods, err := t.StartPods(ctx, web("web-1", "n2"), web("web-2", "n3"))
	if err != nil {
		return err
	}
	const asked = "203.0.113.194"
	for _, s := range []struct {
		name string
		port int32
		asks map[string]string
	}{
		{"any", 80, nil},
		{"asked", 80, map[string]string{"podroute.io/load-balancer-ips": asked, "podroute.io/sharing-key": "k"}},
		{"shared", 81, map[string]string{"podroute.io/sharing-key": "k"}},
	} {
		if err := t.startBalancer(ctx, s.name, s.port, labels, s.asks); err != nil {
			return err
		}
	}
	given := map[string][]netip.Addr{}
	for _, name := range []string{"any", "asked", "shared"} {
		if given[name], err = t.ingress(ctx, name); err != nil {
			return err
		}
	}
	switch {
	case given["asked"][0].String() != asked:
		return fmt.Errorf("the Service that asks for %s has %v", asked, given["asked"])
	case !slices.Equal(given["asked"], given["shared"]):
		return fmt.Errorf("services with one key have %v and %v", given["asked"], given["shared"])
	case slices.Contains(given["asked"], given["any"][0]) || slices.Contains(given["asked"], given["any"][1]):
		return fmt.Errorf("services without a common key have %v and %v", given["asked"], given["any"])
	}
	client, err := t.at(cluster.MachineClient)
	if err != nil {
		return err
	}
	var errs []error
	for _, ip := range append(given["any"], given["asked"]...) {
		errs = append(errs, client.answersFrom(ctx, url(ip, 80, "/hostname"), names(pods)))
	}
	errs = append(errs, client.answersFrom(ctx, url(given["shared"][0], 81, "/hostname"), names(pods)))
	errs = append(errs, t.refusedAddress(ctx, asked, labels))
	t.Note("%v by itself, %v asked for and shared; both answer outside", given["any"], given["asked"])
	return errors.Join(errs...)
}

// own writes an object of ours, to be deleted afterwards.
func (t *T) own(ctx context.Context, kind, name string, spec map[string]any) error {
	if err := t.Apply(ctx, object(kind, name, spec)); err != nil {
		return err
	}
	t.Afterwards(func(ctx context.Context) error {
		_, err := t.Kubectl(ctx, "delete", kind, name, "--ignore-not-found")
		return err
	})
	_, err := t.judged(ctx, kind, name, true, "in force")
	return err
}

// startBalancer starts a Service of type LoadBalancer in front of the pods of serviceOf.
func (t *T) startBalancer(ctx context.Context, name string, port int32, labels, asks map[string]string) error {
	class := "podroute.io/bgp"
	s := serviceOf(name, func(s *corev1.ServiceSpec) {
		s.Type, s.LoadBalancerClass = corev1.ServiceTypeLoadBalancer, &class
		s.Ports[0].Port = port
	})
	s.Labels, s.Annotations = labels, asks
	_, err := t.StartService(ctx, s)
	return err
}

// ingress waits until a Service has an address of each of the ranges, in their order.
func (t *T) ingress(ctx context.Context, name string) (all []netip.Addr, err error) {
	err = cluster.Eventually(ctx, 15*time.Second, func(ctx context.Context) error {
		var s corev1.Service
		if err := t.Get(ctx, &s, "service", name, "-n", t.Namespace); err != nil {
			return err
		}
		all = nil
		for _, i := range s.Status.LoadBalancer.Ingress {
			if a, err := netip.ParseAddr(i.IP); err == nil {
				all = append(all, a)
			}
		}
		for family, p := range balancerRanges() {
			if len(all) != len(balancerRanges()) || !p.Contains(all[family]) {
				return fmt.Errorf("service %s has %v, and the conditions %+v", name, all, s.Status.Conditions)
			}
		}
		return nil
	})
	return all, err
}

// refusedAddress asks for an address that is another's.
func (t *T) refusedAddress(ctx context.Context, taken string, labels map[string]string) error {
	if err := t.startBalancer(ctx, "refused", 80, labels, map[string]string{"podroute.io/load-balancer-ips": taken}); err != nil {
		return err
	}
	want := taken + " is in use by Service " + t.Namespace + "/asked"
	return cluster.Eventually(ctx, 15*time.Second, func(ctx context.Context) error {
		text, err := t.kubectl(ctx, "get", "events", "--field-selector", "involvedObject.name=refused,reason=AddressRefused", "-o", "jsonpath={.items[*].message}")
		if err != nil {
			return err
		}
		if !strings.Contains(text, want) {
			return fmt.Errorf("the Events of a Service whose address is another's say %q, not %q", text, want)
		}
		return nil
	})
}
