package cni_test

import (
	"bufio"
	"context"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/podroute/podroute/cni"
	"github.com/podroute/podroute/cni/hostlink"
	"github.com/podroute/podroute/internal/nstest"
)

// Wherever the server dies, an address that a pod has is in the journal; the next server gives it to
// nobody else, and the runtime's DEL removes what is left.
func TestEveryCrashPoint(t *testing.T) {
	t.Parallel()
	serve := buildServe(t)
	// One address a family for each of two pods, so that a forgotten one is given out at once.
	blocks := []netip.Prefix{netip.MustParsePrefix("10.244.1.0/31"), netip.MustParsePrefix("fd00:244:1::/127")}
	for _, point := range cni.Failpoints() {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			n := newBareNode(t)
			died := n.launch(serve, point, blocks...)
			victim, next := n.newPod("victim"), n.newPod("next")
			_, err := n.tryAdd(victim)
			if point == "cni.after-delete" {
				if err != nil {
					t.Fatal(err)
				}
				n.del(victim) // the plugin finishes it
			} else if err == nil {
				t.Fatal("ADD succeeded; the failpoint was never reached")
			}
			died()
			have, err := victim.globals()
			if err != nil {
				t.Fatal(err)
			}
			journal := n.Run(t, "ip link show")
			for a := range strings.FieldsSeq(have) {
				if !strings.Contains(journal, a) {
					t.Errorf("the pod has %s, of which the journal knows nothing:\n%s", a, journal)
				}
			}
			n.start(blocks...)
			other := addrs(n.add(next))
			for a := range strings.FieldsSeq(have) {
				if slices.Contains(other, a) {
					t.Errorf("%s is in two pods", a)
				}
			}
			n.del(victim)
			n.del(next)
			n.wantNothingLeft()
			n.add(n.newPod("third"))
			n.add(n.newPod("fourth"))
		})
	}
}

// The runtime forgets the pod of a killed agent, and its namespace stays: GC finds it.
func TestGCAfterACrash(t *testing.T) {
	t.Parallel()
	n := newBareNode(t)
	died := n.launch(buildServe(t), "cni.after-host-route", dualStack...)
	victim := n.newPod("victim")
	if _, err := n.tryAdd(victim); err == nil {
		t.Fatal("ADD succeeded; the failpoint was never reached")
	}
	died()
	n.start(dualStack...)
	if n.attachment("victim").HostIf != hostlink.For("victim", "eth0").Name {
		t.Error("the next server does not know the link")
	}
	if err := n.inside(func(ctx context.Context) error {
		return n.lib.GCNetworkList(ctx, n.list, &libcni.GCArgs{ValidAttachments: []types.GCAttachment{{ContainerID: "another", IfName: "eth0"}}})
	}); err != nil {
		t.Fatal(err)
	}
	n.wantNothingLeft()
}

// launch starts a server that dies at the failpoint; died waits for that.
func (n *node) launch(serve, point string, blocks ...netip.Prefix) (died func()) {
	n.t.Helper()
	args := []string{n.socket}
	for _, b := range blocks {
		args = append(args, b.String())
	}
	cmd := n.Command(context.Background(), serve, args...)
	cmd.Env = append(os.Environ(), "PODROUTE_FAILPOINT="+point)
	var log nstest.Output
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "serving\n" {
		_ = cmd.Wait()
		n.t.Fatalf("the server said %q, %v\n%s", line, err, log.String())
	}
	died = sync.OnceFunc(func() {
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	})
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		died()
	})
	return died
}
