package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/internal/routers"
)

// collector is pmacct's BMP collector, which writes what it hears to a file, a JSON object a line.
type collector struct{ log string }

// startCollector runs it on port 11019 of an address.
func startCollector(t *testing.T, ns *nstest.NS, addr string) *collector {
	t.Helper()
	dir := t.TempDir()
	c := &collector{log: filepath.Join(dir, "bmp.log")}
	conf := filepath.Join(dir, "pmbmpd.conf")
	text := fmt.Sprintf("daemonize: false\nbmp_daemon_ip: %s\nbmp_daemon_port: 11019\nbmp_daemon_msglog_file: %s\nbmp_daemon_msglog_output: json\n", addr, c.log)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := ns.Launch(context.Background(), io.Discard, "pmbmpd", "-f", conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return c
}

// record is what pmbmpd writes of a message.
type record struct {
	Type   string     `json:"bmp_msg_type"`
	Log    string     `json:"log_type"`
	Peer   netip.Addr `json:"peer_ip"`
	Prefix string     `json:"ip_prefix"`
	Path   string     `json:"as_path"`
}

// hears waits for a record.
func (c *collector) hears(t *testing.T, what string, is func(r record) bool) {
	t.Helper()
	nstest.Within(t, 20*time.Second, func() error {
		text, err := os.ReadFile(c.log)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			var r record
			if json.Unmarshal([]byte(line), &r) == nil && is(r) {
				return nil
			}
		}
		return fmt.Errorf("no %s in\n%s", what, text)
	})
}

// TestInteropBMP: a collector hears of the session with a router, of its routes, whatever is accepted of them, and of their end.
func TestInteropBMP(t *testing.T) {
	t.Parallel()
	routers.Feature{Name: "telemetry: BMP, what a router says told to a collector (RFC 7854), pmacct's pmbmpd"}.Each(t, func(t *testing.T, kind routers.Kind) {
		refused := netip.MustParsePrefix("203.0.113.0/24")
		r := newRack(t, rackOptions{
			kind: kind, nodes: 1, config: "  bmp: [{address: 10.0.1.0, port: 11019, statistics: 1s}]\n",
			router: func(c *routers.Config) { c.Announce = append([]netip.Prefix{refused}, outside...) },
		})
		n := r.nodes[0]
		c := startCollector(t, r.tor, "10.0.1.0") // the node has called in vain before
		tor := netip.MustParseAddr("10.0.1.0")
		c.hears(t, "initiation", func(r record) bool { return r.Type == "init" })
		c.hears(t, "session", func(r record) bool { return r.Type == "peer_up" && r.Peer == tor })
		for _, p := range []netip.Prefix{refused, outside[0], outside[1]} {
			c.hears(t, "route to "+p.String(), func(r record) bool {
				return r.Type == "route_monitor" && r.Log == "update" && r.Prefix == p.String() && strings.HasPrefix(r.Path, fmt.Sprint(torAS))
			})
		}
		c.hears(t, "statistics", func(r record) bool { return r.Type == "stats" && r.Peer == tor })
		r.router.Announce(outside...)
		c.hears(t, "withdrawal", func(r record) bool {
			return r.Type == "route_monitor" && r.Log == "withdraw" && r.Prefix == refused.String()
		})
		var s struct {
			Stations []struct {
				Address   string `json:"address"`
				Connected bool   `json:"connected"`
			} `json:"stations"`
		}
		out, err := n.ask("status")
		if err == nil {
			err = json.Unmarshal(out, &s)
		}
		if err != nil || len(s.Stations) != 1 || !s.Stations[0].Connected || s.Stations[0].Address != "10.0.1.0:11019" {
			t.Errorf("status tells of stations %+v, %v", s.Stations, err)
		}
		r.router.Kill()
		c.hears(t, "end of the session", func(r record) bool { return r.Type == "peer_down" && r.Peer == tor })
	})
}
