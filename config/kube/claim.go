package kube

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/config"
)

// A claim creates an AddressBlock. The API server accepts one object of a name, and the name is the CIDR: so
// of any number of claims of one block one succeeds, and a claim costs one write where nobody else came first.

const (
	// claimPatience is how many taken candidates a claim meets before it asks which others are.
	claimPatience = 2
	// takenFor is how long a block that was found taken is not tried again, unless there are no others.
	takenFor = time.Minute
)

// ClaimCosts counts what claims have cost.
type ClaimCosts struct {
	Claims        int // that succeeded
	Writes, Reads int // requests, those of failed claims too
}

// claimer makes a node's claims one after another, and remembers what it met.
type claimer struct {
	turn  sync.Mutex // held during a claim
	taken taken

	mu    sync.Mutex
	costs ClaimCosts
}

func (c *claimer) count(claims, writes, reads int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.costs.Claims += claims
	c.costs.Writes += writes
	c.costs.Reads += reads
}

// ClaimCosts tells what claims have cost so far.
func (s *Source) ClaimCosts() ClaimCosts {
	s.claims.mu.Lock()
	defer s.claims.mu.Unlock()
	return s.claims.costs
}

// Claim creates the AddressBlock of the first candidate that nobody owns, and returns it. A range that this
// value of the topology label owns already counts as claimed. The error is config.ErrTaken where all
// candidates are owned.
func (s *Source) Claim(ctx context.Context, c config.Claim) (netip.Prefix, error) {
	s.claims.turn.Lock()
	defer s.claims.turn.Unlock()
	if c.TopologyValue != "" {
		return s.claimRange(ctx, c)
	}
	t := &s.claims.taken
	if time.Since(t.at) > takenFor {
		// Also before the very first claim: there may be blocks of another size, which no name keeps off.
		if err := s.look(ctx, t); err != nil {
			return netip.Prefix{}, err
		}
	}
	for fresh := false; ; fresh = true {
		p, err := s.try(ctx, c, t)
		if err == nil || fresh || !errors.Is(err, config.ErrTaken) {
			return p, err
		}
		if err := s.look(ctx, t); err != nil { // what was taken then may be free now
			return netip.Prefix{}, err
		}
	}
}

// try goes through the candidates once, past those that are known to be taken.
func (s *Source) try(ctx context.Context, c config.Claim, t *taken) (netip.Prefix, error) {
	misses := 0
	for p := range c.Candidates {
		if t.overlap(p) {
			continue
		}
		if misses == claimPatience {
			if err := s.look(ctx, t); err != nil {
				return netip.Prefix{}, err
			}
			if misses = 0; t.overlap(p) {
				continue
			}
		}
		created, err := s.take(ctx, c, p)
		if err != nil {
			return netip.Prefix{}, err
		}
		if created {
			return p, nil
		}
		t.add(p)
		misses++
	}
	return netip.Prefix{}, fmt.Errorf("pool %s: %w", c.Pool, config.ErrTaken)
}

// claimRange looks before it claims: a range is created once, and asked for at every start of every node.
func (s *Source) claimRange(ctx context.Context, c config.Claim) (netip.Prefix, error) {
	for p := range c.Candidates {
		b, err := s.blocks.get(ctx, config.BlockName(p))
		s.claims.count(0, 0, 1)
		switch {
		case err == nil && owns(c, b):
			return p, nil
		case err == nil:
			continue
		case !apierrors.IsNotFound(err):
			return netip.Prefix{}, err
		}
		created, err := s.take(ctx, c, p)
		if err == nil && !created { // by another node of the same value, most likely
			b, err = s.blocks.get(ctx, config.BlockName(p))
			s.claims.count(0, 0, 1)
			created = err == nil && owns(c, b)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return netip.Prefix{}, err
		}
		if created {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("ranges of pool %s: %w", c.Pool, config.ErrTaken)
}

// owns tells whether a range is what a claim asks for.
func owns(c config.Claim, b *config.AddressBlock) bool {
	return b.Spec.Pool == c.Pool && b.Spec.Node == c.Node && b.Spec.TopologyValue == c.TopologyValue && b.DeletionTimestamp == nil
}

// take creates a candidate, and tells whether there was none before.
func (s *Source) take(ctx context.Context, c config.Claim, p netip.Prefix) (bool, error) {
	b := &config.AddressBlock{
		TypeMeta: metav1.TypeMeta{APIVersion: config.APIVersion, Kind: "AddressBlock"},
		ObjectMeta: metav1.ObjectMeta{
			Name:   config.BlockName(p),
			Labels: map[string]string{config.LabelPool: c.Pool, config.LabelClaimed: "true"},
		},
		Spec: config.AddressBlockSpec{CIDR: p.String(), Node: c.Node, Pool: c.Pool, TopologyValue: c.TopologyValue},
	}
	if c.Node != "" {
		b.Labels[config.LabelNode] = c.Node
	}
	_, err := s.blocks.create(ctx, b)
	s.claims.count(0, 1, 0)
	if err == nil {
		s.claims.count(1, 0, 0)
		return true, nil
	}
	if apierrors.IsAlreadyExists(err) {
		return false, nil
	}
	return false, err
}

// taken are blocks that others own, or this node does.
type taken struct {
	at     time.Time // of the list
	blocks map[netip.Prefix]bool
	bits   map[int]bool // lengths in use
}

// look lists all blocks. Their names say all that is wanted.
func (s *Source) look(ctx context.Context, into *taken) error {
	all, err := s.blocks.metadata(ctx, "")
	s.claims.count(0, 0, 1)
	if err != nil {
		return err
	}
	pools := s.Snapshot().Pools
	*into = taken{at: time.Now(), blocks: map[netip.Prefix]bool{}, bits: map[int]bool{}}
	for _, m := range all {
		if p, err := config.ParseBlockName(m.Name); err == nil && !isRange(p, pools) {
			into.add(p)
		}
	}
	return nil
}

// isRange tells a rack's range, in which there are blocks, from a block.
func isRange(p netip.Prefix, pools []config.AddressPool) bool {
	return slices.ContainsFunc(pools, func(v config.AddressPool) bool {
		return v.Spec.TopologyKey != "" && int(v.Spec.TopologySize) == p.Bits() && v.Spec.Prefix().Contains(p.Addr())
	})
}

func (t *taken) add(p netip.Prefix) { t.blocks[p], t.bits[p.Bits()] = true, true }

// overlap tells whether a candidate overlaps one of them. Blocks of one size do only where they are the same;
// those of others are rare.
func (t *taken) overlap(p netip.Prefix) bool {
	for bits := range t.bits {
		switch {
		case bits <= p.Bits():
			if wider, err := p.Addr().Prefix(bits); err == nil && t.blocks[wider] {
				return true
			}
		default:
			for o := range t.blocks {
				if o.Bits() == bits && p.Overlaps(o) {
					return true
				}
			}
		}
	}
	return false
}

// Release gives a block back that this node claimed. It is deleted as it was read: if it was deleted and claimed by
// another node meanwhile, nothing happens to that node's.
func (s *Source) Release(ctx context.Context, block netip.Prefix) error {
	b, err := s.blocks.get(ctx, config.BlockName(block))
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case b.Spec.Node != s.node:
		return nil // given back already, and another's by now
	case !b.Claimed():
		return fmt.Errorf("release %s: it is not labelled %s: whoever wrote it deletes it", b.Name, config.LabelClaimed)
	}
	return s.deleteBlock(ctx, b)
}

// deleteBlock deletes a block as it was read.
func (s *Source) deleteBlock(ctx context.Context, b *config.AddressBlock) error {
	err := s.blocks.delete(ctx, b.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &b.UID, ResourceVersion: &b.ResourceVersion},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
