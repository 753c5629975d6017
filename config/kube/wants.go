package kube

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/podroute/podroute/config"
)

// want is a watch that a Snapshot needs.
type want struct {
	// slot names the shelf. A want that changes but for its slot keeps what is on the shelf until the new watch has
	// read everything.
	slot string
	kind string
	// namespace of Secrets; field and label select among the objects.
	namespace, field, label string
}

func (w want) options() metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: w.field, LabelSelector: w.label}
}

// baseWants are needed always, and say what else is.
func baseWants() []want {
	var all []want
	for _, kind := range []string{"RouterConfig", "BGPPeer", "AddressPool", "Advertisement"} {
		all = append(all, want{slot: kind, kind: kind})
	}
	return all
}

// scope is what decides on the wants besides the base.
type scope struct {
	node    string
	leading bool
	known   bool                    // whether there is a RouterConfig, and which
	router  config.RouterConfigSpec // in force
	peers   []config.BGPPeer        // valid by themselves
	pools   []config.AddressPool    // valid by themselves
	own     *config.Node            // nil while it is not known
	// advertisements are valid by themselves, or in force.
	advertisements []config.Advertisement
}

// add takes in an object, if it counts.
func (s *scope) add(o config.Object) {
	switch v := o.Value.(type) {
	case *config.RouterConfig:
		s.router = v.Spec
	case *config.BGPPeer:
		s.peers = append(s.peers, *v)
	case *config.AddressPool:
		s.pools = append(s.pools, *v)
	case *config.Advertisement:
		s.advertisements = append(s.advertisements, *v)
	case *config.Node:
		if v.Name == s.node {
			s.own = v
		}
	}
}

// wants are the watches that a node needs: as few as do. With mesh None their cost does not grow with
// the cluster.
func (s scope) wants() []want {
	all := baseWants()
	if !s.known {
		return all
	}
	alone := s.router.Mesh == config.MeshNone
	if alone {
		all = append(all, want{slot: "Node", kind: "Node", field: named(s.node)})
	} else {
		all = append(all, want{slot: "Node", kind: "Node"})
	}
	switch {
	case s.router.PodSubnets != config.SubnetsFromPool:
	case alone:
		// Claims carry their node's label; blocks that people write, and the ranges of racks, carry none.
		all = append(all,
			want{slot: "AddressBlock", kind: "AddressBlock", label: labels.Set{config.LabelNode: s.node}.String()},
			want{slot: "AddressBlock without a node's label", kind: "AddressBlock", label: "!" + config.LabelNode})
	default:
		all = append(all, want{slot: "AddressBlock", kind: "AddressBlock"})
	}
	if slices.ContainsFunc(s.pools, func(p config.AddressPool) bool {
		return p.Spec.NamespaceSelector != nil && (p.Spec.Use == config.UsePods || s.leading)
	}) {
		all = append(all, want{slot: "Namespace", kind: "Namespace"})
	}
	if s.services() {
		// Nothing is behind one address where a Service is headless.
		all = append(all, want{slot: "Service", kind: "Service"},
			want{slot: "EndpointSlice", kind: "EndpointSlice", label: discoveryv1.LabelServiceName + ",!" + corev1.IsHeadlessService})
	}
	for _, p := range s.peers {
		mine := s.own != nil && config.Selects(p.Spec.NodeSelector, s.own.Labels)
		for _, ref := range p.Spec.SecretRefs() {
			if w := secretWant(ref); (mine || s.leading) && !slices.Contains(all, w) {
				all = append(all, w)
			}
		}
	}
	return all
}

// services tells whether this node advertises services.
func (s scope) services() bool {
	if r := s.router.RouterSelector; s.own != nil && r != nil && config.Selects(r, s.own.Labels) {
		return false // plain routers pass on what nodes advertise
	}
	return slices.ContainsFunc(s.advertisements, func(a config.Advertisement) bool {
		return a.Spec.Services != nil && (s.own == nil || config.Selects(a.Spec.NodeSelector, s.own.Labels))
	})
}

// secretWant is a watch of one Secret: who may read it by its name need not be allowed to read others.
func secretWant(ref config.SecretKeyRef) want {
	return want{
		slot: "Secret " + ref.Namespace + "/" + ref.Name, kind: "Secret", namespace: ref.Namespace,
		field: named(ref.Name),
	}
}

// named is the field selector of one object.
func named(name string) string {
	return fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
}

// refused tells whether a watch will not come to stand by itself, and the rest is to go on without.
func refused(w want, err error) bool {
	optional := w.kind == "Secret" || w.kind == "Service" || w.kind == "EndpointSlice"
	return optional && (apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err))
}
