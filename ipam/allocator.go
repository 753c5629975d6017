package ipam

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// DefaultCoolDown is how long a freed address rests before it is given out again.
const DefaultCoolDown = 30 * time.Second

// Options are an allocator's settings.
type Options struct {
	CoolDown time.Duration    // 0: DefaultCoolDown; negative: none
	Now      func() time.Time // nil: time.Now
	Rand     *rand.Rand       // nil: seeded at random
}

// Allocator gives pods addresses from the node's blocks; see the package comment.
type Allocator struct {
	coolDown time.Duration
	now      func() time.Time
	rng      *rand.Rand

	mu     sync.Mutex
	blocks []*block
	held   map[string][]netip.Addr
	count  map[netip.Addr]int // keys that hold the address: 1, more only after a Restore of duplicates
	rest   cooling
}

// BlockUsage says how full a block is, in addresses.
type BlockUsage struct {
	Prefix      netip.Prefix
	Used        uint64
	CoolingDown uint64
	Size        uint64 // all addresses for pods; math.MaxUint64 stands for that many or more
	Free        uint64 // those that a pod can have without asking for one by name, cooling ones included
	Pool        string // that the block is of
}

// New returns an allocator without blocks.
func New(o Options) *Allocator {
	if o.CoolDown == 0 {
		o.CoolDown = DefaultCoolDown
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	return &Allocator{
		coolDown: o.CoolDown, now: o.Now, rng: o.Rand,
		held:  map[string][]netip.Addr{},
		count: map[netip.Addr]int{},
		rest:  newCooling(),
	}
}

// Set states the node's blocks, all of them, in the order in which they are to be filled. Blocks that
// stay keep their cursor; a block that overlaps an earlier one is left out; addresses held outside the
// blocks, or in what is excluded now, stay held until they are released.
func (a *Allocator) Set(blocks []Block) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := map[netip.Prefix]*block{}
	for _, b := range a.blocks {
		old[b.prefix] = b
	}
	a.blocks = nil
	for _, s := range blocks {
		b := old[s.Prefix.Masked()]
		if b == nil {
			b = newBlock(s.Prefix, a.rng)
		}
		b.set(s)
		if !slices.ContainsFunc(a.blocks, func(earlier *block) bool { return earlier.prefix.Overlaps(b.prefix) }) {
			a.blocks = append(a.blocks, b)
		}
	}
	a.recount()
}

// Restore states what is in use, all of it, as found in the kernel: key to addresses. Addresses found
// twice are held until both keys have let go; they are reported as joined DuplicateErrors, after
// everything has been restored.
func (a *Allocator) Restore(used map[string][]netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = make(map[string][]netip.Addr, len(used))
	a.count = make(map[netip.Addr]int, len(used))
	first := map[netip.Addr]string{}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(used)) {
		for _, addr := range used[key] {
			if a.count[addr]++; a.count[addr] > 1 {
				errs = append(errs, &DuplicateError{Addr: addr, Keys: [2]string{first[addr], key}})
			} else {
				first[addr] = key
			}
			a.rest.remove(addr)
		}
		a.held[key] = slices.Clone(used[key])
	}
	a.recount()
	return errors.Join(errs...)
}

// Request asks for a pod's addresses.
type Request struct {
	Key string
	// Pools whose blocks may serve, "" for blocks of none; nil: all.
	Pools []string
	// Families that the pod must have even where the blocks do not have them (yet): "IPv4", "IPv6".
	Families []string
	// Want are addresses asked for by name, at most one a family.
	Want []netip.Addr
}

// Allocate returns the key's addresses: the ones it holds already, or one of each family that is asked
// for or that the blocks have, IPv4 first. Addresses named in Want are given instead of any others of their
// family, even while cooling down. It fails whole with ErrNoBlocks, an *ExhaustedError or a *RequestError.
func (a *Allocator) Allocate(r Request) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if got := a.held[r.Key]; len(got) > 0 {
		for _, w := range r.Want {
			if !slices.Contains(got, w) {
				return nil, &RequestError{w, "differs from what the attachment holds already"}
			}
		}
		return slices.Clone(got), nil
	}
	a.expire()
	chosen, err := a.choose(r)
	if err != nil {
		return nil, err
	}
	for _, addr := range chosen {
		b := a.blockOf(addr)
		if a.rest.remove(addr) {
			b.cooling--
		}
		a.count[addr] = 1
		b.take(addr, 1)
		b.mark(addr, true)
		b.pass(addr)
	}
	a.held[r.Key] = chosen
	return slices.Clone(chosen), nil
}

// Release frees what the key holds, if anything; the addresses begin to cool down.
func (a *Allocator) Release(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire()
	freed := a.held[key]
	delete(a.held, key)
	for _, addr := range freed {
		if a.count[addr]--; a.count[addr] > 0 {
			continue
		}
		delete(a.count, addr)
		b := a.blockOf(addr)
		if b == nil {
			continue // its block is gone: nobody will be given it
		}
		b.take(addr, -1)
		if a.coolDown > 0 {
			a.rest.add(addr, a.now().Add(a.coolDown))
			b.cooling++
		}
		b.mark(addr, a.coolDown > 0)
	}
}

// Usage tells how full each block is, in the blocks' order.
func (a *Allocator) Usage() []BlockUsage {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire()
	return a.usage(func(*block) bool { return true })
}

// Retire takes a block out of service if none of its addresses is in use or cooling down: it gives none any
// more, until Set has left it out and named it anew. False: it is in use, or not there.
func (a *Allocator) Retire(p netip.Prefix) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire()
	for _, b := range a.blocks {
		if b.prefix == p && b.used == 0 && b.cooling == 0 {
			b.retired = true
			return true
		}
	}
	return false
}

func (a *Allocator) usage(of func(*block) bool) []BlockUsage {
	var u []BlockUsage
	for _, b := range a.blocks {
		if of(b) {
			u = append(u, BlockUsage{Prefix: b.prefix, Used: b.used, CoolingDown: b.cooling, Size: b.size(), Free: b.free(), Pool: b.pool})
		}
	}
	return u
}

// recount counts every block's addresses anew, and forgets the resting ones that are in no block.
func (a *Allocator) recount() {
	for _, b := range a.blocks {
		b.used, b.open, b.cooling = 0, 0, 0
		clear(b.busy)
	}
	for addr := range a.count {
		if b := a.blockOf(addr); b != nil {
			b.take(addr, 1)
			b.mark(addr, true)
		}
	}
	for r := range a.rest.all() {
		if b := a.blockOf(r.addr); b != nil {
			b.cooling++
			b.mark(r.addr, true)
		} else {
			a.rest.remove(r.addr)
		}
	}
}

// expire ends the rest of what has rested long enough.
func (a *Allocator) expire() {
	now := a.now()
	for r := range a.rest.all() {
		if now.Before(r.until) {
			return
		}
		a.rest.remove(r.addr)
		b := a.blockOf(r.addr) // recount keeps no address that is in no block
		b.cooling--
		b.mark(r.addr, false)
	}
}
