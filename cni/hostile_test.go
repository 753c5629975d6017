package cni_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/podroute/podroute/cni"
)

func TestHostileInput(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	p := n.newPod("a")
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	conf := func(extra string) string {
		return fmt.Sprintf(`{"cniVersion":"1.1.0","name":"podroute","type":"podroute-cni","socket":%q%s}`, n.socket, extra)
	}
	good := map[string]string{"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "a", "CNI_IFNAME": "eth0", "CNI_NETNS": p.rt.NetNS, "CNI_ARGS": "K8S_POD_NAME=x"}
	const ( // short names for a wide table
		environment, config, ns = types.ErrInvalidEnvironmentVariables, types.ErrInvalidNetworkConfig, types.ErrInvalidNetNS
		version, decoding       = types.ErrIncompatibleCNIVersion, types.ErrDecodingFailure
	)
	for _, tt := range []struct {
		name, stdin string
		env         string // KEY=VALUE that differs from good
		want        uint
		say         string
	}{
		{"empty input", "", "", decoding, "not valid JSON"},
		{"not JSON", "{", "", decoding, "not valid JSON"},
		{"JSON of another kind", fmt.Sprintf(`{"socket":%q,"name":["x"]}`, n.socket), "", decoding, "valid JSON"},
		{"no version", fmt.Sprintf(`{"socket":%q,"name":"x"}`, n.socket), "", version, "use one of 0.3.1"},
		{"unknown version", strings.Replace(conf(""), "1.1.0", "9.9.9", 1), "", version, `9.9.9\" is not supported`},
		{"version too old", strings.Replace(conf(""), "1.1.0", "0.2.0", 1), "", version, `0.2.0\" is not supported`},
		{"CHECK before its version", strings.Replace(conf(""), "1.1.0", "0.3.1", 1), "CNI_COMMAND=CHECK", version, "came with 0.4.0"},
		{"STATUS before its version", strings.Replace(conf(""), "1.1.0", "1.0.0", 1), "CNI_COMMAND=STATUS", version, "came with 1.1.0"},
		{"GC before its version", strings.Replace(conf(""), "1.1.0", "1.0.0", 1), "CNI_COMMAND=GC", version, "came with 1.1.0"},
		{"no network name", strings.Replace(conf(""), `"name":"podroute",`, "", 1), "", config, "name"},
		{"network name with spaces", strings.Replace(conf(""), `"podroute"`, `"pod route"`, 1), "", config, "name"},
		{"not the first plugin", conf(`,"prevResult":{"cniVersion":"1.1.0"}`), "", config, "must come first"},
		{"address that is none", conf(`,"runtimeConfig":{"ips":["ten"]}`), "", config, `ten\" is not an IP address`},
		{"address of no block", conf(`,"args":{"cni":{"ips":["192.0.2.1"]}}`), "", types.ErrTryAgainLater, "none of the node's pod subnets"},
		{"two addresses of a family", conf(`,"runtimeConfig":{"ips":["10.244.1.5","10.244.1.6"]}`), "", types.ErrTryAgainLater, "second of its family"},
		{"unknown command", conf(""), "CNI_COMMAND=FROB", environment, "FROB"},
		{"no command", conf(""), "CNI_COMMAND=", environment, "none of ADD"},
		{"no container ID", conf(""), "CNI_CONTAINERID=", environment, "CNI_CONTAINERID"},
		{"container ID with a slash", conf(""), "CNI_CONTAINERID=../x", environment, "CNI_CONTAINERID"},
		{"container ID with a space", conf(""), "CNI_CONTAINERID=a ip=10.0.0.1", environment, "CNI_CONTAINERID"},
		{"no interface name", conf(""), "CNI_IFNAME=", environment, "CNI_IFNAME"},
		{"interface name too long", conf(""), "CNI_IFNAME=sixteen-letters-", environment, "CNI_IFNAME"},
		{"interface name with a slash", conf(""), "CNI_IFNAME=a/b", environment, "CNI_IFNAME"},
		{"interface name that is a template", conf(""), "CNI_IFNAME=eth%d", environment, "CNI_IFNAME"},
		{"interface name of dots", conf(""), "CNI_IFNAME=..", environment, "CNI_IFNAME"},
		{"interface that every namespace has", conf(""), "CNI_IFNAME=lo", environment, "has an interface lo already"},
		{"arguments that are no pairs", conf(""), "CNI_ARGS=K8S_POD_NAME", environment, "KEY=VALUE"},
		{"no namespace", conf(""), "CNI_NETNS=", environment, "CNI_NETNS"},
		{"namespace that is not there", conf(""), "CNI_NETNS=/run/netns/none", ns, "no such file"},
		{"namespace that is a file", conf(""), "CNI_NETNS=" + file, ns, "not a namespace"},
		{"namespace that is a folder", conf(""), "CNI_NETNS=" + dir, ns, "not a namespace"},
		{"namespace that is a FIFO", conf(""), "CNI_NETNS=" + fifo, ns, "not a namespace"},
		{"namespace of another kind", conf(""), "CNI_NETNS=/proc/self/ns/uts", ns, "not a network namespace"},
		{"the node's own namespace", conf(""), "CNI_NETNS=" + n.Path(), ns, "the node's own"},
		{"DEL of no container", conf(""), "CNI_COMMAND=DEL CNI_CONTAINERID=", environment, "CNI_CONTAINERID"},
		{"CHECK of nothing", conf(`,"prevResult":{"cniVersion":"1.1.0"}`), "CNI_COMMAND=CHECK", types.ErrUnknownContainer, "no interface eth0"},
		{"CHECK without namespace", conf(`,"prevResult":{"cniVersion":"1.1.0"}`), "CNI_COMMAND=CHECK CNI_NETNS=/none", ns, "CNI_NETNS"},
		{"GC without valid attachments", conf(""), "CNI_COMMAND=GC", config, "cni.dev/valid-attachments"},
		{"GC with valid attachments of another kind", conf(`,"cni.dev/valid-attachments":7`), "CNI_COMMAND=GC", decoding, "valid JSON"},
		{"a megabyte of nothing", conf(`,"x":"` + strings.Repeat("x", 1<<20) + `"`), "CNI_IFNAME=", environment, "CNI_IFNAME"},
		{"five megabytes of nothing", conf(`,"x":"` + strings.Repeat("x", 5<<20) + `"`), "", config, "too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := []string{}
			for k, v := range good {
				env = append(env, k+"="+v)
			}
			for kv := range strings.SplitSeq(tt.env, " CNI_") {
				env = append(env, "CNI_"+strings.TrimPrefix(kv, "CNI_"))
			}
			out, err := n.exec(tt.stdin, env...)
			if err == nil {
				t.Fatalf("success: %s", out)
			}
			if got := code(t, out); got != tt.want || !strings.Contains(out, tt.say) {
				t.Errorf("code %d: %s\nwant code %d and %q", got, out, tt.want, tt.say)
			}
		})
	}
	n.wantNothingLeft()
	if out := p.Run(t, "ip -o link show"); strings.Contains(out, "eth") {
		t.Errorf("links in the pod:\n%s", out)
	}
	n.add(p) // the agent lives
}

func TestVersionNeedsNoAgent(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	n.stop()
	for _, stdin := range []string{"", `{"cniVersion":"0.3.1"}`} {
		out, err := n.exec(stdin, "CNI_COMMAND=VERSION")
		want := `{"cniVersion":"1.1.0","supportedVersions":["` + strings.Join(cni.Versions(), `","`) + `"]}`
		if err != nil || strings.TrimSpace(out) != want {
			t.Errorf("VERSION: %v: %s, want %s", err, out, want)
		}
	}
}

// Only root can ask the agent for anything, and no second agent takes its place.
func TestSocket(t *testing.T) {
	t.Parallel()
	n := newNode(t, dualStack...)
	for path, want := range map[string]os.FileMode{n.socket: 0o600 | os.ModeSocket, filepath.Dir(n.socket): 0o700 | os.ModeDir} {
		if st, err := os.Stat(path); err != nil || st.Mode() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, st.Mode(), err, want)
		}
	}
	// Even where the file's mode were to allow it.
	for _, path := range []string{n.dir, filepath.Dir(n.socket), n.socket, filepath.Dir(n.dir)} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(binDir, "podroute-cni"))
	cmd.Env = append(os.Environ(), "CNI_COMMAND=STATUS")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"cniVersion":"1.1.0","name":"podroute","socket":%q}`, n.socket))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := os.Chmod(binDir, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.Output()
	if err == nil || code(t, string(out)) != types.ErrPluginNotAvailable {
		t.Errorf("STATUS as nobody: %v: %s, want code 50", err, out)
	}
	second := &node{NS: n.NS, t: t, dir: n.dir, socket: n.socket}
	if err := second.tryStart(dualStack...); err == nil || !strings.Contains(err.Error(), "another agent answers") {
		t.Errorf("a second agent on the socket: %v", err)
	}
	n.add(n.newPod("a"))
	n.stop()
	if _, err := os.Stat(n.socket); !os.IsNotExist(err) {
		t.Errorf("the socket after the end of the agent: %v", err)
	}
	// One that a killed agent left is replaced.
	if err := os.WriteFile(n.socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.start(dualStack...)
	n.add(n.newPod("b"))
}
