package api

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/test/e2e/api/apiserver"
)

const (
	// What a node keeps: so many pods that they fill a block of 8 addresses and more, and fit one.
	manyPods, fewPods = 10, 2
	// An empty block rests for its cool-down and two minutes more, and is looked at twice a minute.
	releaseWithin = 5 * time.Minute
	// The second node's pods go so much later: after the first's block has gone, before its own does.
	releaseApart = 90 * time.Second
)

// TestRelease: a block that is empty is withdrawn from the network, its unreachable route leaves the kernel, and its
// object is deleted. Where the API is away, it is withdrawn all the same; the rest follows when the API is back.
func TestRelease(t *testing.T) {
	t.Parallel()
	s := apiserver.Start(t)
	s.Apply(`
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec: {podSubnets: Pool}
---
apiVersion: podroute.io/v1alpha1
kind: AddressPool
metadata: {name: pods}
spec: {cidr: 10.128.0.0/24, blockSize: 29}
`)
	r := &releases{claimWorld{s, t}, newLAN(t, s, 2)}
	one, pods1 := r.fill(0)
	two, pods2 := r.fill(1)
	r.empty(0, pods1)
	began := time.Now()
	s.Eventually("time passes", 2*releaseApart, func() bool { return time.Since(began) > releaseApart })
	r.empty(1, pods2)

	s.Eventually("the block of n1 is nobody's", releaseWithin, func() bool { return len(r.blocks(config.LabelNode+"=n1")) == 1 })
	s.Eventually("its route is nowhere", within, func() bool {
		return !has(r.nodes[0].routes(), "unreachable "+one.String()) && !has(r.nodes[1].routes(), one.String())
	})
	t.Logf("the block of n1 was given back %v after its last pod went", time.Since(began).Round(time.Second))

	s.Down()
	if !has(r.nodes[0].routes(), two.String()) {
		t.Errorf("the block of n2 has been withdrawn before the API went away: %s", r.nodes[0].routes())
	}
	s.Eventually("the block of n2 is withdrawn while the API is away", releaseWithin, func() bool { return !has(r.nodes[0].routes(), two.String()) })
	if k := r.nodes[1].routes(); !has(k, "unreachable "+two.String()) {
		t.Errorf("n2 let go of a block that is its own still:\n%s", k)
	}
	if p, err := r.nodes[1].try("outage"); err != nil || two.Contains(p.addrs[0]) {
		t.Errorf("a pod's ADD while the API is away: %v, %v", p.addrs, err)
	}
	s.Up()
	back := time.Now()
	s.Eventually("the block of n2 is nobody's", 2*time.Minute, func() bool { return len(r.blocks(config.LabelNode+"=n2")) == 1 })
	s.Eventually("its route is gone", within, func() bool { return !has(r.nodes[1].routes(), "unreachable "+two.String()) })
	t.Logf("the block of n2 was given back %v after the API was back", time.Since(back).Round(time.Second))
}

// releases are nodes with pools and a real API.
type releases struct {
	claimWorld
	nodes []*machine
}

// fill adds pods to a node until it needs two blocks, and returns the second, which its neighbour then knows.
func (r *releases) fill(node int) (second netip.Prefix, pods []*pod) {
	r.t.Helper()
	m := r.nodes[node]
	for i := range manyPods {
		pods = append(pods, m.add(fmt.Sprintf("pod%d", i)))
	}
	for _, b := range r.blocks(config.LabelNode + "=" + m.name) {
		if b.Spec.Prefix().Contains(pods[manyPods-1].addrs[0]) {
			second = b.Spec.Prefix()
		}
	}
	if second.Contains(pods[0].addrs[0]) {
		r.t.Fatalf("%d pods fit %v", manyPods, second)
	}
	r.Eventually(second.String()+" is advertised", within, func() bool {
		return has(m.routes(), "unreachable "+second.String()) && has(r.nodes[1-node].routes(), second.String())
	})
	return second, pods
}

// empty takes all pods but a few away.
func (r *releases) empty(node int, pods []*pod) {
	r.t.Helper()
	for _, p := range pods[fewPods:] {
		r.nodes[node].del(p)
	}
}
