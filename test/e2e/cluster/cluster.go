package cluster

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/podroute/podroute/internal/lab"
)

// Ranges and addresses of the cluster, dual stack.
const (
	ClusterCIDRs = "10.244.0.0/16,fd00:244::/48"
	ServiceCIDRs = "10.96.0.0/16,fd00:96::/112"
	NodeCIDRs    = "10.0.0.0/16,fd00:10::/48"
	// ControlPlane is the API server's address.
	ControlPlane = "10.0.0.10"
)

// DefaultName is the name of a cluster that is given no other.
const DefaultName = "e2e"

// Taint that a node registers with; podroute removes it when pods may come.
const Taint = "podroute.io/not-ready=:NoSchedule"

// How podroute gets onto the nodes.
const (
	InstallNone     = "none"     // not at all: nodes stay NotReady
	InstallProcess  = "process"  // a plain process a node with a folder of manifests
	InstallManifest = "manifest" // a DaemonSet: kubectl apply -k Overlay
	InstallHelm     = "helm"     // the same: helm install with examples/tor.yaml and Values
)

// Options of a cluster.
type Options struct {
	// Name, default DefaultName, tells apart the clusters on one machine: it is in the names of the lab and
	// of the control groups. Each needs an Out of its own.
	Name string
	// Root is the repository. Bin holds Kubernetes' programs, Images the images as docker-archive
	// files (*.tar). Out is where everything goes that the cluster writes.
	Root, Bin, Images, Out string
	// ProxyMode of kube-proxy: nftables (default) or iptables. ProxyModes overrides it for a node.
	ProxyMode  string
	ProxyModes map[string]string
	// Install says how podroute gets onto the nodes; Overlay is the kustomization for InstallManifest.
	Install, Overlay string
	// Values are files of them for InstallHelm; Helm is the program, default the one that `make helm` builds.
	Values []string
	Helm   string
	// KeepFailed leaves the machines up when the cluster does not come up.
	KeepFailed bool
	// Progress is told what was done.
	Progress func(format string, args ...any)
}

// Node is a machine that may be a node of the cluster.
type Node struct {
	Name string
	Rack string
	AS   string
	IPv4 string
	IPv6 string
}

// Addresses as the kubelet wants them, IPv4 first.
func (n Node) Addresses() string { return n.IPv4 + "," + n.IPv6 }

// Labels that the node registers with.
func (n Node) Labels() string {
	return fmt.Sprintf("podroute.io/rack=%s,podroute.io/as-number=%s", n.Rack, n.AS)
}

// Nodes that the cluster comes up with. They are what fabric/ says of them.
func Nodes() []Node {
	return []Node{
		{"n1", "1", "64601", "10.0.1.11", "fd00:10:0:1::11"},
		{"n2", "1", "64602", "10.0.1.12", "fd00:10:0:1::12"},
		{"n3", "2", "64603", "10.0.2.13", "fd00:10:0:2::13"},
	}
}

// Spare is the machine that a test may add.
func Spare() Node { return Node{"n4", "2", "64604", "10.0.2.14", "fd00:10:0:2::14"} }

// TopOfRack names the machine that a rack's nodes are connected to.
func TopOfRack(rack string) string { return "tor" + rack }

// Machines beside the nodes.
const (
	MachineControlPlane = "cp"
	MachineClient       = "client" // outside: 198.51.100.10, 2001:db8:100::10
	MachineSpine        = "spine"
)

// labName names the lab and, before a dot, the machines' control groups.
func (o Options) labName() string { return "podroute-" + cmp.Or(o.Name, DefaultName) }

// Cluster is a running cluster.
type Cluster struct {
	o   Options
	lab *lab.Lab
}

// Open finds the running cluster.
func Open(o Options) (*Cluster, error) {
	l, err := lab.Open("", o.labName())
	if err != nil {
		return nil, fmt.Errorf("no cluster is running: %w: start one with make cluster", err)
	}
	return &Cluster{o: o, lab: l}, nil
}

// Options that it was opened with.
func (c *Cluster) Options() Options { return c.o }

// Kubeconfig is the administrator's, for use on this machine.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir(), "admin.kubeconfig") }

// InsideKubeconfig is the administrator's, for use on the cluster's machines.
func (c *Cluster) InsideKubeconfig() string { return filepath.Join(c.dir(), "inside.kubeconfig") }

// Out is the folder of what the cluster writes.
func (c *Cluster) Out() string { return c.o.Out }

// Logs is the folder of the services' logs, MACHINE-SERVICE.log.
func (c *Cluster) Logs() string { return filepath.Join(c.o.Out, "logs") }

func (c *Cluster) dir() string { return filepath.Join(c.o.Out, "cluster") }

// On runs a program on a machine to its end and returns its standard output.
func (c *Cluster) On(ctx context.Context, machine string, argv ...string) (string, error) {
	return c.lab.Run(ctx, machine, argv...)
}

// Lab is the machines and their network.
func (c *Cluster) Lab() *lab.Lab { return c.lab }

// Service does what runit's sv does on a machine: start, stop, restart, kill, status. The services of a
// node are containerd, kubelet and kube-proxy; of the control plane etcd, kube-apiserver,
// kube-controller-manager and kube-scheduler. It returns when the service is up, or down; a service that
// was killed is started again by itself.
func (c *Cluster) Service(ctx context.Context, machine, verb, service string) error {
	_, err := c.lab.Run(ctx, machine, "sv", "-w", "60", verb, "/etc/service/"+service)
	return err
}

// logTail is the end of a log, for error messages.
func (c *Cluster) logTail(name string, lines int) string {
	text, err := os.ReadFile(filepath.Join(c.Logs(), name+".log"))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}
