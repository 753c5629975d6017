package routes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// spareNeighbours are entries of the kernel's table of neighbours that others on the host may need: gateways, machines
// on the same link.
const spareNeighbours = 128

// CheckLimits compares what the kernel can hold with what this node needs for so many neighbours on its links, and names
// what the kernel lacks. As with CheckHost, the network namespace is that of the calling thread. The table of
// neighbours is one for all namespaces, and only the host's own shows its bounds: elsewhere they are not looked at.
func CheckLimits(ctx context.Context, neighbours int) ([]Finding, error) {
	var findings []Finding
	for _, family := range []string{"ipv4", "ipv6"} {
		s := setting{path: "net/" + family + "/neigh/default/gc_thresh3"}
		have, err := s.read()
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if f, small := tooFew(s, have, neighbours); small {
			findings = append(findings, f)
		}
	}
	c, err := dial()
	if err != nil {
		return nil, err
	}
	_, err = dumpObjects(ctx, c)
	if errors.Is(err, unix.EOPNOTSUPP) {
		findings, err = append(findings, withoutObjects()), nil
	}
	return findings, errors.Join(err, c.close())
}

// tooFew tells whether the kernel's table of neighbours has no room for twice as many as there are, besides others.
func tooFew(s setting, have string, neighbours int) (Finding, bool) {
	n, err := strconv.Atoi(have)
	want := 2*neighbours + spareNeighbours
	if err != nil || n >= want {
		return Finding{}, false
	}
	return Finding{s.name(), have, fmt.Sprintf("%d or more", want), fmt.Sprintf(
		"sysctl -w %s=%d: when the table is full, packets to new neighbours are dropped", s.name(), max(want, 2*n))}, true
}

// withoutObjects is what is to be said of a kernel without nexthop objects.
func withoutObjects() Finding {
	return Finding{"nexthop objects", "absent", "Linux 5.3 or newer", "use a newer kernel: without them a lost path takes a message for each route, not one for all"}
}
