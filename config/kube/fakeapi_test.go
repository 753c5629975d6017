package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fakeAPI is as much of an API server as a follower meets: lists, watches, and how both fail.
type fakeAPI struct {
	t      *testing.T
	server *httptest.Server

	mu       sync.Mutex
	version  int
	objects  map[string]map[string]any // by path: resource/name
	history  []fakeEvent
	oldest   int  // versions before this one are not known any more
	stream   bool // watches can send everything
	away     bool
	requests []string
	moved    chan struct{} // closed and made anew at every change
}

type fakeEvent struct {
	version  int
	resource string
	kind     string // ADDED, …
	object   map[string]any
}

func newFakeAPI(t *testing.T) *fakeAPI {
	t.Helper()
	f := &fakeAPI{t: t, objects: map[string]map[string]any{}, stream: true, moved: make(chan struct{}), version: 10}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

// kubeconfig writes one that leads here.
func (f *fakeAPI) kubeconfig() string {
	f.t.Helper()
	path := filepath.Join(f.t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{"name": "c", "cluster": {"server": %q}}],
		"contexts": [{"name": "c", "context": {"cluster": "c"}}]}`, f.server.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// source runs a Source until the test ends.
func (f *fakeAPI) source(runDir string) *Source {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := New(ctx, Options{Log: slog.New(slog.DiscardHandler), NodeName: "n1", Kubeconfig: f.kubeconfig(), RunDir: runDir})
	if err != nil {
		cancel()
		f.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
	return s
}

// put creates or changes an object, given as JSON.
func (f *fakeAPI) put(resource, text string) {
	f.t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version++
	metadata, _ := object["metadata"].(map[string]any)
	metadata["resourceVersion"], metadata["uid"], metadata["generation"] = strconv.Itoa(f.version), "u", 1
	path, kind := resource+"/"+metadata["name"].(string), "ADDED"
	if f.objects[path] != nil {
		kind = "MODIFIED"
	}
	f.objects[path] = object
	f.happened(fakeEvent{f.version, resource, kind, object})
}

func (f *fakeAPI) remove(resource, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version++
	object := f.objects[resource+"/"+name]
	delete(f.objects, resource+"/"+name)
	f.happened(fakeEvent{f.version, resource, "DELETED", object})
}

func (f *fakeAPI) happened(e fakeEvent) {
	f.history = append(f.history, e)
	close(f.moved)
	f.moved = make(chan struct{})
}

// set changes how the server behaves and ends every connection.
func (f *fakeAPI) set(change func()) {
	f.mu.Lock()
	change()
	f.mu.Unlock()
	f.server.CloseClientConnections()
}

// count is how many requests contained a text.
func (f *fakeAPI) count(text string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if strings.Contains(r, text) {
			n++
		}
	}
	return n
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	resource := parts[len(parts)-1]
	q := r.URL.Query()
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.URL.String())
	away, stream := f.away, f.stream
	f.mu.Unlock()
	switch {
	case away:
		http.Error(w, "away", http.StatusServiceUnavailable)
	case r.Method != http.MethodGet || slices.Contains(parts, "leases"):
		refuse(w, http.StatusForbidden, "Forbidden")
	case q.Get("watch") == "true" && q.Get("sendInitialEvents") == "true" && !stream:
		refuse(w, http.StatusUnprocessableEntity, "Invalid")
	case q.Get("watch") == "true":
		f.watch(w, r, resource)
	default:
		f.list(w, r, resource)
	}
}

func refuse(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": %q, "message": %q, "code": %d}`, reason, reason, code)
}

// chosen tells whether an object is among those that the request asks for by its name.
func chosen(r *http.Request, object map[string]any) bool {
	name, named := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	metadata, _ := object["metadata"].(map[string]any)
	return !named || metadata["name"] == name
}

func (f *fakeAPI) present(r *http.Request, resource string) (items []map[string]any, version int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for path, o := range f.objects {
		if strings.HasPrefix(path, resource+"/") && chosen(r, o) {
			items = append(items, o)
		}
	}
	return items, f.version
}

// list answers by pages of two.
func (f *fakeAPI) list(w http.ResponseWriter, r *http.Request, resource string) {
	items, version := f.present(r, resource)
	slices.SortFunc(items, func(a, b map[string]any) int {
		return strings.Compare(fmt.Sprint(a["metadata"]), fmt.Sprint(b["metadata"]))
	})
	start, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	end := min(start+2, len(items))
	meta := map[string]any{"resourceVersion": strconv.Itoa(version)}
	if end < len(items) {
		meta["continue"] = strconv.Itoa(end)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"metadata": meta, "items": items[start:end]})
}

func (f *fakeAPI) watch(w http.ResponseWriter, r *http.Request, resource string) {
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	say := func(kind string, object any) {
		_ = out.Encode(map[string]any{"type": kind, "object": object})
		w.(http.Flusher).Flush()
	}
	apiVersion, kind := "podroute.io/v1alpha1", map[string]string{
		"bgppeers": "BGPPeer", "routerconfigs": "RouterConfig", "addresspools": "AddressPool", "addressblocks": "AddressBlock",
		"advertisements": "Advertisement", "nodes": "Node", "secrets": "Secret", "namespaces": "Namespace",
		"services": "Service", "endpointslices": "EndpointSlice",
	}[resource]
	if strings.HasPrefix(r.URL.Path, "/api/v1/") {
		apiVersion = "v1"
	} else if kind == "EndpointSlice" {
		apiVersion = "discovery.k8s.io/v1"
	}
	bookmark := func(version int, annotations map[string]string) {
		say("BOOKMARK", map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"resourceVersion": strconv.Itoa(version), "annotations": annotations}})
	}
	since, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		items, version := f.present(r, resource)
		for _, o := range items {
			say("ADDED", o)
		}
		bookmark(version, map[string]string{initialEnd: "true"})
		since = version
	}
	f.mu.Lock()
	expired := since < f.oldest
	f.mu.Unlock()
	if expired {
		say("ERROR", map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": http.StatusGone, "message": "too old resource version"})
		return
	}
	bookmark(since, nil)
	for {
		f.mu.Lock()
		moved := f.moved
		news := slices.Clone(f.history)
		f.mu.Unlock()
		for _, e := range news {
			if e.version > since && e.resource == resource && chosen(r, e.object) {
				say(e.kind, e.object)
			}
			since = max(since, e.version)
		}
		select {
		case <-moved:
		case <-r.Context().Done():
			return
		}
	}
}
