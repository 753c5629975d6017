package cni_test

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/internal/nstest"
)

// A pod's first packet is answered, at once, in both directions: a datagram to a port that nobody
// listens on comes back as "connection refused".
func TestFirstPacketIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	n.Run(t, "sysctl -qw net.ipv4.icmp_ratelimit=0", "sysctl -qw net.ipv6.icmp.ratelimit=0")
	for i := range 20 {
		p := n.newPod(fmt.Sprint("p", i))
		r := n.add(p)
		for _, leg := range []struct {
			name string
			from *nstest.NS
			to   string
		}{
			{"pod to node, IPv6", p.NS, "2001:db8::1"},
			{"node to pod, IPv6", n.NS, addrs(r)[1]},
			{"pod to node, IPv4", p.NS, "192.0.2.1"},
			{"node to pod, IPv4", n.NS, addrs(r)[0]},
		} {
			took, err := refused(leg.from, leg.to)
			if err != nil || took > 250*time.Millisecond {
				t.Errorf("pod %d, %s: %v after %v, want an answer at once", i, leg.name, err, took)
			}
		}
	}
}

// refused sends one datagram and waits for the refusal.
func refused(ns *nstest.NS, to string) (took time.Duration, err error) {
	err = ns.Do(func() error {
		start := time.Now()
		c, err := net.Dial("udp", net.JoinHostPort(to, "9"))
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if err := c.SetDeadline(start.Add(3 * time.Second)); err != nil {
			return err
		}
		if _, err := c.Write([]byte("first")); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 1))
		took = time.Since(start)
		if errors.Is(err, unix.ECONNREFUSED) {
			return nil
		}
		return fmt.Errorf("no refusal: %w", err)
	})
	return took, err
}
