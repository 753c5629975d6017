package interop

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// selectedManifests are one folder for both nodes of a rack, as in a cluster: each node's sessions are those of the BGPPeers
// that select it by its label.
func selectedManifests(o rackOptions, labels [2]string) string {
	var w strings.Builder
	manifests := rackManifests(o, 1)
	first := strings.Index(manifests, "---\napiVersion: podroute.io/v1alpha1\nkind: BGPPeer")
	w.WriteString(manifests[:first])
	for i := 1; i <= 2; i++ {
		o.peer = fmt.Sprintf("  nodeSelector: {matchLabels: {link: port%d}}\n", i)
		w.WriteString(o.peers(fmt.Sprintf("-port%d", i), i, torAS))
	}
	manifests = manifests[strings.Index(manifests, "---\napiVersion: v1\nkind: Node"):]
	for i, l := range labels {
		manifests = strings.Replace(manifests, fmt.Sprintf("{name: n%d, ", i+1), fmt.Sprintf("{name: n%d, labels: {link: %q}, ", i+1, l), 1)
	}
	w.WriteString(manifests)
	return w.String()
}

// TestInteropSelector: two nodes read the same manifests, and each has the session that is for it; a label that changes ends
// one and brings it back, and the other node's stays.
func TestInteropSelector(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: by node selector, changed by a label"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 2, split: kind == routers.GoBGP} // which has one IPv6 next hop for all
		r := newRack(t, o)
		set := func(second string) {
			t.Helper()
			for _, n := range r.nodes {
				n.configure(t, "rack.yaml", selectedManifests(o, [2]string{"port1", second}))
			}
		}
		names := func(i int) []string {
			if o.twoSessions() {
				return []string{fmt.Sprintf("tor-port%d", i), fmt.Sprintf("tor6-port%d", i)}
			}
			return []string{fmt.Sprintf("tor-port%d", i)}
		}
		set("port2")
		for i, n := range r.nodes {
			nstest.Within(t, waitRoute, func() error { return n.hasPeers(names(i + 1)...) })
		}
		r.router.Established(waitSession)
		for i := range r.nodes {
			r.exchanged(t, i+1)
		}
		before := r.nodes[0].snapshot(t)
		set("none")
		nstest.Within(t, waitRoute, func() error { return r.nodes[1].hasPeers() })
		for p := range subnets(2) {
			r.router.Learns(waitRoute, p)
		}
		for _, p := range outside {
			inKernel(t, r.nodes[1], p, 0)
		}
		set("port2")
		r.exchanged(t, 2)
		r.nodes[0].unmoved(t, before)
	})
}

// TestInteropIdentity: the AS number and the router ID of a Node's annotations are what the router is told, and a change of
// either takes new sessions; the AS number may also be a label.
func TestInteropIdentity(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: a node's own AS number and router ID, by annotation, changed"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1, as: 4200000123}
		r := newRack(t, o)
		n := r.nodes[0]
		r.exchanged(t, 1)
		is := func(id string) {
			t.Helper()
			want := routers.Identity{AS: o.as, ID: netip.MustParseAddr(id)}
			nstest.Within(t, 2*waitSession, func() error { // OpenBGPD is idle for half a minute after a Cease
				for _, x := range o.neighbors(1) {
					if got, err := r.router.Identity(x.Address); err != nil || got != want {
						return fmt.Errorf("the router has %+v for the node, want %+v (%w)", got, want, err)
					}
				}
				return nil
			})
			r.exchanged(t, 1)
		}
		is("10.0.1.1")
		annotation := `annotations: {podroute.io/as-number: "4200000123"}`
		with := `labels: {podroute.io/as-number: "4200000123"}, annotations: {podroute.io/router-id: 192.0.2.78}`
		n.configure(t, "rack.yaml", strings.Replace(rackManifests(o, 1), annotation, with, 1))
		is("192.0.2.78")
		out, err := n.ask("status")
		if err != nil || !strings.Contains(string(out), "192.0.2.78") || !strings.Contains(string(out), "4200000123") {
			t.Errorf("podroute status says %s, %v", out, err)
		}
	})
}

// TestInteropPasswordFile: a password from a file, which is rotated in the file; while it is not the router's there is no
// session, and while there is no file that has one there is no attempt at all.
func TestInteropPasswordFile(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "sessions: TCP MD5, a password from a file, rotated in the file; without one no session"}.Each(t, func(t *testing.T, kind routers.Kind) {
		o := rackOptions{kind: kind, nodes: 1, password: "first"}
		file := filepath.Join(t.TempDir(), "tor.password")
		write := func(password string) {
			t.Helper()
			if err := os.WriteFile(file+".new", []byte(password+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		}
		r := newRack(t, o)
		n := r.nodes[0]
		manifests := strings.ReplaceAll(rackManifests(o, 1), "password: {secretRef: {name: tor}}", "password: {file: "+file+"}")
		r.exchanged(t, 1)
		before := n.snapshot(t)
		write("first")
		n.configure(t, "rack.yaml", manifests)
		n.configure(t, "other.yaml", "apiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: other}\n"+
			"spec: {address: 10.0.1.9, asNumber: external, password: {file: "+file+".none}}\n")
		nstest.Within(t, waitRoute, func() error { return says(n, "BGPPeer/other", "spec.password.file", "cannot be read") })
		if all := n.snapshot(t); len(all) != len(before) {
			t.Errorf("a session is attempted without its password: %+v", all)
		}
		n.unmoved(t, before) // the same password, from elsewhere
		n.remove(t, "other.yaml")

		write("second")
		nstest.Within(t, waitSession, func() error {
			if s := n.session(t, "tor"); s.State == "Established" || !strings.Contains(s.LastError, "the password differs") {
				return fmt.Errorf("the password is another one: %+v", s)
			}
			return nil
		})
		write("first")
		rotated := time.Now()
		r.router.Established(waitSession)
		r.exchanged(t, 1)
		if took := time.Since(rotated); took > 15*time.Second {
			t.Errorf("the session is back after %v", took)
		}
		if out, err := n.ask("peers"); err != nil || strings.Contains(string(out), "first") || strings.Contains(n.log.String(), "second") {
			t.Errorf("a password is shown: %s %v\n%s", out, err, n.log)
		}
	})
}

// says checks that podroute status says all of these words.
func says(n *node, words ...string) error {
	out, err := n.ask("status")
	for _, w := range words {
		if err == nil && !strings.Contains(string(out), w) {
			err = fmt.Errorf("podroute status does not say %q: %s", w, out)
		}
	}
	return err
}

// TestInteropUnknownAS: the neighbour's AS number by what it is to us. The wrong word is refused and named, by one end or
// the other.
func TestInteropUnknownAS(t *testing.T) {
	t.Parallel()
	for word, c := range map[string]struct{ as, node uint32 }{
		"external": {torAS, 64601}, "internal": {torAS, torAS},
	} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			routers.Feature{Name: "sessions: the router's AS number not written down (" + word + ")"}.Each(t, func(t *testing.T, kind routers.Kind) {
				o := rackOptions{kind: kind, nodes: 1, as: c.node}
				r := newRack(t, o)
				n := r.nodes[0]
				set := func(word string) {
					t.Helper()
					n.configure(t, "rack.yaml", strings.ReplaceAll(rackManifests(o, 1), fmt.Sprintf("asNumber: %d\n", torAS), "asNumber: "+word+"\n"))
				}
				set(word)
				r.exchanged(t, 1)
				nstest.Within(t, waitSession, func() error {
					if text := n.table(t); !strings.Contains(text, fmt.Sprint(torAS)) {
						return fmt.Errorf("podroute peers does not show the AS number that was learned:\n%s", text)
					}
					return nil
				})
				set(map[string]string{"external": "internal", "internal": "external"}[word])
				nstest.Within(t, waitSession, func() error {
					if s := n.session(t, "tor"); s.State == "Established" || !strings.Contains(s.LastError, "AS") {
						return fmt.Errorf("with the wrong word: %+v", s)
					}
					return nil
				})
				for _, p := range outside {
					inKernel(t, n, p, 0)
				}
			})
		})
	}
}
