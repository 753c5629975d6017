package cni

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Attachment is a pod's interface.
type Attachment struct {
	ContainerID  string // shortened as hostlink.ID does
	IfName       string // in the pod
	Network      string // name of the CNI network, shortened as hostlink.Network does
	HostIf       string // the host side's name, also the allocator's key
	Addresses    []netip.Addr
	PodNamespace string // as much as the alias could hold; empty where the runtime does not say
	PodName      string
	Since        time.Time // to the second
}

// entry is an attachment that is wired.
type entry struct {
	Attachment
	index int  // of the host link
	mtu   int  // bytes, of both ends
	down  bool // the link is administratively down: its routes are gone
}

// table is the copy in memory of what the links' aliases say, by host link name.
type table struct {
	mu      sync.Mutex
	entries map[string]*entry
	waiters map[int][]chan struct{} // by index of a link that is being deleted
	changed chan struct{}
}

func newTable() *table {
	return &table{
		entries: map[string]*entry{},
		waiters: map[int][]chan struct{}{},
		changed: make(chan struct{}, 1),
	}
}

func (t *table) signal() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

func (t *table) put(e entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries[e.HostIf] = &e
	t.signal()
}

func (t *table) get(name string) (entry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.entries[name]
	if !ok {
		return entry{}, false
	}
	return *e, true
}

// byIndex finds the attachment whose host link has that index.
func (t *table) byIndex(index int) (entry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.entries {
		if e.index == index {
			return *e, true
		}
	}
	return entry{}, false
}

// remove tells whether the attachment was there, with a link of that index; any where index is 0.
func (t *table) remove(name string, index int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.entries[name]
	if !ok || index != 0 && e.index != index {
		return false
	}
	delete(t.entries, name)
	t.signal()
	return true
}

// linkState notes whether a link is up, and tells whether it has come up just now.
func (t *table) linkState(name string, index int, up bool) (cameUp bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.entries[name]
	if !ok || e.index != index {
		return false
	}
	cameUp = up && e.down
	e.down = !up
	return cameUp
}

func (t *table) list() []Attachment {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]Attachment, 0, len(t.entries))
	for _, e := range t.entries {
		a := e.Attachment
		a.Addresses = slices.Clone(a.Addresses)
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Attachment) int { return strings.Compare(a.HostIf, b.HostIf) })
	return all
}

// gone returns a channel that is closed when the link of that index is seen to be gone; stop forgets it.
func (t *table) gone(index int) (seen <-chan struct{}, stop func()) {
	ch := make(chan struct{})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiters[index] = append(t.waiters[index], ch)
	return ch, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		left := slices.DeleteFunc(t.waiters[index], func(c chan struct{}) bool { return c == ch })
		if t.waiters[index] = left; len(left) == 0 {
			delete(t.waiters, index)
		}
	}
}

// announceGone wakes whoever waits for the link's end.
func (t *table) announceGone(index int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, ch := range t.waiters[index] {
		close(ch)
	}
	delete(t.waiters, index)
}
