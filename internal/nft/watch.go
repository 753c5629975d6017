package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// Watch says which traffic from outside is counted, while a node is drained: what arrives on any link but pods' and
// the loopback.
type Watch struct {
	// Services are the addresses whose packets are counted before anybody translates them.
	Services []netip.Prefix
	// Uplinks are the links whose packets are counted, each by itself.
	Uplinks []string
}

// validate reports what is wrong with a Watch.
func (w *Watch) validate() error {
	errs := []error{valid(w.Services)}
	for _, link := range w.Uplinks {
		if link == "" || len(link) >= ifNameSize {
			errs = append(errs, fmt.Errorf("uplink %q: no name of a link", link))
		}
	}
	return errors.Join(errs...)
}

// Counts are packets since the watch began, or since what is watched changed last.
type Counts struct {
	// Services: to service addresses. Forwarded: to any address that is not this node's own, those included.
	Services, Forwarded uint64
	// Uplinks: received, by link.
	Uplinks map[string]uint64
}

// Comments of the rules that count, by which they are found again.
const (
	watchChain     = "drain"
	countServices  = "to service addresses"
	countForwarded = "forwarded from outside"
	countUplink    = "received on "
)

// watching is the chain that counts, and its sets.
func watching(c Config) (chain, []set) {
	// Before connection tracking and the translation of service addresses.
	out := chain{
		name: watchChain, kind: nftables.ChainTypeFilter,
		hook: *nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityRaw,
	}
	fromOutside := slices.Concat(linkIsNot(expr.MetaKeyIIFNAME, []byte(c.PodLinks)), linkIsNot(expr.MetaKeyIIFNAME, []byte("lo\x00")))
	var sets []set
	for _, f := range families() {
		served := newSet("served", f, c.Watch.Services)
		if len(served.spans) == 0 {
			continue
		}
		sets = append(sets, served)
		out.rules = append(out.rules, rule{comment: countServices, exprs: slices.Concat(ofFamily(f), fromOutside, []expr.Any{
			load(f.destined, f.addrLen),
			&expr.Lookup{SourceRegister: 1, SetName: served.name},
			&expr.Counter{},
		})})
	}
	out.rules = append(out.rules, rule{comment: countForwarded, exprs: slices.Concat(fromOutside, []expr.Any{
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_UNICAST)},
		&expr.Counter{},
	})})
	for _, link := range c.Watch.Uplinks {
		name := make([]byte, ifNameSize)
		copy(name, link)
		out.rules = append(out.rules, rule{comment: countUplink + link, exprs: append(linkIs(string(name)), &expr.Counter{})})
	}
	return out, sets
}

// Counts reads what was counted; zero where nothing is watched. It may be called from any goroutine.
func (t *Table) Counts(ctx context.Context) (Counts, error) {
	k, err := open(ctx, t.netns)
	if err != nil {
		return Counts{}, err
	}
	defer k.close()
	c := Counts{Uplinks: map[string]uint64{}}
	chains, err := k.conn.ListChainsOfTableFamily(k.table.Family)
	if err != nil {
		return c, fmt.Errorf("list chains: %w", err)
	}
	i := slices.IndexFunc(chains, func(c *nftables.Chain) bool {
		return c.Table != nil && c.Table.Name == k.table.Name && c.Name == watchChain
	})
	if i < 0 {
		return c, nil
	}
	rules, err := k.conn.GetRules(k.table, chains[i])
	if err != nil {
		return c, fmt.Errorf("rules of chain %s: %w", watchChain, err)
	}
	for _, r := range rules {
		comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
		switch link, uplink := strings.CutPrefix(comment, countUplink); {
		case uplink:
			c.Uplinks[link] = packets(r.Exprs)
		case comment == countServices:
			c.Services += packets(r.Exprs)
		case comment == countForwarded:
			c.Forwarded += packets(r.Exprs)
		}
	}
	return c, nil
}

// packets is what the counter in a rule says.
func packets(exprs []expr.Any) uint64 {
	for _, e := range exprs {
		if c, is := e.(*expr.Counter); is {
			return c.Packets
		}
	}
	return 0
}
