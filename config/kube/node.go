package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podroute/podroute/config"
)

// reasonPrefix begins the reason of every condition of a Node that is ours: other programs write there too.
const reasonPrefix = "Podroute"

// correctEvery is how often a condition is set right that somebody else has changed. Some cloud providers' route
// controllers write it over and over.
const correctEvery = time.Minute

// writeNode makes the Node's condition what the report says, and takes the startup taint away once the node is
// ready. The taint is never set again: a node that is in trouble later has the condition, and by that a
// taint of the node lifecycle controller's.
func (h *herald) writeNode(ctx context.Context, r config.NodeReport, own sighting, fresh bool) error {
	if r.Undecided {
		return nil
	}
	now := time.Now()
	want := condition(r)
	if own.needs(want) && (fresh || now.Sub(h.corrected) >= correctEvery) {
		if !fresh {
			h.corrected = now
		}
		n, err := h.setCondition(ctx, want, own, now)
		if err != nil {
			return err
		}
		own.take(n)
	}
	if r.Ready && slices.ContainsFunc(own.taints, isStartup) {
		return h.untaint(ctx, own)
	}
	return nil
}

// condition is NetworkUnavailable as a report has it.
func condition(r config.NodeReport) corev1.NodeCondition {
	c := corev1.NodeCondition{
		Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue, Reason: reasonPrefix + r.Reason, Message: r.Message,
	}
	if r.Ready {
		c.Status = corev1.ConditionFalse
	}
	return c
}

// needs tells whether the Node's condition is to be written. One that says the same in another program's words may
// stay.
func (s *sighting) needs(want corev1.NodeCondition) bool {
	have := s.network
	switch {
	case have == nil || have.Status != want.Status:
		return true
	case !strings.HasPrefix(have.Reason, reasonPrefix):
		return false
	}
	return have.Reason != want.Reason || have.Message != want.Message
}

// setCondition writes the condition and returns the Node as it is then.
func (h *herald) setCondition(ctx context.Context, want corev1.NodeCondition, own sighting, now time.Time) (*corev1.Node, error) {
	want.LastHeartbeatTime = metav1.NewTime(now)
	want.LastTransitionTime = want.LastHeartbeatTime
	turn := own.network == nil || own.network.Status != want.Status
	if !turn {
		want.LastTransitionTime = own.network.LastTransitionTime
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{want}}})
	if err != nil {
		return nil, fmt.Errorf("write a condition: %w", err)
	}
	// The list is merged by type: the conditions of others are not in the patch and stay.
	n, err := h.nodes.patch(ctx, h.node, types.StrategicMergePatchType, patch, "status")
	if err != nil {
		return nil, err
	}
	h.see(n)
	// That a node has no network before it ever had one is no news.
	if turn && (own.network != nil || want.Status == corev1.ConditionFalse) {
		h.events.add(own.reference(h.node), turned(want))
	}
	return n, nil
}

func isStartup(t corev1.Taint) bool { return t.Key == config.TaintNotReady }

// untaint removes the startup taint, whatever its effects. Taints have no key to merge by, so the patch names their
// places and fails if anybody has changed the list meanwhile.
func (h *herald) untaint(ctx context.Context, own sighting) error {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value,omitempty"`
	}
	left := slices.DeleteFunc(slices.Clone(own.taints), isStartup)
	change := operation{"replace", "/spec/taints", left}
	if len(left) == 0 {
		change = operation{Op: "remove", Path: "/spec/taints"}
	}
	patch, err := json.Marshal([]operation{{"test", "/spec/taints", own.taints}, change})
	if err != nil {
		return fmt.Errorf("remove the startup taint: %w", err)
	}
	n, err := h.nodes.patch(ctx, h.node, types.JSONPatchType, patch)
	if err != nil {
		if latest, again := h.nodes.get(ctx, h.node); again == nil {
			h.see(latest)
		}
		return fmt.Errorf("remove the startup taint: %w", err)
	}
	h.see(n)
	h.log.Info("this node is ready; the startup taint is removed", "taint", config.TaintNotReady)
	return nil
}
