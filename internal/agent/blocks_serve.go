package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/podroute/podroute/cni"
	"github.com/podroute/podroute/ipam"
)

// addresses gives pods theirs: the allocator, and who of the pods may have which. It never waits: what it
// does not know, or does not have yet, fails, and the runtime tries again.
type addresses struct {
	*ipam.Allocator
	// moved signals that an address was given, refused or freed.
	moved chan struct{}

	mu    sync.Mutex
	of    Addressing
	asked map[string]time.Time // when a pod of a namespace was last given an address, or refused
}

func newAddresses() *addresses {
	return &addresses{
		Allocator: ipam.New(ipam.Options{CoolDown: coolDown}),
		moved:     make(chan struct{}, 1), asked: map[string]time.Time{},
	}
}

// Set states whose pods get which addresses.
func (a *addresses) Set(of Addressing) {
	a.mu.Lock()
	a.of = of
	a.mu.Unlock()
	a.Allocator.Set(of.Subnets)
}

// Allocate gives a pod its addresses; see ipam.Allocator.
func (a *addresses) Allocate(r cni.AddressRequest) ([]netip.Addr, error) {
	defer signal(a.moved)
	s, err := a.serving(r.Namespace)
	if err != nil {
		return nil, err
	}
	got, err := a.Allocator.Allocate(ipam.Request{Key: r.Key, Pools: s.Pools, Families: s.Families, Want: r.Want})
	if errors.Is(err, ipam.ErrNoBlocks) && len(s.Pools) > 0 {
		return nil, fmt.Errorf("%w for namespace %s: a block of its pools %v is being claimed", err, r.Namespace, s.Pools)
	}
	return got, err
}

// Release frees a pod's addresses.
func (a *addresses) Release(key string) {
	a.Allocator.Release(key)
	signal(a.moved)
}

// serving finds what serves a namespace, and notes that it was asked for.
func (a *addresses) serving(namespace string) (serving, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.of.Selective || namespace == "" {
		return a.of.Everyone, nil
	}
	s, ok := a.of.Namespaces[namespace]
	if !ok {
		return serving{}, fmt.Errorf("namespace %s is not known yet: its labels say which AddressPools serve it", namespace)
	}
	a.asked[namespace] = time.Now()
	return s, nil
}

// servings are what is asked for: what everyone gets, and what namespaces get that were heard of since.
func (a *addresses) servings(since time.Time) []serving {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := []serving{a.of.Everyone}
	for name, at := range a.asked {
		if at.Before(since) {
			delete(a.asked, name)
		} else if s, ok := a.of.Namespaces[name]; ok {
			out = append(out, s)
		}
	}
	return out
}

func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}
