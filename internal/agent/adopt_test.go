package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

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
	adopted := func(want bool, when string) {
		t.Helper()
		err := ns.Do(func() error {
			fib, err := routes.New(routes.Options{Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				return err
			}
			defer fib.Close()
			a := &Agent{Options: Options{RunDir: dir, Log: slog.New(slog.DiscardHandler)}, fib: fib}
			got, err := a.adopted(t.Context())
			if got != want {
				t.Errorf("%s: adopted is %t", when, got)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	adopted(false, "first start")
	adopted(false, "no routes")
	ns.Run(t, "ip route add unreachable 10.244.1.0/24 proto 179 metric 179")
	adopted(true, "a route of ours")
	if err := os.WriteFile(mark, []byte("another-boot"), 0o600); err != nil {
		t.Fatal(err)
	}
	adopted(false, "a run folder that outlived a boot")
	adopted(true, "after that")
	ns.Run(t, "ip route flush proto 179")
	adopted(false, "routes lost")
	ns.Run(t, "ip route add unreachable 10.244.1.0/24 proto 179 metric 179")
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	adopted(false, "after leave")
}
