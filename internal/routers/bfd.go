package routers

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podroute/podroute/internal/nstest"
)

// BFD of a neighbour, at BIRD and FRR.
type BFD struct {
	// Interval of both directions, in milliseconds, and the multiplier.
	Interval, Multiplier int
	// Graceful keeps the neighbour's routes over the loss of a BFD session that shares fate with its control plane
	// (RFC 5882 section 4.3.2): BIRD's "bfd graceful", FRR's "bfd check-control-plane-failure".
	Graceful bool
	// Method of authentication as BIRD calls it, "meticulous keyed sha1", with Key and KeyID; none where it is empty.
	Method, Key string
	KeyID       int
}

func (c Config) bfd() *BFD {
	for _, n := range c.Neighbors {
		if n.BFD != nil {
			return n.BFD
		}
	}
	return nil
}

// bfd is the protocol that serves all neighbours; BIRD has the timers there.
func (b *bird) bfd(c Config) string {
	p := c.bfd()
	if p == nil {
		return ""
	}
	auth := ""
	if p.Method != "" {
		auth = fmt.Sprintf("authentication %s; password %q { id %d; }; ", p.Method, p.Key, p.KeyID)
	}
	timers := fmt.Sprintf("{ interval %d ms; multiplier %d; %s}", p.Interval, p.Multiplier, auth)
	return fmt.Sprintf("protocol bfd { interface \"*\" %[1]s; multihop %[1]s; }\n", timers)
}

func (b *bird) neighborBFD(n Neighbor) string {
	switch {
	case n.BFD == nil:
		return ""
	case n.BFD.Graceful:
		return "  bfd graceful;\n"
	}
	return "  bfd on;\n"
}

// liveness is the state of BFD with a neighbour: of the lines
//
//	IP address                Interface  State      Since         Interval  Timeout
//	10.0.0.1                  eth0       Up         15:40:05.846    0.050    0.150
func (b *bird) liveness(a netip.Addr) (string, error) {
	out, err := b.show("show bfd sessions")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == a.WithZone("").String() {
			return f[2], nil
		}
	}
	return "none", nil
}

func (f *frr) neighborBFD(n Neighbor) string {
	if n.BFD == nil {
		return ""
	}
	a := zoneless(n)
	s := fmt.Sprintf(" neighbor %v bfd profile all\n", a)
	if n.BFD.Graceful {
		s += fmt.Sprintf(" neighbor %v bfd check-control-plane-failure\n", a)
	}
	return s
}

// writeBFD writes the configuration of bfdd, if it is needed.
func (f *frr) writeBFD(c Config) error {
	p := c.bfd()
	if p == nil {
		return nil
	}
	f.bfdd.wanted = true
	return f.file("bfdd.conf", fmt.Sprintf("log stdout\nbfd\n profile all\n  detect-multiplier %d\n  receive-interval %[2]d\n  transmit-interval %[2]d\n  minimum-ttl 1\n exit\nexit\n",
		p.Multiplier, p.Interval))
}

func (f *frr) startBFD(common []string) ([]*nstest.Process, error) {
	args := []string{"-f", f.path("bfdd.conf"), "-i", f.path("bfdd.pid"), "--bfdctl", f.path("bfdd.sock")}
	p, err := f.launch(frrDir+"bfdd", slices.Concat(args, common)...)
	if err != nil {
		return nil, err
	}
	return []*nstest.Process{p}, ready(p, func() error { _, err := f.vtysh("bfdd", "show version"); return err })
}

func (f *frr) liveness(a netip.Addr) (string, error) {
	out, err := f.vtysh("bfdd", "show bfd peers json")
	if err != nil {
		return "", err
	}
	var all []struct {
		Peer   netip.Addr
		Status string
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return "", fmt.Errorf("show bfd peers: %w", err)
	}
	for _, p := range all {
		if p.Peer == a.WithZone("") {
			return strings.ToUpper(p.Status[:1]) + p.Status[1:], nil
		}
	}
	return "none", nil
}

// Liveness is the state of BFD with a neighbour, by its name in RFC 5880, "none" without a session. Of BIRD and FRR.
func (r *Router) Liveness(neighbor netip.Addr) (string, error) {
	d, ok := r.d.(interface {
		liveness(netip.Addr) (string, error)
	})
	if !ok {
		return "", fmt.Errorf("%s has no BFD", r.kind)
	}
	return d.liveness(neighbor)
}
