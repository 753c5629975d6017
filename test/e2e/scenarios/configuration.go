package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// configuration that changes while everything runs.
func configuration() []Scenario {
	return []Scenario{
		{
			Name: "peer-changed", Shows: "a BGPPeer is added, changed, removed: only its own sessions move", Disturbs: true,
			Run: peerChanged,
		},
		{
			Name: "invalid-peer", Shows: "a BGPPeer that is wrong says so itself, and no session moves", Disturbs: true,
			Run: invalidPeer,
		},
		{
			Name: "ranges-overlap", Shows: "pod ranges that overlap services' or nodes' are refused, what was in force stays", Disturbs: true,
			Run: rangesOverlap,
		},
	}
}

// verdict is what an object of ours says of itself.
type verdict struct {
	Metadata struct{ Generation int64 }
	Status   struct{ Conditions []metav1.Condition }
}

// judged waits until the agents have judged the present version of an object, and it is accepted, or refused for
// a reason that holds the given words. It returns the condition's message.
func (t *T) judged(ctx context.Context, kind, name string, accepted bool, words string) (message string, err error) {
	want := metav1.ConditionFalse
	if accepted {
		want = metav1.ConditionTrue
	}
	err = cluster.Eventually(ctx, 15*time.Second, func(ctx context.Context) error {
		var v verdict
		if err := t.Get(ctx, &v, kind, name); err != nil {
			return err
		}
		for _, c := range v.Status.Conditions {
			if c.Type == "Accepted" && c.ObservedGeneration == v.Metadata.Generation && c.Status == want && strings.Contains(c.Message, words) {
				message = c.Message
				return nil
			}
		}
		return fmt.Errorf("%s %s has the conditions %+v, not Accepted=%s and %q", kind, name, v.Status.Conditions, want, words)
	})
	return message, err
}

// object is a manifest of a kind of ours.
func object(kind, name string, spec map[string]any) string {
	text, err := json.Marshal(map[string]any{
		"apiVersion": "podroute.io/v1alpha1", "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec,
	})
	if err != nil {
		panic(err) // literals of this package
	}
	return string(text)
}

// refuses applies a manifest that the API server itself must refuse, in the given words.
func (t *T) refuses(ctx context.Context, manifest, words string) error {
	err := t.Apply(ctx, manifest)
	switch {
	case err == nil:
		return fmt.Errorf("the API accepts %s", manifest)
	case !strings.Contains(err.Error(), words):
		return fmt.Errorf("the API does not say %q: %w", words, err)
	}
	return nil
}

// patched changes an object of ours by a merge patch, and puts back what it was when undo is called.
func (t *T) patched(ctx context.Context, kind, name string, spec map[string]any) (undo func() error, err error) {
	var was struct{ Spec map[string]any }
	if err := t.Get(ctx, &was, kind, name); err != nil {
		return nil, err
	}
	patch := func(ctx context.Context, spec map[string]any) error {
		text, err := json.Marshal(map[string]any{"spec": spec})
		if err != nil {
			return err
		}
		_, err = t.Kubectl(ctx, "patch", kind, name, "--type=merge", "-p", string(text))
		return err
	}
	undo = func() error {
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		restored := map[string]any{}
		for field := range spec {
			restored[field] = was.Spec[field] // nil removes it
		}
		if err := patch(back, restored); err != nil {
			return err
		}
		_, err := t.judged(back, kind, name, true, "in force")
		return err
	}
	return undo, patch(ctx, spec)
}

// inForce is what the agents do, of what their configuration says.
func (t *T) inForce(ctx context.Context) (all []string, err error) {
	for _, n := range cluster.Nodes() {
		var status struct{ Blocks, Addresses []string }
		if err := t.tell(ctx, n.Name, &status, "status"); err != nil {
			return nil, err
		}
		for _, family := range []string{"-4", "-6"} {
			text, err := t.On(ctx, n.Name, "ip", family, "route", "show", "proto", "179", "metric", "179")
			if err != nil {
				return nil, err
			}
			// A route of several lines is one over several next hops. Numbers of next hop objects are of no account.
			for _, route := range strings.Split(strings.ReplaceAll(text, "\n\t", " "), "\n") {
				all = append(all, n.Name+" "+strings.Join(strings.Fields(nexthopObject.ReplaceAllString(route, "")), " "))
			}
		}
		all = append(all, fmt.Sprint(n.Name, status.Blocks, status.Addresses))
	}
	return all, nil
}

// nexthopObject is a route's reference to one.
var nexthopObject = regexp.MustCompile(`nhid \d+`)

// still is an error if what is in force is not what it was.
func (t *T) still(ctx context.Context, before []string) error {
	return cluster.Eventually(ctx, 5*time.Second, func(ctx context.Context) error {
		now, err := t.inForce(ctx)
		if err == nil && !slices.Equal(before, now) {
			err = fmt.Errorf("in force are %q, before %q", without(now, before), without(before, now))
		}
		return err
	})
}

func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}

// rangesOverlap asks for pod ranges where services and nodes have their addresses.
func rangesOverlap(ctx context.Context, t *T) error {
	return t.underTraffic(ctx, func(ctx context.Context, _ bed) error {
		before, err := t.inForce(ctx)
		if err != nil {
			return err
		}
		moves, err := t.watchSessions(ctx)
		if err != nil {
			return err
		}
		for _, c := range []struct {
			spec  map[string]any
			words string
		}{
			{map[string]any{"clusterCIDRs": []string{"10.0.0.0/8", "fd00:244::/48"}}, "10.0.0.0/8 overlaps 10.96.0.0/16 of spec.serviceCIDRs"},
			{map[string]any{"serviceCIDRs": []string{"10.96.0.0/16", "fd00:244:0:1::/64"}}, "overlaps fd00:244:0:1::/64 of spec.serviceCIDRs"},
			{map[string]any{"nodeCIDRs": []string{"10.0.0.0/16", "10.244.7.0/24"}}, "overlaps 10.244.7.0/24 of spec.nodeCIDRs"},
		} {
			if err := t.refusedRange(ctx, c.spec, c.words); err != nil {
				return err
			}
		}
		err = t.refusedPools(ctx, map[string]string{
			"10.96.128.0/20": "10.96.128.0/20 overlaps 10.96.0.0/16 of RouterConfig's serviceCIDRs",
			"10.0.2.0/24":    "10.0.2.0/24 overlaps 10.0.0.0/16 of RouterConfig's nodeCIDRs",
		})
		if err != nil {
			return err
		}
		return errors.Join(t.still(ctx, before), moves.none(ctx))
	})
}

// refusedRange changes the RouterConfig to something that must be refused in the given words, and back.
func (t *T) refusedRange(ctx context.Context, spec map[string]any, words string) (err error) {
	undo, err := t.patched(ctx, "routerconfig", "default", spec)
	if undo != nil {
		defer func() { err = errors.Join(err, undo()) }()
	}
	if err != nil {
		return err
	}
	message, err := t.judged(ctx, "routerconfig", "default", false, words)
	if err == nil {
		t.Note("RouterConfig: %s", oneLine(message))
	}
	return err
}

func oneLine(text string) string { return strings.ReplaceAll(text, "\n", "; ") }

// refusedPools writes pools, by range, that must be refused in the given words.
func (t *T) refusedPools(ctx context.Context, pools map[string]string) error {
	const name = "e2e-overlaps"
	for cidr, words := range pools {
		if err := t.Apply(ctx, object("AddressPool", name, map[string]any{"cidr": cidr})); err != nil {
			return err
		}
		message, err := t.judged(ctx, "addresspool", name, false, words)
		if err == nil {
			t.Note("AddressPool: %s", oneLine(message))
		}
		_, undo := t.Kubectl(context.WithoutCancel(ctx), "delete", "addresspool", name)
		if err := errors.Join(err, undo); err != nil {
			return err
		}
	}
	return nil
}
