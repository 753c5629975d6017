package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/config/kube"
	"github.com/podroute/podroute/ipam/pool"
	"github.com/podroute/podroute/test/e2e/api/apiserver"
)

const (
	claimers   = 50
	eachNode   = 20
	quarantine = time.Minute // the shortest
)

// claimWorld is an API server with pools, and the Sources of many nodes.
type claimWorld struct {
	*apiserver.Server
	t *testing.T
}

func newClaimWorld(t *testing.T) *claimWorld {
	t.Helper()
	w := &claimWorld{apiserver.Start(t), t}
	w.Apply(`
apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec: {mesh: None, podSubnets: Pool, clusterCIDRs: [10.0.0.0/8], nodeCIDRs: [192.0.2.0/24], blockQuarantine: 1m}
---
apiVersion: podroute.io/v1alpha1
kind: AddressPool
metadata: {name: pods}
spec: {cidr: 10.128.0.0/16, blockSize: 26}
---
apiVersion: podroute.io/v1alpha1
kind: AddressPool
metadata: {name: racks}
spec: {cidr: 10.129.0.0/16, blockSize: 26, topologyKey: podroute.io/rack, topologySize: 20}
`)
	return w
}

// source runs a node's Source until the test ends.
func (w *claimWorld) source(node string) *kube.Source {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := kube.New(ctx, kube.Options{Log: log, NodeName: node, Kubeconfig: w.Agent(node)})
	if err != nil {
		cancel()
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	return s
}

func (w *claimWorld) node(name, labels string) {
	w.t.Helper()
	w.Apply(fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {%s}}\n", name, labels))
}

func (w *claimWorld) blocks(selector string) []config.AddressBlock {
	w.t.Helper()
	l := &life{Server: w.Server, t: w.t}
	return read[struct{ Items []config.AddressBlock }](l, "addressblocks", "-l", selector).Items
}

// next is a node's next claim of a block, or of its rack's range, as its agent plans it.
func next(node string, p pool.Pool, own []netip.Prefix) config.Claim {
	p.Open = true
	s := pool.State{Node: node, Pools: []pool.Pool{p}, Demands: []pool.Demand{{Family: "IPv4", Pools: []string{p.Name}}}}
	for _, b := range own { // full ones
		s.Own = append(s.Own, pool.Block{Prefix: b, Pool: p.Name, Claimed: true})
	}
	c := pool.Make(s).Claims[0][0]
	if c.Value != "" {
		node = ""
	}
	return config.Claim{Pool: c.Pool, Node: node, TopologyValue: c.Value, Candidates: c.Candidates}
}

// TestClaims: fifty nodes at once claim twenty blocks each, of a pool that has hardly more, and no block is
// claimed twice.
func TestClaims(t *testing.T) {
	w := newClaimWorld(t)
	p := pool.Pool{Name: "pods", CIDR: netip.MustParsePrefix("10.128.0.0/16"), BlockSize: 26}
	sources := make([]*kube.Source, claimers)
	for i := range sources {
		sources[i] = w.source(nodeName(i))
	}
	start := time.Now()
	owned := make([][]netip.Prefix, claimers)
	var all sync.WaitGroup
	for i, s := range sources {
		all.Go(func() {
			for len(owned[i]) < eachNode {
				got, err := s.Claim(t.Context(), next(nodeName(i), p, owned[i]))
				if err != nil {
					t.Errorf("%s: %v", nodeName(i), err)
					return
				}
				owned[i] = append(owned[i], got)
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	owners := map[netip.Prefix]int{}
	var costs kube.ClaimCosts
	for i, s := range sources {
		for _, b := range owned[i] {
			if j, twice := owners[b]; twice {
				t.Errorf("%v was claimed by %s and %s", b, nodeName(i), nodeName(j))
			}
			owners[b] = i
		}
		c := s.ClaimCosts()
		costs.Claims, costs.Writes, costs.Reads = costs.Claims+c.Claims, costs.Writes+c.Writes, costs.Reads+c.Reads
	}
	objects := w.blocks(config.LabelPool + "=pods")
	for _, b := range objects {
		i, ok := owners[b.Spec.Prefix()]
		if !ok || b.Spec.Node != nodeName(i) || b.Labels[config.LabelNode] != nodeName(i) || !b.Claimed() || b.Name != config.BlockName(b.Spec.Prefix()) {
			t.Errorf("%s is %s's by its object, labels %v", b.Name, b.Spec.Node, b.Labels)
		}
	}
	if len(objects) != claimers*eachNode {
		t.Errorf("%d AddressBlocks, want %d", len(objects), claimers*eachNode)
	}
	// What the API server itself counted.
	writes := 0
	for i := range sources {
		for _, r := range w.Writes(nodeName(i)) {
			if r.ObjectRef.Resource == "addressblocks" {
				writes++
			}
		}
	}
	if writes != costs.Writes {
		t.Errorf("the API server counted %d writes, the claimers %d", writes, costs.Writes)
	}
	perClaim := func(n int) float64 { return float64(n) / float64(costs.Claims) }
	t.Logf("%d claimers, %d blocks of 1024, in %v: %.3f API writes and %.3f reads a claim; no block twice",
		claimers, len(objects), took.Round(time.Millisecond), perClaim(writes), perClaim(costs.Reads))
	if perClaim(writes) > 2 {
		t.Errorf("%.3f writes a claim", perClaim(writes))
	}
	w.exhausted(p, sources[0])
	w.released(sources[0], sources[1], owned[0][0])
}

func nodeName(i int) string { return fmt.Sprintf("claimer-%02d", i) }

// exhausted: the last 24 blocks go too, and then there is a clear end.
func (w *claimWorld) exhausted(p pool.Pool, s *kube.Source) {
	w.t.Helper()
	for range 24 {
		if _, err := s.Claim(w.t.Context(), next(nodeName(0), p, nil)); err != nil {
			w.t.Errorf("a block of the last ones: %v", err)
		}
	}
	if got, err := s.Claim(w.t.Context(), next(nodeName(0), p, nil)); !errors.Is(err, config.ErrTaken) {
		w.t.Errorf("a claim of a full pool: %v, %v", got, err)
	}
}

// released: a node gives its own block back and no other's, and another node can have it then.
func (w *claimWorld) released(one, two *kube.Source, block netip.Prefix) {
	w.t.Helper()
	only := func(yield func(netip.Prefix) bool) { yield(block) }
	if err := two.Release(w.t.Context(), block); err != nil {
		w.t.Error(err)
	}
	again, err := one.Claim(w.t.Context(), config.Claim{Pool: "pods", Node: nodeName(0), Candidates: only})
	if err != nil && !errors.Is(err, config.ErrTaken) {
		w.t.Error(err)
	}
	if b := w.blocks(config.LabelNode + "=" + nodeName(0)); !slices.ContainsFunc(b, func(b config.AddressBlock) bool { return b.Spec.Prefix() == block }) {
		w.t.Errorf("%v was given back by a node that does not own it (claimed again: %v)", block, again)
	}
	for range 2 { // the second has nothing to do
		if err := one.Release(w.t.Context(), block); err != nil {
			w.t.Error(err)
		}
	}
	if got, err := two.Claim(w.t.Context(), config.Claim{Pool: "pods", Node: nodeName(1), Candidates: only}); err != nil || got != block {
		w.t.Errorf("claim of a block that was given back: %v, %v", got, err)
	}
}

// TestRacks: nodes of three racks claim at once; each rack has one range, and none has another's.
func TestRacks(t *testing.T) {
	w := newClaimWorld(t)
	const nodes, blocks = 15, 4
	var mu sync.Mutex
	ranges := map[string]map[netip.Prefix]bool{}
	of := map[netip.Prefix]string{}
	var all sync.WaitGroup
	for i := range nodes {
		s, rack := w.source(nodeName(i)), fmt.Sprintf("rack-%d", i%3)
		all.Go(func() {
			p := pool.Pool{Name: "racks", CIDR: netip.MustParsePrefix("10.129.0.0/16"), BlockSize: 26, Value: rack, RangeSize: 20}
			got, err := s.Claim(t.Context(), next(nodeName(i), p, nil))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			if ranges[rack] == nil {
				ranges[rack] = map[netip.Prefix]bool{}
			}
			ranges[rack][got] = true
			mu.Unlock()
			p.Range = got
			var own []netip.Prefix
			for range blocks {
				b, err := s.Claim(t.Context(), next(nodeName(i), p, own))
				if err != nil || !got.Overlaps(b) {
					t.Errorf("%s of %s, range %v: %v, %v", nodeName(i), rack, got, b, err)
				}
				own = append(own, b)
				mu.Lock()
				of[b] = rack
				mu.Unlock()
			}
		})
	}
	all.Wait()
	seen := map[netip.Prefix]string{}
	for rack, its := range ranges {
		if len(its) != 1 {
			t.Errorf("%s has the ranges %v, want one", rack, its)
		}
		for r := range its {
			if other := seen[r]; other != "" {
				t.Errorf("%v is the range of %s and of %s", r, rack, other)
			}
			seen[r] = rack
		}
	}
	if len(of) != nodes*blocks {
		t.Errorf("%d blocks, want %d", len(of), nodes*blocks)
	}
	t.Logf("%d nodes of 3 racks: ranges %v", nodes, seen)
}

// TestBlocksAreImmutable: what makes ownership exclusive cannot be edited.
func TestBlocksAreImmutable(t *testing.T) {
	w := newClaimWorld(t)
	w.Apply(`
apiVersion: podroute.io/v1alpha1
kind: AddressBlock
metadata: {name: 10-128-0-0-26}
spec: {cidr: 10.128.0.0/26, node: a, pool: pods}
`)
	for _, kind := range []struct{ object, patch string }{
		{"addressblock/10-128-0-0-26", `{"spec":{"node":"b"}}`},
		{"addressblock/10-128-0-0-26", `{"spec":{"cidr":"10.128.0.64/26"}}`},
		{"addressblock/10-128-0-0-26", `{"spec":{"node":"","topologyValue":"r"}}`},
		{"addresspool/pods", `{"spec":{"cidr":"10.130.0.0/16"}}`},
		{"addresspool/pods", `{"spec":{"blockSize":25}}`},
		{"addresspool/racks", `{"spec":{"topologySize":21}}`},
		{"addresspool/racks", `{"spec":{"topologyKey":"other"}}`},
	} {
		if out, err := w.Try("patch", kind.object, "--type=merge", "-p", kind.patch); err == nil {
			t.Errorf("%s: %s was accepted: %s", kind.object, kind.patch, out)
		}
	}
}

// TestCollector: the blocks of a node that is gone are given back when its Node is gone and its routes are, and
// both have been for the quarantine; those of a node that is there, or that people wrote, stay.
func TestCollector(t *testing.T) {
	t.Parallel()
	w := newClaimWorld(t)
	for _, n := range []string{"leader", "dead", "routed", "returning"} {
		w.node(n, "")
	}
	p := pool.Pool{Name: "pods", CIDR: netip.MustParsePrefix("10.128.0.0/16"), BlockSize: 26}
	var sources []*kube.Source // any of them may come to lead
	block := map[string]netip.Prefix{}
	for _, n := range []string{"leader", "dead", "routed", "returning"} {
		s := w.source(n) // an agent claims for its own node only
		sources = append(sources, s)
		got, err := s.Claim(t.Context(), next(n, p, nil))
		if err != nil {
			t.Fatal(err)
		}
		block[n] = got
	}
	w.Apply(`
apiVersion: podroute.io/v1alpha1
kind: AddressBlock
metadata: {name: 10-200-0-0-26, labels: {podroute.io/node: nobody}}
spec: {cidr: 10.200.0.0/26, node: nobody}
`)
	var routed atomic.Bool
	routed.Store(true)
	for _, s := range sources {
		s.KnowRoutes(func(_ context.Context, b netip.Prefix) (bool, error) {
			return b == block["routed"] && routed.Load(), nil
		})
	}
	w.Kubectl("delete", "node", "dead", "routed", "returning", "--wait=true")
	deleted := time.Now()
	since := func(n string) string {
		for _, b := range w.blocks("") {
			if b.Spec.Prefix() == block[n] {
				return "since " + b.Annotations[config.AnnotationOrphanedSince]
			}
		}
		return "gone"
	}
	w.Eventually("two blocks are seen to be orphaned", 30*time.Second, func() bool { return len(since("dead")) > 6 && len(since("returning")) > 6 })
	w.node("returning", "")
	w.Eventually("the block of a node that is back is its own again", 30*time.Second, func() bool { return since("returning") == "since " })
	w.Eventually("the dead node's block is given back", 2*quarantine, func() bool { return since("dead") == "gone" })
	if took := time.Since(deleted); took < quarantine-time.Second {
		t.Errorf("the dead node's block was given back after %v, before the quarantine of %v was over", took, quarantine)
	} else {
		t.Logf("the dead node's block was given back %v after the Node was deleted; quarantine %v", took.Round(time.Second), quarantine)
	}
	for n, want := range map[string]string{"leader": "since ", "routed": "since ", "returning": "since "} {
		if got := since(n); got != want {
			t.Errorf("the block of node %s: %q", n, got)
		}
	}
	if out := w.Kubectl("get", "addressblock", "10-200-0-0-26", "-o", "name"); !strings.Contains(out, "10-200") {
		t.Error("a block that people wrote was collected")
	}
	routed.Store(false)
	w.Eventually("the route went, and the quarantine begins", 30*time.Second, func() bool { return len(since("routed")) > 6 })
}
