package config

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strconv"
	"strings"
)

// Names that claims leave on AddressBlocks.
const (
	// LabelNode is the owner of a block, so that a node can watch its own alone.
	LabelNode = "podroute.io/node"
	// LabelPool is the pool that a block or range is cut from.
	LabelPool = "podroute.io/pool"
	// LabelClaimed marks blocks that a node claimed by itself, with the value "true". Only these are given back
	// when empty, or collected when their node is gone: blocks that people write are theirs to delete.
	LabelClaimed = "podroute.io/claimed"
	// AnnotationOrphanedSince is when a block was first seen without its node and without a route, in RFC 3339.
	AnnotationOrphanedSince = "podroute.io/orphaned-since"
)

// Claim asks for a block of a pool, or for a range of one with a topology key.
type Claim struct {
	Pool string
	// Node that shall own the block; empty for a range.
	Node string
	// TopologyValue whose range it shall be; empty for a block. A range that this value has already is as good
	// as a new one.
	TopologyValue string
	// Candidates in the order of preference; the first that nobody owns is claimed.
	Candidates iter.Seq[netip.Prefix]
}

// ErrTaken says that others own every candidate of a claim.
var ErrTaken = errors.New("every candidate is taken")

// Claimed tells whether a node claimed the block by itself.
func (b AddressBlock) Claimed() bool { return b.Labels[LabelClaimed] == "true" }

// ParseBlockName reads the name of an AddressBlock as BlockName writes it.
func ParseBlockName(name string) (netip.Prefix, error) {
	parts := strings.Split(name, "-")
	separator := ":"
	if len(parts) == 5 {
		separator = "."
	}
	last := len(parts) - 1
	addr, err := netip.ParseAddr(strings.Join(parts[:last], separator))
	bits, berr := strconv.Atoi(parts[last])
	p := netip.PrefixFrom(addr, bits)
	if err != nil || berr != nil || !p.IsValid() || BlockName(p.Masked()) != name {
		return netip.Prefix{}, fmt.Errorf("%q is no name of an AddressBlock", name)
	}
	return p, nil
}
