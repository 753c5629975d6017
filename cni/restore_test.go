package cni_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podroute/podroute/cni"
	"github.com/podroute/podroute/cni/hostlink"
	"github.com/podroute/podroute/internal/nstest"
)

func TestRestartFindsEverythingAgain(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	var pods []*pod
	for i := range 5 {
		pods = append(pods, n.newPod(fmt.Sprint("p", i)))
		n.add(pods[i])
	}
	before, used := n.server.Attachments(), n.ipam.Usage()
	n.stop()
	// What others broke meanwhile.
	a := before[0]
	n.Run(t, "ip route flush proto 179", "ip -6 route flush proto 179", "ip neigh del "+a.Addresses[1].String()+" dev "+a.HostIf)
	n.start(dualStack...)
	if d := cmp.Diff(before, n.server.Attachments(), cmpopts.EquateComparable(before[0].Addresses[0])); d != "" {
		t.Errorf("attachments (-before +after):\n%s", d)
	}
	for i, u := range n.ipam.Usage() {
		if u.Used != used[i].Used {
			t.Errorf("usage %+v, was %+v", u, used[i])
		}
	}
	for _, p := range pods {
		if err := n.check(p); err != nil {
			t.Errorf("CHECK %s: %v", p.id, err)
		}
		p.Run(t, "ping -c1 -W1 192.0.2.1", "ping -c1 -W1 2001:db8::1")
	}
	for _, p := range pods {
		n.del(p)
	}
	n.wantNothingLeft()
}

// What looks like ours and cannot be read is set down, and removed a little later; what does not look
// like ours is left alone.
func TestRestoreQuarantinesLinksWithoutAlias(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	bare, corrupt, moved, healthy := n.newPod("bare"), n.newPod("corrupt"), n.newPod("moved"), n.newPod("healthy")
	for _, p := range []*pod{corrupt, moved, healthy} {
		n.add(p)
	}
	n.stop()
	name := func(p *pod) string { return hostlink.For(p.id, "eth0").Name }
	foreign := n.newPod("foreign")
	n.Run(t,
		"ip link add "+name(bare)+" up type veth peer name eth0 netns "+bare.Path(),
		"ip link set "+name(corrupt)+" alias podroute/1,id=corrupt",
		"ip link set "+name(moved)+" down", "ip link set "+name(moved)+" name pr0123456789ab", "ip link set pr0123456789ab up",
		"ip link add private up type veth peer name eth0 netns "+foreign.Path(),
		"ip link add pr0123456789AB type bridge", "ip link add prabcdefabcdef type bridge",
	)
	if err := n.restore(dualStack...); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{name(bare), name(corrupt), "pr0123456789ab"} {
		if out := n.Run(t, "ip -o link show dev "+link); !strings.Contains(out, "state DOWN") {
			t.Errorf("%s is not down in quarantine:\n%s", link, out)
		}
		if out := n.log.String(); !strings.Contains(out, link) {
			t.Errorf("the log does not name %s:\n%s", link, out)
		}
	}
	if got := n.server.Attachments(); len(got) != 1 || got[0].ContainerID != "healthy" {
		t.Errorf("attachments %+v, want the healthy pod's only", got)
	}
	n.serve()
	r := n.add(bare) // does not wait for the quarantine's end
	nstest.Within(t, 2*time.Second, func() error {
		for _, link := range []string{name(corrupt), "pr0123456789ab"} {
			if _, err := n.Try("ip link show dev " + link); err == nil {
				return fmt.Errorf("%s is still there", link)
			}
		}
		return nil
	})
	n.Run(t, "ip link show dev private", "ip link show dev pr0123456789AB", "ip link show dev prabcdefabcdef",
		"ip link show dev "+name(healthy), "ping -c1 -W1 "+addrs(r)[0])
	n.Run(t, "ip link del private", "ip link del pr0123456789AB", "ip link del prabcdefabcdef")
	n.del(bare)
	n.del(healthy)
	n.wantNothingLeft()
}

func TestRestoreReportsADuplicatedAddress(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	a, b := n.newPod("a"), n.newPod("b")
	ra, rb := n.add(a), n.add(b)
	n.stop()
	// b's alias claims a's addresses, as no crash of ours could bring about.
	alias := strings.Fields(n.alias(rb.Interfaces[0].Name))
	for i := range alias {
		if strings.HasPrefix(alias[i], "ip=") {
			alias[i] = "ip=" + strings.Join(addrs(ra), ",")
		}
	}
	n.setAlias(rb.Interfaces[0].Name, strings.Join(alias, " "))
	n.start(dualStack...)
	if out := n.log.String(); !strings.Contains(out, addrs(ra)[0]) || !strings.Contains(out, "share an address") {
		t.Errorf("the log does not name the address:\n%s", out)
	}
	if got := n.server.Attachments(); len(got) != 2 {
		t.Errorf("%d attachments, want both", len(got))
	}
	n.del(a)
	if u := n.ipam.Usage()[0]; u.Used != 1 {
		t.Errorf("usage %+v after one of two has gone, want the address still in use", u)
	}
	n.del(b)
	n.wantNothingLeft()
}

func (n *node) alias(link string) string {
	n.t.Helper()
	_, alias, ok := strings.Cut(n.Run(n.t, "ip link show dev "+link), " alias ")
	if !ok {
		n.t.Fatalf("%s has no alias", link)
	}
	return strings.TrimSpace(alias)
}

func (n *node) setAlias(link, alias string) {
	n.t.Helper()
	if out, err := n.Command(context.Background(), "ip", "link", "set", "dev", link, "alias", alias).CombinedOutput(); err != nil {
		n.t.Fatalf("%v: %s", err, out)
	}
}

func TestRunNeedsRestore(t *testing.T) {
	t.Parallel()
	n := nstest.New(t)
	var s *cni.Server
	if err := n.Do(func() (err error) {
		s, err = cni.New(cni.Options{Socket: t.TempDir() + "/cni.sock"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run served without having read the kernel")
	}
}
