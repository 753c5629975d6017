package ipam_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podroute/podroute/ipam"
)

// clock is a time that tests turn.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newAllocator(coolDown time.Duration, of ...string) (*ipam.Allocator, *clock) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	a := ipam.New(ipam.Options{CoolDown: coolDown, Now: c.Now, Rand: rand.New(rand.NewPCG(1, 2))})
	a.Set(blocks(of...))
	return a, c
}

func prefixes(s ...string) []netip.Prefix {
	p := make([]netip.Prefix, len(s))
	for i := range s {
		p[i] = netip.MustParsePrefix(s[i])
	}
	return p
}

// blocks are those of no pool.
func blocks(s ...string) []ipam.Block {
	var b []ipam.Block
	for _, p := range prefixes(s...) {
		b = append(b, ipam.Block{Prefix: p})
	}
	return b
}

func addresses(s ...string) []netip.Addr {
	a := make([]netip.Addr, len(s))
	for i := range s {
		a[i] = netip.MustParseAddr(s[i])
	}
	return a
}

func allocate(t *testing.T, a *ipam.Allocator, key string, want ...netip.Addr) []netip.Addr {
	t.Helper()
	got, err := a.Allocate(ipam.Request{Key: key, Want: want})
	if err != nil {
		t.Fatalf("Allocate(%s): %v", key, err)
	}
	return got
}

var comparable = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}

func TestWhichAddressesAreForPods(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		block string
		want  []string // all, in any order
	}{
		{"10.0.0.0/32", []string{"10.0.0.0"}},
		{"10.0.0.0/31", []string{"10.0.0.0", "10.0.0.1"}},
		{"10.0.0.8/30", []string{"10.0.0.9", "10.0.0.10"}},
		{"10.0.0.8/29", []string{"10.0.0.9", "10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14"}},
		{"fd00::/128", []string{"fd00::"}},
		{"fd00::/127", []string{"fd00::", "fd00::1"}},
		{"fd00::/126", []string{"fd00::1", "fd00::2", "fd00::3"}},
		{"255.255.255.252/30", []string{"255.255.255.253", "255.255.255.254"}},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126", []string{
			"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffd", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		}},
	} {
		t.Run(tt.block, func(t *testing.T) {
			t.Parallel()
			a, _ := newAllocator(-1, tt.block)
			var got []netip.Addr
			for i := range tt.want {
				got = append(got, allocate(t, a, string(rune('a'+i)))...)
			}
			less := func(a, b netip.Addr) bool { return a.Less(b) }
			if d := cmp.Diff(addresses(tt.want...), got, comparable, cmpopts.SortSlices(less)); d != "" {
				t.Errorf("addresses (-want +got):\n%s", d)
			}
			var full *ipam.ExhaustedError
			if _, err := a.Allocate(ipam.Request{Key: "one more"}); !errors.As(err, &full) {
				t.Errorf("one more: %v, want an ExhaustedError", err)
			}
			if u := a.Usage()[0]; u.Used != u.Size || u.Size != uint64(len(tt.want)) {
				t.Errorf("usage %+v, want %d of %d", u, len(tt.want), len(tt.want))
			}
		})
	}
}

func TestBothFamiliesOrNeither(t *testing.T) {
	t.Parallel()
	a, _ := newAllocator(-1, "10.0.0.0/29", "fd00::/127")
	for _, key := range []string{"a", "b"} {
		got := allocate(t, a, key)
		if len(got) != 2 || !got[0].Is4() || !got[1].Is6() {
			t.Fatalf("Allocate(%s) = %v, want IPv4 and IPv6", key, got)
		}
		if again := allocate(t, a, key); !cmp.Equal(got, again, comparable) {
			t.Errorf("Allocate(%s) again = %v, want %v", key, again, got)
		}
	}
	_, err := a.Allocate(ipam.Request{Key: "c"})
	var full *ipam.ExhaustedError
	if !errors.As(err, &full) || full.Family != "IPv6" || !strings.Contains(err.Error(), "fd00::/127 (2 of 2 in use)") {
		t.Errorf("exhausted: %v, want it to name IPv6 and fd00::/127", err)
	}
	if used := a.Usage()[0].Used; used != 2 {
		t.Errorf("%d IPv4 addresses in use after an Allocate that failed for IPv6, want 2", used)
	}
}

func TestNoBlocks(t *testing.T) {
	t.Parallel()
	a, _ := newAllocator(0)
	if _, err := a.Allocate(ipam.Request{Key: "a"}); !errors.Is(err, ipam.ErrNoBlocks) {
		t.Errorf("Allocate without blocks: %v, want ErrNoBlocks", err)
	}
}

func TestCoolDown(t *testing.T) {
	t.Parallel()
	a, c := newAllocator(time.Minute, "10.0.0.0/29") // six addresses
	first := allocate(t, a, "first")[0]
	a.Release("first")
	c.now = c.now.Add(time.Second)
	second := allocate(t, a, "second")[0]
	a.Release("second")
	if u := a.Usage()[0]; u.Used != 0 || u.CoolingDown != 2 {
		t.Errorf("usage %+v, want 2 cooling", u)
	}
	// The four that never were in use come first, although the cursor has gone round.
	for _, key := range []string{"a", "b", "c", "d"} {
		if got := allocate(t, a, key)[0]; got == first || got == second {
			t.Errorf("Allocate(%s) = %v, which cools down", key, got)
		}
	}
	// Then what was freed first, early.
	if got := allocate(t, a, "e")[0]; got != first {
		t.Errorf("Allocate with all others in use = %v, want %v, which was freed first", got, first)
	}
	c.now = c.now.Add(time.Minute)
	if u := a.Usage()[0]; u.Used != 5 || u.CoolingDown != 0 {
		t.Errorf("usage a minute later %+v, want 5 in use and none cooling", u)
	}
	if got := allocate(t, a, "f")[0]; got != second {
		t.Errorf("Allocate after the rest = %v, want %v", got, second)
	}
}

func TestBlocksFillInOrder(t *testing.T) {
	t.Parallel()
	a, _ := newAllocator(-1, "10.0.1.0/30", "10.0.0.0/30")
	for _, key := range []string{"a", "b", "c"} {
		allocate(t, a, key)
	}
	want := []ipam.BlockUsage{
		{Prefix: netip.MustParsePrefix("10.0.1.0/30"), Used: 2, Size: 2},
		{Prefix: netip.MustParsePrefix("10.0.0.0/30"), Used: 1, Size: 2, Free: 1},
	}
	if d := cmp.Diff(want, a.Usage(), comparable); d != "" {
		t.Errorf("usage (-want +got):\n%s", d)
	}
	// What is in use outlives its block, and is not given out by a block that comes back.
	held := allocate(t, a, "a")
	a.Set(blocks("10.0.0.0/30"))
	if got := allocate(t, a, "a"); !cmp.Equal(got, held, comparable) {
		t.Errorf("a holds %v after its block went, want %v", got, held)
	}
	a.Set(blocks("10.0.1.0/30"))
	if _, err := a.Allocate(ipam.Request{Key: "d"}); err == nil {
		t.Error("an address was given out twice when its block came back")
	}
	a.Release("a")
	if got := allocate(t, a, "d"); !cmp.Equal(got, held, comparable) {
		t.Errorf("d got %v, want %v, the only free one", got, held)
	}
}

func TestRequestedAddress(t *testing.T) {
	t.Parallel()
	a, _ := newAllocator(time.Minute, "10.0.0.0/24", "fd00::/64")
	want := addresses("10.0.0.77")
	got := allocate(t, a, "a", want...)
	if len(got) != 2 || got[0] != want[0] || !got[1].Is6() {
		t.Fatalf("Allocate(10.0.0.77) = %v, want it and an IPv6 address", got)
	}
	for _, tt := range []struct {
		key, addr, reason string
	}{
		{"b", "10.0.0.77", "in use"},
		{"b", "10.0.1.1", "none of the node's pod subnets"},
		{"b", "10.0.0.255", "not one for pods"},
		{"b", "fd00::", "not one for pods"},
		{"a", "10.0.0.78", "holds already"},
	} {
		_, err := a.Allocate(ipam.Request{Key: tt.key, Want: addresses(tt.addr)})
		var bad *ipam.RequestError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("Allocate(%s, %s): %v, want a RequestError that says %q", tt.key, tt.addr, err, tt.reason)
		}
	}
	if _, err := a.Allocate(ipam.Request{Key: "b", Want: addresses("10.0.0.5", "10.0.0.6")}); err == nil {
		t.Error("two addresses of one family were granted")
	}
	a.Release("a")
	if got := allocate(t, a, "c", want...); got[0] != want[0] {
		t.Errorf("a cooling address that was asked for: %v, want %v", got, want)
	}
}

func TestRestoreReportsDuplicates(t *testing.T) {
	t.Parallel()
	a, _ := newAllocator(-1, "10.0.0.0/30")
	err := a.Restore(map[string][]netip.Addr{"x": addresses("10.0.0.1"), "y": addresses("10.0.0.1", "192.0.2.1"), "z": addresses("10.0.0.2")})
	var dup *ipam.DuplicateError
	if !errors.As(err, &dup) || dup.Addr != netip.MustParseAddr("10.0.0.1") || dup.Keys != [2]string{"x", "y"} {
		t.Fatalf("Restore: %v, want 10.0.0.1 reported for x and y", err)
	}
	a.Release("x")
	if _, err := a.Allocate(ipam.Request{Key: "new"}); err == nil {
		t.Error("an address that a second key holds was given out")
	}
	a.Release("y")
	if got := allocate(t, a, "new"); got[0] != netip.MustParseAddr("10.0.0.1") {
		t.Errorf("Allocate = %v, want 10.0.0.1", got)
	}
}

// Many nodes' agents restart at once after a power cut: they must not all begin with the same address,
// and one agent must not begin with what its predecessor gave out last.
func TestCursorStartsAnywhere(t *testing.T) {
	t.Parallel()
	for _, block := range []string{"10.0.0.0/24", "fd00::/64"} {
		seen := map[netip.Addr]bool{}
		for range 20 {
			a := ipam.New(ipam.Options{})
			a.Set(blocks(block))
			seen[allocate(t, a, "a")[0]] = true
		}
		if len(seen) < 5 {
			t.Errorf("%s: 20 allocators began with only %d addresses", block, len(seen))
		}
	}
}

func TestSizeOfHugeBlocks(t *testing.T) {
	t.Parallel()
	a, _ := newAllocator(0, "fd00::/65", "fd01::/64", "fd02::/48")
	for i, want := range []uint64{math.MaxUint64 / 2, math.MaxUint64, math.MaxUint64} {
		if u := a.Usage()[i]; u.Size != want {
			t.Errorf("%v: size %d, want %d", u.Prefix, u.Size, want)
		}
	}
}

func BenchmarkAllocateFullSlash16(b *testing.B) {
	a := ipam.New(ipam.Options{CoolDown: -1})
	a.Set(blocks("10.0.0.0/16"))
	key := func(i int) string { return netip.AddrFrom4([4]byte{0, byte(i >> 16), byte(i >> 8), byte(i)}).String() }
	for i := range 65533 {
		if _, err := a.Allocate(ipam.Request{Key: key(i)}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := a.Allocate(ipam.Request{Key: "last"}); err != nil {
			b.Fatal(err)
		}
		a.Release("last")
	}
}

func TestExclusionsAndReservations(t *testing.T) {
	t.Parallel()
	a, _ := newAllocator(-1)
	block := ipam.Block{
		Prefix: netip.MustParsePrefix("10.0.0.0/29"), Pool: "p", // .1 to .6 are for pods
		Excluded: prefixes("10.0.0.0/31", "10.0.0.6/32"), Reserved: prefixes("10.0.0.2/32"),
	}
	a.Set([]ipam.Block{block})
	got := allocate(t, a, "a")
	for _, key := range []string{"b", "c"} {
		got = append(got, allocate(t, a, key)...)
	}
	slices.SortFunc(got, netip.Addr.Compare)
	if d := cmp.Diff(addresses("10.0.0.3", "10.0.0.4", "10.0.0.5"), got, comparable); d != "" {
		t.Errorf("given (-want +got):\n%s", d)
	}
	if u := a.Usage()[0]; u.Size != 4 || u.Used != 3 || u.Free != 0 || u.Pool != "p" {
		t.Errorf("usage %+v, want 3 of 4 in use and none free", u)
	}
	if _, err := a.Allocate(ipam.Request{Key: "d"}); err == nil {
		t.Error("a reserved or excluded address was given to a pod that did not ask for it")
	}
	if got := allocate(t, a, "d", addresses("10.0.0.2")...); got[0] != netip.MustParseAddr("10.0.0.2") {
		t.Errorf("a reserved address that was asked for: %v", got)
	}
	if _, err := a.Allocate(ipam.Request{Key: "e", Want: addresses("10.0.0.6")}); err == nil || !strings.Contains(err.Error(), "not one for pods") {
		t.Errorf("an excluded address that was asked for: %v", err)
	}
	// What is in use stays so when it is excluded, and is given to nobody afterwards.
	block.Excluded = append(block.Excluded, prefixes("10.0.0.4/30")...)
	a.Set([]ipam.Block{block})
	if u := a.Usage()[0]; u.Size != 2 || u.Used != 4 || u.Free != 0 {
		t.Errorf("usage %+v after an exclusion of addresses in use", u)
	}
	for _, key := range []string{"a", "b", "c"} {
		a.Release(key)
	}
	if got := allocate(t, a, "e"); got[0] != netip.MustParseAddr("10.0.0.3") {
		t.Errorf("Allocate = %v, want 10.0.0.3, the only one left", got)
	}
}

func TestPools(t *testing.T) {
	t.Parallel()
	a, _ := newAllocator(-1)
	of := func(pool, p string) ipam.Block { return ipam.Block{Pool: pool, Prefix: netip.MustParsePrefix(p)} }
	a.Set([]ipam.Block{of("all", "10.0.0.0/30"), of("some", "10.1.0.0/30"), of("all6", "fd00::/126")})
	for _, tt := range []struct {
		r    ipam.Request
		want string // addresses, or a part of the error
	}{
		{ipam.Request{Key: "a", Pools: []string{"all6", "some"}}, "10.1.0."},
		{ipam.Request{Key: "b", Pools: []string{"all"}}, "10.0.0."},
		{ipam.Request{Key: "c", Pools: []string{"all"}, Families: []string{"IPv4", "IPv6"}}, "IPv6: the node has no pod subnet yet"},
		{ipam.Request{Key: "d", Pools: []string{}}, "no pod subnet yet"},
		{ipam.Request{Key: "e", Pools: []string{"all"}, Want: addresses("10.1.0.2")}, "of the pool some, which is not for pods of this namespace"},
	} {
		got, err := a.Allocate(tt.r)
		if text := fmt.Sprint(got, err); !strings.Contains(text, tt.want) {
			t.Errorf("%+v: %s, want %q", tt.r, text, tt.want)
		}
	}
}

func TestRetire(t *testing.T) {
	t.Parallel()
	a, c := newAllocator(time.Minute, "10.0.0.0/30", "10.0.1.0/30")
	second := netip.MustParsePrefix("10.0.1.0/30")
	for _, key := range []string{"a", "b", "c"} {
		allocate(t, a, key)
	}
	if a.Retire(second) {
		t.Error("a block in use was retired")
	}
	a.Release("c")
	if a.Retire(second) {
		t.Error("a block with a cooling address was retired")
	}
	c.now = c.now.Add(time.Minute)
	if !a.Retire(second) {
		t.Fatal("an empty block was not retired")
	}
	if _, err := a.Allocate(ipam.Request{Key: "c"}); err == nil {
		t.Error("a retired block gave an address")
	}
	if _, err := a.Allocate(ipam.Request{Key: "c", Want: addresses("10.0.1.1")}); err == nil {
		t.Error("a retired block gave an address that was asked for")
	}
	a.Set(blocks("10.0.0.0/30"))
	a.Set(blocks("10.0.0.0/30", "10.0.1.0/30"))
	if got := allocate(t, a, "c"); !second.Contains(got[0]) {
		t.Errorf("Allocate = %v, want one of the block that came back", got)
	}
	if a.Retire(netip.MustParsePrefix("10.9.0.0/30")) {
		t.Error("a block that is not there was retired")
	}
}
