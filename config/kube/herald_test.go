package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/config"
)

var (
	notYet = config.NodeReport{Reason: "SessionsDown", Message: "0 of 1", Routing: config.NodeRoutingStatus{
		Sessions: []config.SessionStatus{{Peer: "tor", Address: "192.0.2.1", ASNumber: 65001, State: "Active"}},
	}}
	allWell = config.NodeReport{Ready: true, Reason: "Ready", Message: "fine", Routing: config.NodeRoutingStatus{
		Established: 1, Sessions: []config.SessionStatus{{Peer: "tor", Address: "192.0.2.1", ASNumber: 65001, State: config.SessionEstablished}},
	}}
)

// TestNodeLife: a node comes up, is ready, loses its network and gets it back.
func TestNodeLife(t *testing.T) {
	t.Parallel()
	a, h := newNodeAPI(t)
	h.take(notYet)
	eventually(t, "network unavailable", func() bool {
		c := a.condition()
		return c != nil && c.Status == corev1.ConditionTrue && c.Reason == "PodrouteSessionsDown" && c.Message == "0 of 1"
	})
	eventually(t, "NodeRouting says so", func() bool {
		r := a.routing()
		return len(r.Status.Conditions) == 1 && r.Status.Conditions[0].Status == metav1.ConditionFalse
	})
	if owners := a.routing().OwnerReferences; len(owners) != 1 || owners[0].Kind != "Node" || owners[0].UID != "uid-1" {
		t.Errorf("the NodeRouting does not go with its Node: %v", owners)
	}
	if len(a.taints()) != 4 {
		t.Errorf("taints before the node is ready: %v", a.taints())
	}

	h.take(allWell)
	eventually(t, "ready", func() bool {
		c, r := a.condition(), a.routing()
		return c.Status == corev1.ConditionFalse && c.Reason == "PodrouteReady" && r.Status.Established == 1 && r.Status.Conditions[0].Status == metav1.ConditionTrue
	})
	want := []string{"node.kubernetes.io/not-ready", "mine"}
	eventually(t, "the startup taint goes and no other", func() bool { return slices.Equal(a.taints(), want) })

	h.take(notYet)
	eventually(t, "unavailable again", func() bool { return a.condition().Status == corev1.ConditionTrue })
	eventually(t, "Events tell the story", func() bool { return a.count("POST namespaces/default/events") == 4 })
	if a.count("PATCH namespaces") != 0 {
		t.Error("an Event was counted twice: a node without network at its start is no news")
	}
	if !slices.Equal(a.taints(), want) {
		t.Errorf("taints of a node in trouble: %v", a.taints())
	}
	var reasons []string
	a.mu.Lock()
	for key, o := range a.objects {
		if strings.HasPrefix(key, "namespaces/") {
			reasons = append(reasons, fmt.Sprint(o["reason"]))
		}
	}
	a.mu.Unlock()
	slices.Sort(reasons)
	if got := strings.Join(reasons, " "); got != "BGPSessionEstablished BGPSessionLost NetworkNotReady NetworkReady" {
		t.Errorf("events %s", got)
	}
}

// TestRestartSaysNothing: an undecided agent leaves condition and taint as they are.
func TestRestartSaysNothing(t *testing.T) {
	t.Parallel()
	a, h := newNodeAPI(t)
	undecided := notYet
	undecided.Undecided = true
	h.take(undecided)
	eventually(t, "NodeRouting is written", func() bool { return len(a.routing().Status.Sessions) == 1 })
	if a.condition() != nil || a.count("PATCH nodes") != 0 {
		t.Errorf("an undecided agent wrote to its Node: %v", a.condition())
	}
	if c := a.routing().Status.Conditions; len(c) != 1 || c[0].Status != metav1.ConditionUnknown {
		t.Errorf("conditions %v", c)
	}
}

// TestCalm: what is said already is not written again, whatever the watch tells.
func TestCalm(t *testing.T) {
	t.Parallel()
	a, h := newNodeAPI(t)
	h.take(allWell)
	eventually(t, "all is written", func() bool { return len(a.taints()) == 2 && a.routing().Status.Established == 1 })
	eventually(t, "the Event", func() bool { return a.count("POST namespaces") == 1 })
	before := a.count("")
	for i := range 20 {
		a.change(h, func(n map[string]any) {
			n["status"].(map[string]any)["images"] = []any{map[string]any{"sizeBytes": i}}
		})
	}
	h.take(allWell) // the agent paces its reports: each one is published
	eventually(t, "the report", func() bool { return a.count("") == before+1 })
	if got := a.count("PATCH nodes"); got != 2 {
		t.Errorf("%d writes to the Node, want condition and taint: %v", got, a.writes)
	}
}

// TestAway: while the API is away only the last report is kept, and written when it is back.
func TestAway(t *testing.T) {
	t.Parallel()
	a, h := newNodeAPI(t)
	a.mu.Lock()
	a.away = true
	a.mu.Unlock()
	for i := range 100 {
		r := notYet
		r.Message = fmt.Sprint(i)
		h.take(r)
	}
	h.take(allWell)
	missed := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.missed
	}
	// A try makes two requests while the API is away: after three, one has begun that knows the last report.
	before := missed()
	eventually(t, "tries", func() bool { return missed() >= before+3 })
	a.mu.Lock()
	a.away = false
	a.mu.Unlock()
	eventually(t, "ready", func() bool { return a.routing().Status.Established == 1 })
	if n := a.count("PATCH noderoutings"); n != 1 {
		t.Errorf("%d writes, want 1: %v", n, a.writes)
	}
}

// TestRefused: what the API refuses is a problem after a while, and keeps nothing else from being said.
func TestRefused(t *testing.T) {
	t.Parallel()
	a, h := newNodeAPI(t)
	a.mu.Lock()
	a.forbid = "PATCH nodes/"
	a.mu.Unlock()
	h.take(allWell)
	eventually(t, "the NodeRouting is written", func() bool { return a.routing().Status.Established == 1 })
	eventually(t, "the refusal is noted", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.refused != nil
	})
	if p := h.problems(); p != nil {
		t.Errorf("at once: %v", p)
	}
	h.mu.Lock()
	h.troubled = time.Now().Add(-refusedLeast)
	h.mu.Unlock()
	if p := h.problems(); len(p) != 1 || p[0].Object != "Node/a" || !strings.Contains(p[0].Message, "patch nodes/a") {
		t.Errorf("after a while: %v", p)
	}
	a.mu.Lock()
	a.forbid = ""
	a.mu.Unlock()
	eventually(t, "ready", func() bool { return len(a.taints()) == 2 })
	eventually(t, "no problem is left", func() bool { return h.problems() == nil })
}

// TestTaintsMoved: somebody changes the taints between our look and our patch.
func TestTaintsMoved(t *testing.T) {
	t.Parallel()
	a, h := newNodeAPI(t)
	a.mu.Lock()
	a.meddle = func() {
		spec := a.objects["nodes/a"]["spec"].(map[string]any)
		spec["taints"] = slices.Insert(spec["taints"].([]any), 0, any(map[string]any{"key": "new", "effect": "NoSchedule"}))
		a.version++
		meta(a.objects["nodes/a"])["resourceVersion"] = fmt.Sprint(a.version)
	}
	a.mu.Unlock()
	h.take(allWell)
	eventually(t, "ours goes, theirs stays", func() bool {
		return slices.Equal(a.taints(), []string{"new", "node.kubernetes.io/not-ready", "mine"})
	})
}

// TestOthersMeddle: what others do to our condition is set right, but not in a duel; a NodeRouting that was
// deleted is found missing and comes back.
func TestOthersMeddle(t *testing.T) {
	t.Parallel()
	a, h := newNodeAPI(t)
	h.take(allWell)
	eventually(t, "all is written", func() bool { return len(a.taints()) == 2 && a.routing().Status.Established == 1 })
	cloud := func(n map[string]any) {
		n["status"].(map[string]any)["conditions"] = []any{map[string]any{"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated"}}
	}
	a.change(h, cloud)
	eventually(t, "set right", func() bool { return a.condition().Reason == "PodrouteReady" })
	before := a.count("PATCH nodes")
	for range 10 {
		a.change(h, cloud)
	}
	a.mu.Lock()
	delete(a.objects, "noderoutings/a")
	a.mu.Unlock()
	h.take(allWell)
	eventually(t, "the NodeRouting is back", func() bool { return a.routing().Status.Established == 1 })
	if n := a.count("PATCH nodes"); n > before+1 { // one for the new report
		t.Errorf("%d writes in a duel", n-before)
	}
	a.change(h, func(n map[string]any) { meta(n)["uid"] = "uid-2" })
	eventually(t, "it goes with the new Node", func() bool {
		owners := a.routing().OwnerReferences
		return len(owners) == 1 && owners[0].UID == "uid-2"
	})
}

// TestDeparting reads the signs of a node that goes for good.
func TestDeparting(t *testing.T) {
	t.Parallel()
	ready := func(status corev1.ConditionStatus, message string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "1", ResourceVersion: "1"}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Reason: "KubeletNotReady", Message: message}}
		return n
	}
	deleting := ready(corev1.ConditionTrue, "")
	deleting.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	for _, c := range []struct {
		name string
		seen []*corev1.Node
		want bool
	}{
		{"never seen", nil, false},
		{"not there from the start", []*corev1.Node{nil}, false},
		{"well", []*corev1.Node{ready(corev1.ConditionTrue, "kubelet is posting ready status")}, false},
		{"kubelet is gone", []*corev1.Node{ready(corev1.ConditionUnknown, "Kubelet stopped posting node status.")}, false},
		{"gone", []*corev1.Node{ready(corev1.ConditionTrue, ""), nil}, true},
		{"gone and back", []*corev1.Node{ready(corev1.ConditionTrue, ""), nil, ready(corev1.ConditionTrue, "")}, false},
		{"being deleted", []*corev1.Node{deleting}, true},
		{"shutting down", []*corev1.Node{ready(corev1.ConditionFalse, "[container runtime is down, node is shutting down]")}, true},
		{"booted", []*corev1.Node{ready(corev1.ConditionFalse, "node is shutting down"), ready(corev1.ConditionTrue, "")}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHerald(&client{node: "a"})
			for _, n := range c.seen {
				h.see(n)
			}
			if got := h.departing(); got != c.want {
				t.Errorf("departing %t, want %t", got, c.want)
			}
		})
	}
}

func TestHappenings(t *testing.T) {
	t.Parallel()
	session := func(up bool, names ...string) config.NodeReport {
		var r config.NodeReport
		for _, n := range names {
			s := config.SessionStatus{Peer: n, Address: "192.0.2.1", ASNumber: 65001, State: "Idle", LastError: "hold timer"}
			if up {
				s.State, s.LastError = config.SessionEstablished, ""
			}
			r.Routing.Sessions = append(r.Routing.Sessions, s)
		}
		return r
	}
	five := []string{"a", "b", "c", "d", "e"}
	if got := happenings(nil, session(true, five...)); got != nil {
		t.Errorf("the first report is no news: %v", got)
	}
	up, down := session(true, five...), session(false, five...)
	got := happenings(&up, down)
	if len(got) != 1 || got[0].kind != corev1.EventTypeWarning || !strings.HasSuffix(got[0].message, "and 2 more") || !strings.Contains(got[0].message, "hold timer") {
		t.Errorf("five lost: %v", got)
	}
	if got = happenings(&down, up); len(got) != 1 || got[0].kind != corev1.EventTypeNormal {
		t.Errorf("five found: %v", got)
	}
	if got = happenings(&down, session(true, "f")); got != nil {
		t.Errorf("peers that come and go with the configuration: %v", got)
	}
	trouble := up
	trouble.Routing.Problems = []string{"Node/a: no such address"}
	if got = happenings(&up, trouble); len(got) != 1 || got[0].message != trouble.Routing.Problems[0] {
		t.Errorf("a problem: %v", got)
	}
	if got = happenings(&trouble, trouble); got != nil {
		t.Errorf("an old problem: %v", got)
	}
}

// TestEventsAreFew: a flood of Events becomes a handful of writes.
func TestEventsAreFew(t *testing.T) {
	t.Parallel()
	a, h := newNodeAPI(t)
	ref := corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: "a", UID: "uid-1"}
	h.take(allWell)
	eventually(t, "the first", func() bool { return a.count("POST namespaces") == 1 })
	for i := range 100 {
		h.events.add(ref, happening{corev1.EventTypeWarning, "Flap", "the same"})
		h.events.add(ref, happening{corev1.EventTypeWarning, "Other", fmt.Sprint(i)})
		signal(h.wake)
	}
	eventually(t, "all are worked off", func() bool { return h.events.head() == nil })
	n := a.count("POST namespaces") + a.count("PATCH namespaces")
	if n > burst {
		t.Errorf("%d writes, want at most %d", n, burst)
	}
}
