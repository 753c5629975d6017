package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podroute/podroute/internal/httpload"
	"github.com/podroute/podroute/test/e2e/cluster"
)

// advertised services are reached at their own addresses by what is outside the cluster.
func advertised() []Scenario {
	return []Scenario{
		{
			Name: "service-addresses", Shows: "services are reached from outside at addresses of every kind; Local keeps the client's address, and no new connection fails as pods move",
			Disturbs: true, Run: serviceAddresses,
		},
	}
}

// Addresses that the scenario gives by hand, of ranges that the fabric carries.
func givenAddresses() (balancer, external []netip.Addr) {
	return []netip.Addr{netip.MustParseAddr("203.0.113.180"), netip.MustParseAddr("2001:db8:5::180")},
		[]netip.Addr{netip.MustParseAddr("203.0.113.181"), netip.MustParseAddr("2001:db8:5::181")}
}

// serviceAddresses has a service with an endpoint on each node, and a client outside.
func serviceAddresses(ctx context.Context, t *T) error {
	if _, err := t.StartPods(ctx, lingering(web("web-1", "n1")), lingering(web("web-2", "n2")), lingering(web("web-3", "n3"))); err != nil {
		return err
	}
	balancer, external := givenAddresses()
	s, err := t.balanced(ctx, balancer, external)
	if err != nil {
		return err
	}
	client, err := t.at(cluster.MachineClient)
	if err != nil {
		return err
	}
	var errs []error
	for _, ip := range slices.Concat(balancer, external, clusterIPs(s)) {
		errs = append(errs, client.answersFrom(ctx, url(ip, 80, "/hostname"), []string{"web-1", "web-2", "web-3"}))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	t.Note("from outside: %v, %v, %v, over three nodes", balancer, external, clusterIPs(s))
	for _, ip := range balancer {
		if err := client.refused(ctx, ip, 81); err != nil {
			return err
		}
	}
	if _, err := t.Kubectl(ctx, "-n", t.Namespace, "patch", "service", s.Name, "-p", `{"spec": {"externalTrafficPolicy": "Local"}}`); err != nil {
		return err
	}
	if err := t.advertise(ctx, balancer, "n1", "n2", "n3"); err != nil {
		return err
	}
	for family, ip := range balancer {
		errs = append(errs, client.keepsAddress(ctx, url(ip, 80, "/clientip"), clientAddresses()[family]))
	}
	return errors.Join(append(errs, t.podMoves(ctx, client, balancer))...)
}

// keepsAddress asks a URL until it is told its own address whichever node it meets: kube-proxies learn of a policy one by one.
func (p place) keepsAddress(ctx context.Context, url string, own netip.Addr) error {
	return cluster.Eventually(ctx, 20*time.Second, func(ctx context.Context) error {
		for range 12 {
			if err := p.seenAs(ctx, url, own); err != nil {
				return err
			}
		}
		return nil
	})
}

// balanced is a service with addresses of every kind, given by hand, and an Advertisement of it.
func (t *T) balanced(ctx context.Context, balancer, external []netip.Addr) (s corev1.Service, err error) {
	class := "example.org/by-hand"
	want := serviceOf("web", func(s *corev1.ServiceSpec) {
		s.Type, s.LoadBalancerClass = corev1.ServiceTypeLoadBalancer, &class
		for _, ip := range external {
			s.ExternalIPs = append(s.ExternalIPs, ip.String())
		}
	})
	want.Labels = map[string]string{"e2e": "service-addresses"}
	if s, err = t.StartService(ctx, want); err != nil {
		return s, err
	}
	var status corev1.ServiceStatus
	for _, ip := range balancer {
		status.LoadBalancer.Ingress = append(status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip.String()})
	}
	text, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return s, err
	}
	if _, err := t.Kubectl(ctx, "-n", t.Namespace, "patch", "service", s.Name, "--subresource=status", "--type=merge", "-p", string(text)); err != nil {
		return s, err
	}
	const name = "e2e-service-addresses"
	t.Afterwards(func(ctx context.Context) error {
		_, err := t.Kubectl(ctx, "delete", "advertisement", name, "--ignore-not-found")
		return err
	})
	return s, t.Apply(ctx, object("Advertisement", name, map[string]any{"services": map[string]any{
		"addresses": []string{"LoadBalancer", "ExternalIP", "ClusterIP"}, "selector": map[string]any{"matchLabels": want.Labels},
	}}))
}

// advertise waits until these nodes, and no others, advertise addresses.
func (t *T) advertise(ctx context.Context, addresses []netip.Addr, want ...string) error {
	return cluster.Eventually(ctx, 10*time.Second, func(ctx context.Context) error {
		for _, ip := range addresses {
			var have []string
			for _, n := range cluster.Nodes() {
				var list struct {
					Routes []struct{ Prefix, Origin string }
				}
				if err := t.tell(ctx, n.Name, &list, "routes", "--advertised"); err != nil {
					return err
				}
				for _, r := range list.Routes {
					if strings.HasPrefix(r.Prefix, ip.String()+"/") && r.Origin == "service "+t.Namespace+"/web" {
						have = append(have, n.Name)
						break
					}
				}
			}
			if !slices.Equal(have, want) {
				return fmt.Errorf("%v is advertised by %v, want %v", ip, have, want)
			}
		}
		return nil
	})
}

// podMoves deletes the only endpoint of a node, and gives it another later, under a load from outside. No new
// connection fails. One that is under way when its way moves to another node may have to end: there nobody knows it.
// The rack has another node that serves, or its switch would for a moment send to the spine what the spine sends to it.
func (t *T) podMoves(ctx context.Context, client place, balancer []netip.Addr) error {
	var unconnected atomic.Int64
	var loads []*httpload.Load
	for _, ip := range balancer {
		loads = append(loads, httpload.Start("/hostname", func() (net.Conn, error) {
			// The kernel tries again after a second: what needs that has failed.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			c, err := client.dial(ctx, "tcp", netip.AddrPortFrom(ip, 80).String())
			if err != nil {
				unconnected.Add(1)
			}
			return c, err
		}))
	}
	err := t.movePods(ctx, client, balancer)
	for i, l := range loads {
		fresh, kept := l.Stop()
		t.Note("%v: new connections: %v", balancer[i], fresh)
		for who, o := range kept {
			t.Note("  kept, with %s: %v", who, o)
		}
		if most := 5; len(fresh.Failed) > fresh.Cut() || fresh.Cut() > most || fresh.Sent < 200 {
			err = errors.Join(err, fmt.Errorf("%v: %v, want none failed but at most %d that were under way", balancer[i], fresh, most))
		}
	}
	if n := unconnected.Load(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d connections could not be made", n))
	}
	return err
}

func (t *T) movePods(ctx context.Context, client place, balancer []netip.Addr) error {
	began := time.Now()
	if _, err := t.Kubectl(ctx, "-n", t.Namespace, "delete", "pod", "web-1", "--wait=false"); err != nil {
		return err
	}
	if err := t.advertise(ctx, balancer, "n2", "n3"); err != nil {
		return err
	}
	t.Note("withdrawn by n1 within %.1f s of kubectl delete, while its pod still served", time.Since(began).Seconds())
	if _, err := t.StartPods(ctx, lingering(web("web-4", "n1"))); err != nil {
		return err
	}
	if err := t.advertise(ctx, balancer, "n1", "n2", "n3"); err != nil {
		return err
	}
	for _, ip := range balancer {
		if err := client.answersFrom(ctx, url(ip, 80, "/hostname"), []string{"web-2", "web-3", "web-4"}); err != nil {
			return err
		}
	}
	return nil
}

// refused is an error unless a connection is refused at once.
func (p place) refused(ctx context.Context, ip netip.Addr, port uint16) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := p.dial(ctx, "tcp", netip.AddrPortFrom(ip, port).String())
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("from %s: %v, port %d, which no service has, is not refused: %w", p.name, ip, port, err)
	}
	return nil
}
