package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podroute/podroute/config"
)

// published is what is known of the NodeRouting in the API.
type published struct {
	// verified: it is there and goes with the Node of that UID.
	verified bool
	owner    types.UID
	// report is the last that was written, nil if none was since verified was false.
	report     *config.NodeReport
	conditions []metav1.Condition
}

// sessionsMost bounds the sessions that a NodeRouting names: in a mesh of a thousand nodes all of them, of all nodes,
// would be more than etcd keeps.
const sessionsMost = 100

// listed are the sessions that a NodeRouting names: where they are too many, those first that are not established.
func listed(all []config.SessionStatus) []config.SessionStatus {
	if len(all) <= sessionsMost {
		return all
	}
	var up, down []config.SessionStatus
	for _, s := range all {
		if s.State == config.SessionEstablished {
			up = append(up, s)
		} else {
			down = append(down, s)
		}
	}
	return append(down, up...)[:sessionsMost]
}

// publish writes the node's NodeRouting, if it says anything new.
func (h *herald) publish(ctx context.Context, r *config.NodeReport, node types.UID) error {
	p := &h.published
	if !p.verified || p.owner != node {
		if err := h.verify(ctx, node); err != nil {
			return err
		}
	}
	if p.report == r {
		return nil
	}
	status := r.Routing
	status.Sessions = listed(status.Sessions)
	status.Conditions = conditions(p.conditions, *r, time.Now())
	// No one else writes this status, so it is replaced whole, without reading it before.
	patch, err := json.Marshal([]map[string]any{{"op": "add", "path": "/status", "value": status}})
	if err != nil {
		return fmt.Errorf("write the NodeRouting: %w", err)
	}
	if _, err := h.routings.patch(ctx, h.node, types.JSONPatchType, patch, "status"); err != nil {
		p.verified = false
		return err
	}
	p.report, p.conditions = r, status.Conditions
	return nil
}

// verify makes sure that there is a NodeRouting and that it belongs to the Node, so that it is collected with it.
func (h *herald) verify(ctx context.Context, node types.UID) error {
	p := &h.published
	owners := []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: h.node, UID: node}}
	have, err := h.routings.get(ctx, h.node)
	switch {
	case apierrors.IsNotFound(err):
		have = &config.NodeRouting{ObjectMeta: metav1.ObjectMeta{Name: h.node, OwnerReferences: owners}}
		have.APIVersion, have.Kind = config.APIVersion, "NodeRouting"
		if _, err := h.routings.create(ctx, have); err != nil {
			return err
		}
		p.report = nil
	case err != nil:
		return err
	case !slices.ContainsFunc(have.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == node }):
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": owners}})
		if err != nil {
			return fmt.Errorf("own the NodeRouting: %w", err)
		}
		if _, err := h.routings.patch(ctx, h.node, types.MergePatchType, patch); err != nil {
			return err
		}
	}
	p.verified, p.owner, p.conditions = true, node, have.Status.Conditions
	return nil
}

// conditions are those of a NodeRouting: Ready, SessionsHealthy, and Draining while the node is drained.
func conditions(before []metav1.Condition, r config.NodeReport, now time.Time) []metav1.Condition {
	out := []metav1.Condition{readyCondition(before, r, now)}
	if s := r.Sessions; s != nil {
		out = append(out, sessionsCondition(before, *s, now))
	}
	if d := r.Draining; d != nil {
		out = append(out, metav1.Condition{
			Type: config.ConditionDraining, Status: metav1.ConditionTrue, Reason: d.Reason, Message: d.Message,
			LastTransitionTime: metav1.NewTime(d.Since.Truncate(time.Second)),
		})
	}
	return out
}

// readyCondition is Ready.
func readyCondition(before []metav1.Condition, r config.NodeReport, now time.Time) metav1.Condition {
	c := metav1.Condition{Type: config.ConditionReady, Reason: r.Reason, Message: r.Message}
	return decided(before, c, r.Ready, r.Undecided, now)
}

// sessionsCondition is SessionsHealthy.
func sessionsCondition(before []metav1.Condition, s config.Sessions, now time.Time) metav1.Condition {
	c := metav1.Condition{Type: config.ConditionSessions, Reason: s.Reason, Message: s.Message}
	return decided(before, c, s.Healthy, s.Undecided, now)
}

// decided gives a condition its status. While it is too early to say, what was said before stands, and since when.
func decided(before []metav1.Condition, c metav1.Condition, good, undecided bool, now time.Time) metav1.Condition {
	i := slices.IndexFunc(before, func(b metav1.Condition) bool { return b.Type == c.Type })
	if undecided && i >= 0 {
		return before[i]
	}
	switch {
	case undecided:
		c.Status = metav1.ConditionUnknown
	case good:
		c.Status = metav1.ConditionTrue
	default:
		c.Status = metav1.ConditionFalse
	}
	return since(before, c, now)
}

// since gives a condition the time of its last change.
func since(before []metav1.Condition, c metav1.Condition, now time.Time) metav1.Condition {
	c.LastTransitionTime = metav1.NewTime(now)
	if i := slices.IndexFunc(before, func(b metav1.Condition) bool { return b.Type == c.Type }); i >= 0 && before[i].Status == c.Status {
		c.LastTransitionTime = before[i].LastTransitionTime
	}
	return c
}
