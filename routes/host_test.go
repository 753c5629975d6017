package routes

import (
	"slices"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/nstest"
)

func TestHost(t *testing.T) {
	t.Parallel()
	n := nstest.New(t)
	n.Run(t, "ip link add up0 type veth peer name up0.7", "ip link add pr0123456789ab type veth peer name deaf0",
		"sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 net.ipv4.fib_multipath_hash_policy=0 net.ipv6.fib_multipath_hash_policy=0",
		"sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.up0.rp_filter=1 net.ipv4.conf.up0/7.rp_filter=0 net.ipv4.conf.pr0123456789ab.rp_filter=1 net.ipv4.conf.deaf0.rp_filter=2",
		"sysctl -qw net.ipv6.conf.up0.accept_ra=1 net.ipv6.conf.up0/7.accept_ra=1 net.ipv6.conf.deaf0.accept_ra=0")
	check := func() []string {
		t.Helper()
		var names []string
		err := n.Do(func() error {
			found, err := CheckHost(t.Context())
			for _, f := range found {
				names = append(names, f.Setting+"="+f.Have)
				if !strings.Contains(f.Mend, "sysctl -w "+f.Setting+"="+f.Want) {
					t.Errorf("mend of %s: %s", f.Setting, f.Mend)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		return names
	}
	want := []string{
		"net.ipv4.conf.up0.rp_filter=1", "net.ipv4.fib_multipath_hash_policy=0", "net.ipv4.ip_forward=0",
		"net.ipv6.conf.all.forwarding=0", "net.ipv6.conf.up0.accept_ra=1", "net.ipv6.conf.up0/7.accept_ra=1",
		"net.ipv6.fib_multipath_hash_policy=0",
	}
	if got := check(); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if err := n.Do(func() error { return ApplyHost(t.Context(), sysctls) }); err != nil {
		t.Fatal(err)
	}
	if got := check(); len(got) > 0 {
		t.Errorf("after ApplyHost: %q", got)
	}
	for name, want := range map[string]string{
		"net.ipv4.conf.up0.rp_filter": "2", "net.ipv4.conf.up0/7.rp_filter": "0", "net.ipv4.conf.pr0123456789ab.rp_filter": "1",
		"net.ipv6.conf.up0.accept_ra": "2", "net.ipv6.conf.deaf0.accept_ra": "0",
	} {
		if got := strings.TrimSpace(n.Run(t, "sysctl -n "+name)); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	// Strict for all: no link may be off.
	n.Run(t, "sysctl -qw net.ipv4.conf.all.rp_filter=1")
	if got := check(); !slices.Equal(got, []string{"net.ipv4.conf.up0/7.rp_filter=0"}) {
		t.Errorf("strict for all: %q", got)
	}
}
