package interop

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// Addresses of the service of these tests, both of each kind.
const (
	balancer4, balancer6 = "203.0.113.10/32", "2001:db8:5::10/128"
	external4, external6 = "198.51.100.10/32", "2001:db8:6::10/128"
	cluster4, cluster6   = "10.96.0.10/32", "fd00:96::10/128"
)

// shop is a Service and the Advertisement that names it; each field is YAML in braces, without them.
type shop struct {
	metadata, spec string // of the Service
	services       string // of the Advertisement
	delayed        bool   // as it is by default
	attributes     string
	// endpoints are "NODE STATE"; the states are ready, terminating and unready.
	endpoints []string
}

func (s shop) manifests() string {
	var w strings.Builder
	fmt.Fprintf(&w, `
apiVersion: podroute.io/v1alpha1
kind: Advertisement
metadata: {name: services}
spec: {services: {addresses: [LoadBalancer, ExternalIP, ClusterIP], %s %s}, %s}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, %s}
spec: {type: LoadBalancer, clusterIPs: [10.96.0.10, "fd00:96::10"], externalIPs: [198.51.100.10, "2001:db8:6::10"], %s}
status: {loadBalancer: {ingress: [{ip: 203.0.113.10}, {ip: "2001:db8:5::10"}]}}
`, map[bool]string{true: "", false: "delay: 0s,"}[s.delayed], s.services, s.attributes, s.metadata, s.spec)
	for _, family := range []string{"IPv4", "IPv6"} {
		fmt.Fprintf(&w, `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-%s, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: %s
ports: [{port: 8080}]
endpoints:
`, strings.ToLower(family), family)
		for _, e := range s.endpoints {
			node, state, _ := strings.Cut(e, " ")
			fmt.Fprintf(&w, "- {addresses: [\"%s\"], nodeName: %s, conditions: {ready: %t, serving: %t, terminating: %t}}\n",
				map[string]string{"IPv4": "10.244.9.9", "IPv6": "fd00:244:0:9::9"}[family], node, state == "ready", state != "unready", state == "terminating")
		}
	}
	return w.String()
}

// offer gives every node the same services.
func (r *rack) offer(t *testing.T, s shop) {
	t.Helper()
	for _, n := range r.nodes {
		n.configure(t, "services.yaml", s.manifests())
	}
}

// leads waits until the router's routes to these prefixes lead to these nodes, side by side; none: until it has no route.
func (r *rack) leads(t *testing.T, prefixes []string, nodes ...int) {
	t.Helper()
	for _, text := range prefixes {
		p := netip.MustParsePrefix(text)
		var hops []netip.Addr
		for _, i := range nodes {
			for subnet, hop := range subnets(i) {
				if subnet.Addr().Is4() == p.Addr().Is4() {
					hops = append(hops, hop)
				}
			}
		}
		r.router.Learns(waitRoute, p, hops...)
	}
}

// TestInteropServices: the addresses of a service are advertised as long as somebody serves it, wherever, with the
// attributes of their Advertisement.
func TestInteropServices(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "services: LoadBalancer, ExternalIP and ClusterIP, while somebody serves, with communities and MED"}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 1})
		n := r.nodes[0]
		before := n.snapshot(t)
		all := []string{balancer4, balancer6, external4, external6, cluster4, cluster6}
		s := shop{attributes: `communities: ["65010:42", "65010:1:42"], med: 42`, delayed: true, endpoints: []string{"elsewhere ready"}}
		r.offer(t, s)
		r.leads(t, all, 1)
		a, err := r.router.Attributes(netip.MustParsePrefix(balancer4))
		if err != nil || !slices.Equal(a.Communities, []string{"65010:42"}) || !slices.Equal(a.Large, []string{"65010:1:42"}) || a.MED != 42 {
			t.Errorf("attributes %+v, %v", a, err)
		}
		if origin := n.origins(t)[balancer4]; origin != "service shop/web" {
			t.Errorf("podroute routes --advertised: origin %q", origin)
		}
		s.endpoints = []string{"elsewhere unready"}
		r.offer(t, s)
		r.leads(t, all)
		s.endpoints = []string{"elsewhere terminating"} // the last serves still
		r.offer(t, s)
		r.leads(t, all, 1)
		n.remove(t, "services.yaml")
		r.leads(t, all)
		r.exchanged(t, 1)
		n.unmoved(t, before)
	})
}

// origins are why this node advertises what it advertises.
func (n *node) origins(t *testing.T) map[string]string {
	t.Helper()
	out, err := n.ask("routes", "--advertised")
	var list struct {
		Routes []struct {
			Prefix string `json:"prefix"`
			Origin string `json:"origin"`
		} `json:"routes"`
	}
	if err == nil {
		err = json.Unmarshal(out, &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	origins := map[string]string{}
	for _, r := range list.Routes {
		origins[r.Prefix] = r.Origin
	}
	return origins
}

// TestInteropServicesLocal: with the policy Local only nodes with a ready endpoint advertise the addresses that it is for,
// and no longer when the last of theirs terminates.
func TestInteropServicesLocal(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "services: traffic policy Local, withdrawn where the last ready endpoint terminates"}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 1})
		outer, inner := []string{balancer4, balancer6, external4, external6}, []string{cluster4, cluster6}
		for _, x := range []struct {
			spec, endpoints string
			outer, inner    []int
		}{
			{"externalTrafficPolicy: Local", "n2 ready", nil, []int{1}},
			{"externalTrafficPolicy: Local", "n1 ready", []int{1}, []int{1}},
			{"externalTrafficPolicy: Local", "n1 terminating", nil, []int{1}},
			{"internalTrafficPolicy: Local", "n2 ready", []int{1}, nil},
			{"externalTrafficPolicy: Local, internalTrafficPolicy: Local", "n1 ready", []int{1}, []int{1}},
			{"externalTrafficPolicy: Local, internalTrafficPolicy: Local", "n1 terminating", nil, nil},
			{"", "n1 terminating", []int{1}, []int{1}},
		} {
			t.Log(x.spec, x.endpoints)
			r.offer(t, shop{spec: x.spec, endpoints: []string{x.endpoints}})
			r.leads(t, outer, x.outer...)
			r.leads(t, inner, x.inner...)
		}
	})
}

// TestInteropServicesChosen: which services, and which of their addresses, by label, annotation and kind, and on which nodes.
func TestInteropServicesChosen(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "services: opted in and out one by one, by label, and not on nodes that are excluded"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1}
		r := newRack(t, o)
		all := []string{balancer4, balancer6, external4, external6, cluster4, cluster6}
		for _, x := range []struct {
			metadata, services string
			want               []string
		}{
			{"", "", all},
			{`annotations: {podroute.io/advertise: "false"}`, "", nil},
			{`annotations: {podroute.io/advertise: "ClusterIP, ExternalIP"}`, "", []string{external4, external6, cluster4, cluster6}},
			{"", "optIn: true", nil},
			{`annotations: {podroute.io/advertise: "true"}`, "optIn: true", all},
			{"labels: {tier: db}", "selector: {matchLabels: {tier: web}}", nil},
			{"labels: {tier: web}", "selector: {matchLabels: {tier: web}}", all},
		} {
			t.Log(x.metadata, x.services)
			r.offer(t, shop{metadata: x.metadata, services: x.services, endpoints: []string{"n1 ready"}})
			for _, p := range all {
				var nodes []int
				if slices.Contains(x.want, p) {
					nodes = append(nodes, 1)
				}
				r.leads(t, []string{p}, nodes...)
			}
		}
		r.nodes[0].configure(t, "rack.yaml", strings.ReplaceAll(rackManifests(o, 1), "name: n1,", `name: n1, labels: {node.kubernetes.io/exclude-from-external-load-balancers: ""},`))
		r.leads(t, all)
		r.exchanged(t, 1)
	})
}

// TestInteropServicesShared: several nodes advertise an address, and the router uses them side by side; one that is drained
// or loses its endpoint leaves the others alone.
func TestInteropServicesShared(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "services: over several nodes side by side (ECMP), each coming and going by itself", Lacks: noFIB()}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 2}
		r := newRack(t, o)
		addresses := []string{balancer4, balancer6}
		s := shop{spec: "externalTrafficPolicy: Local", endpoints: []string{"n1 ready", "n2 ready"}}
		r.offer(t, s)
		r.spread(t, addresses, 1, 2)
		s.endpoints = []string{"n1 terminating", "n2 ready"}
		r.offer(t, s)
		r.spread(t, addresses, 2)
		s.spec = "" // policy Cluster: wherever the endpoint is
		r.offer(t, s)
		r.spread(t, addresses, 1, 2)
		r.nodes[1].configure(t, "rack.yaml", strings.ReplaceAll(rackManifests(o, 2), "annotations: {", `annotations: {podroute.io/drain: "true", `))
		r.spread(t, addresses, 1)
		r.exchanged(t, 1)
		r.exchanged(t, 2) // its pods' subnets stay
	})
}

// TestInteropServicesRestart: traffic to a service address goes on while the agent is killed or stopped, and started: what
// was served before is told again at once.
func TestInteropServicesRestart(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "services: packets lost to an address while the agent is killed", Lacks: noFIB()}.Each(t, func(t *testing.T, kind routers.Kind) {
		r := newRack(t, rackOptions{kind: kind, nodes: 2})
		a, b := r.nodes[0], r.nodes[1]
		server, client := a.add(t, "pod-a"), b.add(t, "pod-b")
		a.Run(t, "nft add table inet proxy", "nft add chain inet proxy services { type nat hook prerouting priority dstnat ; }",
			fmt.Sprintf("nft add rule inet proxy services ip daddr 203.0.113.10 dnat ip to %v", server.addrs[0]),
			fmt.Sprintf("nft add rule inet proxy services ip6 daddr 2001:db8:5::10 dnat ip6 to %v", server.addrs[1]))
		a.configure(t, "services.yaml", shop{delayed: true, spec: "externalTrafficPolicy: Local", endpoints: []string{"n1 ready"}}.manifests())
		r.leads(t, []string{balancer4, balancer6}, 1)
		addresses := []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8:5::10")}
		for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			var watches []*watch
			for _, addr := range addresses {
				nstest.Within(t, waitRoute, func() error {
					_, err := client.Try(fmt.Sprintf("ping -c 1 -W 1 %v", addr))
					return err
				})
				watches = append(watches, startPing(t, client, addr))
			}
			a.signal(s)
			a.start(t)
			r.router.Established(waitSession)
			a.ready(t)
			r.leads(t, []string{balancer4, balancer6}, 1)
			nstest.Within(t, waitSession, func() error { // all is told again, and what is stale goes
				told := 0
				for _, f := range a.session(t, "tor").Families {
					told += f.Advertised
				}
				if told < 8 { // two subnets and six addresses
					return fmt.Errorf("%d prefixes are told", told)
				}
				return nil
			})
			for _, w := range watches {
				sent, lost := w.end(t)
				routers.Measured(t, "%v: %d of %d packets to %v lost", s, lost, sent, w.to)
				if lost > 1 {
					t.Errorf("%v: ping %v: %d of %d packets lost, want at most 1", s, w.to, lost, sent)
				}
			}
		}
	})
}

// spread waits until the router's kernel has routes to these prefixes over the links of these nodes, and no others.
func (r *rack) spread(t *testing.T, prefixes []string, nodes ...int) {
	t.Helper()
	for _, text := range prefixes {
		p := netip.MustParsePrefix(text)
		family := map[bool]string{true: "-4", false: "-6"}[p.Addr().Is4()]
		nstest.Within(t, waitRoute, func() error {
			out, err := r.tor.Try(fmt.Sprintf("ip %s route show %v", family, p))
			ok := strings.Count(out, "dev port") == len(nodes)
			for _, i := range nodes {
				ok = ok && strings.Contains(out, fmt.Sprintf("dev port%d ", i))
			}
			if err == nil && !ok {
				err = fmt.Errorf("the router's way to %v is %q, want it over the links of nodes %v", p, out, nodes)
			}
			return err
		})
	}
}
