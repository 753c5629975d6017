package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/test/e2e/api/apiserver"
)

// balancerWorld is an API server with pools for load balancers.
type balancerWorld struct {
	*claimWorld
}

func newBalancerWorld(t *testing.T) *balancerWorld {
	t.Helper()
	w := &balancerWorld{&claimWorld{apiserver.Start(t), t}}
	w.Apply(`
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec: {mesh: None, clusterCIDRs: [10.0.0.0/8], nodeCIDRs: [192.0.2.0/24], listenPort: -1}
`)
	w.pool("web", "cidr: 10.50.0.0/24")
	w.pool("web6", `cidr: "fd00:50::/120"`)
	return w
}

func (w *balancerWorld) pool(name, spec string) {
	w.t.Helper()
	w.Apply(fmt.Sprintf("apiVersion: podroute.io/v1alpha1\nkind: AddressPool\nmetadata: {name: %s}\nspec: {use: loadBalancers, %s}\n", name, spec))
}

// balancer is a Service of type LoadBalancer, with port 80, of both families as far as there are; change may be nil.
func balancer(name string, change func(*corev1.Service)) *corev1.Service {
	class, prefer := config.LoadBalancerClass, corev1.IPFamilyPolicyPreferDualStack
	s := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: &class, IPFamilyPolicy: &prefer,
			Ports: []corev1.ServicePort{{Port: 80}}, Selector: map[string]string{"app": name},
		},
	}
	if change != nil {
		change(s)
	}
	return s
}

func noted(annotations ...string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Annotations = map[string]string{}
		for i := 0; i < len(annotations); i += 2 {
			s.Annotations[annotations[i]] = annotations[i+1]
		}
	}
}

// create creates a Service, once: the tests go on at once.
func (w *balancerWorld) create(name string, change func(*corev1.Service)) {
	w.t.Helper()
	text, err := json.Marshal(balancer(name, change))
	if err == nil {
		_, err = w.Send(http.MethodPost, "/api/v1/namespaces/default/services", string(text))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *balancerWorld) remove(name string) {
	w.t.Helper()
	if _, err := w.Send(http.MethodDelete, "/api/v1/namespaces/default/services/"+name, ""); err != nil {
		w.t.Fatal(err)
	}
}

// services are those of the API at one moment, by name.
func (w *balancerWorld) services() (map[string]corev1.Service, error) {
	text, err := w.Send(http.MethodGet, "/api/v1/services", "")
	var list corev1.ServiceList
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	all := map[string]corev1.Service{}
	for _, s := range list.Items {
		all[s.Name] = s
	}
	return all, err
}

func ingress(s corev1.Service) (all []string) {
	for _, i := range s.Status.LoadBalancer.Ingress {
		all = append(all, i.IP)
	}
	return all
}

// becomes waits until a Service has these addresses, or with "*" any, and the condition's reason.
func (w *balancerWorld) becomes(name, addresses, reason string) []string {
	w.t.Helper()
	var has []string
	var c *metav1.Condition
	w.Eventually(fmt.Sprintf("Service %s has %q and %s", name, addresses, reason), within, func() bool {
		all, err := w.services()
		if err != nil {
			return false
		}
		s := all[name]
		has, c = ingress(s), apimeta.FindStatusCondition(s.Status.Conditions, config.ConditionLoadBalancer)
		is := ""
		if c != nil {
			is = c.Reason
		}
		return is == reason && (addresses == "*" && len(has) > 0 || strings.Join(has, " ") == addresses)
	})
	return has
}

// watchman looks at all Services again and again, until it is asked: two of them must never have one address, and
// none may lose one.
type watchman struct {
	w     *balancerWorld
	has   map[string][]string
	looks int
	ended sync.WaitGroup
	stop  context.CancelFunc
}

func (w *balancerWorld) watchman() *watchman {
	ctx, cancel := context.WithCancel(w.t.Context())
	m := &watchman{w: w, has: map[string][]string{}, stop: cancel}
	m.ended.Go(func() {
		again := time.NewTicker(20 * time.Millisecond)
		defer again.Stop()
		for ctx.Err() == nil {
			m.look()
			<-again.C
		}
	})
	return m
}

func (m *watchman) look() {
	all, err := m.w.services()
	if err != nil {
		return
	}
	m.looks++
	owner := map[string]string{}
	for name, s := range all {
		for _, a := range ingress(s) {
			if other := owner[a]; other != "" {
				m.w.t.Errorf("%s is the address of %s and of %s", a, name, other)
			}
			owner[a] = name
		}
		now := ingress(s)
		for _, a := range m.has[name] {
			if !slices.Contains(now, a) {
				m.w.t.Errorf("Service %s had %v and has %v", name, m.has[name], now)
			}
		}
		m.has[name] = now
	}
}

// served tells how many Services have all that they should have.
func (w *balancerWorld) served() int {
	all, err := w.services()
	if err != nil {
		return 0
	}
	n := 0
	for _, s := range all {
		if len(s.Status.LoadBalancer.Ingress) == len(s.Spec.IPFamilies) && len(s.Spec.IPFamilies) == 2 {
			n++
		}
	}
	return n
}

// dethroned has the next agent lead at once, and not only when the Lease has run out: a look at it costs a minute.
func (w *balancerWorld) dethroned() {
	w.t.Helper()
	w.Kubectl("delete", "lease", "podroute", "-n", "kube-system", "--ignore-not-found")
}

// TestLoadBalancerChurn: 200 Services of two families come and go while leaders are killed and resign; no address is two
// Services' at any moment, none is lost, and all have theirs in the end.
func TestLoadBalancerChurn(t *testing.T) {
	t.Parallel()
	w := newBalancerWorld(t)
	const many = 200
	var leaders []*machine
	for i := range 3 {
		m := newMachine(t, w.Server, fmt.Sprintf("n%d", i+1))
		m.register(i + 1)
		leaders = append(leaders, m)
	}
	leaders[0].start()
	m := w.watchman()
	name := func(i int) string { return fmt.Sprintf("web-%03d", i) }
	start := time.Now()
	for i := range many {
		w.create(name(i), func(s *corev1.Service) {
			if i%2 == 0 {
				s.Spec.LoadBalancerClass = nil
			}
		})
	}
	w.Eventually("some have addresses", time.Minute, func() bool { return w.served() > many/5 })
	if err := leaders[0].agent.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-leaders[0].agent.Done()
	killed := w.served()
	w.dethroned()
	leaders[1].start()
	for i := range 40 { // one goes, one comes
		w.remove(name(i))
		w.create(name(many+i), nil)
	}
	w.Eventually("more have addresses", time.Minute, func() bool { return w.served() > many/2 })
	resigned := w.served()
	leaders[1].terminate()
	leaders[2].start()
	for i := range 20 {
		w.remove(name(100 + i))
		w.create(name(2*many+i), nil)
	}
	w.Eventually("all have addresses", time.Minute, func() bool { return w.served() == many })
	took := time.Since(start)
	m.stop()
	m.ended.Wait()
	t.Logf("%d Services with two addresses each after %v; a leader killed at %d, one resigned at %d; %d looks, no address twice",
		many, took.Round(time.Second), killed, resigned, m.looks)
	if m.looks < 20 || killed >= many || resigned >= many {
		t.Errorf("too little was seen")
	}
	w.Eventually("the pools count", within, func() bool {
		out := w.Kubectl("get", "addresspools", "--no-headers")
		return strings.Contains(strings.Join(strings.Fields(out), " "), "web 10.50.0.0/24 200 56 True") &&
			strings.Contains(strings.Join(strings.Fields(out), " "), "web6 fd00:50::/120 200 56 True")
	})
}

// TestLoadBalancers: requests, refusals, sharing, what takes addresses away and what does not.
func TestLoadBalancers(t *testing.T) {
	t.Parallel()
	w := newBalancerWorld(t)
	w.node("n1", "")
	w.source("n1")
	t.Run("requests", func(*testing.T) { w.requests() })
	t.Run("sharing", func(*testing.T) { w.sharing() })
	t.Run("pools change", func(*testing.T) { w.poolsChange() })
	t.Run("services change", func(*testing.T) { w.servicesChange() })
	t.Run("others", func(*testing.T) { w.others() })
}

func (w *balancerWorld) requests() {
	w.t.Helper()
	w.create("asks", noted(config.AnnotationLoadBalancerIPs, "10.50.0.7, fd00:50::7"))
	w.becomes("asks", "10.50.0.7 fd00:50::7", "AddressAssigned")
	event := func(service, reason, words string) {
		w.Eventually("an Event of "+service+" says "+words, within, func() bool {
			out := w.Kubectl("get", "events", "-n", "default", "--field-selector", "involvedObject.name="+service+",reason="+reason, "-o", "jsonpath={.items[*].message}")
			return strings.Contains(out, words)
		})
	}
	event("asks", "AddressAssigned", "has 10.50.0.7, fd00:50::7")
	w.create("asks-too", noted(config.AnnotationLoadBalancerIPs, "10.50.0.7"))
	if has := w.becomes("asks-too", "*", "AddressTaken"); len(has) != 1 || !strings.HasPrefix(has[0], "fd00:50::") {
		w.t.Errorf("a Service whose IPv4 address is refused has %v", has)
	}
	event("asks-too", "AddressRefused", "10.50.0.7 is in use by Service default/asks: give both the same annotation")
	w.create("both", func(s *corev1.Service) {
		require := corev1.IPFamilyPolicyRequireDualStack
		s.Spec.IPFamilyPolicy, s.Spec.LoadBalancerIP = &require, "10.51.0.1"
	})
	w.becomes("both", "", "NotInPool")
	w.pool("later", "cidr: 10.51.0.1/32, serviceSelector: {matchLabels: {later: yes-please}}")
	w.Kubectl("label", "service", "both", "later=yes-please")
	if has := w.becomes("both", "*", "AddressAssigned"); len(has) != 2 || has[0] != "10.51.0.1" {
		w.t.Errorf("a Service that asks for 10.51.0.1 and another has %v", has)
	}
	w.remove("asks")
	w.becomes("asks-too", strings.Join(append([]string{"10.50.0.7"}, w.of("asks-too")...), " "), "AddressAssigned")
	for _, name := range []string{"asks-too", "both"} {
		w.remove(name)
	}
}

// of are the addresses of a Service.
func (w *balancerWorld) of(name string) []string {
	w.t.Helper()
	all, err := w.services()
	if err != nil {
		w.t.Fatal(err)
	}
	return ingress(all[name])
}

func (w *balancerWorld) sharing() {
	w.t.Helper()
	w.create("tcp", noted(config.AnnotationSharingKey, "dns"))
	has := strings.Join(w.becomes("tcp", "*", "AddressAssigned"), " ")
	w.create("udp", func(s *corev1.Service) {
		noted(config.AnnotationSharingKey, "dns")(s)
		s.Spec.Ports[0].Protocol = corev1.ProtocolUDP
	})
	w.becomes("udp", has, "AddressAssigned")
	w.create("tcp-too", noted(config.AnnotationSharingKey, "dns"))
	if other := strings.Join(w.becomes("tcp-too", "*", "AddressAssigned"), " "); other == has {
		w.t.Errorf("two Services with one port share %v", has)
	}
	w.Patch("/api/v1/namespaces/default/services/udp", `{"metadata":{"annotations":{"podroute.io/sharing-key":null}}}`)
	w.Eventually("who gives up the key goes", within, func() bool {
		now := w.of("udp")
		return len(now) == 2 && strings.Join(now, " ") != has
	})
	for _, name := range []string{"tcp", "udp", "tcp-too"} {
		w.remove(name)
	}
}

// free is the condition of a pool.
func (w *balancerWorld) free(pool, reason string) string {
	w.t.Helper()
	message := ""
	w.Eventually("AddressPool "+pool+" says "+reason, within, func() bool {
		v := read[config.AddressPool](&life{Server: w.Server, t: w.t}, "addresspool", pool)
		c := apimeta.FindStatusCondition(v.Status.Conditions, config.ConditionFree)
		if c == nil || c.Reason != reason {
			return false
		}
		message = c.Message
		return apimeta.IsStatusConditionTrue(v.Status.Conditions, config.ConditionAccepted)
	})
	return message
}

func (w *balancerWorld) poolsChange() {
	w.t.Helper()
	w.pool("small", "cidr: 10.52.0.0/31")
	for _, name := range []string{"a", "b", "c"} {
		w.create(name, func(s *corev1.Service) {
			noted(config.AnnotationLoadBalancerPool, "small")(s)
			single := corev1.IPFamilyPolicySingleStack
			s.Spec.IPFamilyPolicy = &single
		})
	}
	a := strings.Join(w.becomes("a", "*", "AddressAssigned"), " ")
	b := strings.Join(w.becomes("b", "*", "AddressAssigned"), " ")
	w.becomes("c", "", "PoolExhausted")
	w.free("small", "Exhausted")
	w.Kubectl("patch", "addresspool", "small", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"exclusions":["%s/32"]}}`, b))
	w.Eventually("the pool says what is excluded and in use", within, func() bool {
		return strings.Contains(w.free("small", "Exhausted"), b+" of default/b")
	})
	w.remove("b")
	w.becomes("c", "", "PoolExhausted")
	w.Kubectl("patch", "addresspool", "small", "--type=merge", "-p", `{"spec":{"exclusions":null,"disabled":true}}`)
	w.free("small", "Disabled")
	w.becomes("c", "", "PoolExhausted")
	w.becomes("a", a, "AddressAssigned")
	w.Kubectl("patch", "addresspool", "small", "--type=merge", "-p", `{"spec":{"disabled":false}}`)
	w.becomes("c", b, "AddressAssigned") // cooled down or not: there is no other
	w.Kubectl("delete", "addresspool", "small")
	w.becomes("a", a, "BadRequest")
	w.becomes("c", b, "BadRequest")
	for _, name := range []string{"a", "c"} {
		w.remove(name)
	}
}

func (w *balancerWorld) servicesChange() {
	w.t.Helper()
	const at = "/api/v1/namespaces/default/services/turn"
	w.create("turn", func(s *corev1.Service) { s.Spec.LoadBalancerClass = nil })
	has := strings.Join(w.becomes("turn", "*", "AddressAssigned"), " ")
	w.Patch(at, `{"spec":{"type":"ClusterIP"}}`)
	w.Eventually("notes go with the type", within, func() bool {
		all, err := w.services()
		s := all["turn"]
		return err == nil && len(ingress(s)) == 0 && len(s.Status.Conditions) == 0 && s.Annotations[config.AnnotationGiven] == ""
	})
	w.Patch(at, `{"spec":{"type":"LoadBalancer"}}`)
	now := strings.Join(w.becomes("turn", "*", "AddressAssigned"), " ")
	if now == has {
		w.t.Errorf("what was given back is given at once: %s", now)
	}
	// Without a class a Service is somebody else's as soon as he says so: what we gave goes, what he wrote stays.
	w.create("plain", func(s *corev1.Service) { s.Spec.LoadBalancerClass = nil })
	w.becomes("plain", "*", "AddressAssigned")
	w.Patch(at+"/status", `{"status":{"loadBalancer":{"ingress":[`+entries(now)+`,{"hostname":"lb.example.com"}]}}}`)
	w.Eventually("only ours go", within, func() bool {
		all, err := w.services()
		i := all["turn"].Status.LoadBalancer.Ingress
		return err == nil && len(i) == 1 && i[0].Hostname == "lb.example.com" && len(all["turn"].Status.Conditions) == 0
	})
	w.create("classed", nil)
	classed := strings.Join(w.becomes("classed", "*", "AddressAssigned"), " ")
	w.Kubectl("patch", "routerconfig", "default", "--type=merge", "-p", `{"spec":{"loadBalancers":{"requireClass":true}}}`)
	w.becomes("plain", "", "")
	w.becomes("classed", classed, "AddressAssigned")
	w.Kubectl("patch", "routerconfig", "default", "--type=merge", "-p", `{"spec":{"loadBalancers":{"requireClass":false}}}`)
	w.becomes("plain", "*", "AddressAssigned")
	for _, name := range []string{"turn", "plain", "classed"} {
		w.remove(name)
	}
}

// entries are those of a status, as JSON.
func entries(addresses string) string {
	return `{"ip":"` + strings.ReplaceAll(addresses, " ", `"},{"ip":"`) + `"}`
}

func (w *balancerWorld) others() {
	w.t.Helper()
	w.create("older", nil)
	has := w.becomes("older", "*", "AddressAssigned")
	w.Eventually("a second has passed", within, func() bool { // the API counts ages in seconds
		all, err := w.services()
		return err == nil && time.Since(all["older"].CreationTimestamp.Time) > 2*time.Second
	})
	w.create("younger", nil)
	w.becomes("younger", "*", "AddressAssigned")
	w.Patch("/api/v1/namespaces/default/services/younger/status", `{"status":{"loadBalancer":{"ingress":[`+entries(strings.Join(has, " "))+`]}}}`)
	w.Eventually("who came later is given others", within, func() bool {
		now := w.of("younger")
		return len(now) == 2 && !slices.Contains(now, has[0]) && !slices.Contains(now, has[1])
	})
	w.becomes("older", strings.Join(has, " "), "AddressAssigned")
	// A status that was lost comes back as it was.
	now := w.of("younger")
	w.Patch("/api/v1/namespaces/default/services/younger/status", `{"status":{"loadBalancer":null}}`)
	w.becomes("younger", strings.Join(now, " "), "AddressAssigned")
	for _, a := range now {
		if _, err := netip.ParseAddr(a); err != nil {
			w.t.Error(err)
		}
	}
	// Another implementation's Service is left alone.
	w.create("theirs", func(s *corev1.Service) {
		class := "example.com/lb"
		s.Spec.LoadBalancerClass = &class
	})
	w.create("after", nil)
	w.becomes("after", "*", "AddressAssigned")
	w.becomes("theirs", "", "")
	for _, name := range []string{"older", "younger", "theirs", "after"} {
		w.remove(name)
	}
}

// TestLoadBalancerFrozen: a leader that stood still for longer than its Lease holds, and wakes up while the next one leads,
// writes nothing.
func TestLoadBalancerFrozen(t *testing.T) {
	t.Parallel()
	w := newBalancerWorld(t)
	var leaders []*machine
	for i := range 2 {
		m := newMachine(t, w.Server, fmt.Sprintf("n%d", i+1))
		m.register(i + 1)
		leaders = append(leaders, m)
	}
	leaders[0].start()
	w.create("first", nil)
	w.becomes("first", "*", "AddressAssigned")
	signalTo := func(s syscall.Signal) {
		if err := syscall.Kill(leaders[0].agent.Cmd.Process.Pid, s); err != nil {
			t.Fatal(err)
		}
	}
	signalTo(syscall.SIGSTOP)
	stopped := time.Now()
	defer signalTo(syscall.SIGCONT)
	m := w.watchman()
	for i := range 60 {
		w.create(fmt.Sprintf("meanwhile-%d", i), nil)
	}
	const leaseLost = 40 * time.Second // see config/kube/leader.go
	w.Eventually("the Lease is too old", 2*leaseLost, func() bool { return time.Since(stopped) > leaseLost+time.Second })
	w.dethroned()
	leaders[1].start()
	w.Eventually("some have addresses", time.Minute, func() bool { return w.served() > 5 })
	signalTo(syscall.SIGCONT)
	w.Eventually("all have addresses", time.Minute, func() bool { return w.served() == 61 })
	w.Eventually("the first no longer leads", time.Minute, func() bool { return strings.Contains(leaders[0].log.String(), "no longer leading") })
	m.stop()
	m.ended.Wait()
	writes := map[string]int{}
	for _, name := range []string{"n1", "n2"} {
		for _, r := range w.Writes(name) {
			if r.ObjectRef.Resource == "services" {
				writes[name]++
			}
		}
	}
	if writes["n1"] != 1 || writes["n2"] != 60 {
		t.Errorf("writes to Services: %v, want 1 of n1 before it stood still and 60 of n2", writes)
	}
	t.Logf("stood still for %v; writes to Services: %v; %d looks", time.Since(stopped).Round(time.Second), writes, m.looks)
}
