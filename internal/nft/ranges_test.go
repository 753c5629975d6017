package nft

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSpans(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		prefixes []netip.Prefix
		want4    []string
		want6    []string
	}{
		{name: "none"},
		{"by family", prefixes("fd00::/16", "10.0.0.0/24"), []string{"10.0.0.0-10.0.0.255"}, []string{"fd00::-fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}},
		{"contained, equal, out of order", prefixes("10.9.0.0/16", "10.0.1.0/24", "10.0.0.0/16", "10.0.0.0/16"), []string{"10.0.0.0-10.0.255.255", "10.9.0.0-10.9.255.255"}, nil},
		{"neighbours", prefixes("10.0.0.0/25", "10.0.0.128/25", "10.0.1.1/32"), []string{"10.0.0.0-10.0.0.255", "10.0.1.1-10.0.1.1"}, nil},
		{"host bits", prefixes("10.0.0.7/24"), []string{"10.0.0.0-10.0.0.255"}, nil},
		{"everything", prefixes("0.0.0.0/0", "10.0.0.0/8", "::/0"), []string{"0.0.0.0-255.255.255.255"}, []string{"::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}},
		{"mapped", prefixes("::ffff:10.0.0.0/120"), []string{"10.0.0.0-10.0.0.255"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for is4, want := range map[bool][]string{true: tt.want4, false: tt.want6} {
				if diff := cmp.Diff(want, texts(spans(tt.prefixes, is4))); diff != "" {
					t.Errorf("IPv4 %v (-want +got):\n%s", is4, diff)
				}
			}
		})
	}
}

// TestSpansCoverThePrefixes: an address lies in the spans exactly if it lies in a prefix, and the
// elements made of them say the same in any order.
func TestSpansCoverThePrefixes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// A small corner at the upper end, so that prefixes meet and the last address is among them.
		octet := rapid.ByteRange(0xf8, 0xff)
		prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
			a := netip.AddrFrom4([4]byte{255, 255, 255, octet.Draw(t, "octet")})
			return netip.PrefixFrom(a, rapid.IntRange(29, 32).Draw(t, "bits"))
		})
		given := rapid.SliceOf(prefix).Draw(t, "prefixes")
		got := spans(given, true)
		for o := 0xf0; o <= 0xff; o++ {
			a := netip.AddrFrom4([4]byte{255, 255, 255, byte(o)})
			want, have := false, 0
			for _, p := range given {
				want = want || p.Contains(a)
			}
			for _, s := range got {
				if !a.Less(s.first) && !s.last.Less(a) {
					have++
				}
			}
			if want != (have == 1) || have > 1 {
				t.Fatalf("%v lies in %d spans of %v, prefixes %v", a, have, got, given)
			}
		}
		elements := toElements(got)
		rand.Shuffle(len(elements), func(i, j int) { elements[i], elements[j] = elements[j], elements[i] })
		back, ok := fromElements(elements)
		if diff := cmp.Diff(texts(got), texts(back)); !ok || diff != "" {
			t.Fatalf("elements back to spans: %v (-want +got):\n%s", ok, diff)
		}
	})
}

func texts(spans []span) []string {
	var out []string
	for _, s := range spans {
		out = append(out, s.first.String()+"-"+s.last.String())
	}
	return out
}
