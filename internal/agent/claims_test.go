package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/cni"
	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/ipam/pool"
)

// registry gives every name away once.
type registry struct {
	mu      sync.Mutex
	owners  map[netip.Prefix]string
	away    error
	claims  int // asked for
	release int
}

func (r *registry) Claim(_ context.Context, c config.Claim) (netip.Prefix, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claims++; r.away != nil {
		return netip.Prefix{}, r.away
	}
	owner := c.Node + c.TopologyValue
	for p := range c.Candidates {
		if o, taken := r.owners[p]; !taken || c.TopologyValue != "" && o == owner {
			r.owners[p] = owner
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("pool %s: %w", c.Pool, config.ErrTaken)
}

func (r *registry) Release(_ context.Context, p netip.Prefix) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.release++; r.away != nil {
		return r.away
	}
	delete(r.owners, p)
	return nil
}

// claimingNode is a node's claims, with a loop that does what the agent's does, at the test's pace.
type claimingNode struct {
	t        *testing.T
	registry *registry
	snapshot config.Snapshot
	blocks   *addresses
	claims   *claims
	desired  Desired
	time     time.Time
	labels   map[string]string
}

func newClaimingNode(t *testing.T, pools ...config.AddressPool) *claimingNode {
	t.Helper()
	n := &claimingNode{t: t, registry: &registry{owners: map[netip.Prefix]string{}}, time: time.Now(), labels: map[string]string{}}
	n.snapshot = config.Default()
	n.snapshot.Router.Spec.PodSubnets = config.SubnetsFromPool
	n.snapshot.Pools = pools
	n.snapshot.Nodes = []config.Node{{Name: "n1", Labels: n.labels, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
	n.blocks = newAddresses()
	n.claims = newClaims(slog.New(slog.DiscardHandler), n.registry, n.blocks)
	n.claims.now = func() time.Time { return n.time }
	return n
}

func poolOf(name, cidr string, size int32, change ...func(*config.AddressPoolSpec)) config.AddressPool {
	v := config.AddressPool{Spec: config.AddressPoolSpec{CIDR: cidr, BlockSize: size, Use: config.UsePods}}
	v.Name = name
	for _, f := range change {
		f(&v.Spec)
	}
	return v
}

// loop is a turn of the agent's loop.
func (n *claimingNode) loop() {
	in := Inputs{NodeName: "n1", Snapshot: n.snapshot, Claiming: true}
	in.Releasing, in.Waiting = n.claims.inputs()
	n.desired = desired(in)
	n.blocks.Set(n.desired.Addressing)
	n.claims.Set(n.desired.Addressing.Claims, n.desired.Blocks)
}

// settle has loop and claims take turns until nothing changes any more; what the registry holds is the
// configuration at once.
func (n *claimingNode) settle() {
	for range 20 {
		before := n.registry.claims + n.registry.release
		n.watch()
		n.loop()
		n.claims.turn(n.t.Context())
		if releasing, _ := n.claims.inputs(); n.registry.claims+n.registry.release == before && len(releasing) == 0 {
			break
		}
	}
	n.watch()
	n.loop()
}

func (n *claimingNode) watch() {
	n.snapshot.Blocks = nil
	for _, p := range slices.SortedFunc(maps.Keys(n.registry.owners), comparePrefixes) {
		if n.registry.owners[p] == "r1" {
			continue // a range
		}
		b := config.AddressBlock{Spec: config.AddressBlockSpec{CIDR: p.String(), Node: n.registry.owners[p]}}
		b.Labels = map[string]string{config.LabelClaimed: "true"}
		n.snapshot.Blocks = append(n.snapshot.Blocks, b)
	}
}

// own are the node's blocks by the registry.
func (n *claimingNode) own() (own []netip.Prefix) {
	for p, owner := range n.registry.owners {
		if owner == "n1" {
			own = append(own, p)
		}
	}
	slices.SortFunc(own, comparePrefixes)
	return own
}

func (n *claimingNode) add(namespace string, from, to int) (err error) {
	for i := from; i < to; i++ {
		_, e := n.blocks.Allocate(cni.AddressRequest{Key: fmt.Sprint(namespace, i), Namespace: namespace, Pod: "p"})
		err = errors.Join(err, e)
	}
	return err
}

func (n *claimingNode) remove(namespace string, from, to int) {
	for i := from; i < to; i++ {
		n.blocks.Release(fmt.Sprint(namespace, i))
	}
}

func TestClaimsFollowThePods(t *testing.T) {
	t.Parallel()
	n := newClaimingNode(t, poolOf("v4", "10.0.0.0/24", 28), poolOf("v6", "fd00::/112", 124)) // 14 and 15 addresses a block
	n.loop()
	if why := fmt.Sprint(n.desired.CNI.NotReady); why != "node n1 waits for a block of IPv4 addresses: claiming one of AddressPool/v4" {
		t.Errorf("not ready: %s", why)
	}
	n.settle()
	if len(n.own()) != 2 || n.desired.CNI.NotReady != nil || len(n.desired.Local) != 2 {
		t.Fatalf("owns %v, not ready: %v", n.own(), n.desired.CNI.NotReady)
	}
	if err := n.add("a", 0, 11); err != nil {
		t.Fatal(err)
	}
	n.settle()
	if len(n.own()) != 2 {
		t.Errorf("with 3 addresses free, the low-water mark, owns %v", n.own())
	}
	if err := n.add("a", 11, 12); err != nil {
		t.Fatal(err)
	}
	n.settle()
	if len(n.own()) != 3 {
		t.Errorf("with 2 addresses free, owns %v, want one more of IPv4", n.own())
	}
	for i := 12; i < 60; i += 3 { // as many at once as are kept free
		if err := n.add("a", i, i+3); err != nil {
			t.Fatal(err)
		}
		n.settle()
	}
	most := len(n.own())
	if most < 9 {
		t.Errorf("60 pods in %v", n.own())
	}

	// They end; the blocks are given back when they have cooled down and been idle, all but one of each family.
	n.remove("a", 0, 60)
	n.settle()
	if len(n.own()) != most {
		t.Errorf("gave back %d blocks at once", most-len(n.own()))
	}
	n.blocks = newCooled(n)
	n.settle()
	n.time = n.time.Add(pool.Idle)
	n.settle()
	if len(n.own()) != 2 || len(n.desired.Blocks) != 2 || len(n.desired.Local) != 2 {
		t.Errorf("after they were idle, owns %v, desires %v", n.own(), n.desired.Blocks)
	}
	if releasing, waiting := n.claims.inputs(); len(releasing)+len(waiting) > 0 {
		t.Errorf("releasing %v, waiting %v", releasing, waiting)
	}
}

// newCooled replaces the allocator by one that has no cool-down left, as an agent that starts anew does.
func newCooled(n *claimingNode) *addresses {
	fresh := newAddresses()
	n.claims.blocks = fresh
	return fresh
}

// A block is given back only when it is out of force: while a turn of the loop fails, it stays.
func TestReleaseWaitsForTheLoop(t *testing.T) {
	t.Parallel()
	n := newClaimingNode(t, poolOf("v4", "10.0.0.0/24", 28))
	n.registry.owners[netip.MustParsePrefix("10.0.0.0/28")] = "n1"
	n.registry.owners[netip.MustParsePrefix("10.0.0.16/28")] = "n1"
	n.settle()
	n.time = n.time.Add(pool.Idle)
	n.claims.turn(t.Context())
	spare := netip.MustParsePrefix("10.0.0.16/28")
	if releasing, _ := n.claims.inputs(); !slices.Equal(releasing, []netip.Prefix{spare}) {
		t.Fatalf("releasing %v", releasing)
	}
	applied := n.desired.Blocks
	for range 3 {
		n.watch()
		in := Inputs{NodeName: "n1", Snapshot: n.snapshot, Claiming: true, Releasing: []netip.Prefix{spare}}
		d := desired(in)
		if slices.Contains(d.Blocks, spare) || len(d.Local) != 2 {
			t.Errorf("a block that is given back is still in force: %v, or its unreachable route is gone: %v", d.Blocks, d.Local)
		}
		n.claims.Set(d.Addressing.Claims, applied) // the turn failed
		n.claims.turn(t.Context())
	}
	if n.registry.release != 0 {
		t.Fatal("a block was given back while it was in force")
	}
	n.settle()
	if got := n.own(); len(got) != 1 {
		t.Errorf("owns %v after the loop went on", got)
	}
}

func TestAPIAway(t *testing.T) {
	t.Parallel()
	n := newClaimingNode(t, poolOf("v4", "10.0.0.0/24", 28))
	n.registry.away = errors.New("connection refused")
	n.settle()
	if why := fmt.Sprint(n.desired.CNI.NotReady); !strings.Contains(why, "claiming a block of AddressPool/v4 failed: connection refused") {
		t.Errorf("not ready: %s", why)
	}
	asked := n.registry.claims
	for range 10 {
		n.claims.turn(t.Context())
	}
	if n.registry.claims != asked {
		t.Error("failed claims are tried again without a pause")
	}
	n.registry.away = nil
	n.time = n.time.Add(claimMost)
	n.settle()
	if n.desired.CNI.NotReady != nil || len(n.own()) != 1 {
		t.Errorf("the API is back, and the node is not ready: %v", n.desired.CNI.NotReady)
	}
}

func TestPoolIsFull(t *testing.T) {
	t.Parallel()
	n := newClaimingNode(t, poolOf("v4", "10.0.0.0/28", 28))
	n.registry.owners[netip.MustParsePrefix("10.0.0.0/28")] = "other"
	n.settle()
	if why := fmt.Sprint(n.desired.CNI.NotReady); why != "node n1 waits for a block of IPv4 addresses: AddressPool/v4 has no free block" {
		t.Errorf("not ready: %s", why)
	}
	if i := slices.IndexFunc(n.desired.Problems, func(p config.Problem) bool { return strings.Contains(p.Message, "has no free block") }); i < 0 {
		t.Errorf("problems %v do not say that the pool is full", n.desired.Problems)
	}
	n.snapshot.Pools = append(n.snapshot.Pools, poolOf("more", "10.1.0.0/24", 28))
	n.time = n.time.Add(claimMost)
	n.settle()
	n.claims.turn(t.Context())
	n.settle()
	if _, waiting := n.claims.inputs(); n.desired.CNI.NotReady != nil || len(n.own()) != 1 || len(waiting) > 0 {
		t.Errorf("a pool was added; owns %v, not ready %v, waiting %v", n.own(), n.desired.CNI.NotReady, waiting)
	}
}

func TestPoolsChange(t *testing.T) {
	t.Parallel()
	n := newClaimingNode(t, poolOf("old", "10.0.0.0/24", 28))
	n.settle()
	first := n.own()[0]
	if err := n.add("a", 0, 3); err != nil {
		t.Fatal(err)
	}
	// Disabled: what is in use stays, and new pods get addresses of the other pool.
	n.snapshot.Pools[0].Spec.Disabled = true
	n.snapshot.Pools = append(n.snapshot.Pools, poolOf("new", "10.1.0.0/24", 28))
	n.settle()
	if len(n.own()) != 2 {
		t.Fatalf("owns %v, want one of the new pool too", n.own())
	}
	got, err := n.blocks.Allocate(cni.AddressRequest{Key: "late", Namespace: "a"})
	if err != nil || first.Contains(got[0]) {
		t.Errorf("a new pod gets %v, %v of a disabled pool", got, err)
	}
	if !slices.Contains(n.desired.Blocks, first) {
		t.Errorf("blocks %v: the disabled pool's has gone", n.desired.Blocks)
	}
	n.remove("a", 0, 3)
	n.blocks = newCooled(n)
	n.settle()
	n.time = n.time.Add(pool.Idle)
	n.settle()
	if own := n.own(); len(own) != 1 || own[0] == first {
		t.Errorf("owns %v; the disabled pool's block is empty and should go", own)
	}
	// Shrunk by an exclusion: no address of it any more, and no block in it.
	n.snapshot.Pools[1].Spec.Exclusions = []string{n.own()[0].String()}
	n.settle()
	if err := n.add("b", 0, 14); err != nil {
		t.Error(err)
	}
	for _, u := range n.blocks.Usage() {
		if u.Prefix.String() == n.snapshot.Pools[1].Spec.Exclusions[0] && u.Used > 0 {
			t.Errorf("an excluded block gave an address: %+v", u)
		}
	}
}

func TestNamespaces(t *testing.T) {
	t.Parallel()
	selecting := func(s *config.AddressPoolSpec) {
		s.NamespaceSelector = labelSelector("team", "payments")
	}
	n := newClaimingNode(t, poolOf("all", "10.0.0.0/24", 28), poolOf("payments", "10.1.0.0/24", 28, selecting))
	n.snapshot.Namespaces = map[string]map[string]string{"shop": {"team": "payments"}, "web": {}}
	n.settle()
	if len(n.own()) != 1 || !strings.HasPrefix(n.own()[0].String(), "10.0.0.") {
		t.Fatalf("owns %v, want one of the pool for all", n.own())
	}
	if err := n.add("web", 0, 1); err != nil {
		t.Error(err)
	}
	if err := n.add("late", 0, 1); err == nil || !strings.Contains(err.Error(), "namespace late is not known yet") {
		t.Errorf("a pod of a namespace that is not known: %v", err)
	}
	// The first pod of a selected namespace asks for the block.
	if err := n.add("shop", 0, 1); err == nil || !strings.Contains(err.Error(), "[payments") {
		t.Errorf("the first pod of a selected namespace: %v", err)
	}
	n.settle()
	if err := n.add("shop", 0, 1); err != nil {
		t.Fatal(err)
	}
	got, err := n.blocks.Allocate(cni.AddressRequest{Key: "shop0", Namespace: "shop"})
	if err != nil || !strings.HasPrefix(got[0].String(), "10.1.0.") {
		t.Errorf("a pod of a selected namespace has %v, %v", got, err)
	}
	_, err = n.blocks.Allocate(cni.AddressRequest{Key: "x", Namespace: "web", Want: []netip.Addr{got[0].Next()}})
	if err == nil || !strings.Contains(err.Error(), "not for pods of this namespace") {
		t.Errorf("a pod of another namespace asks for %v: %v", got[0].Next(), err)
	}
}

func TestRackRanges(t *testing.T) {
	t.Parallel()
	cut := func(s *config.AddressPoolSpec) { s.TopologyKey, s.TopologySize = "rack", 26 }
	n := newClaimingNode(t, poolOf("racks", "10.0.0.0/24", 28, cut))
	n.settle()
	if len(n.registry.owners) != 0 {
		t.Errorf("a node without the label has claimed: %v", n.registry.owners)
	}
	if i := slices.IndexFunc(n.desired.Problems, func(p config.Problem) bool { return p.Field == "metadata.labels[rack]" }); i < 0 {
		t.Errorf("problems %v do not say that the label is missing", n.desired.Problems)
	}
	n.labels["rack"] = "r1"
	n.settle()
	own := n.own()
	if len(own) != 1 || len(n.registry.owners) != 2 {
		t.Fatalf("owners %v, want a range and a block", n.registry.owners)
	}
	for p, owner := range n.registry.owners {
		if owner == "r1" && (p.Bits() != 26 || !p.Overlaps(own[0])) {
			t.Errorf("block %v is not in the range %v", own[0], p)
		}
	}
}

func labelSelector(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}
