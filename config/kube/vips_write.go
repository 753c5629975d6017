package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/config/vip"
)

const (
	reasonAssigned = "AddressAssigned"
	reasonRefusal  = "AddressRefused" // of an Event; the condition has the vip.Reason
	// vipPatience bounds a write. It is finished, and not broken off, where this agent gives the Lease back: the next
	// leader would not know what becomes of it.
	vipPatience = 5 * time.Second
)

var errNotLeading = errors.New("another agent may lead by now")

// write writes what of a Plan is not there yet, for at most vipTurn, and tells whether that was all. It returns the
// first error after having tried the others.
func (g *giver) write(ctx context.Context, plan vip.Plan, services map[string]entry) (whole bool, first error) {
	began := time.Now()
	for _, v := range plan.Verdicts {
		if ctx.Err() != nil || time.Since(began) > vipTurn {
			return false, first
		}
		e := services[v.Service]
		b := e.object.Value.(*balanced)
		d := due(b, v)
		if d.same(b, e) {
			continue
		}
		if !g.leads() {
			return true, errNotLeading
		}
		err := g.give(ctx, v.Service, e, d)
		switch {
		case err == nil:
			g.tellService(b, e, v, d)
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // the watch will tell
		case first == nil:
			first = err
		}
	}
	return true, first
}

// assignment is what a Service is to have in its status and notes.
type assignment struct {
	ingress   []corev1.LoadBalancerIngress
	given     string            // the annotation; empty: none
	condition *metav1.Condition // nil: none
}

// due is what a verdict comes to.
func due(b *balanced, v vip.Verdict) assignment {
	if v.Release {
		return assignment{ingress: slices.DeleteFunc(slices.Clone(b.ingress), func(i corev1.LoadBalancerIngress) bool {
			a, err := netip.ParseAddr(i.IP)
			return err == nil && i.Hostname == "" && slices.Contains(b.Given, a)
		})}
	}
	var d assignment
	var given, told []string
	mode := corev1.LoadBalancerIPModeVIP
	for i, a := range v.Addresses {
		d.ingress = append(d.ingress, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &mode})
		given = append(given, a.String())
		from := "of no AddressPool any more"
		if v.Pools[i] != "" {
			from = "of AddressPool/" + v.Pools[i]
		}
		told = append(told, a.String()+" "+from)
	}
	d.given = strings.Join(given, ",")
	d.condition = &metav1.Condition{Type: config.ConditionLoadBalancer, Status: metav1.ConditionTrue, Reason: reasonAssigned, Message: strings.Join(told, ", ")}
	if r := v.Refusal; r != nil {
		d.condition.Status, d.condition.Reason, d.condition.Message = metav1.ConditionFalse, string(r.Reason), cut(r.Message, mostMessage)
	}
	return d
}

// same tells whether a Service has that already.
func (d assignment) same(b *balanced, e entry) bool {
	if d.given != b.given || (d.condition == nil) != !noted(e) || d.condition != nil && differs(e.conditions, *d.condition) {
		return false
	}
	return slices.EqualFunc(d.ingress, b.ingress, func(a, b corev1.LoadBalancerIngress) bool {
		return a.IP == b.IP && a.Hostname == b.Hostname && reflect.DeepEqual(cmp.Or(a.IPMode, b.IPMode), cmp.Or(b.IPMode, a.IPMode))
	})
}

func noted(e entry) bool {
	return slices.ContainsFunc(e.conditions, isBalancer)
}

func isBalancer(c metav1.Condition) bool { return c.Type == config.ConditionLoadBalancer }

// give writes onto the very version that was looked at. The notes go with the status: in one write.
func (g *giver) give(ctx context.Context, key string, e entry, d assignment) error {
	conditions := slices.DeleteFunc(withConditions(e.conditions), func(c metav1.Condition) bool { return d.condition == nil && isBalancer(c) })
	if d.condition != nil {
		conditions = withConditions(conditions, *d.condition)
	}
	var given *string
	if d.given != "" {
		given = &d.given
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid": e.uid, "resourceVersion": e.version, "annotations": map[string]*string{config.AnnotationGiven: given},
		},
		"status": map[string]any{"loadBalancer": map[string]any{"ingress": d.ingress}, "conditions": conditions},
	})
	if err != nil {
		return fmt.Errorf("write the address of Service %s: %w", key, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), vipPatience)
	defer cancel()
	written, err := g.Source.services(e.object.Namespace).patch(ctx, e.object.Name, types.MergePatchType, patch, "status")
	if err == nil {
		now := readBalanced(written)
		g.ahead[key] = now
		for _, a := range now.object.Value.(*balanced).Held {
			g.held[a] = true // also where it is given back before the next look
		}
	}
	return err
}

// tellService says by an Event what is new.
func (g *giver) tellService(b *balanced, e entry, v vip.Verdict, d assignment) {
	about := corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: b.Namespace, Name: b.Name, UID: e.uid}
	if d.condition == nil {
		g.log.Info("a Service is not served any more", "service", b.Key(), "addresses", b.given)
		return
	}
	if d.given != b.given {
		g.log.Info("a Service has addresses", "service", b.Key(), "addresses", d.given, "before", b.given)
		if d.given != "" {
			g.events.add(about, happening{corev1.EventTypeNormal, reasonAssigned, "has " + strings.ReplaceAll(d.given, ",", ", ")})
		}
	}
	if v.Refusal != nil && differs(e.conditions, *d.condition) {
		g.events.add(about, happening{corev1.EventTypeWarning, reasonRefusal, d.condition.Message})
	}
}
