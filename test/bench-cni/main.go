package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// options are the command's flags.
type options struct {
	agent, plugin, cache string
	pods                 int
	limit                float64
}

// errLimit says that the benchmark ran, and that podroute was too slow.
var errLimit = errors.New("podroute's ADD is too slow")

func main() {
	var o options
	flag.StringVar(&o.agent, "agent", "../../build/podroute", "the podroute binary")
	flag.StringVar(&o.plugin, "plugin", "../../build/podroute-cni", "the plugin binary")
	flag.StringVar(&o.cache, "cache", "../../.cache", "folder in which the reference plugins are kept")
	flag.IntVar(&o.pods, "pods", 100, "pods of each side, in each of the two ways")
	flag.Float64Var(&o.limit, "limit", 0.5, "highest ratio of the medians of ADD, one at a time, that passes")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-cni:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	bin, err := references(ctx, o.cache, "main/ptp", "ipam/host-local")
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "bench-cni")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	node, err := newNamespace()
	if err != nil {
		return err
	}
	defer node.close()
	plugin, err := filepath.Abs(o.plugin)
	if err != nil {
		return err
	}
	stop, err := startAgent(ctx, o.agent, filepath.Dir(plugin), scratch, manifests, node)
	if err != nil {
		return err
	}
	defer stop()
	ours, err := newSide("podroute", scratch, node, []string{filepath.Dir(plugin)}, podrouteList(filepath.Base(plugin), socketIn(scratch)))
	if err != nil {
		return err
	}
	theirs, err := newSide("ptp+host-local", scratch, node, []string{bin}, ptpList(scratch))
	if err != nil {
		return err
	}
	single, err := measure(ctx, ours, theirs, o.pods, 1)
	if err != nil {
		return err
	}
	eight, err := measure(ctx, ours, theirs, o.pods, 8)
	if err != nil {
		return err
	}
	print(os.Stdout, single, eight)
	if r := single.ratio("ADD"); r > o.limit {
		return fmt.Errorf("%w: %.2f of %s's at the median, and at most %.2f is allowed", errLimit, r, theirs.name, o.limit)
	}
	return nil
}
