package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/podroute/podroute/internal/nstest"
)

// Devices under test.
const (
	devBIRD     = "bird"
	devPodroute = "podroute"
	devFRR      = "frr"
)

// place is where a program runs: its namespace, a folder of its own, and the log it shares.
type place struct {
	ns  *nstest.NS
	dir string
	log io.Writer
}

// write puts a file into the folder.
func (p place) write(name, content string) (string, error) {
	path := filepath.Join(p.dir, name)
	return path, os.WriteFile(path, []byte(content), 0o600)
}

// startDevice starts the programs of a device. Those that it started are returned with an error too.
func startDevice(ctx context.Context, name, agent string, p place) ([]*nstest.Process, error) {
	switch name {
	case devBIRD:
		return startBIRD(ctx, p)
	case devFRR:
		return startFRR(ctx, p)
	default:
		return startAgent(ctx, agent, p)
	}
}

func startBIRD(ctx context.Context, p place) ([]*nstest.Process, error) {
	conf, err := p.write("bird.conf", fmt.Sprintf(`log stderr { warning, error, fatal, bug };
router id %[1]s;
protocol device { }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol bgp feeder {
	local %[1]s as %[2]d;
	neighbor %[3]s as %[4]d;
	passive;
	ipv4 {
		import where net ~ [ %[5]s{%[6]d,%[6]d} ];
		import limit %[7]d action disable;
		export none;
	};
}
`, deviceAddr, deviceAS, feederAddr, feederAS, clusterCIDR, acceptedBits, maxPrefixes))
	if err != nil {
		return nil, err
	}
	proc, err := p.ns.Launch(ctx, p.log, "bird", "-f", "-c", conf,
		"-s", filepath.Join(p.dir, "bird.ctl"), "-P", filepath.Join(p.dir, "bird.pid"))
	return started(nil, proc, err)
}

// startFRR gives the daemons a folder that their user may write to: they refuse to run as root.
func startFRR(ctx context.Context, p place) ([]*nstest.Process, error) {
	p.dir = filepath.Join(p.dir, "frr")
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return nil, err
	}
	zebra, err := p.write("zebra.conf", "hostname zebra\n")
	if err != nil {
		return nil, err
	}
	bgpd, err := p.write("bgpd.conf", fmt.Sprintf(`hostname bgpd
ip prefix-list accepted seq 5 permit %[5]s ge %[6]d le %[6]d
ip prefix-list nothing seq 5 deny any
router bgp %[2]d
 bgp router-id %[1]s
 neighbor %[3]s remote-as %[4]d
 neighbor %[3]s passive
 address-family ipv4 unicast
  neighbor %[3]s activate
  neighbor %[3]s maximum-prefix %[7]d
  neighbor %[3]s prefix-list accepted in
  neighbor %[3]s prefix-list nothing out
 exit-address-family
`, deviceAddr, deviceAS, feederAddr, feederAS, clusterCIDR, acceptedBits, maxPrefixes))
	if err != nil {
		return nil, err
	}
	if err = handOver("frr", p.dir, zebra, bgpd); err != nil {
		return nil, err
	}
	api := filepath.Join(p.dir, "zserv.api")
	var procs []*nstest.Process
	for _, d := range [][2]string{{"zebra", zebra}, {"bgpd", bgpd}} {
		proc, err := p.ns.Launch(ctx, p.log, "/usr/lib/frr/"+d[0], "-f", d[1], "-z", api, "--vty_socket", p.dir,
			"-i", filepath.Join(p.dir, d[0]+".pid"), "-A", "127.0.0.1", "-P", "0", "-u", "frr", "-g", "frr")
		if procs, err = started(procs, proc, err); err != nil {
			return procs, err
		}
		waiting, cancel := context.WithTimeout(ctx, 10*time.Second)
		err = poll(waiting, "zebra's socket", 20*time.Millisecond, func() (bool, error) {
			_, err := os.Stat(api)
			return err == nil, nil
		})
		cancel()
		if err != nil {
			return procs, err
		}
	}
	return procs, nil
}

// handOver makes a user the owner of files.
func handOver(name string, paths ...string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("%w: is Debian's package frr installed?", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	for _, path := range paths {
		if err := os.Chown(path, uid, gid); err != nil {
			return err
		}
	}
	return os.Chmod(filepath.Dir(paths[0]), 0o755)
}

func startAgent(ctx context.Context, agent string, p place) ([]*nstest.Process, error) {
	for _, d := range []string{"config", "net.d", "bin"} {
		if err := os.Mkdir(filepath.Join(p.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	_, err := p.write("config/fabric.yaml", fmt.Sprintf(`apiVersion: podroute.io/v1alpha1
kind: RouterConfig
metadata: {name: default}
spec:
  asNumber: %[2]d
  mesh: None
  clusterCIDRs: [%[5]s]
  nodeCIDRs: [%[8]s]
  serviceCIDRs: [172.30.0.0/16]
  flapDamping: {disabled: true} # the feeder comes and goes
  acceptedPrefixLengths: {ipv4: {min: %[6]d, max: %[6]d}}
---
apiVersion: podroute.io/v1alpha1
kind: BGPPeer
metadata: {name: feeder}
spec:
  address: %[3]s
  asNumber: %[4]d
  passive: true
  families: [IPv4]
  gracefulRestart: false
  maxPrefixes: %[7]d
---
apiVersion: v1
kind: Node
metadata: {name: device}
spec: {podCIDR: 10.255.0.0/24, podCIDRs: [10.255.0.0/24]}
status: {addresses: [{type: InternalIP, address: %[1]s}]}
`, deviceAddr, deviceAS, feederAddr, feederAS, clusterCIDR, acceptedBits, maxPrefixes, linkCIDR))
	if err != nil {
		return nil, err
	}
	proc, err := p.ns.Launch(ctx, p.log, agent, "agent", "--config", filepath.Join(p.dir, "config"),
		"--node-name", "device", "--run-dir", filepath.Join(p.dir, "run"),
		"--cni-conf-dir", filepath.Join(p.dir, "net.d"), "--cni-bin-dir", filepath.Join(p.dir, "bin"))
	return started(nil, proc, err)
}

// started adds proc to procs, unless it did not start.
func started(procs []*nstest.Process, proc *nstest.Process, err error) ([]*nstest.Process, error) {
	if err != nil {
		return procs, err
	}
	return append(procs, proc), nil
}
