package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// The network of a run. Every device is told to accept prefixes of acceptedBits inside clusterCIDR,
// at most maxPrefixes of them.
const (
	clusterCIDR  = "10.0.0.0/8"
	acceptedBits = 26
	maxPrefixes  = 250000

	linkCIDR   = "192.0.2.0/24"
	feederAddr = "192.0.2.1"
	deviceAddr = "192.0.2.2"
	feederAS   = 65001
	deviceAS   = 65002

	feederLink = "feed0"
	deviceLink = "dut0"
)

// feed is the first n blocks of clusterCIDR.
func feed(n int) []netip.Prefix {
	out := make([]netip.Prefix, n)
	for i := range out {
		a := uint32(10)<<24 + uint32(i)<<(32-acceptedBits)
		out[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), acceptedBits)
	}
	return out
}

// feeder is a BIRD whose static routes wait to be switched on.
type feeder struct {
	proc   *nstest.Process
	socket string
}

// startFeeder starts a feeder that gives each group of per prefixes a MED of its own. It dials the
// device until it has a session.
func startFeeder(ctx context.Context, p place, prefixes []netip.Prefix, per int) (*feeder, error) {
	var b strings.Builder
	fmt.Fprintf(&b, `log stderr { warning, error, fatal, bug };
router id %[1]s;
protocol device { }
protocol bgp session {
	local %[1]s as %[2]d;
	neighbor %[3]s as %[4]d;
	connect delay time 1;
	connect retry time 1;
	error wait time 1, 1;
	graceful restart off;
	ipv4 { import none; export all; };
}
protocol static feed {
	disabled;
	ipv4;
`, feederAddr, feederAS, deviceAddr, deviceAS)
	for i, prefix := range prefixes {
		fmt.Fprintf(&b, "\troute %v blackhole { bgp_med = %d; };\n", prefix, i/per+1)
	}
	b.WriteString("}\n")
	conf := filepath.Join(p.dir, "feeder.conf")
	if err := os.WriteFile(conf, []byte(b.String()), 0o600); err != nil {
		return nil, err
	}
	f := &feeder{socket: filepath.Join(p.dir, "feeder.ctl")}
	var err error
	f.proc, err = p.ns.Launch(ctx, p.log, "bird", "-f", "-c", conf, "-s", f.socket, "-P", filepath.Join(p.dir, "feeder.pid"))
	return f, err
}

// send switches the static routes on.
func (f *feeder) send(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "birdc", "-s", f.socket, "enable", "feed").CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil || !strings.Contains(string(out), "enabled") {
		return fmt.Errorf("birdc enable feed: %w: %s", err, out)
	}
	return nil
}
