package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// review reports what only the whole shows, and sorts the snapshot.
func (w *build) review() {
	w.reviewNodes()
	w.reviewServices()
	w.reviewPeers()
	if s := w.snapshot.Router.Spec; s.Mesh == MeshReflectors && len(w.nodes) > 0 &&
		!slices.ContainsFunc(w.snapshot.Nodes, w.snapshot.IsReflector) {
		r := w.report(w.routerAt)
		r.add("spec.reflectorSelector", "selects none of the nodes: nobody reflects", "label the nodes that shall, or change the selector")
		w.note(w.routerAt, r)
	}

	w.reviewMesh()
	w.reviewLongLived()

	s := &w.snapshot
	slices.SortFunc(s.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Peers, func(a, b BGPPeer) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Pools, func(a, b AddressPool) int { return cmp.Compare(a.Name, b.Name) })
	for _, list := range [][]AddressBlock{s.Blocks, s.Ranges} {
		slices.SortFunc(list, func(a, b AddressBlock) int { return a.Spec.Prefix().Compare(b.Spec.Prefix()) })
	}
	slices.SortFunc(s.Services, func(a, b Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(s.Advertisements, func(a, b Advertisement) int { return cmp.Compare(a.Name, b.Name) })
}

// mostOfMesh is how many nodes a full mesh does for: each has a session with each other (docs/kubernetes.md, Memory).
const mostOfMesh = 100

// reviewMesh reports a full mesh that has grown too large. It is in force all the same.
func (w *build) reviewMesh() {
	members := 0
	for _, n := range w.snapshot.Nodes {
		if !w.snapshot.IsRouter(n) {
			members++
		}
	}
	if w.snapshot.Router.Spec.Mesh != MeshFull || members <= mostOfMesh {
		return
	}
	r := &report{object: "RouterConfig/" + DefaultName}
	if w.routerAt != nil {
		r = w.report(w.routerAt)
	}
	r.addf("spec.mesh", "set mesh: Reflectors, and name some of the nodes by reflectorSelector",
		"is Full: each of %d nodes has a session with every other, at 0.4 MB of memory each", members)
	if w.routerAt != nil {
		w.note(w.routerAt, r)
	} else {
		w.problems = append(w.problems, r.problems)
	}
}

// reviewLongLived reports a stale time that no session has: graceful restart, which it takes, is off for all.
func (w *build) reviewLongLived() {
	g := w.snapshot.Router.Spec.GracefulRestart
	if w.routerAt == nil || !g.Disabled || g.LongLivedStaleTime == nil ||
		slices.ContainsFunc(w.snapshot.Peers, func(p BGPPeer) bool { return p.Spec.Restarts(w.snapshot.Router.Spec) }) {
		return
	}
	r := w.report(w.routerAt)
	r.add("spec.gracefulRestart.longLivedStaleTime", "has no effect: graceful restart, which it follows (RFC 9494), is disabled here and no BGPPeer has it",
		"remove it, or disabled")
	w.note(w.routerAt, r)
}

// reviewNodes reports router IDs that two nodes share.
func (w *build) reviewNodes() {
	ids := map[netip.Addr]string{}
	for _, n := range w.nodes {
		r := w.report(n.candidate)
		id := n.value.RouterID()
		if other, taken := ids[id]; taken {
			r.addf("metadata.annotations["+AnnotationRouterID+"]", "set the annotation to another one",
				"router ID %s is that of Node/%s too: they cannot peer", id, other)
		} else {
			ids[id] = n.value.Name
		}
		w.note(n.candidate, r)
	}
}

// reviewPeers finds peers of one address that select the same node. The first in order of precedence
// counts on that node; elsewhere the others do too.
func (w *build) reviewPeers() {
	same := map[string][]admitted[BGPPeer]{}
	for _, p := range w.peers {
		_, who := p.value.Spec.who()
		same[who] = append(same[who], p)
	}
	for i, p := range w.peers {
		field, who := p.value.Spec.who()
		rivals := same[who]
		if len(rivals) < 2 || rivals[0].candidate == p.candidate {
			continue
		}
		nodes, rival := w.shadow(p.value, w.peers[:i])
		if len(nodes) == 0 {
			continue
		}
		on := "node " + nodes[0]
		if len(nodes) > 1 {
			on += fmt.Sprintf(" and %d more", len(nodes)-1)
		}
		r := w.report(p.candidate)
		r.addf(field, "remove one, or make their nodeSelectors disjoint",
			"%s is that of BGPPeer/%s too on %s, where this one is left out", who, rival, on)
		w.note(p.candidate, r)
	}
}

// shadow takes p from the nodes that have an earlier peer of its address, and returns their names and
// one of the earlier peers.
func (w *build) shadow(p BGPPeer, earlier []admitted[BGPPeer]) (nodes []string, rival string) {
	_, who := p.Spec.who()
	for _, n := range w.nodes {
		if !Selects(p.Spec.NodeSelector, n.value.Labels) {
			continue
		}
		i := slices.IndexFunc(earlier, func(o admitted[BGPPeer]) bool {
			_, other := o.value.Spec.who()
			return other == who && Selects(o.value.Spec.NodeSelector, n.value.Labels)
		})
		if i < 0 {
			continue
		}
		nodes, rival = append(nodes, n.value.Name), earlier[i].value.Name
		if w.snapshot.shadowed == nil {
			w.snapshot.shadowed = map[string]map[string]bool{}
		}
		if w.snapshot.shadowed[n.value.Name] == nil {
			w.snapshot.shadowed[n.value.Name] = map[string]bool{}
		}
		w.snapshot.shadowed[n.value.Name][p.Name] = true
	}
	slices.Sort(nodes)
	return nodes, rival
}
