package agent

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHealth asks both probes while the loop turns, while no pod can be added, and after the node has left.
func TestHealth(t *testing.T) {
	t.Parallel()
	a := &Agent{views: make(chan func(*loop))}
	var err error
	if a.probes, err = listenHealth(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if _, err := listenHealth(t.Context(), a.probes.Addr().String()); err == nil || !strings.Contains(err.Error(), "--health-address") {
		t.Errorf("a port that is taken: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.health(ctx) }()
	state := loop{desired: Desired{Role: roleNode}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for look := range a.views {
			look(&state)
		}
	}()
	change := func(f func(*loop)) {
		t.Helper()
		if err := a.view(ctx, f); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(path string, code int, text string) {
		t.Helper()
		got, body := probe(t, "http://"+a.probes.Addr().String()+path)
		if got != code || !strings.Contains(body, text) {
			t.Errorf("%s: %d %q, want %d %q", path, got, body, code, text)
		}
	}
	expect("/livez", http.StatusOK, "ok")
	expect("/readyz", http.StatusOK, "ok")
	expect("/metrics", http.StatusNotFound, "")
	change(func(l *loop) { l.unserved = errors.New("no pod subnet yet") })
	expect("/livez", http.StatusOK, "ok")
	expect("/readyz", http.StatusServiceUnavailable, "no pod subnet yet")
	change(func(l *loop) { l.desired.Role = roleRouter })
	expect("/readyz", http.StatusOK, "ok")
	close(a.views)
	<-ended
	a.views = nil // nobody answers any more
	a.left.Store(true)
	expect("/livez", http.StatusOK, "ok")
	expect("/readyz", http.StatusServiceUnavailable, "has left")
	a.left.Store(false)
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if err := a.alive(short); err == nil {
		t.Error("a loop that does not turn is taken for alive")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func probe(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
