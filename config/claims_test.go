package config

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestClaims: find agrees with a search of the whole list.
func TestClaims(t *testing.T) {
	t.Parallel()
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		if rapid.Bool().Draw(t, "IPv6") {
			a := netip.AddrFrom16([16]byte{0xfd, 14: rapid.Byte().Draw(t, "a"), 15: rapid.Byte().Draw(t, "b")})
			return netip.PrefixFrom(a, rapid.IntRange(104, 128).Draw(t, "bits")).Masked()
		}
		a := netip.AddrFrom4([4]byte{10, 2: rapid.Byte().Draw(t, "a"), 3: rapid.Byte().Draw(t, "b")})
		return netip.PrefixFrom(a, rapid.IntRange(8, 32).Draw(t, "bits")).Masked()
	})
	rapid.Check(t, func(t *rapid.T) {
		var c claims
		var list []netip.Prefix
		for _, p := range rapid.SliceOf(prefix).Draw(t, "prefixes") {
			overlaps := false
			for _, o := range list {
				overlaps = overlaps || o.Overlaps(p)
			}
			claim, owner, found := c.find(p)
			if found != overlaps || found && (!claim.Overlaps(p) || owner != claim.String()) {
				t.Fatalf("find(%s) in %v: %s of %s, %v", p, list, claim, owner, found)
			}
			if !found {
				c.add(p, p.String())
				list = append(list, p)
			}
		}
	})
}
