package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/podroute/podroute/config"
)

// nodeAPI is as much of an API server as a herald speaks to: one Node, its NodeRouting, Events. Objects are kept as
// JSON values. The real server is asked in test/e2e.
type nodeAPI struct {
	t *testing.T

	mu      sync.Mutex
	objects map[string]map[string]any // "nodes/a"
	version int
	away    bool
	missed  int      // requests while away
	forbid  string   // requests that begin so: "PATCH nodes/"
	writes  []string // "PATCH nodes/a/status"
	meddle  func()   // called once, before the next JSON patch of a Node
}

func (a *nodeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	path := r.URL.Path
	for _, prefix := range []string{"/api/v1/", "/apis/podroute.io/v1alpha1/"} {
		path = strings.TrimPrefix(path, prefix)
	}
	key := strings.TrimSuffix(path, "/status")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Error(err)
	}
	if a.away {
		a.missed++
		a.fail(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)
		return
	}
	if a.forbid != "" && strings.HasPrefix(r.Method+" "+path, a.forbid) {
		a.fail(w, http.StatusForbidden, metav1.StatusReasonForbidden)
		return
	}
	if r.Method != http.MethodGet {
		a.writes = append(a.writes, r.Method+" "+path)
	}
	o := a.objects[key]
	switch {
	case r.Method == http.MethodPost:
		o, key = a.decode(body, path)
	case o == nil:
		a.fail(w, http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	case r.Method == http.MethodPatch:
		if key == "nodes/a" && a.meddle != nil && strings.Contains(r.Header.Get("Content-Type"), "json-patch") {
			a.meddle()
			a.meddle = nil
		}
		if !a.patch(o, r.Header.Get("Content-Type"), body) {
			a.fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid)
			return
		}
	}
	if r.Method != http.MethodGet {
		a.version++
		meta(o)["resourceVersion"] = fmt.Sprint(a.version)
		a.objects[key] = o
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(o); err != nil {
		a.t.Error(err)
	}
}

func meta(o map[string]any) map[string]any { return o["metadata"].(map[string]any) }

func (a *nodeAPI) fail(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason,
	})
}

// decode reads a new object, JSON or protobuf.
func (a *nodeAPI) decode(body []byte, path string) (map[string]any, string) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		a.t.Error(err)
	}
	if strings.HasPrefix(path, "namespaces/") {
		o, _, err := serializer.NewCodecFactory(scheme).UniversalDeserializer().Decode(body, nil, nil)
		if err != nil {
			a.t.Error(err)
		}
		if body, err = json.Marshal(o); err != nil {
			a.t.Error(err)
		}
	}
	o := map[string]any{}
	if err := json.Unmarshal(body, &o); err != nil {
		a.t.Error(err)
	}
	meta(o)["uid"] = "new-" + path
	delete(o, "status") // a subresource
	return o, path + "/" + fmt.Sprint(meta(o)["name"])
}

// patch changes o in one of the three ways that heralds use.
func (a *nodeAPI) patch(o map[string]any, kind string, body []byte) bool {
	if strings.Contains(kind, "json-patch") {
		var ops []struct {
			Op, Path string
			Value    any
		}
		if err := json.Unmarshal(body, &ops); err != nil {
			a.t.Error(err)
		}
		for _, op := range ops {
			in, steps := o, strings.Split(op.Path[1:], "/")
			for _, s := range steps[:len(steps)-1] {
				in, _ = in[s].(map[string]any)
			}
			last := steps[len(steps)-1]
			switch op.Op {
			case "test":
				if !reflect.DeepEqual(in[last], op.Value) {
					return false
				}
			case "remove":
				delete(in, last)
			default:
				in[last] = op.Value
			}
		}
		return true
	}
	var p map[string]any
	if err := json.Unmarshal(body, &p); err != nil {
		a.t.Error(err)
	}
	if !strings.Contains(kind, "strategic") {
		mergeInto(o, p)
		return true
	}
	status := o["status"].(map[string]any)
	conditions, _ := status["conditions"].([]any)
	for _, c := range p["status"].(map[string]any)["conditions"].([]any) {
		is := func(x any) bool { return x.(map[string]any)["type"] == c.(map[string]any)["type"] }
		if i := slices.IndexFunc(conditions, is); i >= 0 {
			conditions[i] = c
		} else {
			conditions = append(conditions, c)
		}
	}
	status["conditions"] = conditions
	return true
}

func mergeInto(o, p map[string]any) {
	for k, v := range p {
		if m, ok := v.(map[string]any); ok {
			if in, ok := o[k].(map[string]any); ok {
				mergeInto(in, m)
				continue
			}
		}
		o[k] = v
	}
}

// get reads an object into a value of its type.
func get[T any](a *nodeAPI, key string) (T, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var v T
	o, ok := a.objects[key]
	if ok {
		text, err := json.Marshal(o)
		if err != nil {
			a.t.Fatal(err)
		}
		if err := json.Unmarshal(text, &v); err != nil {
			a.t.Fatal(err)
		}
	}
	return v, ok
}

// change changes the node, and the watch tells.
func (a *nodeAPI) change(h *herald, f func(node map[string]any)) {
	a.mu.Lock()
	f(a.objects["nodes/a"])
	a.version++
	meta(a.objects["nodes/a"])["resourceVersion"] = fmt.Sprint(a.version)
	a.mu.Unlock()
	n, _ := get[corev1.Node](a, "nodes/a")
	h.see(&n)
}

func (a *nodeAPI) condition() *corev1.NodeCondition {
	n, _ := get[corev1.Node](a, "nodes/a")
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable {
			return &c
		}
	}
	return nil
}

func (a *nodeAPI) count(verb string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, w := range a.writes {
		if strings.HasPrefix(w, verb) {
			n++
		}
	}
	return n
}

// taints of the node, in the order in which they stand.
func (a *nodeAPI) taints() []string {
	n, _ := get[corev1.Node](a, "nodes/a")
	var out []string
	for _, t := range n.Spec.Taints {
		out = append(out, t.Key)
	}
	return out
}

// newNodeAPI serves a Node that has just been registered, and starts a herald that knows it.
func newNodeAPI(t *testing.T) (*nodeAPI, *herald) {
	t.Helper()
	a := &nodeAPI{t: t, version: 10, objects: map[string]map[string]any{}}
	var node map[string]any
	if err := json.Unmarshal([]byte(`{"apiVersion":"v1","kind":"Node",
		"metadata":{"name":"a","uid":"uid-1","resourceVersion":"10"},
		"spec":{"taints":[{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule"},
			{"key":"podroute.io/not-ready","effect":"NoSchedule"},{"key":"podroute.io/not-ready","effect":"NoExecute"},{"key":"mine","effect":"NoSchedule"}]},
		"status":{"conditions":[{"type":"Ready","status":"True"}]}}`), &node); err != nil {
		t.Fatal(err)
	}
	a.objects["nodes/a"] = node
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: %q}}], users: [{name: u, user: {}}]}`, server.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := newClient(Options{Log: slog.New(slog.DiscardHandler), NodeName: "a", Kubeconfig: kubeconfig, Namespace: "kube-system"})
	if err != nil {
		t.Fatal(err)
	}
	h := newHerald(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	n, _ := get[corev1.Node](a, "nodes/a")
	h.see(&n)
	return a, h
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (a *nodeAPI) routing() config.NodeRouting {
	r, _ := get[config.NodeRouting](a, "noderoutings/a")
	return r
}
