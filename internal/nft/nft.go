package nft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"github.com/mdlayher/netlink"
)

// Config is what the table is to do.
type Config struct {
	// PodLinks is what the names of the host's ends of pod links begin with. It must not be empty.
	PodLinks string
	// PodCIDRs are the sources that are masqueraded: the node's own blocks.
	PodCIDRs []netip.Prefix
	// Direct are the destinations that pods reach under their own address.
	Direct []netip.Prefix
	// NodeAddrs are the addresses that masqueraded connections leave with, at most one a family. For a
	// family without one, the kernel chooses the address of the link that the packet leaves by.
	NodeAddrs []netip.Addr
	// Masquerade switches masquerading on. Anti-spoofing is always on.
	Masquerade bool
	// Services are addresses of services and their ranges: what is forwarded to one of them, translated by nobody, is
	// refused instead. The router that it came from would send it back. Empty: nothing is.
	Services []netip.Prefix
	// Watch counts traffic from outside; nil: nothing is counted.
	Watch *Watch
}

// Options are what a Table needs from its surroundings.
type Options struct {
	Log *slog.Logger // nil: silent
}

// Table is the owner of the kernel's table inet podroute in one network namespace.
type Table struct {
	log     *slog.Logger
	netns   *os.File
	events  *netlink.Conn // of Run alone
	changed chan struct{}
	desired *ruleset // of the last Set that succeeded
}

// New returns the owner of the table in the calling thread's network namespace. The kernel is left as
// it is until the first Set.
func New(o Options) (*Table, error) {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("this thread's network namespace: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	events, err := listen(ns)
	if err != nil {
		_ = ns.Close()
		return nil, err
	}
	return &Table{log: o.Log, netns: ns, events: events, changed: make(chan struct{}, 1)}, nil
}

// Close releases the Table's hold on its namespace, once Run has returned. The kernel's table stays and
// goes on working.
func (t *Table) Close() error { return errors.Join(t.events.Close(), t.netns.Close()) }

// Set makes the kernel's table equal to what c asks for, atomically for the traffic that passes, and
// writes nothing where it is equal already. On an error the table is as it was before, or, where
// the error says so, right but with old sets left in it.
func (t *Table) Set(ctx context.Context, c Config) error {
	want, err := compile(c)
	if err != nil {
		return err
	}
	k, err := open(ctx, t.netns)
	if err != nil {
		return err
	}
	defer k.close()
	have, err := k.read()
	if err != nil {
		return err
	}
	if !have.equal(want) {
		if err := k.change(have, want); err != nil {
			return err
		}
		t.log.InfoContext(ctx, "nftables table written", "table", tableName, "found", have.describe(want))
	}
	t.desired = want
	return nil
}

// Drifted reports whether the kernel's table differs from what the last Set made it. Before the first
// Set it is false.
func (t *Table) Drifted(ctx context.Context) (bool, error) {
	if t.desired == nil {
		return false, nil
	}
	k, err := open(ctx, t.netns)
	if err != nil {
		return false, err
	}
	defer k.close()
	have, err := k.read()
	if err != nil {
		return false, err
	}
	return !have.equal(t.desired), nil
}

// Remove deletes the table. That there is none is no error.
func (t *Table) Remove(ctx context.Context) error {
	k, err := open(ctx, t.netns)
	if err != nil {
		return err
	}
	defer k.close()
	if err := k.remove(); err != nil {
		return err
	}
	t.desired = nil
	return nil
}

// validate reports everything that is wrong with a Config.
func (c Config) validate() error {
	var errs []error
	if c.PodLinks == "" {
		errs = append(errs, errors.New("no prefix of pod links' names: every link would count as a pod's"))
	}
	if len(c.PodLinks) >= ifNameSize {
		errs = append(errs, fmt.Errorf("prefix of pod links' names %q: longer than a link's name", c.PodLinks))
	}
	errs = append(errs, valid(c.PodCIDRs), valid(c.Direct), valid(c.Services))
	seen := map[bool]netip.Addr{}
	for _, a := range c.NodeAddrs {
		if !a.IsValid() || a.IsUnspecified() || a.Zone() != "" {
			errs = append(errs, fmt.Errorf("node address %v: not an address to send from", a))
			continue
		}
		is4 := a.Unmap().Is4()
		if other, dup := seen[is4]; dup {
			errs = append(errs, fmt.Errorf("node addresses %v and %v: at most one a family", other, a))
		}
		seen[is4] = a
	}
	if c.Watch != nil {
		errs = append(errs, c.Watch.validate())
	}
	return errors.Join(errs...)
}

// valid reports prefixes that are none.
func valid(prefixes []netip.Prefix) error {
	var errs []error
	for _, p := range prefixes {
		if !p.IsValid() {
			errs = append(errs, fmt.Errorf("prefix %v: not valid", p))
		}
	}
	return errors.Join(errs...)
}
