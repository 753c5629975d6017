package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/podroute/podroute/internal/nstest"
)

// fib looks at the IPv4 routing table of a namespace.
type fib struct {
	ns   *nstest.NS
	nl   *netlink.Handle
	stat *os.File // fib_triestat of the namespace
	base int      // prefixes that are there without the feeder's
	buf  []byte
}

func openFIB(ns *nstest.NS) (*fib, error) {
	f := &fib{ns: ns, buf: make([]byte, 4096)}
	err := ns.Do(func() error {
		var err error
		if f.stat, err = os.Open("/proc/thread-self/net/fib_triestat"); err != nil {
			return err
		}
		if f.nl, err = netlink.NewHandle(); err != nil {
			return fmt.Errorf("open rtnetlink: %w", err)
		}
		return nil
	})
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *fib) Close() {
	if f.stat != nil {
		_ = f.stat.Close()
	}
	if f.nl != nil {
		f.nl.Close()
	}
}

// count is the number of prefixes in the table. It makes the kernel walk the whole of it.
func (f *fib) count() (int, error) {
	n, err := f.stat.ReadAt(f.buf, 0)
	if err != nil && err != io.EOF { //nolint:errorlint // io.ReaderAt's word
		return 0, fmt.Errorf("read fib_triestat: %w", err)
	}
	_, after, _ := strings.Cut(string(f.buf[:n]), "Prefixes:")
	line, _, _ := strings.Cut(after, "\n")
	c, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0, fmt.Errorf("fib_triestat: %w", err)
	}
	return c, nil
}

// has looks one prefix up. Nothing else in the table covers the feeder's prefixes.
func (f *fib) has(p netip.Prefix) bool {
	r, err := f.nl.RouteGet(p.Addr().Next().AsSlice())
	return err == nil && len(r) > 0
}

// await waits until all prefixes are in the table, or none of them, and returns when that was first
// seen. It looks at a sample first, which costs next to nothing, and counts only in the end.
func (f *fib) await(ctx context.Context, prefixes []netip.Prefix, present bool) (time.Time, error) {
	sample := []netip.Prefix{prefixes[0], prefixes[len(prefixes)-1]}
	for range 62 {
		sample = append(sample, prefixes[rand.IntN(len(prefixes))])
	}
	want := f.base
	if present {
		want += len(prefixes)
	}
	var at time.Time
	have := 0
	err := poll(ctx, "the routes", 2*time.Millisecond, func() (bool, error) {
		for len(sample) > 0 && f.has(sample[0]) == present {
			sample = sample[1:]
		}
		if len(sample) > 0 {
			return false, nil
		}
		var err error
		have, err = f.count()
		at = time.Now()
		return have == want, err
	})
	if err != nil {
		have, _ = f.count()
		return at, fmt.Errorf("%d prefixes in the routing table instead of %d: %w", have, want, err)
	}
	return at, nil
}

// verify compares the table with what was sent: every prefix, by the next hop given.
func (f *fib) verify(prefixes []netip.Prefix, via netip.Addr) error {
	out, err := f.ns.Try("ip -4 route show root " + clusterCIDR)
	if err != nil {
		return err
	}
	got := make(map[string]bool, len(prefixes))
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); strings.Contains(line, " via "+via.String()+" ") {
			got[f[0]] = true
		}
	}
	for _, p := range prefixes {
		if !got[p.String()] {
			return fmt.Errorf("%v is not in the routing table by %v", p, via)
		}
	}
	return nil
}

// poll calls fn now and then every interval, until it returns true, an error, or ctx ends.
func poll(ctx context.Context, what string, every time.Duration, fn func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := fn(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
