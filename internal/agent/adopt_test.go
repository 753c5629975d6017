package agent

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/routes"
)

// A start is a restart only if the kernel holds routes of an earlier life of this boot: the Forwarding State bit says so to the
// neighbours, and they rely on it (RFC 4724 section 4.1).
func TestAdopted(t *testing.T) {
	t.Parallel()
	ns, dir := nstest.New(t), t.TempDir()
	ns.Run(t, "ip link set lo up")
	mark := filepath.Join(dir, bootMark)
	adopted := func(want bool, flushed []bgp.Family, when string) {
		t.Helper()
		err := ns.Do(func() error {
			fib, err := routes.New(routes.Options{Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				return err
			}
			defer fib.Close()
			a := &Agent{Options: Options{RunDir: dir, Log: slog.New(slog.DiscardHandler)}, fib: fib}
			got, gone, err := a.adopted(t.Context())
			if got != want || !slices.Equal(gone, flushed) {
				t.Errorf("%s: adopted is %t but %v, want %t but %v", when, got, gone, want, flushed)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	adopted(false, nil, "first start")
	adopted(false, nil, "no routes")
	ns.Run(t, "ip route add unreachable 10.244.1.0/24 proto 179 metric 179")
	adopted(true, nil, "a route of ours")
	if err := os.WriteFile(mark, []byte("another-boot"), 0o600); err != nil {
		t.Fatal(err)
	}
	adopted(false, nil, "a run folder that outlived a boot")
	adopted(true, nil, "after that")

	six := netip.MustParsePrefix("fd10:1::/64")
	f := forwarding{file: filepath.Join(dir, forwardingMark), log: slog.New(slog.DiscardHandler)}
	f.note(familiesOf([]routes.Route{{Dst: six}, {Dst: netip.MustParsePrefix("10.244.1.0/24")}}))
	adopted(true, []bgp.Family{bgp.IPv6}, "IPv6 flushed")
	adopted(true, []bgp.Family{bgp.IPv6}, "a run that ended before it had any")
	ns.Run(t, "ip -6 route add unreachable fd10:1::/64 proto 179 metric 179")
	adopted(true, nil, "both families there")
	ns.Run(t, "ip route flush proto 179")
	adopted(true, []bgp.Family{bgp.IPv4}, "IPv4 flushed")
	ns.Run(t, "ip -6 route flush proto 179")
	adopted(false, nil, "routes lost")
	f.note(familiesOf([]routes.Route{{Dst: six}}))
	ns.Run(t, "ip -6 route add unreachable fd10:1::/64 proto 179 metric 179")
	adopted(true, nil, "IPv4 given up before")
	ns.Run(t, "ip route add unreachable 10.244.1.0/24 proto 179 metric 179")
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	adopted(false, nil, "after leave")
}
