package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// route as podroute routes shows it, as far as tests look at it.
type route struct {
	Prefix      string   `json:"prefix"`
	Peer        string   `json:"peer"`
	ASPath      []uint32 `json:"as_path"`
	LocalPref   *uint32  `json:"local_pref"`
	MED         *uint32  `json:"med"`
	Communities []string `json:"communities"`
	State       string   `json:"state"`
	Why         string   `json:"why"`
	Problem     string   `json:"problem"`
	Aggregate   bool     `json:"aggregate"`
}

// attributes are a route's in one line; what is absent is a dash.
func (r route) attributes() string {
	number := func(n *uint32) string {
		if n == nil {
			return "-"
		}
		return fmt.Sprint(*n)
	}
	return fmt.Sprintf("AS path %v, local preference %s, MED %s, communities %v", r.ASPath, number(r.LocalPref), number(r.MED), r.Communities)
}

// shows waits until podroute routes shows what it shall of a prefix: one route a peer.
func (n *node) shows(t *testing.T, kind string, p netip.Prefix, check func(byPeer map[string]route) error) {
	t.Helper()
	nstest.Within(t, waitRoute, func() error {
		out, err := n.ask("routes", kind)
		if err != nil {
			return err
		}
		var list struct {
			Routes []route `json:"routes"`
		}
		if err := json.Unmarshal(out, &list); err != nil {
			return err
		}
		byPeer := map[string]route{}
		for _, r := range list.Routes {
			if r.Prefix == p.String() {
				byPeer[r.Peer] = r
			}
		}
		if err := check(byPeer); err != nil {
			return fmt.Errorf("podroute routes %s of %v: %w: %+v", kind, p, err, byPeer)
		}
		return nil
	})
}

// showsAttributes waits until podroute routes shows these attributes with the router.
func (n *node) showsAttributes(t *testing.T, kind string, p netip.Prefix, want string) {
	t.Helper()
	n.shows(t, kind, p, func(byPeer map[string]route) error {
		if got := byPeer["tor"].attributes(); got != want {
			return fmt.Errorf("%s, want %s", got, want)
		}
		return nil
	})
}

// beaten: the second router's path is used, the first one's is not, and it is said why.
func beaten(byPeer map[string]route) error {
	first, second := byPeer["tor"], byPeer["tor-b"]
	if second.State != "Best" || second.Why != "" || second.Problem != "" || first.State == "Best" || first.Why == "" {
		return errors.New("want that of tor beaten by that of tor-b, and why")
	}
	return nil
}

// TestShown: attributes of both directions, why routes are not used, and a session's settings are shown; its password is not.
func TestShown(t *testing.T) {
	t.Parallel()
	for _, kind := range []routers.Kind{routers.BIRD, routers.FRR} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			const secret = "unseen-s3cret"
			r := newRack(t, rackOptions{
				kind: kind, nodes: 1, as: torAS, password: secret,
				peer: "  maxPrefixes: 500\n  reflectorClient: true\n  addPath: {receive: true}\n  import: {reject: [{cidr: 10.244.66.0/24}]}\n",
				router: func(c *routers.Config) {
					c.Tags = routers.Tags{Communities: []string{"65010:7"}, Large: []string{"65010:1:7"}, MED: 70, LocalPref: 333}
				},
			})
			n := r.nodes[0]
			n.configure(t, "pods.yaml", "apiVersion: podroute.io/v1alpha1\nkind: Advertisement\nmetadata: {name: pods}\n"+
				"spec: {podSubnets: true, communities: [\"65010:8\", \"65010:1:8\"], localPref: 222, med: 80}\n")
			n.showsAttributes(t, "--learned", outside[0], "AS path [], local preference 333, MED 70, communities [65010:7 65010:1:7]")
			n.showsAttributes(t, "--advertised", netip.MustParsePrefix("10.244.1.0/24"), "AS path [], local preference 222, MED 80, communities [65010:8 65010:1:8]")

			refused, foreign := netip.MustParsePrefix("10.244.66.0/24"), netip.MustParsePrefix("192.0.2.0/24")
			r.router.Announce(append([]netip.Prefix{refused, foreign}, outside...)...)
			for p, want := range map[netip.Prefix]string{outside[0]: "", refused: "import.reject", foreign: "clusterCIDRs"} {
				state := map[bool]string{true: "Best", false: "Rejected"}[want == ""]
				n.shows(t, "--learned", p, func(byPeer map[string]route) error {
					if got := byPeer["tor"]; got.State != state || !strings.Contains(got.Why, want) || (got.Why == "") != (want == "") {
						return fmt.Errorf("want %s because of %q", state, want)
					}
					return nil
				})
			}
			n.showsSettings(t, secret)
		})
	}
}

// showsSettings checks what podroute peers tells of TestShown's session.
func (n *node) showsSettings(t *testing.T, secret string) {
	t.Helper()
	type settings struct {
		Internal        bool     `json:"internal"`
		LocalAS         uint32   `json:"local_as"`
		Password        bool     `json:"password"`
		MaxPrefixes     int      `json:"max_prefixes"`
		ReflectorClient bool     `json:"reflector_client"`
		ReceivePaths    bool     `json:"receive_paths"`
		SendPaths       bool     `json:"send_paths"`
		Restart         int      `json:"restart_seconds"`
		Families        []string `json:"families"`
		Import          []string `json:"import"`
	}
	type peer struct {
		LocalAS      uint32   `json:"local_as"`
		LocalAddress string   `json:"local_address"`
		RouterID     string   `json:"router_id"`
		Restart      int      `json:"restart_seconds"`
		Keepalive    int      `json:"keepalive_seconds"`
		Settings     settings `json:"settings"`
	}
	out, err := n.ask("peers")
	var list struct {
		Peers []peer `json:"peers"`
	}
	if err == nil {
		err = json.Unmarshal(out, &list)
	}
	if err != nil || len(list.Peers) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	got := list.Peers[0]
	if got.Restart == 0 || got.Keepalive == 0 {
		t.Errorf("the router's routes are kept for %d s, and we speak every %d s", got.Restart, got.Keepalive)
	}
	got.Restart, got.Keepalive = 0, 0
	want := peer{LocalAS: torAS, LocalAddress: "10.0.1.1", RouterID: "10.255.0.1", Settings: settings{
		Internal: true, LocalAS: torAS, Password: true, MaxPrefixes: 500, ReflectorClient: true, ReceivePaths: true, Restart: 120, Families: []string{"IPv4", "IPv6"},
		Import: []string{"reject in 10.244.66.0/24"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("podroute peers (-want +got):\n%s", diff)
	}
	wide, err := exec.Command(n.bin+"/podroute", "peers", "--run-dir", n.dir+"/run", "-o", "wide").Output()
	for _, text := range []string{"10.0.1.1", "10.255.0.1", "iBGP", "password", "reflector client", "at most 500 prefixes", "receives several paths"} {
		if err != nil || !strings.Contains(string(wide), text) {
			t.Errorf("podroute peers -o wide: no %q in %v\n%s", text, err, wide)
		}
	}
	for _, text := range [][]byte{out, wide} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the password is told: %s", text)
		}
	}
}
