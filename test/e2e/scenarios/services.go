package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// services work on top of a network that routes pods.
func services() []Scenario {
	return []Scenario{
		{
			Name: "services", Shows: "ClusterIP, NodePort, headless services and DNS work, in both families",
			Run: func(ctx context.Context, t *T) error { return t.servicesWork(ctx) },
		},
		{
			Name: "single-stack", Shows: "services of one family, either one, reach pods that have both",
			Run: singleStack,
		},
		{
			Name: "hairpin", Shows: "a pod reaches itself through its service",
			Run: hairpin,
		},
		{
			Name: "client-address", Shows: "externalTrafficPolicy Local keeps the client's address",
			Run: clientAddress,
		},
		{
			Name: "probes", Shows: "kubelet's HTTP, TCP and exec probes reach pods, and fail where they should",
			Run: probes,
		},
		{
			Name: "load-balancers", Shows: "services get addresses of a pool, by themselves, asked for or shared; they answer outside",
			Run: loadBalancers,
		},
		{
			Name: "proxy-mode", Shows: "services work on a node whose kube-proxy runs the other mode", Disturbs: true,
			Run: proxyMode,
		},
	}
}

// serviceOf the pods with the label app=web, for both families unless it is changed, on port 80.
func serviceOf(name string, change func(*corev1.ServiceSpec)) *corev1.Service {
	both := corev1.IPFamilyPolicyRequireDualStack
	s := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			IPFamilyPolicy: &both, Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(HTTPPort)}},
		},
	}
	if change != nil {
		change(&s.Spec)
	}
	return s
}

// StartService creates a service and returns what the API made of it.
func (t *T) StartService(ctx context.Context, s *corev1.Service) (made corev1.Service, err error) {
	s.Namespace = t.Namespace
	text, err := json.Marshal(s)
	if err != nil {
		return made, err
	}
	if err := t.Apply(ctx, string(text)); err != nil {
		return made, err
	}
	return made, t.Get(ctx, &made, "service", s.Name, "-n", t.Namespace)
}

// clusterIPs of a service.
func clusterIPs(s corev1.Service) (all []netip.Addr) {
	for _, text := range s.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(text); err == nil {
			all = append(all, ip)
		}
	}
	return all
}

// web is a pod behind serviceOf's services.
func web(name, node string) Want {
	return Want{Name: name, Node: node, Labels: map[string]string{"app": "web"}}
}

// names of pods.
func names(pods []Pod) (all []string) {
	for _, p := range pods {
		all = append(all, p.Name)
	}
	slices.Sort(all)
	return all
}

// answersFrom asks a URL until every one of the pods, and no other, has answered. A proxy may take a moment to learn
// of a service, and chooses at random.
func (p place) answersFrom(ctx context.Context, url string, want []string) error {
	seen := map[string]bool{}
	return cluster.Eventually(ctx, 20*time.Second, func(ctx context.Context) error {
		for range 8 {
			who, err := p.ask(ctx, url)
			if err != nil {
				return err
			}
			if !slices.Contains(want, who) {
				return fmt.Errorf("from %s: %s is answered by %q", p.name, url, who)
			}
			if seen[who] = true; len(seen) == len(want) {
				return nil
			}
		}
		return fmt.Errorf("from %s: %s is answered only by %v of %v", p.name, url, seen, want)
	})
}

// servicesWork has clients in both racks, on nodes, and outside.
func (t *T) servicesWork(ctx context.Context) error {
	all, err := t.StartPods(ctx, web("web-1", "n2"), web("web-2", "n3"), Want{Name: "a", Node: "n1"}, Want{Name: "c", Node: "n3"})
	if err != nil {
		return err
	}
	backends, clients := all[:2], all[2:]
	s, err := t.StartService(ctx, serviceOf("web", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }))
	if err != nil {
		return err
	}
	if _, err := t.StartService(ctx, serviceOf("headless", func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone })); err != nil {
		return err
	}
	var from []place
	for _, c := range clients {
		in, err := t.in(c)
		if err != nil {
			return err
		}
		at, err := t.at(c.Node)
		if err != nil {
			return err
		}
		from = append(from, in, at)
	}
	var errs []error
	for _, ip := range clusterIPs(s) {
		for _, p := range from {
			errs = append(errs, p.answersFrom(ctx, url(ip, 80, "/hostname"), names(backends)))
		}
	}
	errs = append(errs, t.nodePortsWork(ctx, int(s.Spec.Ports[0].NodePort), names(backends), from[0]))
	for _, c := range clients {
		errs = append(errs, t.namesWork(ctx, c, backends, s))
	}
	t.Note("asked %v in both families from pods and nodes of both racks, every node's port %d from outside and from a pod",
		s.Spec.ClusterIPs, s.Spec.Ports[0].NodePort)
	return errors.Join(errs...)
}

// nodePortsWork asks every node's port, from outside and from a pod.
func (t *T) nodePortsWork(ctx context.Context, port int, backends []string, pod place) error {
	client, err := t.at(cluster.MachineClient)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range cluster.Nodes() {
		for _, ip := range nodeAddresses(n) {
			errs = append(errs, client.answersFrom(ctx, url(ip, port, "/hostname"), backends))
			errs = append(errs, pod.answersFrom(ctx, url(ip, port, "/hostname"), backends))
		}
	}
	return errors.Join(errs...)
}

// namesWork looks names up in a pod: of a service, of a headless one, of one whose search path is needed.
func (t *T) namesWork(ctx context.Context, client Pod, backends []Pod, s corev1.Service) error {
	domain := "." + t.Namespace + ".svc.cluster.local"
	var errs []error
	for family, kind := range []string{"A", "AAAA"} {
		var each []netip.Addr
		for _, b := range backends {
			each = append(each, b.IPs[family])
		}
		errs = append(errs,
			t.resolves(ctx, client, "web"+domain, kind, clusterIPs(s)[family]),
			t.resolves(ctx, client, "headless"+domain, kind, each...))
	}
	if who, err := t.Fetch(ctx, client, "http://web/hostname"); err != nil || !slices.Contains(names(backends), who) {
		errs = append(errs, fmt.Errorf("pod %s: http://web is answered by %q, %w", client.Name, who, err))
	}
	return errors.Join(errs...)
}

// resolves looks a name up until it has exactly the addresses wanted.
func (t *T) resolves(ctx context.Context, client Pod, name, kind string, want ...netip.Addr) error {
	return cluster.Eventually(ctx, 20*time.Second, func(ctx context.Context) error {
		text, err := t.Exec(ctx, client, "dig", "+short", "+timeout=2", name, kind)
		if err != nil {
			return err
		}
		var got []netip.Addr
		for _, f := range strings.Fields(text) {
			ip, err := netip.ParseAddr(f)
			if err != nil {
				return fmt.Errorf("pod %s: %s %s: %q", client.Name, name, kind, text)
			}
			got = append(got, ip)
		}
		slices.SortFunc(got, netip.Addr.Compare)
		slices.SortFunc(want, netip.Addr.Compare)
		if !slices.Equal(got, want) {
			return fmt.Errorf("pod %s: %s %s is %v, not %v", client.Name, name, kind, got, want)
		}
		return nil
	})
}

// singleStack has a service of each family.
func singleStack(ctx context.Context, t *T) error {
	pods, err := t.StartPods(ctx, web("web-1", "n3"), Want{Name: "a", Node: "n1"})
	if err != nil {
		return err
	}
	in, err := t.in(pods[1])
	if err != nil {
		return err
	}
	var errs []error
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		single := corev1.IPFamilyPolicySingleStack
		s, err := t.StartService(ctx, serviceOf("only-"+strings.ToLower(string(family)), func(s *corev1.ServiceSpec) {
			s.IPFamilyPolicy, s.IPFamilies = &single, []corev1.IPFamily{family}
		}))
		if err != nil {
			return err
		}
		ips := clusterIPs(s)
		if len(ips) != 1 || ips[0].Is4() != (family == corev1.IPv4Protocol) {
			return fmt.Errorf("service %s has %v", s.Name, ips)
		}
		errs = append(errs, in.answersFrom(ctx, url(ips[0], 80, "/hostname"), []string{"web-1"}))
	}
	return errors.Join(errs...)
}

// hairpin asks a service that has no other endpoint than the pod that asks.
func hairpin(ctx context.Context, t *T) error {
	pods, err := t.StartPods(ctx, web("itself", "n2"))
	if err != nil {
		return err
	}
	s, err := t.StartService(ctx, serviceOf("web", nil))
	if err != nil {
		return err
	}
	in, err := t.in(pods[0])
	if err != nil {
		return err
	}
	var errs []error
	for _, ip := range clusterIPs(s) {
		errs = append(errs, in.answersFrom(ctx, url(ip, 80, "/hostname"), []string{"itself"}))
	}
	return errors.Join(errs...)
}

// clientAddress has one endpoint; only its node answers, and sees who asks.
func clientAddress(ctx context.Context, t *T) error {
	if _, err := t.StartPods(ctx, web("web-1", "n3")); err != nil {
		return err
	}
	s, err := t.StartService(ctx, serviceOf("local", func(s *corev1.ServiceSpec) {
		s.Type, s.ExternalTrafficPolicy = corev1.ServiceTypeNodePort, corev1.ServiceExternalTrafficPolicyLocal
	}))
	if err != nil {
		return err
	}
	client, err := t.at(cluster.MachineClient)
	if err != nil {
		return err
	}
	port := int(s.Spec.Ports[0].NodePort)
	var errs []error
	for family, ip := range nodeAddresses(nodeNamed("n3")) {
		errs = append(errs, cluster.Eventually(ctx, 20*time.Second, func(ctx context.Context) error {
			return client.seenAs(ctx, url(ip, port, "/clientip"), clientAddresses()[family])
		}))
	}
	for _, ip := range nodeAddresses(nodeNamed("n1")) {
		short, cancel := context.WithTimeout(ctx, time.Second)
		if _, err := client.ask(short, url(ip, port, "/clientip")); err == nil {
			errs = append(errs, fmt.Errorf("node n1 answers at %s, and has no endpoint", ip))
		}
		cancel()
	}
	return errors.Join(errs...)
}

// probes has a pod for each kind of probe that succeeds, one that is never ready and one that is never alive.
func probes(ctx context.Context, t *T) error {
	probe := func(h corev1.ProbeHandler) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: h, PeriodSeconds: 1, FailureThreshold: 3, TimeoutSeconds: 2}
	}
	at := func(port int32) corev1.ProbeHandler {
		return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/hostname", Port: intstr.FromInt32(port)}}
	}
	with := func(name string, set func(*corev1.Container)) Want {
		return Want{Name: name, Node: "n1", Change: func(p *corev1.Pod) { set(&p.Spec.Containers[0]) }}
	}
	if err := t.CreatePods(ctx,
		with("not-ready", func(c *corev1.Container) { c.ReadinessProbe = probe(at(1)) }),
		with("not-alive", func(c *corev1.Container) { c.LivenessProbe = probe(at(1)) })); err != nil {
		return err
	}
	_, err := t.StartPods(ctx,
		with("http", func(c *corev1.Container) {
			c.StartupProbe, c.LivenessProbe, c.ReadinessProbe = probe(at(HTTPPort)), probe(at(HTTPPort)), probe(at(HTTPPort))
		}),
		with("tcp", func(c *corev1.Container) {
			h := corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(HTTPPort)}}
			c.StartupProbe, c.LivenessProbe, c.ReadinessProbe = probe(h), probe(h), probe(h)
		}),
		with("exec", func(c *corev1.Container) {
			h := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}
			c.StartupProbe, c.LivenessProbe, c.ReadinessProbe = probe(h), probe(h), probe(h)
		}))
	if err != nil {
		return err
	}
	return cluster.Eventually(ctx, 30*time.Second, func(ctx context.Context) error { return t.probed(ctx) })
}

// probed is nil once the pods have been treated as their probes told.
func (t *T) probed(ctx context.Context) error {
	var list corev1.PodList
	if err := t.Get(ctx, &list, "pods", "-n", t.Namespace); err != nil {
		return err
	}
	var errs []error
	for _, p := range list.Items {
		if len(p.Status.ContainerStatuses) == 0 {
			return fmt.Errorf("pod %s has not started", p.Name)
		}
		s := p.Status.ContainerStatuses[0]
		switch restarted := s.RestartCount > 0; {
		case p.Name == "not-alive" && !restarted:
			errs = append(errs, errors.New("a container that fails its liveness probe is not restarted"))
		case p.Name == "not-ready" && (s.Ready || s.Started == nil || !*s.Started):
			errs = append(errs, fmt.Errorf("a container that fails its readiness probe: started, but not ready, expected: %+v", s))
		case p.Name != "not-alive" && restarted:
			errs = append(errs, fmt.Errorf("pod %s was restarted", p.Name))
		}
	}
	return errors.Join(errs...)
}
