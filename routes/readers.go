package routes

import "sync"

// readers is what those who read the links, one or several, were told last. The kernel gathers what becomes of a link for up to a second: one that goes
// down and comes back is told of once, as being what it was. Who has read it in between is told. Pods' links are of no interest.
type readers struct {
	mu     sync.Mutex
	events int // about links
	links  map[int]linkState
	turned map[int]bool // links that were read as something else than before, and not heard of since
}

// hear takes in what the kernel tells of a link, and says whether readers know it otherwise.
func (r *readers) hear(index int, is linkState) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events++
	known, ok := r.links[index]
	differs := r.turned[index] || ok && known != is
	delete(r.turned, index)
	return differs
}

// forget is for a link that is gone.
func (r *readers) forget(index int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.links, index)
	delete(r.turned, index)
}

// count counts what was heard.
func (r *readers) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events
}

// tell notes what is read, and says whether it may have been out of date before it was noted: something was heard since the count was before.
func (r *readers) tell(links []Link, before int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.links
	r.links = make(map[int]linkState, len(links))
	for _, l := range links {
		if podLink(l.Name) {
			continue
		}
		is := linkState{l.Name, l.Up, l.MTU}
		r.links[l.Index] = is
		if was, ok := old[l.Index]; ok && was != is {
			r.turned[l.Index] = true
		}
	}
	return r.events != before
}
