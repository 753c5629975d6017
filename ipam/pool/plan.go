package pool

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/podroute/podroute/ipam"
)

// Idle is how long a block must have been empty before it is given back.
const Idle = 2 * time.Minute

// highestMark is the most free addresses that a node keeps ahead of its pods.
const highestMark = 64

// Pool is an address pool as one node sees it.
type Pool struct {
	Name      string
	CIDR      netip.Prefix
	BlockSize int // length of a block's prefix, in bits
	// Excluded and Reserved are sub-ranges; blocks that have no other addresses are not claimed.
	Excluded, Reserved []netip.Prefix
	// Open: this node may claim blocks of the pool now.
	Open bool
	// Value is this node's value of the pool's topology label; empty where the pool is not cut into ranges.
	Value string
	// RangeSize is the length of a range's prefix, in bits; Range the value's own, once it is claimed.
	RangeSize int
	Range     netip.Prefix
}

// Demand is one address of a family, from any of these pools. The first that are open are claimed from
// first.
type Demand struct {
	Family string // "IPv4" or "IPv6"
	Pools  []string
}

// Block is one that this node owns.
type Block struct {
	Prefix netip.Prefix
	Pool   string // empty: none that is known
	// Free addresses, of those that pods get without asking for one.
	Free uint64
	// EmptySince is when its last address was freed and had cooled down; zero while it is in use.
	EmptySince time.Time
	// Claimed by this node itself, so that it may give it back.
	Claimed bool
}

// State is what a plan depends on.
type State struct {
	Node    string
	Now     time.Time
	Pools   []Pool
	Demands []Demand
	Own     []Block
	// Taken are blocks known to be others'.
	Taken []netip.Prefix
}

// Claim is a block, or a range of one pool, to be claimed for a demand: the first of the candidates that
// nobody has.
type Claim struct {
	Demand Demand
	Pool   string
	// Value whose range is to be claimed; empty: a block.
	Value      string
	Candidates iter.Seq[netip.Prefix]
}

// Plan is what to do now.
type Plan struct {
	// Claims, at most one for each pool of each demand that is short: the later ones are for when the
	// earlier ones of the same demand fail.
	Claims [][]Claim
	// Releases are own blocks to be given back.
	Releases []netip.Prefix
}

// Make makes the plan.
func Make(s State) Plan {
	var p Plan
	for _, d := range s.Demands {
		if s.free(d, nil) >= s.mark(d) {
			continue
		}
		var claims []Claim
		for _, v := range s.openPools(d) {
			claims = append(claims, s.claim(d, v))
		}
		if len(claims) > 0 {
			p.Claims = append(p.Claims, claims)
		}
	}
	p.Releases = s.releases()
	return p
}

// claim is the next step towards a block of a pool.
func (s State) claim(d Demand, v Pool) Claim {
	c := Claim{Demand: d, Pool: v.Name}
	if v.Value != "" && !v.Range.IsValid() {
		c.Value, c.Candidates = v.Value, v.ranges()
		return c
	}
	taken := slices.Clone(s.Taken)
	for _, b := range s.Own {
		taken = append(taken, b.Prefix)
	}
	c.Candidates = v.blocks(s.Node, taken)
	return c
}

func (s State) pool(name string) (Pool, bool) {
	i := slices.IndexFunc(s.Pools, func(v Pool) bool { return v.Name == name })
	if i < 0 {
		return Pool{}, false
	}
	return s.Pools[i], true
}

// open tells whether the pool of a block can be claimed from. What is free in the blocks of others counts for
// little: they are to run dry.
func (s State) open(b Block) bool {
	v, ok := s.pool(b.Pool)
	return ok && v.Open
}

// serves tells whether a block serves a demand.
func (d Demand) serves(b Block) bool {
	return familyOf(b.Prefix) == d.Family && slices.Contains(d.Pools, b.Pool)
}

// free counts what a demand can have of open pools' blocks, but for those left out.
func (s State) free(d Demand, without []netip.Prefix) uint64 {
	var n uint64
	for _, b := range s.Own {
		if d.serves(b) && s.open(b) && !slices.Contains(without, b.Prefix) {
			n += min(b.Free, 1<<32) // more would overflow
		}
	}
	return n
}

// all counts what a demand can have of any block, but for those left out.
func (s State) all(d Demand, without []netip.Prefix) uint64 {
	var n uint64
	for _, b := range s.Own {
		if d.serves(b) && !slices.Contains(without, b.Prefix) {
			n += min(b.Free, 1<<32)
		}
	}
	return n
}

// mark is the demand's low-water mark: a quarter of a block of the first open pool.
func (s State) mark(d Demand) uint64 {
	for _, v := range s.openPools(d) {
		whole := ipam.Block{Prefix: netip.PrefixFrom(v.CIDR.Addr(), v.BlockSize)}
		return min(max(whole.Size()/4, 1), highestMark)
	}
	return 1
}

// openPools are those that a demand claims from, in its order.
func (s State) openPools(d Demand) []Pool {
	var open []Pool
	for _, name := range d.Pools {
		if v, ok := s.pool(name); ok && v.Open && familyOf(v.CIDR) == d.Family {
			open = append(open, v)
		}
	}
	return open
}

func familyOf(p netip.Prefix) string {
	if p.Addr().Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// releases picks the blocks to be given back, those that are filled last first.
func (s State) releases() []netip.Prefix {
	var out []netip.Prefix
	for _, b := range slices.Backward(s.Own) {
		if !b.Claimed || b.EmptySince.IsZero() || s.Now.Sub(b.EmptySince) < Idle {
			continue
		}
		if without := append(slices.Clone(out), b.Prefix); s.spare(b, without) {
			out = without
		}
	}
	return out
}

// spare tells whether every demand that a block serves has enough without it.
func (s State) spare(b Block, without []netip.Prefix) bool {
	for _, d := range s.Demands {
		if !d.serves(b) {
			continue
		}
		if s.open(b) && s.free(d, without) < 2*s.mark(d) || s.all(d, without) < s.mark(d) {
			return false
		}
	}
	return true
}
