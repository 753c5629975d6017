package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/agent/agentpb"
)

func TestDoctorRuntime(t *testing.T) {
	t.Parallel()
	all := []string{"podroute-cni", "loopback", "portmap", "bandwidth"}
	for _, c := range []struct {
		name    string
		conf    []string // files; none: there is no folder
		plugins []string
		config  string // of containerd
		want    []string
	}{
		{name: "no container runtime"},
		{name: "all is well", conf: []string{"10-podroute.conflist", "99-loopback.conf"}, plugins: all, config: "conf_dir = \"CONF/\"\nbin_dir = 'BIN'\n"},
		{name: "containerd 2", conf: []string{"10-podroute.conflist"}, plugins: all, config: "bin_dirs = [\"/usr/lib/cni\"]\n", want: []string{"start the agent with --cni-bin-dir /usr/lib/cni"}},
		{name: "another folder", conf: []string{"10-podroute.conflist"}, plugins: all, config: "  conf_dir = \"/etc/cni/other.d\"\n", want: []string{"--cni-conf-dir /etc/cni/other.d"}},
		{name: "another plugin is first", conf: []string{"05-cilium.conflist", "10-podroute.conflist"}, plugins: all, want: []string{"05-cilium.conflist is first"}},
		{name: "what is no configuration", conf: []string{"00-readme.md", "10-podroute.conflist"}, plugins: all},
		{name: "not served yet", conf: []string{"87-other.conflist"}, plugins: all, want: []string{"podroute status says why"}},
		{name: "plugins are missing", conf: []string{"10-podroute.conflist"}, plugins: []string{"podroute-cni", "bandwidth"}, want: []string{"loopback", "hostPort"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := runtimeFolders{conf: filepath.Join(dir, "conf"), bin: filepath.Join(dir, "bin"), config: []string{filepath.Join(dir, "containerd.toml")}}
			write := func(mode os.FileMode, text string, path ...string) {
				p := filepath.Join(path...)
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, []byte(text), mode); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range c.conf {
				write(0o644, "{}", r.conf, f)
			}
			for _, p := range c.plugins {
				write(0o755, "", r.bin, p)
			}
			if c.config != "" {
				write(0o644, strings.NewReplacer("CONF", r.conf, "BIN", r.bin).Replace(c.config), r.config[0])
			}
			got, err := r.check()
			if err != nil {
				t.Fatal(err)
			}
			expectFindings(t, got, c.want)
		})
	}
}

// expectFindings wants as many findings as texts, each in the finding of its place.
func expectFindings(t *testing.T, got []finding, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("findings %v, want %d", got, len(want))
	}
	for i, f := range got {
		if text := strings.Join([]string{f.what, f.have, f.want, f.mend}, " "); !strings.Contains(text, want[i]) {
			t.Errorf("finding %d: %s: no %q in it", i, text, want[i])
		}
	}
}

func TestDoctorJudge(t *testing.T) {
	t.Parallel()
	well := func() *agentpb.StatusResponse { return &agentpb.StatusResponse{Ready: true, As: 64512} }
	peer := func(as, received, accepted uint32) *agentpb.Peer {
		return &agentpb.Peer{
			Name: "tor", As: as, State: "Established", Families: []*agentpb.FamilyCount{{Family: "IPv4", Received: received, Accepted: accepted}},
		}
	}
	expectFindings(t, judge(well(), []*agentpb.Peer{peer(65001, 3, 2), peer(65001, 0, 0)}), nil)
	expectFindings(t, judge(well(), []*agentpb.Peer{peer(65001, 3, 0)}), []string{"allowOwnAS: 1"})
	expectFindings(t, judge(well(), []*agentpb.Peer{peer(64512, 3, 0)}), []string{"see that they lie in RouterConfig's clusterCIDRs"})
	down := peer(65001, 0, 0)
	down.State, down.LastError = "Active", "hold timer expired"
	expectFindings(t, judge(well(), []*agentpb.Peer{down}), []string{"hold timer expired"})
	told := well()
	told.Problems = []*agentpb.Problem{{Object: "session tor", Message: "is not up"}}
	expectFindings(t, judge(told, []*agentpb.Peer{down}), []string{"session tor is not up"})
	sick := well()
	sick.Ready, sick.Reason = false, "no BGP peer is configured"
	sick.Problems = []*agentpb.Problem{{Object: "Node/a", Field: "status.addresses", Message: "on no link", Mend: "correct the Node"}}
	expectFindings(t, judge(sick, nil), []string{"no BGP peer is configured", "Node/a status.addresses on no link"})
}

func TestPrintFindings(t *testing.T) {
	t.Parallel()
	bad := []finding{{"a", "b", "c", "d"}}
	for _, x := range []struct {
		format   string
		findings []finding
		note     string
		want     string
	}{
		{"table", nil, "No agent.", "No agent.\nThe host is fine.\n"},
		{"table", bad, "", "WHAT   HAVE   WANT   MEND\na      b      c      d\n"},
		{"json", nil, "No agent.", `{"findings":[],"note":"No agent."}`},
		{"json", bad, "", `{"findings":[{"what":"a","have":"b","want":"c","mend":"d"}],"note":""}`},
		{"yaml", bad, "", "findings:\n- have: b\n  mend: d\n  want: c\n  what: a\nnote: \"\"\n"},
	} {
		var b strings.Builder
		err := printFindings(newPrinter(&b, x.format), x.findings, x.note)
		if errors.Is(err, errNotReady) != (x.findings != nil) || err != nil && x.findings == nil {
			t.Errorf("%s: %v", x.format, err)
		}
		got := b.String()
		if x.format == "json" { // protojson varies its spaces on purpose
			got = strings.Join(strings.Fields(got), "")
			x.want = strings.Join(strings.Fields(x.want), "")
		}
		if got != x.want {
			t.Errorf("%s: %q, want %q", x.format, got, x.want)
		}
	}
}
