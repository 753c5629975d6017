package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrNoBlocks says that the node has no block yet, of either family.
var ErrNoBlocks = errors.New("the node has no pod subnet yet")

// ExhaustedError says that every address of one family is in use.
type ExhaustedError struct {
	Family string       // "IPv4" or "IPv6"
	Blocks []BlockUsage // those of the family
}

func (e *ExhaustedError) Error() string {
	blocks := make([]string, len(e.Blocks))
	for i, b := range e.Blocks {
		blocks[i] = fmt.Sprintf("%v (%d of %d in use)", b.Prefix, b.Used, b.Size)
	}
	return fmt.Sprintf("no free %s address in %s: give the node another pod subnet, or remove pods from it",
		e.Family, strings.Join(blocks, ", "))
}

// RequestError says why an address that was asked for by name cannot be had.
type RequestError struct {
	Addr   netip.Addr
	Reason string
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("the requested address %v %s", e.Addr, e.Reason)
}

// DuplicateError says that two keys hold one address.
type DuplicateError struct {
	Addr netip.Addr
	Keys [2]string
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("address %v is held by both %s and %s", e.Addr, e.Keys[0], e.Keys[1])
}
