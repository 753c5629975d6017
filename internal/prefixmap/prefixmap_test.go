package prefixmap

import (
	"net/netip"
	"slices"
	"testing"
)

func TestMap(t *testing.T) {
	t.Parallel()
	m := New[int]()
	var all []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/0", "0.0.0.0/32", "10.0.0.0/8", "10.0.0.0/9", "10.0.0.1/32", "255.255.255.255/32",
		"::/0", "::/32", "fd00::/8", "::ffff:10.0.0.0/104",
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	for i, p := range all {
		if v := m.Get(p); v != 0 {
			t.Errorf("%v is there before: %d", p, v)
		}
		m.Put(p, i+1)
	}
	for i, p := range all {
		if v := m.Get(p); v != i+1 {
			t.Errorf("%v is %d, want %d", p, v, i+1)
		}
	}
	if got := slices.Sorted(m.All()); m.Len() != len(all) || len(got) != len(all) || got[0] != 1 {
		t.Errorf("length %d, values %v", m.Len(), got)
	}
	for range m.All() {
		break
	}
	for i, p := range all {
		m.Delete(p)
		if m.Get(p) != 0 || m.Len() != len(all)-i-1 {
			t.Errorf("%v is still there", p)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	m := New[*int]()
	v := 1
	var keys []netip.Prefix
	for i := range 100000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		m.Put(p, &v)
		keys = append(keys, p)
	}
	i := 0
	for b.Loop() {
		if m.Get(keys[i%len(keys)]) == nil {
			b.Fatal("lost")
		}
		i++
	}
}
