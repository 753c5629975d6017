package kube

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/podroute/podroute/config"
)

// newFollower makes the follower of a want, whose shelf holds what was in force before this start.
func (s *Source) newFollower(w want) *follower {
	f := &follower{
		log: s.log, want: w, pages: &s.pages, outage: &s.outage,
		shelf: &shelf{touch: func() { signal(s.touched) }, entries: map[string]entry{}},
	}
	switch w.kind {
	case "RouterConfig":
		f.watch, f.list = s.routerConfigs.watch, s.routerConfigs.page
	case "BGPPeer":
		f.watch, f.list = s.peers.watch, s.peers.page
	case "AddressPool":
		f.watch, f.list = s.pools.watch, s.pools.page
	case "AddressBlock":
		f.watch, f.list = s.blocks.watch, s.blocks.page
	case "Advertisement":
		f.watch, f.list = s.advertisements.watch, s.advertisements.page
	case "Node":
		f.watch, f.list, f.see = s.nodes.watch, s.nodes.page, s.seeNode
	case "Namespace":
		f.watch, f.list = s.namespaces.watch, s.namespaces.page
	case "Service":
		all := s.services("")
		f.watch, f.list = all.watch, all.page
	case "EndpointSlice":
		f.watch, f.list, f.read = s.endpointSlices.watch, s.endpointSlices.page, s.readEndpoints
	case "Secret":
		secrets := s.secrets(w.namespace)
		f.watch, f.list = secrets.watch, secrets.page
	}
	for _, o := range s.desk.kept {
		if w.holds(o) {
			f.shelf.entries[key(o.Namespace, o.Name)] = entry{object: o}
		}
	}
	return f
}

// seeNode tells the herald of this node's own Node, nil where it is gone.
func (s *Source) seeNode(name string, o runtime.Object) {
	if name != s.node {
		return
	}
	n, _ := o.(*corev1.Node)
	s.herald.see(n)
}

// readEndpoints keeps of an EndpointSlice what concerns this node: most of what happens to endpoints is no event then.
func (s *Source) readEndpoints(o runtime.Object) entry {
	e := read("EndpointSlice", o)
	if v, ok := e.object.Value.(*config.EndpointSlice); ok {
		seen := v.SeenFrom(s.node)
		e.object.Value = &seen
	}
	return e
}

// holds tells whether an object is among those of the want.
func (w want) holds(o config.Object) bool {
	if o.Kind != w.kind || w.namespace != "" && o.Namespace != w.namespace || w.field != "" && w.field != named(o.Name) {
		return false
	}
	if b, ok := o.Value.(*config.AddressBlock); ok {
		selector, err := labels.Parse(w.label)
		return err == nil && selector.Matches(labels.Set(b.Labels))
	}
	return true
}

// hasStatus tells which kinds have conditions.
func hasStatus(kind string) bool {
	switch kind {
	case "RouterConfig", "BGPPeer", "AddressPool", "Advertisement":
		return true
	}
	return false
}
