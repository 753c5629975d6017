package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podroute/podroute/config"
)

// Reasons of the condition Accepted.
const (
	reasonAccepted = "Accepted" // in force
	reasonProblems = "Problems" // in force, and yet something is wrong
	reasonRefused  = "Refused"  // not in force
	reasonKept     = "Kept"     // not in force; the last good version is
)

// mostMessage bounds the message of a condition, in bytes.
const mostMessage = 2048

// writeConditions says on each object of ours whether it is in force, and why not: whenever that changes.
func (s *Source) writeConditions(ctx context.Context) error {
	var wait backoff
	signal(s.told)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.told:
		}
		if err := s.writeVerdicts(ctx); err != nil && ctx.Err() == nil {
			s.log.Debug("conditions are not all written", "error", err)
			if wait.wait(ctx) != nil {
				return nil
			}
			signal(s.told)
			continue
		}
		wait.reset()
	}
}

// judgement is what a Snapshot was built from, of a kind that has conditions.
type judgement struct {
	shelf *shelf
	// entries as they were then.
	entries map[string]entry
}

// writeVerdicts writes the conditions that differ from what they should be. It returns the first error
// after having tried them all.
func (s *Source) writeVerdicts(ctx context.Context) error {
	s.mu.Lock()
	judged, fills := s.judged, s.fills
	s.mu.Unlock()
	snapshot := s.Snapshot()
	var first error
	for kind, j := range judged {
		now := j.shelf.copy()
		for name, then := range j.entries {
			e, there := now[name]
			if !there || e.uid != then.uid || e.generation != then.generation {
				continue // another Snapshot is on its way
			}
			c := verdict(snapshot, kind, name, e)
			w := word{conditions: []metav1.Condition{c}, counts: e.counts}
			if f, ok := fills[name]; ok && kind == "AddressPool" {
				w.conditions = append(w.conditions, freeCondition(f, e.generation))
				if !f.unknown {
					w.counts = config.PoolCounts{Given: &f.Given, Free: &f.Free}
				}
			}
			if !w.news(e) {
				continue
			}
			err := s.writeStatus(ctx, kind, name, e, w)
			switch {
			case err == nil && differs(e.conditions, c):
				s.tellRefused(kind, name, e, c)
			case err == nil:
			case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // it is gone, and perhaps another in its place
			case first == nil:
				first = err
			}
		}
	}
	return first
}

// tellRefused says by an Event that an object is not in force.
func (s *Source) tellRefused(kind, name string, e entry, c metav1.Condition) {
	if c.Status == metav1.ConditionTrue {
		return
	}
	s.herald.events.add(
		corev1.ObjectReference{APIVersion: config.APIVersion, Kind: kind, Name: name, UID: e.uid},
		happening{corev1.EventTypeWarning, "NotAccepted", c.Message})
	signal(s.herald.wake)
}

// verdict is the condition that an object should have.
func verdict(s config.Snapshot, kind, name string, e entry) metav1.Condition {
	c := metav1.Condition{
		Type: config.ConditionAccepted, Status: metav1.ConditionTrue, Reason: reasonAccepted, Message: "in force",
		ObservedGeneration: e.generation,
	}
	var texts []string
	kept := false
	for _, p := range s.Problems {
		if p.Object != kind+"/"+name {
			continue
		}
		kept = kept || p.Kept
		p.Object, p.Source = "", ""
		texts = append(texts, p.Error())
	}
	if len(texts) > 0 {
		c.Message = cut(strings.Join(texts, "\n"), mostMessage)
	}
	switch {
	case kept:
		c.Status, c.Reason = metav1.ConditionFalse, reasonKept
	case !inForce(s, kind, name):
		c.Status, c.Reason = metav1.ConditionFalse, reasonRefused
	case len(texts) > 0:
		c.Reason = reasonProblems
	}
	return c
}

// inForce tells whether a Snapshot holds an object.
func inForce(s config.Snapshot, kind, name string) bool {
	switch kind {
	case "RouterConfig":
		return s.Router.Name == name && s.Router.UID != ""
	case "BGPPeer":
		return slices.ContainsFunc(s.Peers, func(v config.BGPPeer) bool { return v.Name == name })
	case "AddressPool":
		return slices.ContainsFunc(s.Pools, func(v config.AddressPool) bool { return v.Name == name })
	case "Advertisement":
		return slices.ContainsFunc(s.Advertisements, func(v config.Advertisement) bool { return v.Name == name })
	}
	return false
}

// differs tells whether a condition is to be written. When it was written last does not count.
func differs(present []metav1.Condition, c metav1.Condition) bool {
	old := apimeta.FindStatusCondition(present, c.Type)
	return old == nil || old.Status != c.Status || old.Reason != c.Reason || old.Message != c.Message ||
		old.ObservedGeneration != c.ObservedGeneration
}

// word is what is to be said in an object's status.
type word struct {
	conditions []metav1.Condition
	counts     config.PoolCounts
}

// news tells whether any of it is not there yet.
func (w word) news(e entry) bool {
	return !reflect.DeepEqual(w.counts, e.counts) ||
		slices.ContainsFunc(w.conditions, func(c metav1.Condition) bool { return differs(e.conditions, c) })
}

// withConditions are those that are there, with others in place or beside.
func withConditions(present []metav1.Condition, now ...metav1.Condition) []metav1.Condition {
	var all []metav1.Condition
	for _, old := range present {
		all = append(all, *old.DeepCopy())
	}
	for _, c := range now {
		c.LastTransitionTime = metav1.NewTime(time.Now().Truncate(time.Second))
		apimeta.SetStatusCondition(&all, c)
	}
	return all
}

// writeStatus writes conditions, beside those of other types, and counts, unless the object is another by now.
func (s *Source) writeStatus(ctx context.Context, kind, name string, e entry, w word) error {
	status := map[string]any{"conditions": withConditions(e.conditions, w.conditions...)}
	if w.counts.Given != nil {
		status["given"], status["free"] = w.counts.Given, w.counts.Free
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": e.uid}, "status": status})
	if err != nil {
		return fmt.Errorf("write the condition of %s/%s: %w", kind, name, err)
	}
	switch kind {
	case "RouterConfig":
		_, err = s.routerConfigs.patch(ctx, name, types.MergePatchType, patch, "status")
	case "BGPPeer":
		_, err = s.peers.patch(ctx, name, types.MergePatchType, patch, "status")
	case "AddressPool":
		_, err = s.pools.patch(ctx, name, types.MergePatchType, patch, "status")
	case "Advertisement":
		_, err = s.advertisements.patch(ctx, name, types.MergePatchType, patch, "status")
	}
	return err
}

// cut shortens a text to at most n bytes, at the end of a line where there is one.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const more = "\n…"
	s = s[:n-len(more)]
	if i := strings.LastIndexByte(s, '\n'); i > 0 {
		s = s[:i]
	}
	return strings.ToValidUTF8(s, "") + more
}
