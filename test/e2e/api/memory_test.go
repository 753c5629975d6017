package api

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podroute/podroute/config"
	"github.com/podroute/podroute/internal/nstest"
	"github.com/podroute/podroute/test/e2e/api/apiserver"
)

const (
	crowdSize  = 1000
	heartbeats = 500 // what kubelets write in two and a half minutes
	reflectors = 2   // the first nodes beside the agent's
)

// memoryCase is a cluster and the goal for its first node's agent, in MB resident at the worst moment (VmHWM).
type memoryCase struct {
	name, router string
	nodes        int
	answering    int // neighbours that do; none: nobody is there
	sessions     int
	goal         float64
}

// TestMemory measures the agent, the program itself in a namespace of its own, in clusters of Nodes as kubelets
// report them, under the memory limit of deploy/base. The goals are 50 MB with no mesh and 100 MB in one of
// reflectors. A full mesh costs 0.4 MB a neighbour with two families, nearly all of it the 2048 maps that gobgp makes
// for each family of each neighbour: there the bound is what it takes, see docs/kubernetes.md.
func TestMemory(t *testing.T) {
	s := apiserver.Start(t)
	c := &crowd{Server: s, t: t}
	for _, m := range []memoryCase{
		{"mesh Full", "{mesh: Full}", 100, 99, 99, 350},
		{"mesh None", "{mesh: None, clusterCIDRs: [10.128.0.0/10, 'fd00:244::/32'], nodeCIDRs: [10.0.0.0/16, 'fd00:1::/64']}", crowdSize, 0, 0, 50},
		{"mesh Reflectors", "{mesh: Reflectors, reflectorSelector: {matchLabels: {podroute.io/reflector: ''}}}", crowdSize, reflectors, reflectors, 100},
		{"mesh Full and nobody answers", "{mesh: Full}", crowdSize, 0, crowdSize - 1, 650},
		{"mesh Full", "{mesh: Full}", crowdSize, crowdSize - 1, crowdSize - 1, 650},
	} {
		c.register(m.nodes)
		t.Run(fmt.Sprintf("%s, %d Nodes", m.name, m.nodes), func(t *testing.T) {
			c := &crowd{Server: s, t: t, nodes: c.nodes}
			s.Apply("apiVersion: podroute.io/v1alpha1\nkind: RouterConfig\nmetadata: {name: default}\nspec: " + m.router + "\n")
			here := c.machine(m)
			here.start("GOMEMLIMIT=512MiB")
			c.awaitAgent(m)
			c.beat()
			now := memoryOf(t, here.agent.Cmd.Process.Pid)
			t.Logf("%s, %d Nodes, %d of %d sessions: VmRSS %.1f MB (RssAnon %.1f, RssFile %.1f), VmHWM %.1f MB; bound %.0f MB",
				m.name, m.nodes, m.answering, m.sessions, now["VmRSS"], now["RssAnon"], now["RssFile"], now["VmHWM"], m.goal)
			if now["VmHWM"] > m.goal {
				t.Errorf("the agent took %.1f MB, want at most %.0f", now["VmHWM"], m.goal)
			}
		})
	}
}

// memoryOf reads the sizes of a process, in MB.
func memoryOf(t *testing.T, pid int) map[string]float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if kb, found := strings.CutSuffix(strings.TrimSpace(value), " kB"); found {
			n, err := strconv.ParseFloat(kb, 64)
			if err != nil {
				t.Fatal(err)
			}
			sizes[name] = n * 1024 / 1e6
		}
	}
	return sizes
}

// crowd is a cluster of Nodes of which only the first has an agent.
type crowd struct {
	*apiserver.Server
	t     *testing.T
	nodes int
}

func crowdName(i int) string { return fmt.Sprintf("node-%04d.rack-%02d.example.com", i, i/40) }

func crowdAddress(i int) (v4, v6 netip.Addr) {
	return netip.AddrFrom4([4]byte{10, 0, byte(1 + i/250), byte(1 + i%250)}),
		netip.MustParseAddr(fmt.Sprintf("fd00:1::%x", 0x100+i))
}

func crowdSubnets(i int) (v4, v6 string) {
	return fmt.Sprintf("10.%d.%d.0/24", 128+i/256, i%256), fmt.Sprintf("fd00:244:0:%x::/64", i)
}

// register creates Nodes until there are so many.
func (c *crowd) register(nodes int) {
	c.t.Helper()
	if c.nodes >= nodes {
		return
	}
	var list struct {
		metav1.TypeMeta `json:",inline"`
		Items           []corev1.Node `json:"items"`
	}
	list.APIVersion, list.Kind = "v1", "List"
	for ; c.nodes < nodes; c.nodes++ {
		list.Items = append(list.Items, crowdNode(c.nodes))
	}
	text, err := json.Marshal(list)
	if err != nil {
		c.t.Fatal(err)
	}
	file := filepath.Join(c.t.TempDir(), "nodes.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.Kubectl("create", "-f", file)
	c.t.Logf("%d Nodes of %.1f kB more", len(list.Items), float64(len(text)/len(list.Items))/1e3)
}

// crowdNode is a Node as a kubelet of a busy machine reports it.
func crowdNode(i int) corev1.Node {
	now := metav1.NewTime(time.Now().UTC().Truncate(time.Second))
	v4, v6 := crowdAddress(i)
	s4, s6 := crowdSubnets(i)
	n := corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{
			Name: crowdName(i),
			Labels: map[string]string{
				corev1.LabelArchStable: "amd64", corev1.LabelOSStable: "linux", corev1.LabelHostname: crowdName(i),
				"beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", corev1.LabelInstanceTypeStable: "m7.8xlarge",
				corev1.LabelTopologyRegion: "eu-central-1", corev1.LabelTopologyZone: fmt.Sprintf("eu-central-1%c", 'a'+i%3),
				"node-role.kubernetes.io/worker": "", "podroute.io/rack": fmt.Sprintf("rack-%02d", i/40),
				"feature.node.kubernetes.io/cpu-model.vendor_id": "AMD", "feature.node.kubernetes.io/kernel-version.full": "6.12.41",
				"example.com/pool": "general", "example.com/owner": "platform",
			},
			Annotations: map[string]string{
				"node.alpha.kubernetes.io/ttl": "300", "volumes.kubernetes.io/controller-managed-attach-detach": "true",
				"csi.volume.kubernetes.io/nodeid": `{"ebs.csi.example.com":"i-0123456789abcdef0"}`,
				"example.com/machine":             fmt.Sprintf("machines/general-%04d", i), "cluster.x-k8s.io/cluster-name": "production",
			},
		},
		Spec: corev1.NodeSpec{PodCIDR: s4, PodCIDRs: []string{s4, s6}, ProviderID: fmt.Sprintf("aws:///eu-central-1a/i-%016x", i)},
	}
	if i > 0 && i <= reflectors {
		n.Labels["podroute.io/reflector"] = ""
	}
	n.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: v4.String()},
		{Type: corev1.NodeInternalIP, Address: v6.String()},
		{Type: corev1.NodeHostName, Address: crowdName(i)},
	}
	for kind, reason := range map[corev1.NodeConditionType]string{
		corev1.NodeMemoryPressure: "KubeletHasSufficientMemory", corev1.NodeDiskPressure: "KubeletHasNoDiskPressure",
		corev1.NodePIDPressure: "KubeletHasSufficientPID", corev1.NodeReady: "KubeletReady",
	} {
		c := corev1.NodeCondition{
			Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: "kubelet says: " + reason, LastHeartbeatTime: now, LastTransitionTime: now,
		}
		if kind == corev1.NodeReady {
			c.Status = corev1.ConditionTrue
		}
		n.Status.Conditions = append(n.Status.Conditions, c)
	}
	n.Status.NodeInfo = corev1.NodeSystemInfo{
		MachineID: fmt.Sprintf("%032x", i), SystemUUID: fmt.Sprintf("%032x", i), BootID: fmt.Sprintf("%032x", i), KernelVersion: "6.12.41",
		OSImage: "Debian GNU/Linux 12 (bookworm)", ContainerRuntimeVersion: "containerd://1.7.27", KubeletVersion: "v1.34.1",
		OperatingSystem: "linux", Architecture: "amd64",
	}
	for j := range 50 { // kubelet's nodeStatusMaxImages
		repository := fmt.Sprintf("registry.example.com/team-%02d/service-%02d", j%10, j)
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{
			Names:     []string{fmt.Sprintf("%s@sha256:%064x", repository, j), repository + fmt.Sprintf(":v1.%d.%d", j, i%7)},
			SizeBytes: int64(50+j) << 20,
		})
	}
	return n
}

// machine makes that of the first node, with the neighbours on its link.
func (c *crowd) machine(m memoryCase) *machine {
	c.t.Helper()
	here, there := newMachine(c.t, c.Server, crowdName(0)), nstest.New(c.t)
	nstest.Veth(c.t, here.NS, "eth0", there, "eth0")
	v4, v6 := crowdAddress(0)
	here.Run(c.t, fmt.Sprintf("ip addr add %s/16 dev eth0", v4), fmt.Sprintf("ip addr add %s/64 dev eth0 nodad", v6))
	if m.answering == 0 {
		return here
	}
	addresses, bird := m.neighbours(v4)
	dir := c.t.TempDir()
	for name, text := range map[string]string{"addresses": addresses, "bird.conf": bird} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	there.Run(c.t, "ip -batch "+filepath.Join(dir, "addresses"))
	there.Start(c.t, "bird", "-f", "-c", filepath.Join(dir, "bird.conf"), "-s", filepath.Join(dir, "bird.ctl"))
	return here
}

// neighbours are all that answer in one BIRD: each tells its node's pod subnets, a reflector those of all nodes.
func (m memoryCase) neighbours(agent netip.Addr) (addresses, bird string) {
	var ip, four, six, sessions strings.Builder
	for i := 1; i < m.nodes; i++ {
		s4, s6 := crowdSubnets(i)
		fmt.Fprintf(&four, "  route %s blackhole;\n", s4)
		fmt.Fprintf(&six, "  route %s blackhole;\n", s6)
	}
	for i := 1; i <= m.answering; i++ {
		v4, v6 := crowdAddress(i)
		s4, s6 := crowdSubnets(i)
		fmt.Fprintf(&ip, "addr add %s/16 dev eth0\naddr add %s/64 dev eth0 nodad\n", v4, v6)
		only4, only6 := "where net = "+s4, "where net = "+s6
		if m.answering == reflectors {
			only4, only6 = "all", "all"
		}
		// BIRD has one session with an address and port; a port that it never dials tells them apart.
		fmt.Fprintf(&sessions, `protocol bgp n%d {
  router id %s; local %[2]s as %[3]d; neighbor %[4]s port %[5]d as %[3]d; strict bind yes; passive yes; graceful restart yes;
  ipv4 { import all; export %[6]s; };
  ipv6 { import all; export %[7]s; next hop address %[8]s; };
}
`, i, v4, config.DefaultAS, agent, 10000+i, only4, only6, v6)
	}
	return ip.String(), "router id 10.0.255.254;\nlog stderr { warning, error, fatal };\nprotocol device {}\n" +
		"protocol static all4 {\n  ipv4;\n" + four.String() + "}\nprotocol static all6 {\n  ipv6;\n" + six.String() + "}\n" + sessions.String()
}

// awaitAgent waits until the agent has heard all that there is to hear, and has tried all neighbours.
func (c *crowd) awaitAgent(m memoryCase) {
	c.t.Helper()
	l := &life{Server: c.Server, t: c.t}
	routes := 2 // its own
	if m.answering > 0 {
		routes += 2 * (m.nodes - 1)
	}
	c.Eventually("the agent has its sessions and routes", 5*time.Minute, func() bool {
		all := l.routings()
		if len(all) != 1 || all[0].Name != crowdName(0) {
			return false
		}
		s := all[0].Status
		return len(s.Sessions) == min(m.sessions, 100) && int(s.Established) == m.answering && int(s.InstalledRoutes) == routes
	})
}

// beat has kubelets report, as they do every five minutes.
func (c *crowd) beat() {
	c.t.Helper()
	for i := range heartbeats {
		c.Patch(fmt.Sprintf("/api/v1/nodes/%s/status", crowdName(1+i%(c.nodes-1))), fmt.Sprintf(
			`{"status":{"conditions":[{"type":"MemoryPressure","lastHeartbeatTime":%q}]}}`, time.Now().UTC().Format(time.RFC3339)))
	}
}
