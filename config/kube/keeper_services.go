package kube

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/config"
)

// serviceManifest is a Service as far as it is known here.
func serviceManifest(s config.Service) corev1.Service {
	v := corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, Labels: s.Labels, Annotations: s.Annotations},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceType(s.Type), ClusterIPs: texts(s.ClusterIPs), ExternalIPs: texts(s.ExternalIPs),
		},
	}
	if s.LoadBalancerClass != "" {
		v.Spec.LoadBalancerClass = &s.LoadBalancerClass
	}
	if s.ExternalLocal {
		v.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if s.InternalLocal {
		local := corev1.ServiceInternalTrafficPolicyLocal
		v.Spec.InternalTrafficPolicy = &local
	}
	for _, a := range s.IngressIPs {
		v.Status.LoadBalancer.Ingress = append(v.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a.String()})
	}
	return v
}

func texts(list []netip.Addr) []string {
	var all []string
	for _, a := range list {
		all = append(all, a.String())
	}
	return all
}

// endpointManifests are the endpoints of a Service, one EndpointSlice a family. Only where they are is known.
func endpointManifests(s config.Service) []discoveryv1.EndpointSlice {
	var all []discoveryv1.EndpointSlice
	for _, family := range []string{config.FamilyIPv4, config.FamilyIPv6} {
		endpoints := s.Endpoints(family)
		if !endpoints.Serving() {
			continue
		}
		v := discoveryv1.EndpointSlice{
			TypeMeta: metav1.TypeMeta{APIVersion: discoveryv1.SchemeGroupVersion.String(), Kind: "EndpointSlice"},
			ObjectMeta: metav1.ObjectMeta{
				Namespace: s.Namespace, Name: s.Name + map[string]string{config.FamilyIPv4: "-4", config.FamilyIPv6: "-6"}[family],
				Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
			},
			AddressType: discoveryv1.AddressType(family),
			Ports:       []discoveryv1.EndpointPort{{}},
		}
		add := func(nodes []string, terminating bool) {
			for _, node := range nodes {
				ready := !terminating
				e := discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: &ready, Terminating: &terminating}}
				if node != "" {
					e.NodeName = &node
				}
				v.Endpoints = append(v.Endpoints, e)
			}
		}
		add(endpoints.Ready, false)
		add(endpoints.Terminating, true)
		all = append(all, v)
	}
	return all
}
