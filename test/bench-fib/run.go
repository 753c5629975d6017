package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// runTimeout bounds one run; settle is how long the device idles before and after the routes arrive.
const (
	runTimeout = 90 * time.Second
	settle     = time.Second
)

// job is one run: a device, and how it is fed.
type job struct {
	Device    string `json:"device"`
	Round     int    `json:"round"`
	PerUpdate int    `json:"prefixes_per_update"`
}

// measured is what one run showed.
type measured struct {
	job
	// InstallMS is from the first UPDATE on the link to the last route in the FIB.
	InstallMS float64 `json:"install_ms"`
	// WithdrawMS is from the feeder's end of the connection to the last route's leaving the FIB.
	WithdrawMS float64 `json:"withdraw_ms"`
	// ArriveMS is from the first to the last UPDATE on the link.
	ArriveMS float64 `json:"arrive_ms"`
	// InstallCPU and WithdrawCPU are the device's own CPU seconds, a second of idling included.
	InstallCPU  float64 `json:"install_cpu_s"`
	WithdrawCPU float64 `json:"withdraw_cpu_s"`
	// IdleRSS and FullRSS are resident memory before and after the routes, KiB.
	IdleRSS int `json:"idle_rss_kib"`
	FullRSS int `json:"full_rss_kib"`
	Updates int `json:"updates"`
	// Others is how many processors worked for other programs while the routes went in.
	Others float64 `json:"others_cpus"`
}

// run makes a feeder and a device, measures, and removes both.
func (b *bench) run(ctx context.Context, j job) (m measured, err error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "podroute-bench-fib-")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return m, err
	}
	defer log.Close()
	from, to, err := cable()
	if err != nil {
		return m, err
	}
	defer from.Close()
	defer to.Close()
	m, err = b.measure(ctx, j, place{from, dir, log}, place{to, dir, log})
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		said, _ := os.ReadFile(log.Name())
		err = fmt.Errorf("%s, round %d: %w; what the programs printed:\n%s", j.Device, j.Round, err, said[max(0, len(said)-4000):])
	}
	return m, err
}

// cable makes the feeder's and the device's namespaces, and the link between them.
func cable() (from, to *nstest.NS, err error) {
	if from, err = nstest.Open(); err != nil {
		return nil, nil, err
	}
	if to, err = nstest.Open(); err != nil {
		return nil, nil, errors.Join(err, from.Close())
	}
	err = nstest.Join(from, feederLink, to, deviceLink)
	if err == nil {
		_, err = from.Try("ip addr add " + feederAddr + "/24 dev " + feederLink)
	}
	if err == nil {
		_, err = to.Try("ip addr add " + deviceAddr + "/24 dev " + deviceLink)
	}
	if err != nil {
		return nil, nil, errors.Join(err, from.Close(), to.Close())
	}
	return from, to, nil
}

func (b *bench) measure(ctx context.Context, j job, from, to place) (measured, error) {
	m := measured{job: j}
	table, err := openFIB(to.ns)
	if err != nil {
		return m, err
	}
	defer table.Close()
	link, err := newTap(to.ns, deviceLink, netip.MustParseAddr(feederAddr))
	if err != nil {
		return m, err
	}
	defer link.Close()
	procs, err := startDevice(ctx, j.Device, b.agent, to)
	defer func() {
		for _, p := range procs {
			p.Stop()
		}
	}()
	if err != nil {
		return m, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, p := range procs {
		go func() {
			<-p.Done()
			cancel(fmt.Errorf("%s ended", p.Cmd))
		}()
	}
	err = b.feed(ctx, &m, from, rig{table: table, link: link, procs: procs})
	if errors.Is(err, context.Canceled) {
		err = context.Cause(ctx)
	}
	return m, err
}

// feed starts a feeder and measures what the device makes of it.
func (b *bench) feed(ctx context.Context, m *measured, from place, r rig) error {
	var err error
	if r.feeder, err = startFeeder(ctx, from, b.prefixes, m.PerUpdate); err != nil {
		return err
	}
	defer r.feeder.proc.Stop()
	if _, err = r.link.await(ctx, "the session", func(s seen) bool { return !s.Established.IsZero() }); err != nil {
		return err
	}
	if err = pause(ctx, settle); err != nil {
		return err
	}
	if r.table.base, err = r.table.count(); err != nil {
		return err
	}
	if err = b.install(ctx, m, r); err != nil {
		return err
	}
	return b.withdraw(ctx, m, r)
}

// rig is what a measurement needs at hand.
type rig struct {
	table  *fib
	link   *tap
	feeder *feeder
	procs  []*nstest.Process
}

func (b *bench) install(ctx context.Context, m *measured, r rig) error {
	before, err := usageOf(r.procs)
	if err != nil {
		return err
	}
	load, err := newLoad(append(slices.Clone(r.procs), r.feeder.proc))
	if err != nil {
		return err
	}
	if err = r.feeder.send(ctx); err != nil {
		return err
	}
	done, err := r.table.await(ctx, b.prefixes, true)
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if m.Others, err = load.others(); err != nil {
		return err
	}
	if err = pause(ctx, settle); err != nil {
		return err
	}
	after, err := usageOf(r.procs)
	if err != nil {
		return err
	}
	s, err := r.link.now()
	if err != nil {
		return err
	}
	updates := (len(b.prefixes) + m.PerUpdate - 1) / m.PerUpdate
	if s.Prefixes != len(b.prefixes) || s.Updates != updates || s.Fullest != m.PerUpdate {
		return fmt.Errorf("%d prefixes in %d UPDATEs, at most %d in one, crossed the link instead of %d in %d",
			s.Prefixes, s.Updates, s.Fullest, len(b.prefixes), updates)
	}
	m.Updates = s.Updates
	m.InstallMS = ms(done.Sub(s.First))
	m.ArriveMS = ms(s.Last.Sub(s.First))
	m.InstallCPU = after.CPU - before.CPU
	m.IdleRSS, m.FullRSS = before.RSS, after.RSS
	return r.table.verify(b.prefixes, r.link.feeder)
}

func (b *bench) withdraw(ctx context.Context, m *measured, r rig) error {
	before, err := usageOf(r.procs)
	if err != nil {
		return err
	}
	r.feeder.proc.Stop()
	done, err := r.table.await(ctx, b.prefixes, false)
	if err != nil {
		return fmt.Errorf("withdraw: %w", err)
	}
	s, err := r.link.await(ctx, "the end of the connection", func(s seen) bool { return !s.Closed.IsZero() })
	if err != nil {
		return err
	}
	if err = pause(ctx, settle); err != nil {
		return err
	}
	after, err := usageOf(r.procs)
	if err != nil {
		return err
	}
	m.WithdrawMS = ms(done.Sub(s.Closed))
	m.WithdrawCPU = after.CPU - before.CPU
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
