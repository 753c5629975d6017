package vip

import (
	"hash/fnv"
	"math"
	"math/big"
	"net/netip"
	"slices"

	"github.com/podroute/podroute/config"
)

// space is a pool's addresses.
type space struct {
	name     string
	spec     config.AddressPoolSpec
	cidr     netip.Prefix
	excluded []netip.Prefix // given to nobody
	shut     []netip.Prefix // given to nobody who does not ask: excluded and reserved ones; apart, in order
	left     int32          // what is free still, as free counts it
}

func newSpace(p config.AddressPool, blocks []netip.Prefix) *space {
	s := &space{name: p.Name, spec: p.Spec, cidr: p.Spec.Prefix()}
	for _, b := range blocks {
		if b.Overlaps(s.cidr) {
			s.excluded = append(s.excluded, b)
		}
	}
	s.excluded = append(s.excluded, p.Spec.Excluded()...)
	s.shut = widest(slices.Concat(s.excluded, p.Spec.Reserved()))
	return s
}

// widest leaves out prefixes inside others, so that those that stay are apart, and puts them in order.
func widest(all []netip.Prefix) []netip.Prefix {
	slices.SortFunc(all, netip.Prefix.Compare) // of one address the shorter comes first
	var out []netip.Prefix
	for _, p := range all {
		if n := len(out); n == 0 || !out[n-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}

func within(all []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (s *space) family() string { return config.FamilyOf(s.cidr.Addr()) }

// find finds an address that is neither shut nor busy. The search begins at a hash of seed and goes round; busy has
// at most the given number of addresses of the pool.
func (s *space) find(seed string, busy func(netip.Addr) bool, most int) (netip.Addr, bool) {
	a := s.hashed(seed)
	// Each turn leaves behind a busy address or one of shut, but for where the round begins anew.
	for range most + 2*len(s.shut) + 3 {
		i := slices.IndexFunc(s.shut, func(p netip.Prefix) bool { return p.Contains(a) })
		switch {
		case i >= 0:
			a = last(s.shut[i]).Next()
		case busy(a):
			a = a.Next()
		default:
			return a, true
		}
		if !a.IsValid() || !s.cidr.Contains(a) {
			a = s.cidr.Addr()
		}
	}
	return netip.Addr{}, false
}

// hashed is the pool's address at a hash of a text.
func (s *space) hashed(seed string) netip.Addr {
	h := fnv.New128a()
	_, _ = h.Write([]byte(seed + " " + s.cidr.String()))
	return mixed(s.cidr, h.Sum(nil))
}

// last is a prefix's last address.
func last(p netip.Prefix) netip.Addr { return mixed(p, slices.Repeat([]byte{0xff}, 16)) }

// mixed is a prefix's address with the host bits of hosts, 16 bytes of which the last ones count.
func mixed(p netip.Prefix, hosts []byte) netip.Addr {
	b := p.Addr().AsSlice()
	hosts = hosts[len(hosts)-len(b):]
	for i := range b {
		ones := min(max(p.Bits()-8*i, 0), 8)
		b[i] |= hosts[i] & (0xff >> ones)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// free counts the addresses that are not shut, less the given number; math.MaxInt32 stands for that many or more.
func (s *space) free(given int) int32 {
	n := size(s.cidr)
	for _, p := range s.shut {
		if p.Bits() <= s.cidr.Bits() { // a node's block around the pool
			return 0
		}
		n.Sub(n, size(p))
	}
	n.Sub(n, big.NewInt(int64(given)))
	if !n.IsInt64() || n.Int64() > math.MaxInt32 {
		return math.MaxInt32
	}
	return int32(max(n.Int64(), 0))
}

func size(p netip.Prefix) *big.Int {
	return new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
}
