package interop

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/podroute/podroute/internal/routers"
)

// TestCommandLine asks a running agent everything, for a person and as JSON and YAML.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	r := newRack(t, rackOptions{kind: routers.BIRD, nodes: 1})
	n := r.nodes[0]
	p := n.add(t, "pod-a")
	for _, p := range outside {
		inKernel(t, n, p, 1)
	}
	for _, c := range []struct {
		args string
		want []string // in the table; the first is a word of the heading or the first row
	}{
		{"status", []string{"Node", "n1 (Node)", "yes", "64601, 10.0.1.1", "10.244.1.0/24, fd00:244:0:1::/64", "1 of 1 established"}},
		{"peers", []string{"NAME", "tor", "10.0.1.0", "65001", "Established", "IPv4", "IPv6"}},
		{"routes", []string{"PREFIX", "10.244.77.0/24", "learned", "10.0.1.0 dev eth0", "unreachable", "block", p.addrs[0].String() + "/32", "pod"}},
		{"routes --learned", []string{"PREFIX", "fd00:244:0:77::/64", "fd00:0:0:1::", "tor", "Best", "AS path 65001"}},
		{"routes --advertised", []string{"PREFIX", "10.244.1.0/24", "10.0.1.1", "fd00:0:0:1::1", "tor", "AS path 64601"}},
		{"pods", []string{"NAMESPACE", "default", "pod-a", p.addrs[0].String(), p.addrs[1].String(), "eth0"}},
		{"blocks", []string{"PREFIX", "10.244.1.0/24", "fd00:244:0:1::/64"}},
	} {
		for _, format := range []string{"table", "json", "yaml"} {
			args := append(strings.Fields(c.args), "--run-dir", n.dir+"/run", "-o", format)
			out, err := exec.Command(n.bin+"/podroute", args...).Output()
			if err != nil {
				t.Errorf("podroute %s -o %s: %v", c.args, format, err)
			}
			switch format {
			case "table":
				for _, want := range c.want {
					if !strings.Contains(string(out), want) {
						t.Errorf("podroute %s: no %q in\n%s", c.args, want, out)
					}
				}
				if strings.Contains(string(out), "\x1b") {
					t.Errorf("podroute %s: colour where there is no terminal", c.args)
				}
			case "json":
				if !json.Valid(out) {
					t.Errorf("podroute %s -o json:\n%s", c.args, out)
				}
			}
		}
	}
}

// TestExitCodes: 1 when something is wrong, 2 when called wrongly, and what to do about it in words.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"status --run-dir /nonexistent", 1, "start it with podroute agent"},
		{"status -o xml", 2, "use one of table, json, yaml"},
		{"peers -o xml", 2, "use one of table, json, yaml, wide"},
		{"doctor -o wide", 2, "use one of table, json, yaml"},
		{"status --nonsense", 2, "unknown flag"},
		{"peers tor", 2, "unknown command"},
		{"nonsense", 2, "unknown command"},
		{"routes --learned --advertised", 2, "choose one"},
		{"agent", 2, "Name a folder of manifests"},
		{"agent --config /nonexistent", 1, "/nonexistent"},
		{"agent --config . --log-level loud", 2, "use debug, info, warn or error"},
		{"--version", 0, ""},
		{"completion bash", 0, ""},
	} {
		out, err := exec.Command(bin+"/podroute", strings.Fields(c.args)...).CombinedOutput()
		code := 0
		if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // exec returns just this
			code = exit.ExitCode()
		}
		if code != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("podroute %s: exit code %d, want %d; says %q, want %q", c.args, code, c.code, out, c.says)
		}
	}
}
