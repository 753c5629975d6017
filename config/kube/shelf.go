package kube

import (
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podroute/podroute/config"
)

// entry is what is kept of an object of the API.
type entry struct {
	object config.Object
	// What the writer of conditions needs; a change of it alone is no change of the configuration.
	uid        types.UID
	generation int64
	conditions []metav1.Condition
	counts     config.PoolCounts // of an AddressPool
	version    string            // of a Service, for who writes its status
}

// shelf holds the objects that one watch is about. Its follower writes it, the source reads it.
type shelf struct {
	touch func() // tells the source that there is something new

	mu      sync.Mutex
	entries map[string]entry // by keyOf
	synced  bool             // entries are all that there were when the watch began, and what came since
	err     error            // of the last try, nil while the watch stands
	since   time.Time        // of err: when the watch was lost
}

// keyOf is the name of an object, with its namespace in front where it has one.
func keyOf(o metav1.Object) string { return key(o.GetNamespace(), o.GetName()) }

func key(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// put keeps an object.
func (s *shelf) put(key string, e entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, there := s.entries[key]
	s.entries[key] = e
	if !there || !reflect.DeepEqual(old.object, e.object) {
		s.touch()
	}
}

func (s *shelf) drop(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.entries[key]; there {
		delete(s.entries, key)
		s.touch()
	}
}

// replace takes the whole of what there is.
func (s *shelf) replace(entries map[string]entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := s.synced && maps.EqualFunc(s.entries, entries, func(a, b entry) bool { return reflect.DeepEqual(a.object, b.object) })
	s.entries, s.synced = entries, true
	if !same {
		s.touch()
	}
}

// state notes how the watch stands: nil, or why it does not. It tells whether that is another answer than before.
func (s *shelf) state(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	turned := (s.err == nil) != (err == nil)
	if turned {
		s.since = time.Now()
		s.touch()
	}
	s.err = err
	return turned
}

// standing returns whether everything was read, and why and since when the watch does not stand, if so.
func (s *shelf) standing() (synced bool, since time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced, s.since, s.err
}

// objects are those on the shelf, in the order of their keys.
func (s *shelf) objects() []config.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]config.Object, 0, len(s.entries))
	for _, key := range slices.Sorted(maps.Keys(s.entries)) {
		all = append(all, s.entries[key].object)
	}
	return all
}

// copy is a copy of the entries.
func (s *shelf) copy() map[string]entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.entries)
}
