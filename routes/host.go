package routes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Finding is a setting of the host that keeps packets from being routed as they should.
type Finding struct {
	Setting string // as sysctl names it, links with dots in their names written with slashes
	Have    string
	Want    string
	Mend    string // a command, and why where it is not plain
}

// setting is one value below /proc/sys that we need.
type setting struct {
	path string   // below /proc/sys
	good []string // what it may be; the first is what we set
	why  string
}

const sysctls = "/proc/sys"

// CheckHost compares the host's settings with what a router needs: forwarding, ECMP by flow (addresses
// and ports), reverse path filters that allow asymmetric paths on uplinks, and router advertisements
// that are still heard once the host forwards. No finding: all is well.
//
// /proc/sys/net shows the network namespace of the thread that opens it: call this on a thread in the
// namespace that is meant.
func CheckHost(ctx context.Context) ([]Finding, error) {
	all, err := settings()
	if err != nil {
		return nil, err
	}
	var findings []Finding
	for _, s := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		have, err := s.read()
		if errors.Is(err, os.ErrNotExist) {
			findings = append(findings, Finding{s.name(), "absent", s.good[0], "use a kernel that has it: " + s.why})
			continue
		}
		if err != nil {
			return nil, err
		}
		if !slices.Contains(s.good, have) {
			findings = append(findings, Finding{s.name(), have, s.good[0], fmt.Sprintf("sysctl -w %s=%s: %s", s.name(), s.good[0], s.why)})
		}
	}
	return findings, nil
}

// ApplyHost makes the host's settings what CheckHost wants, in the order in which they do no harm. It
// goes on after a failure and returns all of them. The namespace is that of the calling thread, as in
// CheckHost. It writes below procSys, or with "" in /proc/sys, which in a container is read-only.
func ApplyHost(ctx context.Context, procSys string) error {
	if procSys == "" {
		procSys = sysctls
	}
	all, err := settings()
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		have, err := s.read()
		if err == nil && !slices.Contains(s.good, have) {
			err = os.WriteFile(filepath.Join(procSys, s.path), []byte(s.good[0]), 0)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("setting %s=%s: %w", s.name(), s.good[0], err))
		}
	}
	return errors.Join(errs...)
}

func (s setting) read() (string, error) {
	b, err := os.ReadFile(filepath.Join(sysctls, s.path))
	return strings.TrimSpace(string(b)), err
}

// name writes the path as sysctl does: dots for slashes and slashes for dots.
func (s setting) name() string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, s.path)
}

// settings lists what this host needs, in the order to set it.
func settings() ([]setting, error) {
	var all []setting
	for _, family := range []string{"ipv4", "ipv6"} {
		links, err := uplinks(family)
		if errors.Is(err, os.ErrNotExist) && family == "ipv6" {
			continue // the host has no IPv6
		}
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			s, ok := linkSetting(family, l)
			if ok {
				all = append(all, s)
			}
		}
		forwarding := "net/ipv4/ip_forward"
		if family == "ipv6" {
			forwarding = "net/ipv6/conf/all/forwarding"
		}
		all = append(all,
			setting{forwarding, []string{"1"}, "packets from and to pods are dropped without it"},
			setting{"net/" + family + "/fib_multipath_hash_policy", []string{"1", "2", "3"}, "with 0 all flows between two addresses take one of several paths"})
	}
	return all, nil
}

// linkSetting is what a family wants of an uplink, if anything.
func linkSetting(family, link string) (setting, bool) {
	conf := filepath.Join("net", family, "conf", link)
	if family == "ipv4" {
		// The kernel takes the higher of this and conf/all, and 2 is loose.
		strict := setting{path: "net/ipv4/conf/all/rp_filter"}
		own := setting{filepath.Join(conf, "rp_filter"), []string{"2", "0"}, "strict, it drops what returns by another uplink"}
		all, err := strict.read()
		if err == nil && all == "1" {
			own.good = []string{"2"}
		}
		return own, true
	}
	// A host that forwards already and hears no advertisements has lived without: what it would learn
	// now might surprise. Where 1 becomes deaf by our doing, it becomes 2.
	forwarding, err := setting{path: filepath.Join(conf, "forwarding")}.read()
	if err != nil || forwarding != "0" {
		return setting{}, false
	}
	return setting{filepath.Join(conf, "accept_ra"), []string{"2", "0"}, "with 1, router advertisements and their default route are lost once the host forwards"}, true
}

// uplinks lists the links that may lead to other machines: not loopback, nor a pod's.
func uplinks(family string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(sysctls, "net", family, "conf"))
	if err != nil {
		return nil, fmt.Errorf("list the links of the host: %w", err)
	}
	var links []string
	for _, e := range entries {
		if n := e.Name(); n != "all" && n != "default" && n != "lo" && !podLink(n) {
			links = append(links, n)
		}
	}
	return links, nil
}
