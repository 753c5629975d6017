package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// socketBuffer holds a batch, or its acknowledgements, in bytes.
	socketBuffer = 4 << 20
	// elementsPerMessage keeps a list of IPv6 elements, 64 bytes a range, under an attribute's 65,535.
	elementsPerMessage = 512
	// reads of the table that may be spoilt by another program's change in the middle.
	maxReads = 10
	// nfgenmsgLen is the length of struct nfgenmsg, which opens every message, in bytes.
	nfgenmsgLen = 4
)

// kernel is a connection to one namespace's nftables, for the length of one operation: after a failed
// batch a connection may still hold answers that nobody read.
type kernel struct {
	conn   *nftables.Conn
	socket *netlink.Conn // conn's own, for what the library has no request for
	table  *nftables.Table
}

// open connects. The deadline of ctx, where it has one, bounds every wait for the kernel.
func open(ctx context.Context, netns *os.File) (*kernel, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k := &kernel{table: &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName}}
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(int(netns.Fd())),
		nftables.WithSockOptions(func(c *netlink.Conn) error {
			k.socket = c
			if err := errors.Join(c.SetReadBuffer(socketBuffer), c.SetWriteBuffer(socketBuffer)); err != nil {
				return err
			}
			deadline, ok := ctx.Deadline()
			if !ok {
				return nil
			}
			return c.SetDeadline(deadline)
		}))
	if err != nil {
		return nil, fmt.Errorf("nftables socket: %w", err)
	}
	k.conn = conn
	return k, nil
}

func (k *kernel) close() { _ = k.conn.CloseLasting() }

// read returns the table as the kernel has it. The several requests that takes are one consistent look:
// it is repeated where the kernel's generation moved on in the middle.
func (k *kernel) read() (*ruleset, error) {
	for range maxReads {
		before, err := k.generation()
		if err != nil {
			return nil, err
		}
		rs, err := k.readOnce()
		after, genErr := k.generation()
		if genErr != nil {
			return nil, genErr
		}
		if before == after {
			return rs, err // an error of a look that was spoilt means nothing
		}
	}
	return nil, fmt.Errorf("table inet %s: nftables changed under %d attempts to read it", tableName, maxReads)
}

// generation is the number that the kernel counts up with every batch, of anybody's.
func (k *kernel) generation() (uint32, error) {
	answer, err := k.socket.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   make([]byte, nfgenmsgLen),
	})
	if err != nil {
		return 0, fmt.Errorf("generation of nftables: %w", err)
	}
	for _, m := range answer {
		if len(m.Data) < nfgenmsgLen {
			continue
		}
		attrs, err := netlink.NewAttributeDecoder(m.Data[nfgenmsgLen:])
		if err != nil {
			return 0, fmt.Errorf("generation of nftables: %w", err)
		}
		attrs.ByteOrder = binary.BigEndian
		for attrs.Next() {
			if attrs.Type() == unix.NFTA_GEN_ID {
				return attrs.Uint32(), attrs.Err()
			}
		}
	}
	return 0, errors.New("generation of nftables: the kernel's answer has none")
}

func (k *kernel) readOnce() (*ruleset, error) {
	tables, err := k.conn.ListTablesOfFamily(k.table.Family)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	i := slices.IndexFunc(tables, func(t *nftables.Table) bool { return t.Name == k.table.Name })
	if i < 0 {
		return &ruleset{absent: true}, nil
	}
	rs := &ruleset{}
	if tables[i].Flags != 0 {
		rs.foreign = fmt.Sprintf("table has flags %#x", tables[i].Flags)
		return rs, nil
	}
	if err := k.readChains(rs); err != nil || rs.foreign != "" {
		return rs, err
	}
	if err := k.readSets(rs); err != nil || rs.foreign != "" {
		return rs, err
	}
	// The kernel counts what a table holds; more than we know of is an object of another kind.
	// (The library reads the count, which is in network byte order, as if it were in the host's.)
	held := int(binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, tables[i].Use)))
	if known := len(rs.chains) + len(rs.sets); held != known {
		rs.foreign = fmt.Sprintf("table holds %d objects, of which %d are chains and sets", held, known)
	}
	return rs, nil
}

func (k *kernel) readChains(rs *ruleset) error {
	chains, err := k.conn.ListChainsOfTableFamily(k.table.Family)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	for _, c := range chains {
		if c.Table == nil || c.Table.Name != k.table.Name {
			continue
		}
		if c.Hooknum == nil || c.Priority == nil || c.Policy == nil || *c.Policy != nftables.ChainPolicyAccept {
			rs.foreign = fmt.Sprintf("chain %s", c.Name)
			return nil
		}
		rules, err := k.conn.GetRules(k.table, c)
		if err != nil {
			return fmt.Errorf("rules of chain %s: %w", c.Name, err)
		}
		got := chain{name: c.Name, kind: c.Type, hook: *c.Hooknum, priority: *c.Priority}
		for _, r := range rules {
			comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			got.rules = append(got.rules, rule{exprs: withoutCounts(r.Exprs), comment: comment})
		}
		rs.chains = append(rs.chains, got)
	}
	return nil
}

// withoutCounts sets counters to zero, as they are in a rule that has just been written.
func withoutCounts(exprs []expr.Any) []expr.Any {
	for i, e := range exprs {
		if _, is := e.(*expr.Counter); is {
			exprs[i] = &expr.Counter{}
		}
	}
	return exprs
}

func (k *kernel) readSets(rs *ruleset) error {
	sets, err := k.conn.GetSets(k.table)
	if err != nil {
		return fmt.Errorf("list sets: %w", err)
	}
	for _, s := range sets {
		plain := !s.Anonymous && !s.Constant && !s.IsMap && !s.HasTimeout && !s.Dynamic && !s.Concatenation && s.Size == 0
		if !plain || !s.Interval {
			rs.foreign = fmt.Sprintf("set %s", s.Name)
			return nil
		}
		elements, err := k.conn.GetSetElements(s)
		if err != nil {
			return fmt.Errorf("elements of set %s: %w", s.Name, err)
		}
		spans, ok := fromElements(elements)
		if !ok {
			rs.foreign = fmt.Sprintf("elements of set %s", s.Name)
			return nil
		}
		rs.sets = append(rs.sets, set{name: s.Name, key: s.KeyType.Name, spans: spans})
	}
	return nil
}

// change writes what of want the kernel does not have. Where it can it exchanges rules in a table that
// stays, in three batches, each of which leaves a table that works: new sets, rules that use them,
// old sets away. One batch would let packets through untranslated: a set's elements can be looked up
// only a moment after the same batch's rules are in force.
func (k *kernel) change(have, want *ruleset) error {
	if _, rebuild := have.mustRebuild(want); rebuild {
		return k.rebuild(want)
	}
	if err := k.addSets(have, want); err != nil {
		return err
	}
	if err := k.flush(); err != nil {
		return err
	}
	k.exchangeRules(have, want)
	if err := k.flush(); err != nil {
		return err
	}
	if err := k.deleteSets(have, want); err != nil {
		return fmt.Errorf("table inet %s is as desired, but old sets are left in it: %w", tableName, err)
	}
	return nil
}

// exchangeRules puts the chains that differ into the batch; the counters of others stay.
func (k *kernel) exchangeRules(have, want *ruleset) {
	there, wanted := have.chainsByName(), want.chainsByName()
	for _, c := range want.chains {
		old, known := there[c.name]
		if known && reflect.DeepEqual(old, c) {
			continue
		}
		target := k.chain(c)
		if known {
			k.conn.FlushChain(target)
		} else {
			k.conn.AddChain(target)
		}
		k.addRules(target, c.rules)
	}
	for _, c := range have.chains {
		if _, keep := wanted[c.name]; !keep {
			target := k.chain(c)
			k.conn.FlushChain(target)
			k.conn.DelChain(target)
		}
	}
}

// rebuild deletes the table, if there is one, and writes it anew, with one batch.
func (k *kernel) rebuild(want *ruleset) error {
	k.conn.AddTable(k.table) // or deleting it would fail where there is none
	k.conn.DelTable(k.table)
	k.conn.AddTable(k.table)
	if err := k.addSets(&ruleset{}, want); err != nil {
		return err
	}
	for _, c := range want.chains {
		target := k.chain(c)
		k.conn.AddChain(target)
		k.addRules(target, c.rules)
	}
	return k.flush()
}

func (k *kernel) flush() error {
	if err := k.conn.Flush(); err != nil {
		return fmt.Errorf("write table inet %s: %w", tableName, err)
	}
	return nil
}

// addSets puts the sets of want that have lacks into the batch.
func (k *kernel) addSets(have, want *ruleset) error {
	present := have.byName()
	for i, s := range want.sets {
		if _, ok := present[s.name]; ok {
			continue
		}
		target := k.set(s, uint32(i+1)) //nolint:gosec // at most eight sets
		if err := k.conn.AddSet(target, nil); err != nil {
			return fmt.Errorf("set %s: %w", s.name, err)
		}
		for chunk := range slices.Chunk(toElements(s.spans), elementsPerMessage) {
			if err := k.conn.SetAddElements(target, chunk); err != nil {
				return fmt.Errorf("set %s: %w", s.name, err)
			}
		}
	}
	return nil
}

func (k *kernel) addRules(c *nftables.Chain, rules []rule) {
	for _, r := range rules {
		k.conn.AddRule(&nftables.Rule{Table: k.table, Chain: c, Exprs: r.exprs, UserData: r.udata()})
	}
}

// deleteSets deletes the sets that no rule refers to any longer.
func (k *kernel) deleteSets(have, want *ruleset) error {
	wanted := want.byName()
	for _, s := range have.sets {
		if _, keep := wanted[s.name]; !keep {
			k.conn.DelSet(k.set(s, 0))
		}
	}
	return k.conn.Flush()
}

// remove deletes the table, whatever it holds.
func (k *kernel) remove() error {
	k.conn.AddTable(k.table) // as in rebuild
	k.conn.DelTable(k.table)
	if err := k.conn.Flush(); err != nil {
		return fmt.Errorf("delete table inet %s: %w", tableName, err)
	}
	return nil
}

// chain is the library's form of a chain, without its rules.
func (k *kernel) chain(c chain) *nftables.Chain {
	accept := nftables.ChainPolicyAccept
	return &nftables.Chain{Table: k.table, Name: c.name, Type: c.kind, Hooknum: &c.hook, Priority: &c.priority, Policy: &accept}
}

// set is the library's form of a set; id names it within a batch.
func (k *kernel) set(s set, id uint32) *nftables.Set {
	target := &nftables.Set{Table: k.table, ID: id, Name: s.name, Interval: true}
	for _, f := range families() {
		if f.key.Name == s.key {
			target.KeyType = f.key
		}
	}
	return target
}

// toElements lists where each range begins and the address after its end, which the last addresses of
// all do not have.
func toElements(spans []span) []nftables.SetElement {
	var out []nftables.SetElement
	for _, s := range spans {
		out = append(out, nftables.SetElement{Key: s.first.AsSlice()})
		if next := s.last.Next(); next.IsValid() {
			out = append(out, nftables.SetElement{Key: next.AsSlice(), IntervalEnd: true})
		}
	}
	return out
}

// fromElements is the inverse of toElements; the kernel tells elements in no order. It is false for
// elements that toElements never makes.
func fromElements(elements []nftables.SetElement) ([]span, bool) {
	type edge struct {
		addr netip.Addr
		end  bool
	}
	var edges []edge
	for _, e := range elements {
		a, ok := netip.AddrFromSlice(e.Key)
		if !ok || e.Timeout != 0 || len(e.KeyEnd) > 0 {
			return nil, false
		}
		edges = append(edges, edge{a, e.IntervalEnd})
	}
	slices.SortFunc(edges, func(a, b edge) int { return a.addr.Compare(b.addr) })
	var spans []span
	open := false
	for _, e := range edges {
		switch {
		case e.end != open:
			return nil, false
		case open:
			spans[len(spans)-1].last = e.addr.Prev()
		default:
			spans = append(spans, span{first: e.addr})
		}
		open = !open
	}
	if open {
		i := len(spans) - 1
		spans[i].last = last(netip.PrefixFrom(spans[i].first, 0))
	}
	return spans, true
}
