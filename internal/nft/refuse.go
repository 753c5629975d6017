package nft

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// refuseChain holds what is refused on its way through.
const refuseChain = "forward"

// destinationTranslated is conntrack's mark of connections whose destination was changed (IPS_DST_NAT).
const destinationTranslated = 1 << 5

// refusing is the chain that refuses what is still on its way to a service address, and its sets. Whoever translates
// service addresses has done so before a packet is forwarded.
//
// A service may well lead to another one's address, so connections that were translated pass. What conntrack has no
// entry for, such as a packet that is invalid to it, was translated by nobody and does not match the first rule.
func refusing(c Config) (chain, []set) {
	out := chain{
		name: refuseChain, kind: nftables.ChainTypeFilter,
		hook: *nftables.ChainHookForward, priority: *nftables.ChainPriorityFilter,
		rules: []rule{{comment: "translated", exprs: []expr.Any{
			&expr.Ct{Register: 1, Key: expr.CtKeySTATUS},
			&expr.Bitwise{
				SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, destinationTranslated), Xor: make([]byte, 4),
			},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
			&expr.Verdict{Kind: expr.VerdictAccept},
		}}},
	}
	var sets []set
	for _, f := range families() {
		services := newSet("services", f, c.Services)
		if len(services.spans) == 0 {
			continue
		}
		sets = append(sets, services)
		destined := slices.Concat(ofFamily(f), []expr.Any{
			load(f.destined, f.addrLen),
			&expr.Lookup{SourceRegister: 1, SetName: services.name},
		})
		tcp := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Counter{},
			&expr.Reject{Type: unix.NFT_REJECT_TCP_RST},
		}
		rest := []expr.Any{&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}
		out.rules = append(out.rules,
			rule{comment: "no such service", exprs: slices.Concat(destined, tcp)},
			rule{comment: "no such service", exprs: slices.Concat(destined, rest)})
	}
	return out, sets
}
