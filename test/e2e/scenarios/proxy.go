package scenarios

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/podroute/podroute/test/e2e/cluster"
)

// proxyMode switches one node's kube-proxy between nftables and iptables, and back afterwards.
func proxyMode(ctx context.Context, t *T) error {
	const node = "n3"
	file := filepath.Join(t.Out(), "cluster", "kube-proxy-"+node+".yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	was, other := "nftables", "iptables"
	if !strings.Contains(string(text), `mode: "nftables"`) {
		was, other = other, was
	}
	changed := strings.Replace(string(text), `mode: "`+was+`"`, `mode: "`+other+`"`, 1)
	if changed == string(text) {
		return fmt.Errorf("%s names no mode", file)
	}
	t.Afterwards(func(ctx context.Context) error { return t.restartProxy(ctx, node, file, string(text)) })
	if err := t.restartProxy(ctx, node, file, changed); err != nil {
		return err
	}
	t.Note("%s: %s, the others: %s", node, other, was)
	return t.servicesWork(ctx)
}

// restartProxy starts a node's kube-proxy with other settings and nothing left of the earlier mode.
func (t *T) restartProxy(ctx context.Context, node, file, settings string) error {
	if err := t.Service(ctx, node, "stop", "kube-proxy"); err != nil {
		return err
	}
	if _, err := t.On(ctx, node, "kube-proxy", "--cleanup"); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(settings), 0o644); err != nil {
		return err
	}
	if err := t.Service(ctx, node, "start", "kube-proxy"); err != nil {
		return err
	}
	return cluster.Eventually(ctx, 30*time.Second, func(ctx context.Context) error {
		_, err := t.On(ctx, node, "curl", "-sS", "--fail", "--max-time", "2", "http://127.0.0.1:10256/healthz")
		return err
	})
}
