package nft

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

const (
	tableName  = "podroute"
	ifNameSize = unix.IFNAMSIZ
)

// ruleset is a table as plain values: what a Config asks for, or what was found in the kernel.
type ruleset struct {
	chains []chain
	sets   []set
	// foreign says what is in the kernel's table that this package never puts there; empty in what a
	// Config asks for.
	foreign string
	absent  bool // the kernel has no such table
}

// chain is a base chain with its rules.
type chain struct {
	name     string
	kind     nftables.ChainType
	hook     nftables.ChainHook
	priority nftables.ChainPriority
	rules    []rule
}

// rule is a rule with its comment. Counters in it are zero, whatever the kernel's count.
type rule struct {
	exprs   []expr.Any
	comment string
}

// set is an interval set of addresses. Its name is derived from its content.
type set struct {
	name  string
	key   string // nft's name of the type
	spans []span
}

// family is what differs between IPv4 and IPv6.
type family struct {
	is4              bool
	name             string // in names of sets
	proto            byte
	addrLen          uint32 // bytes
	source, destined uint32 // offsets of the addresses in the network header, bytes
	key              nftables.SetDatatype
}

func families() [2]family {
	return [2]family{
		{is4: true, name: "4", proto: unix.NFPROTO_IPV4, addrLen: 4, source: 12, destined: 16, key: nftables.TypeIPAddr},
		{name: "6", proto: unix.NFPROTO_IPV6, addrLen: 16, source: 8, destined: 24, key: nftables.TypeIP6Addr},
	}
}

// compile turns a Config into the table it asks for.
func compile(c Config) (*ruleset, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	rs := &ruleset{chains: []chain{{
		name: "prerouting", kind: nftables.ChainTypeFilter,
		// Before connection tracking: a forged packet is not worth an entry.
		hook: *nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityRaw,
		rules: antiSpoofing(c.PodLinks),
	}}}
	if c.Masquerade { // no nat chain at all otherwise: without one the kernel need not track connections
		rs.masquerading(c)
	}
	if len(c.Services) > 0 {
		forward, sets := refusing(c)
		rs.chains, rs.sets = append(rs.chains, forward), append(rs.sets, sets...)
	}
	if c.Watch != nil {
		watch, sets := watching(c)
		rs.chains, rs.sets = append(rs.chains, watch), append(rs.sets, sets...)
	}
	return rs, nil
}

// masquerading adds the chain that translates, and its sets.
func (rs *ruleset) masquerading(c Config) {
	out := chain{
		name: "postrouting", kind: nftables.ChainTypeNAT,
		hook: *nftables.ChainHookPostrouting, priority: *nftables.ChainPriorityNATSource,
	}
	for _, f := range families() {
		pods := newSet("pods", f, c.PodCIDRs)
		if len(pods.spans) == 0 {
			continue
		}
		direct := newSet("direct", f, c.Direct)
		i := slices.IndexFunc(c.NodeAddrs, func(a netip.Addr) bool { return a.Unmap().Is4() == f.is4 })
		var node netip.Addr
		if i >= 0 {
			node = c.NodeAddrs[i].Unmap()
		}
		rs.sets = append(rs.sets, pods, direct)
		out.rules = append(out.rules, masquerade(f, c.PodLinks, pods, direct, node))
	}
	rs.chains = append(rs.chains, out)
}

func newSet(name string, f family, prefixes []netip.Prefix) set {
	s := spans(prefixes, f.is4)
	return set{name: name + f.name + "-" + digest(s), key: f.key.Name, spans: s}
}

// antiSpoofing is the static part. Sources that neighbour discovery (RFC 4861) and MLD (RFC 3810)
// need have no route back to the link; the kernel never forwards packets from them.
func antiSpoofing(podLinks string) []rule {
	v6 := families()[1]
	linkLocal := netip.MustParseAddr("fe80::").AsSlice()
	mask := make([]byte, v6.addrLen)
	mask[0], mask[1] = 0xff, 0xc0
	return []rule{{
		comment: "link-local sources stay on their link",
		exprs: slices.Concat(linkIs(podLinks), ofFamily(v6), []expr.Any{
			load(v6.source, v6.addrLen),
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: v6.addrLen, Mask: mask, Xor: make([]byte, v6.addrLen)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: linkLocal},
			&expr.Verdict{Kind: expr.VerdictAccept},
		}),
	}, {
		comment: "duplicate address detection",
		exprs: slices.Concat(linkIs(podLinks), ofFamily(v6), []expr.Any{
			load(v6.source, v6.addrLen),
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, v6.addrLen)},
			&expr.Verdict{Kind: expr.VerdictAccept},
		}),
	}, {
		comment: "forged source",
		exprs: slices.Concat(linkIs(podLinks), []expr.Any{
			&expr.Fib{Register: 1, ResultOIF: true, FlagSADDR: true, FlagIIF: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
			&expr.Counter{},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}),
	}}
}

// masquerade translates connections from pods to a destination that is not direct.
func masquerade(f family, podLinks string, pods, direct set, node netip.Addr) rule {
	exprs := slices.Concat(ofFamily(f),
		linkIsNot(expr.MetaKeyOIFNAME, []byte(podLinks)),
		linkIsNot(expr.MetaKeyOIFNAME, []byte("lo\x00")),
		[]expr.Any{
			load(f.source, f.addrLen),
			&expr.Lookup{SourceRegister: 1, SetName: pods.name},
			load(f.destined, f.addrLen),
			&expr.Lookup{SourceRegister: 1, SetName: direct.name, Invert: true},
			&expr.Counter{},
		})
	// Ports are chosen at random: many pods behind one address would race for the same one.
	if node.IsValid() {
		exprs = append(exprs,
			&expr.Immediate{Register: 1, Data: node.AsSlice()},
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(f.proto), RegAddrMin: 1, RegAddrMax: 1, FullyRandom: true})
	} else {
		exprs = append(exprs, &expr.Masq{FullyRandom: true})
	}
	return rule{exprs: exprs, comment: "leaves the cluster"}
}

// linkIs matches packets that come by links whose name begins with prefix.
func linkIs(prefix string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(prefix)},
	}
}

// linkIsNot matches links whose name does not begin with name, or, where name ends with a zero byte,
// is not exactly that.
func linkIsNot(key expr.MetaKey, name []byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name},
	}
}

func ofFamily(f family) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f.proto}},
	}
}

func load(offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}
}

// udata is the rule's comment in nft's own encoding.
func (r rule) udata() []byte { return userdata.AppendString(nil, userdata.TypeComment, r.comment) }

// equal reports whether two tables are the same in everything but counts.
func (rs *ruleset) equal(o *ruleset) bool {
	return rs.absent == o.absent && rs.foreign == o.foreign &&
		reflect.DeepEqual(rs.chainsByName(), o.chainsByName()) && reflect.DeepEqual(rs.byName(), o.byName())
}

func (rs *ruleset) chainsByName() map[string]chain {
	m := make(map[string]chain, len(rs.chains))
	for _, c := range rs.chains {
		m[c.name] = c
	}
	return m
}

func (rs *ruleset) byName() map[string]set {
	m := make(map[string]set, len(rs.sets))
	for _, s := range rs.sets {
		m[s.name] = s
	}
	return m
}

// mustRebuild reports that want cannot be reached by adding sets, chains and rules, and why.
func (rs *ruleset) mustRebuild(want *ruleset) (reason string, yes bool) {
	if rs.absent || rs.foreign != "" {
		return rs.foreign, true
	}
	there, wanted := rs.chainsByName(), want.chainsByName()
	for name, c := range there {
		w, known := wanted[name]
		if known && (c.kind != w.kind || c.hook != w.hook || c.priority != w.priority) || !known && !slices.Contains(chainNames(), name) {
			return "chain " + name, true
		}
	}
	have := rs.byName()
	for _, s := range want.sets {
		if old, ok := have[s.name]; ok && !reflect.DeepEqual(old, s) {
			return fmt.Sprintf("set %s was edited", s.name), true
		}
	}
	return "", false
}

// chainNames are those that a Config may ask for.
func chainNames() []string { return []string{"prerouting", "postrouting", refuseChain, watchChain} }

// describe says in a word what of rs is not as in want.
func (rs *ruleset) describe(want *ruleset) string {
	reason, rebuild := rs.mustRebuild(want)
	switch {
	case rs.absent:
		return "no table"
	case rebuild:
		return reason
	default:
		return "other rules"
	}
}
