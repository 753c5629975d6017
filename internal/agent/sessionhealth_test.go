package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/bgp"
	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/config/file"
	"github.com/podroute/podroute/routes"
)

// TestSessionsHealth: the first of what is amiss gives the reason, and all of it the message, three at most.
func TestSessionsHealth(t *testing.T) {
	t.Parallel()
	now := time.Now()
	up := bgp.PeerState{Name: "up", State: "Established"}
	out := bgp.PeerState{Name: "out", State: "Active", Reason: bgp.ReasonConnect, LastError: "connection refused"}
	loop := bgp.PeerState{Name: "loop", State: "Established", Looping: 2, Warnings: []string{"2 routes dropped"}}
	near := bgp.PeerState{Name: "near", State: "Established", Warnings: []string{"it has sent many"}}
	for _, c := range []struct {
		peers  []bgp.PeerState
		reason string
		texts  []string
	}{
		{[]bgp.PeerState{up}, reasonAllUp, nil},
		{[]bgp.PeerState{up, near}, reasonWarned, []string{"session near: it has sent many"}},
		{[]bgp.PeerState{near, loop, up}, reasonOwnAS, []string{"session loop: 2 routes dropped", "near"}},
		{[]bgp.PeerState{near, loop, out}, reasonSomeOut, []string{"connection refused", "loop", "near"}},
		{[]bgp.PeerState{out, out, out, near, loop}, reasonSomeOut, []string{"and 2 more"}},
	} {
		h := healthOf(evidence{Desired: new(Desired), Peers: c.peers}, nil, now)
		if h.Reason != c.reason || h.Healthy != (c.texts == nil) {
			t.Errorf("%+v, want %s", h, c.reason)
		}
		for _, text := range c.texts {
			if !strings.Contains(h.Message, text) {
				t.Errorf("no %q in %q", text, h.Message)
			}
		}
	}
}

// TestSessionsHealthOverTime plays seconds of an agent's life; what is said of each second is a letter: T all is well, F not, u it is too
// early to say and what was said before this agent stands, - there are no sessions.
func TestSessionsHealthOverTime(t *testing.T) {
	t.Parallel()
	peer := func(name string) bgp.Peer { return bgp.Peer{Name: name} }
	for _, c := range []struct {
		name, want string
		// at is what there is in a second; since is relative to the start.
		at func(second int, e *evidence, is func(name, state string, since int))
	}{
		{"a session that was dead all along, after a new start", "uuuuuuuuuFFF", func(i int, e *evidence, is func(string, string, int)) {
			if e.Begun = i >= 2; e.Begun {
				is("tor", "Active", 2)
			}
		}},
		{"all come up", "uuuuTTTT", func(i int, e *evidence, is func(string, string, int)) {
			if e.Begun = i >= 2; e.Begun {
				is("tor", []string{"Active", "Established"}[min(max(i-3, 0), 1)], 2)
			}
		}},
		{"a reset for a new configuration while absent", "FFFFFFFFFFFF", func(i int, _ *evidence, is func(string, string, int)) {
			is("tor", "Active", []int{-100, 3}[min(i/3, 1)])
		}},
		{"away for a moment", "TTTTTTTTTT", func(i int, _ *evidence, is func(string, string, int)) {
			if i < 3 || i > 7 {
				is("tor", "Established", 0)
			} else {
				is("tor", "Active", 3)
			}
		}},
		{"a caller leaves in order", "TTTTTTTTTTTTTTTTTTTT", func(i int, e *evidence, is func(string, string, int)) {
			e.Desired.Called = map[string]bool{"servers/192.0.2.9": true}
			is("tor", "Established", 0)
			if i < 3 {
				is("servers/192.0.2.9", "Established", 0)
			} else if i < 3+int(bgp.RememberedFor/time.Second) {
				is("servers/192.0.2.9", "Active", 3)
			}
		}},
		{"a peer that has no session", "uuuuuuuFFFTT", func(i int, e *evidence, is func(string, string, int)) {
			is("tor", "Established", 0)
			if i < 10 {
				e.Desired.Unserved = []config.Problem{{Object: "BGPPeer/b", Message: "no password"}}
			}
		}},
		{"the speaker refuses one", "TTTTTTTTTFFF", func(i int, e *evidence, is func(string, string, int)) {
			is("tor", "Established", 0)
			if i >= 2 {
				e.Desired.BGP.Peers = append(e.Desired.BGP.Peers, peer("b"))
				e.Unset = errors.Join(&bgp.PeerError{Peer: "b", Err: errors.New("its hold time is wrong")})
			}
		}},
		{"there are none", "u---", func(i int, e *evidence, _ func(string, string, int)) { e.Begun = i > 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var h sessionHealth
			start := time.Unix(1_000_000, 0)
			var got strings.Builder
			for i := range len(c.want) {
				e := evidence{Desired: new(Desired), Begun: true}
				c.at(i, &e, func(name, state string, since int) {
					e.Desired.BGP.Peers = append(e.Desired.BGP.Peers, peer(name))
					e.Peers = append(e.Peers, bgp.PeerState{Name: name, State: state, Since: start.Add(time.Duration(since) * time.Second)})
				})
				switch s := h.next(start.Add(time.Duration(i)*time.Second), e); {
				case s == nil:
					got.WriteByte('-')
				case s.Undecided:
					got.WriteByte('u')
				case s.Healthy:
					got.WriteByte('T')
				default:
					got.WriteByte('F')
				}
			}
			if got.String() != c.want {
				t.Errorf("%s\nwant %s", got.String(), c.want)
			}
		})
	}
}

// TestSessionless: a BGPPeer that selects the node and has no session is named with the reason, whoever left it out.
func TestSessionless(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	manifest := `
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {rack: a}}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
`
	for name, spec := range map[string]string{
		"fine":      "address: 192.0.2.11, asNumber: 65001",
		"refused":   "address: 192.0.2.12, asNumber: 65001",
		"keyless":   "address: 192.0.2.13, asNumber: 65001, password: {file: absent}",
		"gateway":   "gateway: IPv4, asNumber: 65001",
		"link":      "interface: eth9, asNumber: 65001",
		"callers":   "prefix: 192.0.2.128/26, asNumber: 65001",
		"secret":    "prefix: 192.0.2.192/26, asNumber: 65001, password: {file: absent}",
		"elsewhere": "address: 192.0.2.14, asNumber: 65001, password: {file: absent}, nodeSelector: {matchLabels: {rack: b}}",
	} {
		manifest += fmt.Sprintf("---\napiVersion: podroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: %s}\nspec: {%s}\n", name, spec)
	}
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	snapshot, err := file.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	link := routes.Link{Index: 2, Name: "eth0", Up: true, MTU: 1500, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}
	d := desired(Inputs{NodeName: "n1", Snapshot: snapshot, Links: []routes.Link{link}})
	e := evidence{Desired: &d, Peers: []bgp.PeerState{{Name: "fine"}}, Unset: errors.Join(
		&bgp.PathError{Err: errors.New("not this")},
		&bgp.PeerError{Peer: "refused", Err: errors.New("its hold time is wrong")},
		&bgp.PeerError{Peer: "callers", Err: errors.New("its key cannot be set")},
		&bgp.PeerError{Peer: "gone", Err: errors.New("it is no peer any more")},
	)}
	var got []string
	for _, p := range e.sessionless() {
		text := p.Error()
		for object, why := range map[string]string{
			"BGPPeer/keyless": "write the file", "BGPPeer/secret": "write the file", "BGPPeer/gateway": "no IPv4 default route", "BGPPeer/link": "no link eth9",
			"session refused": "hold time", "BGPPeer/callers": "key cannot be set",
		} {
			if p.Object == object && !strings.Contains(text, why) {
				t.Errorf("no %q in %q", why, text)
			}
		}
		got = append(got, p.Object)
	}
	slices.Sort(got)
	want := []string{"BGPPeer/callers", "BGPPeer/gateway", "BGPPeer/keyless", "BGPPeer/link", "BGPPeer/secret", "session refused"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if h := healthOf(e, e.sessionless(), time.Now()); h.Healthy || h.Reason != reasonNone || !strings.Contains(h.Message, "BGPPeer/") {
		t.Errorf("%+v", h)
	}
}

// TestMeshNamesAtOnce: what a mesh costs does not grow with nodes times BGPPeers.
func TestMeshNamesAtOnce(t *testing.T) {
	in := Inputs{NodeName: "n0", Snapshot: config.Snapshot{Router: config.Default().Router}}
	link := routes.Link{Index: 2, Name: "eth0", Up: true, MTU: 1500, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	in.Links = []routes.Link{link}
	const nodes, peers = 200, 20
	for i := range nodes {
		in.Snapshot.Nodes = append(in.Snapshot.Nodes, config.Node{
			Name: fmt.Sprintf("n%d", i), Labels: map[string]string{"rack": "a"}, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})},
		})
	}
	in.Snapshot.Router.Spec.Mesh = config.MeshFull
	cost := func() float64 { return testing.AllocsPerRun(3, func() { desired(in) }) }
	without := cost()
	for i := range peers {
		var p config.BGPPeer
		p.Name, p.Spec.Prefix, p.Spec.ASNumber = fmt.Sprintf("p%d", i), fmt.Sprintf("198.51.100.%d/32", i), config.ASExternal
		p.Spec.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"rack": "a"}}
		in.Snapshot.Peers = append(in.Snapshot.Peers, p)
	}
	if d := desired(in); len(d.BGP.Peers) != nodes-1 || len(d.BGP.Ranges) != peers {
		t.Fatalf("%d sessions, %d ranges", len(d.BGP.Peers), len(d.BGP.Ranges))
	}
	if more := cost() - without; more > nodes*peers/2 {
		t.Errorf("%d BGPPeers cost %.0f allocations in a mesh of %d nodes", peers, more, nodes)
	}
}
