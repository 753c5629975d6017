package cni_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/cni/internal/rtnl"
	"github.com/podroute/podroute/internal/nstest"
)

// whole tells whether node and pod reach each other, by the pod's own host routes and neighbours.
func (n *node) whole(p *pod) error {
	if err := n.check(p); err != nil {
		return err
	}
	for _, a := range n.attachment(p.id).Addresses {
		if _, err := n.Try("ping -c1 -W1 " + a.String()); err != nil {
			return err
		}
	}
	return nil
}

func TestHostSideIsMended(t *testing.T) {
	t.Parallel()
	for _, damage := range [][]string{
		{"ip link set HOST down", "ip link set HOST up"},
		{"ip route del A4"},
		{"ip -6 route del A6"},
		{"ip route flush proto 179", "ip -6 route flush proto 179"},
	} {
		t.Run(strings.Join(damage, ", "), func(t *testing.T) {
			t.Parallel()
			n := newNode(t, dualStack...)
			p, other := n.newPod("a"), n.newPod("b")
			r := n.add(p)
			n.add(other)
			fill := strings.NewReplacer("HOST", r.Interfaces[0].Name, "A4", addrs(r)[0], "A6", addrs(r)[1])
			for range 3 {
				for _, d := range damage {
					n.Run(t, fill.Replace(d))
				}
				nstest.Within(t, time.Second, func() error { return n.whole(p) })
				nstest.Within(t, time.Second, func() error { return n.whole(other) })
			}
			n.del(p)
			n.del(other)
			n.wantNothingLeft()
		})
	}
}

// A link that somebody set down stays down: to know better is not ours.
func TestHostSideSetDownStaysDown(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	p, other := n.newPod("a"), n.newPod("b")
	r := n.add(p)
	n.add(other)
	n.Run(t, "ip link set "+r.Interfaces[0].Name+" down", "ip route flush proto 179")
	// Events are seen in order: once this is mended, the other has been seen.
	nstest.Within(t, time.Second, func() error { return n.whole(other) })
	if out := n.Run(t, "ip route show dev "+r.Interfaces[0].Name); out != "" {
		t.Errorf("routes over a link that is down:\n%s", out)
	}
	n.del(p)
	n.del(other)
	n.wantNothingLeft()
}

// The kernel drops events that nobody reads in time. Then the server looks at everything again.
func TestLostEvents(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	gone, routeless, spare := n.newPod("gone"), n.newPod("routeless"), n.newPod("spare")
	n.add(gone)
	n.add(routeless)
	n.add(spare)
	n.stop()
	if err := n.restore(dualStack...); err != nil { // it watches from here on, and reads from serve on
		t.Fatal(err)
	}
	if err := n.Do(func() error { return overflow(n.attachment("spare").HostIf) }); err != nil {
		t.Fatal(err)
	}
	n.Run(t, "ip link del "+n.attachment("gone").HostIf, "ip route flush proto 179")
	n.serve()
	nstest.Within(t, 2*time.Second, func() error {
		if got := len(n.server.Attachments()); got != 2 || n.ipam.Usage()[0].Used != 2 {
			return fmt.Errorf("%d attachments, usage %+v; want 2", got, n.ipam.Usage())
		}
		return n.check(routeless)
	})
	if out := n.log.String(); !strings.Contains(out, "events were lost") {
		t.Errorf("no events were lost; this test proves nothing:\n%s", out)
	}
	n.del(routeless)
	n.del(spare)
	n.wantNothingLeft()
}

// overflow fills the buffer of every watcher in the thread's namespace.
func overflow(link string) error {
	c, err := rtnl.Dial()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	l, err := c.LinkByName(link)
	if err != nil {
		return err
	}
	for range 10000 {
		for _, ch := range []rtnl.Change{{Alias: l.Alias + "x"}, {Alias: l.Alias}} {
			if err := c.SetLink(l.Index, ch); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return err
			}
		}
	}
	return nil
}
