package cni_test

import (
	"testing"
)

func TestAddWiresBothFamilies(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	n.Run(t, "ip addr add 192.0.2.1/32 dev lo", "ip addr add 2001:db8::1/128 dev lo nodad")
	a, b := n.newPod("a"), n.newPod("b")
	ra, rb := n.add(a), n.add(b)
	if len(ra.IPs) != 2 || len(rb.IPs) != 2 {
		t.Fatalf("want two addresses a pod, have %v and %v", ra.IPs, rb.IPs)
	}
	for _, dst := range append(addrs(rb), "192.0.2.1", "2001:db8::1") {
		a.Run(t, "ping -c1 -W1 "+dst)
	}
	for _, dst := range addrs(ra) {
		n.Run(t, "ping -c1 -W1 "+dst)
		b.Run(t, "ping -c1 -W1 "+dst)
	}
	if err := n.check(a); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	n.del(a)
	n.del(b)
	n.wantNothingLeft()
}
