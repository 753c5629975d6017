package agent

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/podroute/podroute/bgp"
)

// Every field that a session has in JSON is filled in from its state, and its password is not among them.
func TestPeerMessage(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := bgp.PeerState{
		Name: "tor", Address: netip.MustParseAddr("fe80::1%eth0"), AS: 65000, State: "Established", Since: now, Flaps: 1, LastError: "a", LastDown: "b", LastDownAt: now, HeldUntil: now,
		Warnings: []string{"c"}, Families: []bgp.Family{bgp.IPv4}, Received: map[bgp.Family]int{bgp.IPv4: 3}, Accepted: map[bgp.Family]int{bgp.IPv4: 2},
		Advertised: map[bgp.Family]int{bgp.IPv4: 1}, HoldTime: 90 * time.Second, GracefulRestart: true, Notifications: true, LongLived: time.Hour, ReceivesPaths: true, SendsPaths: true,
		Stale: true, Local: netip.MustParseAddr("fe80::2%eth0"), RouterID: netip.MustParseAddr("10.255.0.1"), Restart: time.Minute, Keepalive: 30 * time.Second, Signed: true,
		Settings: bgp.Peer{
			AS: 65000, LocalAS: 65000, Local: netip.MustParseAddr("fe80::2%eth0"), Port: 179, Passive: true, Password: "s3cret", MultihopTTL: 5, TTLSecurity: 1, Hold: 90 * time.Second,
			Keepalive: 30 * time.Second, MaxPrefixes: 500, WarnOnly: true, WarnAt: 75, Retry: time.Minute, GracefulRestart: true, RestartTime: time.Minute, LongLived: time.Hour,
			AllowOwnAS: 1, OverrideAS: true, ReflectorClient: true, ReceivePaths: true, SendPaths: true, PassOn: bgp.PassOnSelf, Families: []bgp.Family{bgp.IPv4}, Recursive: true,
			Import: bgp.Filter{Only: true}, Export: bgp.Filter{Reject: []bgp.Match{{}}},
		},
	}
	m := peerMessage(p)
	filled(t, m.ProtoReflect(), "bfd", "settings.external") // BFD is added by the caller; an internal peer is not external
	if p.Settings.External = true; !settingsMessage(p).GetExternal() || settingsMessage(p).GetInternal() {
		t.Error("a peer with any AS but ours is internal")
	}
	text, err := json.Marshal(m)
	if err != nil || strings.Contains(string(text), "s3cret") {
		t.Errorf("%v: %s", err, text)
	}
}

// filled fails for each field that is not set, but for these.
func filled(t *testing.T, m protoreflect.Message, but ...string) {
	t.Helper()
	var walk func(m protoreflect.Message, above string)
	walk = func(m protoreflect.Message, above string) {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			name := above + string(f.Name())
			skip := false
			for _, b := range but {
				skip = skip || b == name
			}
			switch {
			case skip:
			case !m.Has(f):
				t.Errorf("%s is not filled in", name)
			case f.Message() != nil && !f.IsList():
				walk(m.Get(f).Message(), name+".")
			}
		}
	}
	walk(m, "")
}
