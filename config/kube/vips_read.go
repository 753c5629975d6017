package kube

import (
	"maps"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/config/vip"
)

// balanced is what is kept of a Service where its address is concerned.
type balanced struct {
	vip.Service
	balancer bool // of type LoadBalancer
	class    string
	ingress  []corev1.LoadBalancerIngress
	given    string // the annotation as it stands
}

// readBalanced reads a Service. Its conditions and version are no part of what may change a Plan.
func readBalanced(o runtime.Object) entry {
	v, ok := o.(*corev1.Service)
	if !ok { // it does not fit its type: nothing is known of it but that it is there
		m, _ := o.(metav1.Object)
		b := &balanced{}
		b.Namespace, b.Name = m.GetNamespace(), m.GetName()
		return entry{object: config.Object{Value: b}}
	}
	b := &balanced{
		balancer: v.Spec.Type == corev1.ServiceTypeLoadBalancer,
		ingress:  v.Status.LoadBalancer.Ingress, given: v.Annotations[config.AnnotationGiven],
	}
	if v.Spec.LoadBalancerClass != nil {
		b.class = *v.Spec.LoadBalancerClass
	}
	s := &b.Service
	s.Namespace, s.Name, s.UID, s.Created = v.Namespace, v.Name, string(v.UID), v.CreationTimestamp.Time
	s.Labels = maps.Clone(v.Labels)
	s.Leaving, s.Unclassed = v.DeletionTimestamp != nil, b.class == ""
	for _, f := range v.Spec.IPFamilies {
		s.Families = append(s.Families, string(f))
	}
	s.Required = v.Spec.IPFamilyPolicy != nil && *v.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack
	for _, i := range b.ingress {
		a, err := netip.ParseAddr(i.IP)
		if err != nil || i.Hostname != "" || i.IPMode != nil && *i.IPMode != corev1.LoadBalancerIPModeVIP {
			s.Strange = true
			continue
		}
		s.Held = append(s.Held, a)
	}
	s.Given = vip.ParseAddresses(b.given)
	conditions := v.Status.Conditions
	for _, c := range conditions {
		s.Noted = s.Noted || c.Type == config.ConditionLoadBalancer
	}
	s.Noted = s.Noted || b.given != ""
	for _, text := range v.Spec.ExternalIPs {
		if a, err := netip.ParseAddr(text); err == nil {
			s.External = append(s.External, a)
		}
	}
	for _, p := range v.Spec.Ports {
		s.Ports = append(s.Ports, vip.Port{Protocol: string(p.Protocol), Number: p.Port})
	}
	s.Local = v.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	if len(v.Spec.Selector) > 0 {
		s.Selector = labels.Set(v.Spec.Selector).String()
	}
	s.Request = vip.ParseRequest(v.Annotations, v.Spec.LoadBalancerIP)
	return entry{
		object: config.Object{Kind: "Service", Namespace: v.Namespace, Name: v.Name, Value: b},
		uid:    v.UID, version: v.ResourceVersion, conditions: conditions,
	}
}

// older tells whether one version of an object comes before another.
func older(a, b string) bool {
	x, errA := strconv.ParseUint(a, 10, 64)
	y, errB := strconv.ParseUint(b, 10, 64)
	return errA == nil && errB == nil && x < y
}
