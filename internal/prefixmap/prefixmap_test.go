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

func TestLongest(t *testing.T) {
	t.Parallel()
	m := New[string]()
	for _, s := range []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "fd00::/8", "fd00:1::/32", "fd00:1::7/128"} {
		m.Put(netip.MustParsePrefix(s), s)
	}
	check := func(a, want string) {
		t.Helper()
		if got, ok := m.Longest(netip.MustParseAddr(a)); got != want || ok != (want != "") {
			t.Errorf("%s is in %q (%t), want %q", a, got, ok, want)
		}
	}
	for a, want := range map[string]string{
		"10.2.0.1": "10.0.0.0/8", "10.1.2.4": "10.1.0.0/16", "10.1.2.3": "10.1.2.3/32", "11.0.0.1": "",
		"fd01::": "fd00::/8", "fd00:1::8": "fd00:1::/32", "fd00:1::7": "fd00:1::7/128", "fe80::1": "", "::ffff:10.1.2.3": "",
	} {
		check(a, want)
	}
	m.Put(netip.MustParsePrefix("::/0"), "::/0")
	m.Put(netip.MustParsePrefix("0.0.0.0/0"), "0.0.0.0/0")
	check("::ffff:10.1.2.3", "::/0")
	check("11.0.0.1", "0.0.0.0/0")
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
