package pool_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/podroute/podroute/ipam/pool"
)

// store is what the API server is to claims: names, each of which is given away once.
type store struct {
	owners map[netip.Prefix]string // node, or "range of " and the value
	tries  int                     // names that were found taken
}

var errTaken = errors.New("taken")

// claim gives an owner the first candidate that nobody has, or a range that the value has already.
func (s *store) claim(owner string, c pool.Claim) (netip.Prefix, error) {
	if c.Value != "" {
		owner = "range of " + c.Value
	}
	for p := range c.Candidates {
		switch o, taken := s.owners[p]; {
		case !taken:
			s.owners[p] = owner
			return p, nil
		case c.Value != "" && o == owner:
			return p, nil
		}
		s.tries++
	}
	return netip.Prefix{}, errTaken
}

// claimer is a node that knows what it owns, and of the others only what it is told.
type claimer struct {
	name, rack string
	used       map[netip.Prefix]uint64
	empty      map[netip.Prefix]time.Time
	ranges     map[string]netip.Prefix
}

// world is a cluster of claimers with pools that change.
type world struct {
	now   time.Time
	pools []pool.Pool
	nodes []*claimer
	store store
}

const blockSize, usable = 29, 6

func (w *world) state(n *claimer) pool.State {
	s := pool.State{Node: n.name, Now: w.now, Demands: []pool.Demand{{Family: "IPv4"}}}
	for _, p := range w.pools {
		if p.RangeSize > 0 {
			p.Value, p.Range = n.rack, n.ranges[p.Name]
		}
		s.Pools = append(s.Pools, p)
		s.Demands[0].Pools = append(s.Demands[0].Pools, p.Name)
	}
	for _, b := range slices.SortedFunc(maps.Keys(n.used), netip.Prefix.Compare) {
		s.Own = append(s.Own, pool.Block{Prefix: b, Pool: w.poolOf(b), Free: usable - n.used[b], EmptySince: n.empty[b], Claimed: true})
	}
	return s
}

func (w *world) poolOf(b netip.Prefix) string {
	for _, p := range w.pools {
		if p.CIDR.Overlaps(b) {
			return p.Name
		}
	}
	return ""
}

// open counts the addresses that a node has left in pools that it can claim from.
func (w *world) open(n *claimer) (free uint64) {
	for b, used := range n.used {
		for _, p := range w.pools {
			if p.Open && p.CIDR.Overlaps(b) {
				free += usable - used
			}
		}
	}
	return free
}

// available tells whether a node could own one more block of an open pool.
func (w *world) available(n *claimer) bool {
	for _, p := range w.pools {
		if !p.Open {
			continue
		}
		for b := range blocksOf(p) {
			if _, taken := w.store.owners[b]; !taken && (p.RangeSize == 0 || w.claimable(p, n, b)) {
				return true
			}
		}
	}
	return false
}

// claimable tells whether a block lies in the range of a node's rack, or may come to.
func (w *world) claimable(p pool.Pool, n *claimer, b netip.Prefix) bool {
	owned := false
	for r, owner := range w.store.owners {
		if r.Bits() == p.RangeSize && p.CIDR.Overlaps(r) {
			if owner == "range of "+n.rack {
				owned = true
				if r.Overlaps(b) {
					return true
				}
			} else if r.Overlaps(b) {
				return false
			}
		}
	}
	return !owned
}

func blocksOf(p pool.Pool) map[netip.Prefix]bool {
	all := map[netip.Prefix]bool{}
	for a := p.CIDR.Addr(); p.CIDR.Contains(a); {
		b := netip.PrefixFrom(a, blockSize)
		if !slices.ContainsFunc(p.Excluded, b.Overlaps) {
			all[b] = true
		}
		for range 1 << (32 - blockSize) {
			a = a.Next()
		}
	}
	return all
}

// turn has a node do what its plan says, until there is nothing more to do.
func (w *world) turn(t *rapid.T, n *claimer) {
	for {
		p := pool.Make(w.state(n))
		for _, b := range p.Releases {
			if n.used[b] > 0 || w.store.owners[b] != n.name {
				t.Fatalf("%s gives back %s, which has %d pods and is %s's", n.name, b, n.used[b], w.store.owners[b])
			}
			delete(n.used, b)
			delete(n.empty, b)
			delete(w.store.owners, b)
		}
		if len(p.Releases) > 0 && len(p.Claims) == 0 && len(pool.Make(w.state(n)).Claims) > 0 {
			t.Fatalf("%s gives back %v and then wants one more", n.name, p.Releases)
		}
		if !w.claim(t, n, p) {
			break
		}
	}
	if w.open(n) == 0 && w.available(n) {
		t.Fatalf("%s starves, and there are free blocks: %v", n.name, w.store.owners)
	}
}

// claim tells whether anything was claimed.
func (w *world) claim(t *rapid.T, n *claimer, p pool.Plan) bool {
	for _, alternatives := range p.Claims {
		for _, c := range alternatives {
			got, err := w.store.claim(n.name, c)
			switch {
			case err != nil:
				continue
			case c.Value != "":
				n.ranges[c.Pool] = got
			default:
				w.checkNew(t, n, c, got)
				n.used[got], n.empty[got] = 0, w.now
			}
			return true
		}
	}
	return false
}

func (w *world) checkNew(t *rapid.T, n *claimer, c pool.Claim, got netip.Prefix) {
	for o, owner := range w.store.owners {
		if o != got && o.Bits() == blockSize && o.Overlaps(got) {
			t.Fatalf("%s claimed %s, which overlaps %s of %s", n.name, got, o, owner)
		}
	}
	for _, p := range w.pools {
		switch {
		case p.Name != c.Pool:
		case !p.Open || !blocksOf(p)[got]:
			t.Fatalf("%s claimed %s of pool %+v", n.name, got, p)
		case p.RangeSize > 0 && !w.claimable(p, n, got):
			t.Fatalf("%s of rack %s claimed %s, which is another rack's: %v", n.name, n.rack, got, w.store.owners)
		}
	}
}

// pods starts or ends a pod.
func (w *world) pods(t *rapid.T) {
	n := rapid.SampledFrom(w.nodes).Draw(t, "node")
	blocks := slices.SortedFunc(maps.Keys(n.used), netip.Prefix.Compare)
	if len(blocks) == 0 {
		return
	}
	b := rapid.SampledFrom(blocks).Draw(t, "block")
	if rapid.Bool().Draw(t, "start") && n.used[b] < usable {
		n.used[b]++
		delete(n.empty, b)
	} else if n.used[b] > 0 {
		if n.used[b]--; n.used[b] == 0 {
			n.empty[b] = w.now
		}
	}
	w.turn(t, n)
}

// TestClaimers: whatever many nodes do, in whatever order, none claims what another has or what a pool does
// not give, no rack claims in another's range, and none starves while there is a block for it.
func TestClaimers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &world{now: time.Unix(1_700_000_000, 0), store: store{owners: map[netip.Prefix]string{}}}
		w.pools = []pool.Pool{
			{Name: "a", CIDR: netip.MustParsePrefix("10.0.0.0/25"), BlockSize: blockSize, Open: true},
			{Name: "racks", CIDR: netip.MustParsePrefix("10.0.1.0/25"), BlockSize: blockSize, Open: true, RangeSize: 27},
		}
		for i := range rapid.IntRange(1, 12).Draw(t, "nodes") {
			w.nodes = append(w.nodes, &claimer{
				name: fmt.Sprintf("n%d", i), rack: fmt.Sprintf("r%d", i%3),
				used: map[netip.Prefix]uint64{}, empty: map[netip.Prefix]time.Time{}, ranges: map[string]netip.Prefix{},
			})
		}
		t.Repeat(map[string]func(*rapid.T){
			"pods": w.pods,
			"turn": func(t *rapid.T) { w.turn(t, rapid.SampledFrom(w.nodes).Draw(t, "node")) },
			"restart": func(t *rapid.T) {
				n := rapid.SampledFrom(w.nodes).Draw(t, "node")
				clear(n.ranges) // an agent that starts anew asks again
				w.turn(t, n)
			},
			"wait": func(*rapid.T) { w.now = w.now.Add(pool.Idle) },
			"pool": func(t *rapid.T) {
				p := &w.pools[rapid.IntRange(0, 1).Draw(t, "pool")]
				p.Open = rapid.Bool().Draw(t, "open")
				p.Excluded = nil
				if rapid.Bool().Draw(t, "excluded") {
					p.Excluded = []netip.Prefix{netip.PrefixFrom(p.CIDR.Addr(), 27)}
				}
			},
		})
	})
}

// TestWalk: every prefix of a pool once, wherever the pool is.
func TestWalk(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "IPv6")))
		if rapid.Bool().Draw(t, "is IPv4") {
			a = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "IPv4")))
		}
		width := rapid.IntRange(0, 12).Draw(t, "width")
		size := rapid.IntRange(width, a.BitLen()-2).Draw(t, "block size")
		p := pool.Pool{Name: "p", CIDR: netip.PrefixFrom(a, size-width).Masked(), BlockSize: size, Open: true}
		s := pool.State{Node: rapid.String().Draw(t, "node"), Pools: []pool.Pool{p}}
		s.Demands = []pool.Demand{{Family: "IPv4", Pools: []string{"p"}}, {Family: "IPv6", Pools: []string{"p"}}}
		seen := map[netip.Prefix]bool{}
		for c := range pool.Make(s).Claims[0][0].Candidates {
			if seen[c] || c != c.Masked() || c.Bits() != size || !p.CIDR.Contains(c.Addr()) {
				t.Fatalf("candidate %s of %s, /%d", c, p.CIDR, size)
			}
			seen[c] = true
		}
		if len(seen) != 1<<width {
			t.Fatalf("%d candidates of %s, /%d; want %d", len(seen), p.CIDR, size, 1<<width)
		}
	})
}

// TestNodesSeldomMeet: with a tenth of the blocks in use and nothing known of the others, a claim meets a taken
// block about every tenth time; and even the last free block is found.
func TestNodesSeldomMeet(t *testing.T) {
	t.Parallel()
	p := pool.Pool{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/16"), BlockSize: 26, Open: true} // 1024 blocks
	st := store{owners: map[netip.Prefix]string{}}
	claim := func(i int) {
		s := pool.State{Node: fmt.Sprintf("node-%d", i%100), Pools: []pool.Pool{p}, Demands: []pool.Demand{{Family: "IPv4", Pools: []string{"p"}}}}
		if _, err := st.claim(s.Node, pool.Make(s).Claims[0][0]); err != nil {
			t.Fatalf("claim %d: %v", i, err)
		}
	}
	for i := range 100 {
		claim(i)
	}
	if st.tries > 30 {
		t.Errorf("100 nodes' first claims of 1024 blocks met %d taken ones", st.tries)
	}
	for i := 100; i < 1024; i++ {
		claim(i)
	}
}
