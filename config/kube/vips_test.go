package kube

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/config/vip"
)

// balancer is a Service as the API shows it.
func balancer(version string, addresses ...string) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "s", UID: "u", ResourceVersion: version},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}},
	}
	for _, a := range addresses {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
	}
	return s
}

// newGiver gives without an API: whoever writes fails the test.
func newGiver(held time.Time, on ...*corev1.Service) *giver {
	g := &giver{
		Source:   &Source{client: &client{log: slog.New(slog.DiscardHandler)}},
		follower: &follower{shelf: &shelf{touch: func() {}, entries: map[string]entry{}}},
		ahead:    map[string]entry{}, held: map[netip.Addr]bool{}, cooling: map[netip.Addr]time.Time{},
	}
	g.Source.held.Store(&held)
	for _, s := range on {
		g.follower.shelf.put(keyOf(s), readBalanced(s))
	}
	return g
}

// TestFrozen: who stood still for so long that another may lead writes nothing.
func TestFrozen(t *testing.T) {
	t.Parallel()
	g := newGiver(time.Now().Add(-leaseLost), balancer("5"))
	plan := vip.Plan{Verdicts: []vip.Verdict{{Service: "a/s", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Pools: []string{"p"}}}}
	if whole, err := g.write(t.Context(), plan, g.services()); !whole || !errors.Is(err, errNotLeading) {
		t.Errorf("%v, %v", whole, err)
	}
}

// TestAhead: what was written counts until the watch is as far, whatever it tells meanwhile.
func TestAhead(t *testing.T) {
	t.Parallel()
	held := func(g *giver) int { return len(g.services()["a/s"].object.Value.(*balanced).Held) }
	g := newGiver(time.Now(), balancer("5"))
	g.ahead["a/s"] = readBalanced(balancer("10", "192.0.2.1"))
	if held(g) != 1 {
		t.Error("what was written is not known")
	}
	g.follower.shelf.put("a/s", readBalanced(balancer("9")))
	if held(g) != 1 {
		t.Error("an older version counts")
	}
	g.follower.shelf.put("a/s", readBalanced(balancer("11")))
	if held(g) != 0 || len(g.ahead) != 0 {
		t.Error("a newer version does not count")
	}
	g.ahead["a/s"] = readBalanced(balancer("12", "192.0.2.1"))
	another := balancer("2")
	another.UID = "v"
	g.follower.shelf.put("a/s", readBalanced(another))
	if held(g) != 0 {
		t.Error("another of the same name has the address of the first")
	}
	g.ahead["a/s"] = readBalanced(balancer("12", "192.0.2.1"))
	g.follower.shelf.drop("a/s")
	if len(g.services()) != 0 {
		t.Error("a Service that is gone holds an address")
	}
}

// TestCool: addresses that are given back cool down, and those that are in use again do not.
func TestCool(t *testing.T) {
	t.Parallel()
	a := netip.MustParseAddr("192.0.2.1")
	g := newGiver(time.Now(), balancer("5", "192.0.2.1"))
	if c := g.cool(g.services()); len(c) != 0 {
		t.Errorf("cooling from the start: %v", c)
	}
	g.follower.shelf.put("a/s", readBalanced(balancer("6")))
	if c := g.cool(g.services()); !c[a] {
		t.Errorf("given back and not cooling: %v", c)
	}
	g.cooling[a] = time.Now().Add(-time.Second)
	if c := g.cool(g.services()); len(c) != 0 {
		t.Errorf("cooling for ever: %v", c)
	}
}

// TestDue: what is there as it should be is not written again.
func TestDue(t *testing.T) {
	t.Parallel()
	v := vip.Verdict{Service: "a/s", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Pools: []string{""}}
	fresh := readBalanced(balancer("5"))
	d := due(fresh.object.Value.(*balanced), v)
	if d.same(fresh.object.Value.(*balanced), fresh) || d.condition.Message != "192.0.2.1 of no AddressPool any more" {
		t.Errorf("%+v", d)
	}
	s := balancer("6", "192.0.2.1") // an older API knows no ipMode
	s.Annotations, s.Status.Conditions = map[string]string{config.AnnotationGiven: "192.0.2.1"}, []metav1.Condition{*d.condition}
	for name, c := range map[string]struct {
		change func(*corev1.Service)
		same   bool
	}{
		"as written": {func(*corev1.Service) {}, true},
		"mode":       {func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].IPMode = d.ingress[0].IPMode }, true},
		"address":    {func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].IP = "192.0.2.2" }, false},
		"none":       {func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = nil }, false},
		"note":       {func(s *corev1.Service) { s.Annotations = nil }, false},
		"reason":     {func(s *corev1.Service) { s.Status.Conditions[0].Reason = "Other" }, false},
		"host name":  {func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].Hostname = "x" }, false},
	} {
		s := s.DeepCopy()
		c.change(s)
		e := readBalanced(s)
		b := e.object.Value.(*balanced)
		if got := due(b, v).same(b, e); got != c.same {
			t.Errorf("%s: the same: %v", name, got)
		}
	}
}

// TestFreeCondition: what a pool says of itself.
func TestFreeCondition(t *testing.T) {
	t.Parallel()
	strays := []string{"192.0.2.1 of a/s"}
	for want, f := range map[string]fill{
		"True Free: addresses are free": {Fill: vip.Fill{Free: 1}},
		"True ExcludedInUse: addresses are free; excluded and still in use: 192.0.2.1 of a/s": {Fill: vip.Fill{Free: 1, Strays: strays}},
		"False Exhausted: no address is free: add a pool, or have Services share addresses; excluded and still in use: 192.0.2.1 of a/s": {
			Fill: vip.Fill{Strays: strays},
		},
		"False Disabled: the pool is disabled: Services keep what they have, and get nothing new": {Fill: vip.Fill{Free: 1, Disabled: true}},
		"Unknown Unreadable: the API refuses to show the Services, and none gets an address: apply the permissions of podroute's service account anew": unknownFills(
			[]config.AddressPool{{ObjectMeta: metav1.ObjectMeta{Name: "p"}}})["p"],
	} {
		c := freeCondition(f, 3)
		if got := fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message); got != want || c.ObservedGeneration != 3 {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
