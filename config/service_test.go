package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestManyServices: five thousand Services with an EndpointSlice a family do not make a Snapshot slow, and what does not
// concern this node makes no other Snapshot.
func TestManyServices(t *testing.T) {
	t.Parallel()
	const count, most = 5000, 5 * time.Second // with the race detector and all processors busy; else a fiftieth of that
	node := "n2"
	var in Input
	add := func(v any) { in.Objects = append(in.Objects, NewObject("", v)) }
	add(&Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: AdvertisementSpec{Services: &ServiceAdvertisement{Addresses: []ServiceAddress{ClusterAddress}}}})
	slice := func(i int, family string, on string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("s%d-%s", i, strings.ToLower(family)), Labels: map[string]string{labelServiceName: fmt.Sprintf("s%d", i)}},
			AddressType: discoveryv1.AddressType(family), Ports: []discoveryv1.EndpointPort{{}}, Endpoints: []discoveryv1.Endpoint{{NodeName: &on}},
		}
	}
	for i := range count {
		add(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("s%d", i)}, Spec: corev1.ServiceSpec{
			ClusterIPs: []string{fmt.Sprintf("10.96.%d.%d", i/250, i%250+1), fmt.Sprintf("fd00:96::%x", i+1)},
		}})
		add(slice(i, FamilyIPv4, node))
		add(slice(i, FamilyIPv6, node))
	}
	var b Builder
	first := b.Build(in)
	if len(first.Services) != count || len(first.Problems) > 0 {
		t.Fatalf("%d services, %d problems", len(first.Services), len(first.Problems))
	}
	in.Objects[2] = NewObject("", slice(0, FamilyIPv4, "n3")) // its only endpoint has moved
	start := time.Now()
	second := b.Build(in)
	same := second.Equal(first)
	took := time.Since(start)
	t.Logf("%d services: built and compared in %v", count, took)
	if !same || took > most {
		t.Errorf("the same: %v, in %v, want the same in at most %v", same, took, most)
	}
}
