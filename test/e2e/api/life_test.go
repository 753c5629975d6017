package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/config/kube"
	"github.com/podroute/podroute/test/e2e/api/apiserver"
)

const within = 20 * time.Second

// life is a node and the agent's half that speaks to the API.
type life struct {
	*apiserver.Server
	t      *testing.T
	source *kube.Source
	stop   func()
}

func newLife(t *testing.T) *life {
	t.Helper()
	s := apiserver.Start(t)
	// As kubelet registers it; admission adds node.kubernetes.io/not-ready.
	s.Apply(`
apiVersion: v1
kind: Node
metadata: {name: n1}
spec:
  podCIDRs: [10.244.1.0/24]
  taints:
    - {key: example.com/other, effect: NoSchedule}
    - {key: podroute.io/not-ready, effect: NoSchedule}
`)
	s.Kubectl("patch", "node", "n1", "--subresource=status", "-p",
		`{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}],"conditions":[{"type":"Ready","status":"True","message":"kubelet is posting ready status"}]}}`)
	l := &life{Server: s, t: t}
	l.start()
	return l
}

// start starts a Source as an agent does.
func (l *life) start() {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	source, err := kube.New(ctx, kube.Options{Log: log, NodeName: "n1", Kubeconfig: l.Agent("n1"), RunDir: l.t.TempDir()})
	if err != nil {
		l.t.Fatal(err)
	}
	l.source = source
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx) }()
	l.stop = func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
		l.stop = func() {}
	}
	l.t.Cleanup(func() { l.stop() })
}

func read[T any](l *life, args ...string) T {
	l.t.Helper()
	var v T
	if err := json.Unmarshal([]byte(l.Kubectl(append([]string{"get", "-o", "json"}, args...)...)), &v); err != nil {
		l.t.Fatal(err)
	}
	return v
}

func (l *life) condition() corev1.NodeCondition {
	l.t.Helper()
	for _, c := range read[corev1.Node](l, "node", "n1").Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable {
			return c
		}
	}
	return corev1.NodeCondition{}
}

// taints are the keys of the Node's, sorted.
func (l *life) taints() string {
	l.t.Helper()
	var keys []string
	for _, t := range read[corev1.Node](l, "node", "n1").Spec.Taints {
		keys = append(keys, t.Key)
	}
	slices.Sort(keys)
	return strings.Join(keys, " ")
}

func (l *life) routings() []config.NodeRouting {
	l.t.Helper()
	return read[struct{ Items []config.NodeRouting }](l, "noderoutings").Items
}

func report(ready bool) config.NodeReport {
	r := config.NodeReport{Ready: ready, Reason: "Ready", Message: "podroute routes this node's pods"}
	r.Routing = config.NodeRoutingStatus{
		Role: "Node", ASNumber: 64512, RouterID: "192.0.2.1", Addresses: []string{"192.0.2.1"}, Version: "test", Established: 1, Pods: 3, InstalledRoutes: 7,
		Blocks: []config.BlockStatus{{CIDR: "10.244.1.0/24", Used: 3, Size: 254}},
		Sessions: []config.SessionStatus{{
			Peer: "tor1", Address: "192.0.2.254", ASNumber: 65001, State: "Established", Since: &metav1.Time{Time: time.Now()},
			Families: []config.SessionFamily{{Family: "IPv4", Received: 5, Accepted: 5, Advertised: 1}},
		}},
	}
	r.Sessions = &config.Sessions{Healthy: true, Reason: "AllEstablished", Message: "every session is established"}
	if !ready {
		r.Sessions = &config.Sessions{Reason: "NotEstablished", Message: "session tor1: hold timer expired", Concerned: []string{"tor1"}}
		r.Reason, r.Message = "SessionsDown", "0 of 1 sessions established, 1 needed; not established: tor1 (192.0.2.254): hold timer expired"
		r.Routing.Established = 0
		s := &r.Routing.Sessions[0]
		s.State, s.LastError, s.Families = "Active", "hold timer expired", nil
	}
	return r
}

// TestLife takes a node from its registration through trouble, an outage of the API and a calm minute to its
// deletion.
func TestLife(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	l.source.Report(report(false))
	l.Eventually("the network is unavailable", within, func() bool {
		c := l.condition()
		return c.Status == corev1.ConditionTrue && c.Reason == "PodrouteSessionsDown" && strings.Contains(c.Message, "hold timer expired")
	})
	l.Eventually("the NodeRouting names the session", within, func() bool {
		all := l.routings()
		if len(all) != 1 {
			return false
		}
		c := apimeta.FindStatusCondition(all[0].Status.Conditions, config.ConditionSessions)
		return c != nil && c.Status == metav1.ConditionFalse && c.Reason == "NotEstablished" && strings.Contains(c.Message, "tor1: hold timer expired")
	})
	const all = "example.com/other node.kubernetes.io/not-ready podroute.io/not-ready"
	if got := l.taints(); got != all {
		t.Errorf("taints before the node is ready: %s, want %s", got, all)
	}

	l.source.Report(report(true))
	l.Eventually("the network is there", within, func() bool { return l.condition().Status == corev1.ConditionFalse })
	l.Eventually("the startup taint is gone, the others are not", within, func() bool {
		return l.taints() == "example.com/other node.kubernetes.io/not-ready"
	})
	node := read[corev1.Node](l, "node", "n1")
	if !slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}) {
		t.Errorf("kubelet's condition is gone: %v", node.Status.Conditions)
	}
	l.Eventually("the NodeRouting tells it", within, func() bool {
		all := l.routings()
		return len(all) == 1 && all[0].Name == "n1" && all[0].Status.Established == 1 && len(all[0].Status.Conditions) == 2 &&
			apimeta.IsStatusConditionTrue(all[0].Status.Conditions, config.ConditionReady) &&
			apimeta.IsStatusConditionTrue(all[0].Status.Conditions, config.ConditionSessions)
	})
	r := l.routings()[0]
	if len(r.OwnerReferences) != 1 || r.OwnerReferences[0].UID != node.UID {
		t.Errorf("owner %v, want Node %s", r.OwnerReferences, node.UID)
	}
	if b := r.Status.Blocks; len(b) != 1 || b[0].Used != 3 || len(r.Status.Sessions) != 1 || r.Status.Sessions[0].Families[0].Received != 5 {
		t.Errorf("NodeRouting %+v", r.Status)
	}
	l.Eventually("Events", within, func() bool {
		events := read[struct{ Items []corev1.Event }](l, "events", "-n", "default", "--field-selector", "involvedObject.name=n1").Items
		var reasons []string
		for _, e := range events {
			reasons = append(reasons, e.Reason)
		}
		slices.Sort(reasons)
		return slices.Equal(reasons, []string{"BGPSessionEstablished", "NetworkReady"})
	})
	for _, w := range l.Writes("n1") {
		t.Logf("written: %v: %d", w, w.ResponseStatus.Code)
		if w.ResponseStatus.Code >= 400 {
			t.Errorf("refused: %v: %d", w, w.ResponseStatus.Code)
		}
	}
	l.calm()
	l.outage()
	l.restart()
	l.gone()
}

// calm counts what is written while nothing happens but kubelet's and others' updates.
func (l *life) calm() {
	before := len(l.Writes("n1"))
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Second) {
		l.Kubectl("annotate", "--overwrite", "node", "n1", "example.com/now="+time.Now().Format(time.TimeOnly))
		l.Kubectl("patch", "node", "n1", "--subresource=status", "-p",
			`{"status":{"conditions":[{"type":"Ready","status":"True","lastHeartbeatTime":"`+time.Now().UTC().Format(time.RFC3339)+`"}]}}`)
	}
	var own []apiserver.Request
	lease := 0
	for _, w := range l.Writes("n1")[before:] {
		if w.ObjectRef.Resource == "leases" {
			lease++ // the leader's, one agent of the cluster
		} else {
			own = append(own, w)
		}
	}
	l.t.Logf("writes in a calm minute: %d a node, %d of the leader's Lease", len(own), lease)
	if len(own) > 1 || lease > 6 {
		l.t.Errorf("%d and %d writes in a calm minute, want at most 1 a node and 6 of the Lease: %v", len(own), lease, own)
	}
}

// outage takes the API away while much happens. What was true at the end is written, once.
func (l *life) outage() {
	before := len(l.Writes("n1"))
	l.Down()
	for range 50 {
		l.source.Report(report(false))
		l.source.Report(report(true))
	}
	last := report(true)
	last.Routing.Pods = 42
	l.source.Report(last)
	if l.source.Departing() {
		l.t.Error("an outage of the API is taken for the end of the node")
	}
	l.Up()
	l.Eventually("the last report is written", time.Minute, func() bool { return l.routings()[0].Status.Pods == 42 })
	n := 0
	for _, w := range l.Writes("n1")[before:] {
		if w.ObjectRef.Resource == "nodes" || w.ObjectRef.Resource == "noderoutings" {
			n++
		}
	}
	l.t.Logf("writes to Node and NodeRouting after an outage with 101 reports: %d", n)
	if n > 2 {
		l.t.Errorf("%d writes after an outage, want at most 2: %v", n, l.Writes("n1")[before:])
	}
}

// restart: another agent takes over, undecided; the condition stands, with the time of its last change.
func (l *life) restart() {
	was := l.condition()
	l.stop()
	l.start()
	undecided := report(false)
	undecided.Undecided = true
	l.source.Report(undecided)
	l.Eventually("the new agent publishes", within, func() bool { return l.routings()[0].Status.Established == 0 })
	l.source.Report(report(true))
	l.Eventually("and decides", within, func() bool { return l.routings()[0].Status.Established == 1 })
	if is := l.condition(); is.Status != was.Status || !is.LastTransitionTime.Equal(&was.LastTransitionTime) {
		l.t.Errorf("a restart moved the condition from %+v to %+v", was, is)
	}
	if c := l.routings()[0].Status.Conditions[0]; c.Status != metav1.ConditionTrue {
		l.t.Errorf("the NodeRouting's condition: %+v", c)
	}
}

// gone: the Node is deleted, and comes back as another.
func (l *life) gone() {
	if l.source.Departing() {
		l.t.Error("departing while the Node is there")
	}
	l.Kubectl("delete", "node", "n1")
	l.Eventually("the node departs", within, l.source.Departing)
	before := len(l.Writes("n1"))
	l.source.Report(report(false))
	l.Kubectl("create", "-f", l.node())
	l.Eventually("a Node of the name is there again", within, func() bool { return !l.source.Departing() })
	l.Eventually("it is told of", within, func() bool { return l.condition().Status == corev1.ConditionTrue })
	uid := read[corev1.Node](l, "node", "n1").UID
	l.Eventually("the NodeRouting goes with the new Node", within, func() bool {
		all := l.routings()
		return len(all) == 1 && len(all[0].OwnerReferences) == 1 && all[0].OwnerReferences[0].UID == uid
	})
	for _, w := range l.Writes("n1")[before:] {
		if w.ResponseStatus.Code >= 400 && w.ResponseStatus.Code != 404 {
			l.t.Errorf("refused: %v: %d", w, w.ResponseStatus.Code)
		}
	}
	l.Kubectl("patch", "node", "n1", "--subresource=status", "-p",
		`{"status":{"conditions":[{"type":"Ready","status":"False","reason":"KubeletNotReady","message":"node is shutting down"}]}}`)
	l.Eventually("the machine shuts down", within, l.source.Departing)
}

func (l *life) node() string {
	l.t.Helper()
	file := filepath.Join(l.t.TempDir(), "node.json")
	if err := os.WriteFile(file, []byte(`{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}`), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return file
}

// TestKubeletStillSaysSo looks for the words in kubelet's source that a shutdown is known by.
func TestKubeletStillSaysSo(t *testing.T) {
	c := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes")
	c.Dir = "../kubernetes"
	dir, err := c.Output()
	if err != nil {
		t.Fatalf("find kubelet's source: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "pkg/kubelet/nodeshutdown/nodeshutdown_manager_linux.go"))
	if err != nil || !strings.Contains(string(text), `"node is shutting down"`) {
		t.Errorf("kubelet no longer says \"node is shutting down\" (%v): see config/kube/departing.go", err)
	}
}
