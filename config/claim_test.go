package config

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestBlockNames: a name says which block it is, and nothing else is a name.
func TestBlockNames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "IPv6"))).Unmap()
		if rapid.Bool().Draw(t, "is IPv4") {
			a = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "IPv4")))
		}
		p := netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits")).Masked()
		if got, err := ParseBlockName(BlockName(p)); err != nil || got != p {
			t.Fatalf("ParseBlockName(%s) = %s, %v; want %s", BlockName(p), got, err, p)
		}
	})
	for _, bad := range []string{"", "-", "10-0-0-0", "10-0-0-1-26", "10-0-0-0-33", "10-0-0-0-026", "010-0-0-0-26", "fd00---26", "a-b-c-d-e", "10-0-0-0--1"} {
		if p, err := ParseBlockName(bad); err == nil {
			t.Errorf("ParseBlockName(%q) = %s", bad, p)
		}
	}
}
