package config

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Input is what a Snapshot is built from.
type Input struct {
	// Objects in their order of precedence, besides what Builder knows.
	Objects []Object
	// Problems that belong to no object.
	Problems []Problem
	// ReadFile reads a password file. Absent: there are none.
	ReadFile func(name string) ([]byte, error)
	// Elsewhere tells of a Secret that it is not among Objects because no peer of this node refers to it:
	// peers that do are taken on trust. Absent: there are none.
	Elsewhere func(ref SecretKeyRef) bool
}

// Builder turns objects into Snapshots. It remembers which version of each object it accepted last, so
// that a bad edit leaves the good version in force. The zero Builder is ready for use; it belongs to one
// goroutine.
type Builder struct {
	accepted map[key]Object
	last     Snapshot
	builds   int
}

// Build checks the objects against one another and returns those that are good.
func (b *Builder) Build(in Input) Snapshot {
	b.builds++
	w := &build{
		number: b.builds, before: b.accepted, last: b.last, readFile: in.ReadFile, elsewhere: in.Elsewhere,
		accepted: map[key]Object{}, problems: make([][]Problem, len(in.Objects)),
		secrets: map[key]*Secret{}, snapshot: Default(),
	}
	w.all = w.candidates(in.Objects)
	for _, kind := range []struct {
		name  string
		admit func(*candidate)
	}{
		// Each kind is checked against those before it.
		{"RouterConfig", w.router},
		{"Node", w.node},
		{"AddressPool", w.pool},
		{"AddressBlock", w.block},
		{"EndpointSlice", w.endpoints},
		{"Service", w.service},
		{"Namespace", w.namespace},
		{"Secret", w.secret},
		{"BGPPeer", w.peer},
		{"Advertisement", w.advertisement},
	} {
		for _, c := range w.all {
			if c.Kind == kind.name {
				kind.admit(c)
			}
		}
	}
	w.review()

	w.snapshot.Problems = slices.Concat(append([][]Problem{in.Problems}, w.problems...)...)
	if _, ok := w.accepted[key{kind: "RouterConfig", name: DefaultName}]; ok {
		w.snapshot.Problems = withRouterConfig(w.snapshot.Problems)
	}
	b.accepted, b.last = w.accepted, w.snapshot
	return w.snapshot
}

// withRouterConfig clears the fatal mark of problems that are fatal only where the RouterConfig is not
// known.
func withRouterConfig(problems []Problem) []Problem {
	problems = slices.Clone(problems)
	for i, p := range problems {
		problems[i].Fatal = p.Fatal && strings.HasPrefix(p.Object, "Node/")
	}
	return problems
}

// build is one run of Builder.Build.
type build struct {
	number   int
	before   map[key]Object // accepted by the run before
	last     Snapshot       // of the run before
	readFile func(string) ([]byte, error)
	// elsewhere is Input's.
	elsewhere func(SecretKeyRef) bool
	all       []*candidate

	accepted map[key]Object
	snapshot Snapshot
	problems [][]Problem // by index of the object

	addresses, subnets, pools, blocks claims
	secrets                           map[key]*Secret
	slices                            map[key][]*EndpointSlice // by Service
	routerAt                          *candidate
	nodes                             []admitted[Node]
	peers                             []admitted[BGPPeer]
}

// admitted is what was accepted of a candidate.
type admitted[T any] struct {
	*candidate
	value T
}

// candidate is an object that may be accepted.
type candidate struct {
	Object
	index int // of the object in Input
	class int // the lower, the earlier: see candidates
	// previous is the version accepted last, where the object differs from it.
	previous *Object
}

// Classes of candidates. What is in force comes first, so that an edit which conflicts with it is the
// one that is refused.
const (
	inForce = iota // unchanged; or changed to something bad, so that the version in force stays
	changed
	added
)

// candidates sorts out what to accept: the valid objects, those in force for which there is now
// something bad, and one of each name.
func (w *build) candidates(objects []Object) []*candidate {
	good := map[key]bool{}
	for _, o := range objects {
		good[o.key()] = good[o.key()] || o.Value != nil
	}
	var all []*candidate
	for i, o := range objects {
		c := &candidate{Object: o, index: i, class: added}
		c.since = w.number
		w.problems[i] = o.Problems
		last, known := w.before[o.key()]
		switch {
		case o.Value == nil && (!known || good[o.key()]):
			continue
		case o.Value == nil:
			c.Object, c.class = last, inForce
			w.keep(i)
		case known && reflect.DeepEqual(last.Value, o.Value):
			c.since, c.class = last.since, inForce
		case known:
			c.class, c.previous = changed, &last
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b *candidate) int {
		return cmp.Or(
			cmp.Compare(a.class, b.class),
			cmp.Compare(a.since, b.since),
			compareAge(a.Created, b.Created),
			cmp.Compare(a.index, b.index))
	})
	return w.unique(all)
}

// compareAge puts the older first, and those of unknown age last.
func compareAge(a, b time.Time) int {
	if a.IsZero() != b.IsZero() {
		if a.IsZero() {
			return 1
		}
		return -1
	}
	return a.Compare(b)
}

// unique leaves out all but the first candidate of each name.
func (w *build) unique(all []*candidate) []*candidate {
	first := map[key]*candidate{}
	return slices.DeleteFunc(all, func(c *candidate) bool {
		other, taken := first[c.key()]
		if !taken {
			first[c.key()] = c
			return false
		}
		r := w.report(c)
		where := other.Source
		if where == "" {
			where = "another object"
		}
		r.addf("metadata.name", "remove one of them, or rename it", "is the name of the one in %s too", where)
		w.note(c, r)
		return true
	})
}

func (w *build) report(c *candidate) *report {
	return &report{source: c.Source, object: title(c.Kind, c.Namespace, c.Name)}
}

func (w *build) note(c *candidate, r *report) {
	w.problems[c.index] = append(slices.Clip(w.problems[c.index]), r.problems...)
}

// keep marks the problems of object i as those of a version that is not in force.
func (w *build) keep(i int) {
	w.problems[i] = slices.Clone(w.problems[i])
	for j := range w.problems[i] {
		w.problems[i][j].Kept, w.problems[i][j].Fatal = true, false
	}
}

// admit returns the version of c that is to be accepted: c itself where check finds nothing against it,
// else the one that was accepted before where nothing is to be said against that. check reports what
// is wrong and returns whether the object may be accepted nevertheless.
func (w *build) admit(c *candidate, check func(*report, Object) bool) (Object, bool) {
	r := w.report(c)
	if check(r, c.Object) {
		w.note(c, r)
		w.accepted[c.key()] = c.Object
		return c.Object, true
	}
	w.note(c, r)
	if c.previous != nil && check(&report{}, *c.previous) {
		w.keep(c.index)
		w.accepted[c.key()] = *c.previous
		return *c.previous, true
	}
	return Object{}, false
}
