package kube

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/config"
)

const advertised = `{"apiVersion": "podroute.io/v1alpha1", "kind": "Advertisement", "metadata": {"name": "a"},
	"spec": {"services": {"addresses": ["LoadBalancer"]}}}`

func service(name string, number int) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Service", "metadata": {"name": %q, "namespace": "shop", "labels": {"a": "b"},
		"annotations": {"podroute.io/advertise": "true", "large": "x"}},
		"spec": {"type": "LoadBalancer", "loadBalancerClass": "c", "clusterIPs": ["10.96.0.%[2]d"], "externalIPs": ["198.51.100.%[2]d"], "externalTrafficPolicy": "Local",
		"internalTrafficPolicy": "Local"}, "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.%[2]d"}]}}}`, name, number)
}

// endpoints are an EndpointSlice of a Service; each is "NODE ready" or "NODE terminating".
func endpoints(of string, list ...string) string {
	var all []string
	for _, e := range list {
		node, state, _ := strings.Cut(e, " ")
		all = append(all, fmt.Sprintf(`{"addresses": ["10.244.1.9"], "nodeName": %q, "conditions": {"ready": %t, "serving": true, "terminating": %t}}`,
			node, state == "ready", state == "terminating"))
	}
	return fmt.Sprintf(`{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "%[1]s-x", "namespace": "shop",
		"labels": {"kubernetes.io/service-name": %[1]q}}, "addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [%[2]s]}`, of, strings.Join(all, ","))
}

// served are the Services in force and where they are served.
func served(s config.Snapshot) string {
	var all []string
	for _, v := range s.Services {
		all = append(all, fmt.Sprintf("%s %q %q", v.Key(), v.IPv4.Ready, v.IPv4.Terminating))
	}
	return strings.Join(all, ", ")
}

func awaitServed(t *testing.T, s *Source, want string) {
	t.Helper()
	eventually(t, "services in force: "+want, func() bool { return served(s.Snapshot()) == want })
}

// TestServices: they are watched only while this node advertises some, and what happens to endpoints elsewhere is no event
// unless it is the first or the last.
func TestServices(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.put("nodes", nodeN1)
	f.put("services", service("web", 1))
	f.put("endpointslices", endpoints("web", "n2 ready"))
	s := f.source("")
	f.put("advertisements", strings.Replace(advertised, `"spec": {`, `"spec": {"nodeSelector": {"matchLabels": {"rack": "r2"}}, `, 1))
	f.put("bgppeers", peer("p1", 1, ""))
	awaitPeers(t, s, "p1")
	if n := f.count("services") + f.count("endpointslices"); n > 0 {
		t.Errorf("%d requests for services that this node does not advertise", n)
	}
	f.put("advertisements", advertised)
	awaitServed(t, s, `shop/web [""] []`)
	if f.count("endpointslices?") == 0 || f.count("labelSelector=kubernetes.io%2Fservice-name%2C%21service.kubernetes.io%2Fheadless") == 0 {
		t.Error("all EndpointSlices are watched")
	}
	f.put("endpointslices", endpoints("web", "n2 ready", "n1 ready"))
	awaitServed(t, s, `shop/web ["" "n1"] []`)

	for len(s.Changed()) > 0 {
		<-s.Changed()
	}
	for i := range 30 { // pods come and go elsewhere
		f.put("endpointslices", endpoints("web", fmt.Sprintf("n%d ready", 2+i), "n1 ready", "n3 ready"))
	}
	select {
	case <-s.Changed():
		t.Error("what happened elsewhere was told")
	case <-time.After(5 * settle):
	}
	f.put("endpointslices", endpoints("web", "n9 ready", "n1 terminating"))
	awaitServed(t, s, `shop/web [""] ["n1"]`)

	// An edit that breaks the Advertisement leaves its good version in force, and its services with it.
	f.put("advertisements", strings.Replace(advertised, "LoadBalancer", "Loadbalancer", 1))
	eventually(t, "the problem", func() bool { return len(s.Snapshot().Problems) > 0 })
	if got := served(s.Snapshot()); got != `shop/web [""] ["n1"]` {
		t.Errorf("in force after a broken edit: %s", got)
	}
	f.remove("advertisements", "a")
	awaitServed(t, s, "")
}

// TestServicesKept: a start while the API is away goes on with the services that were there.
func TestServicesKept(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	f.put("nodes", nodeN1)
	f.put("advertisements", strings.Replace(advertised, `"LoadBalancer"`, `"LoadBalancer", "ClusterIP"`, 1))
	f.put("services", service("web", 1))
	f.put("endpointslices", endpoints("web", "n2 ready", "n1 terminating"))
	f.put("services", strings.Replace(service("plain", 2), `"type": "LoadBalancer", "loadBalancerClass": "c", `, "", 1))
	f.put("endpointslices", strings.Replace(endpoints("plain", "n1 ready"), "IPv4", "IPv6", 1))
	dir := t.TempDir()
	s := f.source(dir)
	// Later changes are written once in a while only, and at the end.
	before, err := os.ReadFile(s.keeper.path())
	if err != nil {
		t.Fatal(err)
	}
	f.put("services", service("late", 3))
	eventually(t, "the new service", func() bool { return len(s.Snapshot().Services) == 3 })
	if after, err := os.ReadFile(s.keeper.path()); err != nil || string(after) != string(before) {
		t.Errorf("written again at once: %v", err)
	}
	eventually(t, "it is written", func() bool {
		after, err := os.ReadFile(s.keeper.path())
		return err == nil && strings.Contains(string(after), "late")
	})

	want := s.Snapshot().Services
	f.set(func() { f.away = true })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	again, err := New(ctx, Options{Log: slog.New(slog.DiscardHandler), NodeName: "n1", Kubeconfig: f.kubeconfig(), RunDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, again.Snapshot().Services, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("services after a start without the API (-were +are):\n%s", diff)
	}
}
