package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// prefixes is how many routes are fed; packings are how many of them an UPDATE carries. The first
// decides.
const prefixes = 100000

func packings() []int { return []int{100, 4} }

// bench is one invocation.
type bench struct {
	agent    string
	rounds   int
	prefixes []netip.Prefix
	progress io.Writer
}

func main() {
	b := bench{prefixes: feed(prefixes), progress: os.Stderr}
	flag.StringVar(&b.agent, "agent", "build/podroute", "the podroute binary")
	flag.IntVar(&b.rounds, "rounds", 7, "how many times each device is measured with each packing")
	asJSON := flag.Bool("json", false, "write the figures as JSON")
	flag.Parse()
	if flag.NArg() > 0 || b.rounds < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	pass, err := b.main(ctx, os.Stdout, *asJSON)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-fib:", err)
	}
	if err != nil || !pass {
		os.Exit(1)
	}
}

// main measures, reports to w, and tells whether the figures are good enough.
func (b *bench) main(ctx context.Context, w io.Writer, asJSON bool) (bool, error) {
	runs, err := b.all(ctx)
	if err != nil {
		return false, err
	}
	r := summarize(runs, packings())
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return r.Pass, e.Encode(r)
	}
	return r.Pass, r.table(w)
}

// all does every round of every packing. In each, BIRD and podroute come one right after the other,
// in alternating order.
func (b *bench) all(ctx context.Context) ([]measured, error) {
	var err error
	if b.agent, err = filepath.Abs(b.agent); err != nil {
		return nil, err
	}
	if _, err = os.Stat(b.agent); err != nil {
		return nil, fmt.Errorf("%w: build it first (make build), or name it with -agent", err)
	}
	var out []measured
	for _, per := range packings() {
		for round := range b.rounds {
			devices := []string{devBIRD, devPodroute, devFRR}
			if round%2 == 1 {
				devices[0], devices[1] = devices[1], devices[0]
			}
			for _, d := range devices {
				m, err := b.run(ctx, job{Device: d, Round: round + 1, PerUpdate: per})
				if ctx.Err() != nil {
					return nil, errors.New("interrupted")
				}
				if err != nil {
					return nil, err
				}
				fmt.Fprintf(b.progress, "%3d prefixes an UPDATE, round %d of %d: %-8s  in the FIB after %4.0f ms, out of it after %4.0f ms (others: %.1f CPUs)\n",
					per, round+1, b.rounds, d, m.InstallMS, m.WithdrawMS, m.Others)
				out = append(out, m)
			}
		}
	}
	return out, nil
}
