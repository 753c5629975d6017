package ipam_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/podroute/podroute/ipam"
)

const coolDown = 30 * time.Second

// model is an allocator beside the simplest possible idea of what it must know.
type model struct {
	clock  clock
	seed   uint64
	alloc  *ipam.Allocator
	blocks []ipam.Block
	held   map[string][]netip.Addr
	freed  map[netip.Addr]time.Time
}

func (m *model) holder(a netip.Addr) string {
	for key, addrs := range m.held {
		if slices.Contains(addrs, a) {
			return key
		}
	}
	return ""
}

// contains tells whether any of the prefixes holds an address.
func contains(ps []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
}

// block is the one that an address is in.
func (m *model) block(a netip.Addr) (ipam.Block, bool) {
	i := slices.IndexFunc(m.blocks, func(b ipam.Block) bool { return b.Prefix.Contains(a) })
	if i < 0 {
		return ipam.Block{}, false
	}
	return m.blocks[i], true
}

// open are a block's addresses for pods that do not ask for one.
func open(b ipam.Block) (open []netip.Addr) {
	p := b.Prefix
	for a := p.Addr(); a.IsValid() && p.Contains(a); a = a.Next() {
		network := a == p.Addr() || p.Addr().Is4() && !p.Contains(a.Next())
		if network && p.Addr().BitLen()-p.Bits() > 1 || contains(b.Excluded, a) || contains(b.Reserved, a) {
			continue
		}
		open = append(open, a)
	}
	return open
}

// free counts the addresses of a family that an allocator could give, and those of them that rest.
func (m *model) free(four bool) (any, rested int) {
	for _, b := range m.blocks {
		if b.Prefix.Addr().Is4() != four {
			continue
		}
		for _, a := range open(b) {
			if m.holder(a) != "" {
				continue
			}
			any++
			if f, ok := m.freed[a]; !ok || m.clock.now.Sub(f) >= coolDown {
				rested++
			}
		}
	}
	return any, rested
}

func (m *model) allocate(t *rapid.T) {
	key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"}).Draw(t, "key")
	before := m.held[key]
	got, err := m.alloc.Allocate(ipam.Request{Key: key})
	if before != nil {
		if err != nil || !slices.Equal(got, before) {
			t.Fatalf("Allocate(%s) again = %v, %v; want %v", key, got, err, before)
		}
		return
	}
	var families []bool
	for _, four := range []bool{true, false} {
		if slices.ContainsFunc(m.blocks, func(b ipam.Block) bool { return b.Prefix.Addr().Is4() == four }) {
			families = append(families, four)
		}
	}
	var full *ipam.ExhaustedError
	for i, four := range families {
		free, rested := m.free(four)
		if free == 0 {
			if !errors.As(err, &full) {
				t.Fatalf("Allocate(%s) = %v, %v with none of a family left; want an ExhaustedError", key, got, err)
			}
			return
		}
		if err != nil {
			continue // the other family's
		}
		a := got[i]
		if h := m.holder(a); h != "" {
			t.Fatalf("Allocate(%s) = %v, which %s holds", key, a, h)
		}
		if b, ok := m.block(a); !ok || !slices.Contains(open(b), a) {
			t.Fatalf("Allocate(%s) = %v, which none of %v gives", key, a, m.blocks)
		}
		if f, ok := m.freed[a]; ok && m.clock.now.Sub(f) < coolDown && rested > 0 {
			t.Fatalf("Allocate(%s) = %v, freed %v ago, with %d rested ones left", key, a, m.clock.now.Sub(f), rested)
		}
	}
	switch {
	case len(families) == 0 && errors.Is(err, ipam.ErrNoBlocks):
	case err != nil || len(got) != len(families) || len(got) == 0:
		t.Fatalf("Allocate(%s) = %v, %v; want %d addresses", key, got, err, len(families))
	default:
		m.held[key] = got
	}
}

func (m *model) release(t *rapid.T) {
	key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"}).Draw(t, "key")
	m.alloc.Release(key)
	for _, a := range m.held[key] {
		if _, ok := m.block(a); ok {
			m.freed[a] = m.clock.now // else nobody can be given it, and it is forgotten
		}
	}
	delete(m.held, key)
}

func (m *model) set(t *rapid.T) {
	all := prefixes("10.0.0.0/30", "10.0.0.4/30", "10.0.1.0/29", "10.0.2.7/32", "fd00::/126", "fd00::8/127", "fd00:1::/125")
	parts := rapid.SliceOfN(rapid.SampledFrom(prefixes("10.0.0.1/32", "10.0.0.4/31", "10.0.1.0/30", "10.0.1.2/32", "10.0.1.6/32", "10.0.0.0/16", "fd00::2/127", "fd00:1::4/126")), 0, 3)
	var some []ipam.Block
	for _, p := range rapid.SliceOfDistinct(rapid.SampledFrom(all), rapid.ID[netip.Prefix]).Draw(t, "blocks") {
		some = append(some, ipam.Block{Prefix: p, Excluded: parts.Draw(t, "excluded"), Reserved: parts.Draw(t, "reserved")})
	}
	m.alloc.Set(some)
	m.blocks = some
	for a := range m.freed { // of a block that has gone: forgotten
		if _, ok := m.block(a); !ok {
			delete(m.freed, a)
		}
	}
}

// restart makes a new allocator and restores it, as an agent does; what was freed is forgotten.
func (m *model) restart(t *rapid.T) {
	m.seed++
	fresh := ipam.New(ipam.Options{CoolDown: coolDown, Now: m.clock.Now, Rand: rand.New(rand.NewPCG(m.seed, 0))})
	restoreFirst := rapid.Bool().Draw(t, "restore before blocks")
	if !restoreFirst {
		fresh.Set(m.blocks)
	}
	if err := fresh.Restore(maps.Clone(m.held)); err != nil {
		t.Fatalf("Restore(%v): %v", m.held, err)
	}
	if restoreFirst {
		fresh.Set(m.blocks)
	}
	// Restoring equals replaying: the same addresses are in use, block by block.
	used := func(u []ipam.BlockUsage) (n []string) {
		for _, b := range u {
			n = append(n, fmt.Sprint(b.Prefix, b.Used, b.Size, b.Free))
		}
		return n
	}
	if d := cmp.Diff(used(m.alloc.Usage()), used(fresh.Usage())); d != "" {
		t.Fatalf("usage after Restore (-replayed +restored):\n%s", d)
	}
	for key, want := range m.held {
		if got, err := fresh.Allocate(ipam.Request{Key: key}); err != nil || !slices.Equal(got, want) {
			t.Fatalf("after Restore, Allocate(%s) = %v, %v; want %v", key, got, err, want)
		}
	}
	m.alloc, m.freed = fresh, map[netip.Addr]time.Time{}
}

// check compares the counts, after every step.
func (m *model) check(t *rapid.T) {
	for _, u := range m.alloc.Usage() {
		var used, cooling uint64
		for _, addrs := range m.held {
			for _, a := range addrs {
				if u.Prefix.Contains(a) {
					used++
				}
			}
		}
		for a, f := range m.freed {
			if u.Prefix.Contains(a) && m.holder(a) == "" && m.clock.now.Sub(f) < coolDown {
				cooling++
			}
		}
		var free uint64
		b, _ := m.block(u.Prefix.Addr())
		for _, a := range open(b) {
			if m.holder(a) == "" {
				free++
			}
		}
		if u.Used != used || u.CoolingDown != cooling || u.Free != free {
			t.Fatalf("usage %+v, want %d in use, %d cooling, %d free", u, used, cooling, free)
		}
	}
}

func TestAllocatorAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &model{
			clock: clock{time.Unix(1_700_000_000, 0)},
			seed:  rapid.Uint64().Draw(t, "seed"),
			held:  map[string][]netip.Addr{}, freed: map[netip.Addr]time.Time{},
		}
		m.alloc = ipam.New(ipam.Options{CoolDown: coolDown, Now: func() time.Time { return m.clock.now }, Rand: rand.New(rand.NewPCG(m.seed, 0))})
		t.Repeat(map[string]func(*rapid.T){
			"allocate": m.allocate,
			"release":  m.release,
			"set":      m.set,
			"restart":  m.restart,
			"wait": func(t *rapid.T) {
				m.clock.now = m.clock.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
			},
			"": m.check,
		})
	})
}
