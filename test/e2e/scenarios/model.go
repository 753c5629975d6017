package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// model is what the Kubernetes network model asks to see.
func model() []Scenario {
	return []Scenario{
		{
			Name: "pod-addresses", Shows: "every pod has an address of its own, of each family, as kubectl tells",
			Run: podAddresses,
		},
		{
			Name: "no-nat", Shows: "pods reach pods under their own addresses, on a node and over racks",
			Run: noNAT,
		},
		{
			Name: "pods-and-nodes", Shows: "pods and nodes reach each other under their own addresses",
			Run: podsAndNodes,
		},
		{
			Name: "host-network", Shows: "pods of the host network reach pods, and are reached, as their node",
			Run: hostNetwork,
		},
		{
			Name: "outside", Shows: "pods leave the cluster under their node's address, and are reached under their own",
			Run: outside,
		},
		{
			Name: "shared-localhost", Shows: "containers of a pod share its address and reach each other on localhost",
			Run: sharedLocalhost,
		},
		{
			Name: "another-address", Shows: "a pod that is started anew gets other addresses; a container keeps its pod's",
			Run: anotherAddress,
		},
	}
}

// podAddresses looks at all pods of the cluster, with some of its own on every node and in two namespaces.
func podAddresses(ctx context.Context, t *T) error {
	var wants []Want
	for _, n := range cluster.Nodes() {
		for i := range 4 {
			wants = append(wants, Want{Name: fmt.Sprintf("%s-%d", n.Name, i), Node: n.Name})
		}
	}
	pods, err := t.StartPods(ctx, wants...)
	if err != nil {
		return err
	}
	wide, err := t.kubectl(ctx, "get", "pods", "-o", "wide", "--no-headers")
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range pods {
		if !slices.ContainsFunc(strings.Split(wide, "\n"), func(line string) bool {
			f := strings.Fields(line)
			return len(f) > 6 && f[0] == p.Name && f[5] == p.IPv4().String() && f[6] == p.Node
		}) {
			errs = append(errs, fmt.Errorf("kubectl get pods -o wide does not tell that %s on %s has %s", p.Name, p.Node, p.IPv4()))
		}
		errs = append(errs, t.hasOwnAddresses(ctx, p))
	}
	return errors.Join(errors.Join(errs...), t.uniqueAddresses(ctx))
}

// hasOwnAddresses compares what the API tells with the pod's link, and with its node's subnets.
func (t *T) hasOwnAddresses(ctx context.Context, p Pod) error {
	in, err := t.in(p)
	if err != nil {
		return err
	}
	have, err := in.addresses("eth0")
	if err != nil {
		return err
	}
	if !slices.Equal(have, p.IPs) {
		return fmt.Errorf("pod %s has %v on its link, not %v", p.Name, have, p.IPs)
	}
	blocks, err := t.blocks(ctx, p.Node)
	if err != nil {
		return err
	}
	for _, ip := range p.IPs {
		if !slices.ContainsFunc(blocks, func(b block) bool { return b.Prefix.Contains(ip) }) {
			return fmt.Errorf("pod %s has %s, which is in no subnet of node %s", p.Name, ip, p.Node)
		}
	}
	return nil
}

// uniqueAddresses looks at every pod that has an address.
func (t *T) uniqueAddresses(ctx context.Context) error {
	var list corev1.PodList
	if err := t.Get(ctx, &list, "pods", "-A"); err != nil {
		return err
	}
	owner := map[string]string{}
	namespaces := map[string]bool{}
	var errs []error
	for _, p := range list.Items {
		name := p.Namespace + "/" + p.Name
		if p.Spec.HostNetwork || p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil || len(p.Status.PodIPs) == 0 {
			continue
		}
		namespaces[p.Namespace] = true
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
	if len(namespaces) < 2 {
		errs = append(errs, fmt.Errorf("pods of one namespace only: %v", namespaces))
	}
	t.Note("%d addresses on %d nodes, in %d namespaces, all different", len(owner), len(cluster.Nodes()), len(namespaces))
	return errors.Join(errs...)
}

// noNAT lets every pod ask every other who it is that asks.
func noNAT(ctx context.Context, t *T) error {
	pods, err := t.StartPods(ctx, Want{Name: "a", Node: "n1"}, Want{Name: "b", Node: "n1"}, Want{Name: "c", Node: "n2"}, Want{Name: "d", Node: "n3"})
	if err != nil {
		return err
	}
	var errs []error
	flows := 0
	for _, from := range pods {
		in, err := t.in(from)
		if err != nil {
			return err
		}
		for _, to := range pods {
			if from.Name == to.Name {
				continue
			}
			for family, ip := range to.IPs {
				flows++
				if err := in.seenAs(ctx, to.URL(ip, "/clientip"), from.IPs[family]); err != nil {
					errs = append(errs, fmt.Errorf("%s to %s: %w", from.Node, to.Node, err))
				}
			}
		}
	}
	t.Note("%d of %d flows seen under the sender's own address", flows-len(errs), flows)
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

// nodePort is where pods of the host network answer in these scenarios.
const nodePort = 18080

// onHost is a pod of the host network, whose netexec has a port that is free on a node.
func onHost(name, node string, port int32) Want {
	return Want{Name: name, Node: node, HostNetwork: true, Change: func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Args = []string{"netexec", fmt.Sprintf("--http-port=%d", port), fmt.Sprintf("--udp-port=%d", port)}
		c.ReadinessProbe.HTTPGet.Port.IntVal = port
	}}
}

// podsAndNodes asks from every node every pod, and from every pod every node.
func podsAndNodes(ctx context.Context, t *T) error {
	var wants []Want
	for _, n := range cluster.Nodes() {
		wants = append(wants, Want{Name: "pod-" + n.Name, Node: n.Name}, onHost("host-"+n.Name, n.Name, nodePort))
	}
	pods, err := t.StartPods(ctx, wants...)
	if err != nil {
		return err
	}
	var errs []error
	flows := 0
	for _, p := range pods {
		if strings.HasPrefix(p.Name, "host-") {
			continue
		}
		in, err := t.in(p)
		if err != nil {
			return err
		}
		for _, n := range cluster.Nodes() {
			at, err := t.at(n.Name)
			if err != nil {
				return err
			}
			for family, ip := range nodeAddresses(n) {
				flows += 2
				errs = append(errs, in.seenAs(ctx, url(ip, nodePort, "/clientip"), p.IPs[family]))
				errs = append(errs, at.seenAs(ctx, p.URL(p.IPs[family], "/clientip"), ip))
			}
		}
		errs = append(errs, in.connects(ctx, cluster.ControlPlane+":6443"), in.connects(ctx, "10.0.1.11:10250"))
	}
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	t.Note("%d flows seen under the sender's own address; each pod reaches the API server and a kubelet", flows)
	return errors.Join(errs...)
}

// connects opens a TCP connection and closes it.
func (p place) connects(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	c, err := p.dial(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("from %s: %w", p.name, err)
	}
	return c.Close()
}

// hostNetwork has a pod of the host network on one node, and ordinary ones there and in another rack.
func hostNetwork(ctx context.Context, t *T) error {
	const port = nodePort + 1
	pods, err := t.StartPods(ctx, onHost("host", "n1", port), Want{Name: "near", Node: "n1"}, Want{Name: "far", Node: "n3"})
	if err != nil {
		return err
	}
	host, own := pods[0], nodeAddresses(cluster.Nodes()[0])
	if !slices.Equal(host.IPs, own) {
		return fmt.Errorf("the pod of the host network has %v, its node %v", host.IPs, own)
	}
	at, err := t.in(host)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range pods[1:] {
		in, err := t.in(p)
		if err != nil {
			return err
		}
		for family, ip := range p.IPs {
			errs = append(errs, at.seenAs(ctx, p.URL(ip, "/clientip"), own[family]))
			errs = append(errs, in.seenAs(ctx, url(own[family], port, "/clientip"), ip))
		}
	}
	return errors.Join(errs...)
}

// sharedLocalhost has two servers in one pod, on two ports.
func sharedLocalhost(ctx context.Context, t *T) error {
	two := Want{Name: "two", Node: "n2", Change: func(p *corev1.Pod) {
		second := p.Spec.Containers[0].DeepCopy()
		second.Name, second.Args = "second", []string{"netexec", "--http-port=9090", "--udp-port=9091"}
		second.ReadinessProbe.HTTPGet.Port.IntVal = 9090
		p.Spec.Containers = append(p.Spec.Containers, *second)
	}}
	pods, err := t.StartPods(ctx, two)
	if err != nil {
		return err
	}
	ask := func(container, url string) (string, error) {
		return t.kubectl(ctx, "exec", "two", "-c", container, "--", "curl", "-sS", "--fail", "--globoff", "--max-time", "5", url)
	}
	var errs []error
	for _, q := range []struct{ from, url string }{
		{"agnhost", "http://localhost:9090/hostname"},
		{"second", "http://localhost:8080/hostname"},
		{"agnhost", "http://[::1]:9090/hostname"},
		{"second", url(pods[0].IPs[1], HTTPPort, "/hostname")},
	} {
		if got, err := ask(q.from, q.url); err != nil || got != "two" {
			errs = append(errs, fmt.Errorf("container %s asks %s: %q, %w", q.from, q.url, got, err))
		}
	}
	addresses := map[string]bool{}
	for _, c := range []string{"agnhost", "second"} {
		text, err := t.kubectl(ctx, "exec", "two", "-c", c, "--", "ip", "-brief", "address", "show", "eth0")
		if err != nil || !strings.Contains(text, pods[0].IPv4().String()) {
			errs = append(errs, fmt.Errorf("container %s has %q, %w", c, text, err))
		}
		addresses[text] = true
	}
	if len(addresses) != 1 {
		errs = append(errs, fmt.Errorf("the containers have different addresses: %v", addresses))
	}
	return errors.Join(errs...)
}

// anotherAddress restarts a container, then the pod.
func anotherAddress(ctx context.Context, t *T) error {
	want := Want{Name: "again", Node: "n1"}
	pods, err := t.StartPods(ctx, want)
	if err != nil {
		return err
	}
	first := pods[0]
	in, err := t.in(first)
	if err != nil {
		return err
	}
	_, _ = in.ask(ctx, first.URL(first.IPv4(), "/exit?code=1")) // it does not live to answer
	again, err := t.awaitRestart(ctx, first)
	if err != nil {
		return err
	}
	if !slices.Equal(again.IPs, first.IPs) {
		return fmt.Errorf("a restarted container moved its pod from %v to %v", first.IPs, again.IPs)
	}
	if _, err := t.kubectl(ctx, "delete", "pod", want.Name, "--wait=true"); err != nil {
		return err
	}
	if pods, err = t.StartPods(ctx, want); err != nil {
		return err
	}
	for _, ip := range pods[0].IPs {
		if slices.Contains(first.IPs, ip) {
			return fmt.Errorf("the pod has %s again", ip)
		}
	}
	t.Note("%v, then %v", first.IPs, pods[0].IPs)
	return nil
}
