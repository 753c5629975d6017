package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// installPodroute brings podroute onto the nodes and waits until they are ready.
func (c *Cluster) installPodroute(ctx context.Context) error {
	var err error
	switch c.o.Install {
	case InstallNone:
		return nil
	case InstallProcess:
		err = c.startProcesses(ctx)
	case InstallManifest:
		err = c.applyOverlay(ctx)
	case InstallHelm:
		err = c.installChart(ctx)
	default:
		err = fmt.Errorf("unknown way to install podroute: %q", c.o.Install)
	}
	if err != nil {
		return err
	}
	var names []string
	for _, n := range Nodes() {
		names = append(names, n.Name)
	}
	return c.NodesReady(ctx, 2*time.Minute, names...)
}

// applyOverlay installs podroute as a user does: the kinds first, because the API server takes a moment
// before it serves them.
func (c *Cluster) applyOverlay(ctx context.Context) error {
	for _, args := range [][]string{
		{"apply", "-k", filepath.Join(c.o.Root, "deploy", "crds")},
		{"wait", "--for=condition=established", "--timeout=30s", "crd", "--all"},
		{"apply", "-k", c.o.Overlay},
	} {
		if _, err := c.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// startProcesses starts a plain agent a node, with the cluster's Nodes as a folder of manifests.
func (c *Cluster) startProcesses(ctx context.Context) error {
	dir := filepath.Join(c.dir(), "podroute")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fixed, err := files.ReadFile("manifests/standalone.yaml")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.yaml"), fixed, 0o644); err != nil {
		return err
	}
	for _, n := range Nodes() {
		subnets, err := c.podSubnets(ctx, n.Name)
		if err != nil {
			return err
		}
		text := fmt.Sprintf(`apiVersion: v1
kind: Node
metadata: {name: %s, labels: {podroute.io/rack: "%s", podroute.io/as-number: "%s"}}
spec: {podCIDRs: ["%s"]}
status: {addresses: [{type: InternalIP, address: "%s"}, {type: InternalIP, address: "%s"}]}
`, n.Name, n.Rack, n.AS, strings.Join(subnets, `", "`), n.IPv4, n.IPv6)
		if err := os.WriteFile(filepath.Join(dir, n.Name+".yaml"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, n := range Nodes() {
		// The plugin, and those of Debian's that the conflist chains.
		_, err := c.On(ctx, n.Name, "cp", filepath.Join(c.o.Root, "build", "podroute-cni"),
			"/usr/lib/cni/portmap", "/usr/lib/cni/bandwidth", "/usr/lib/cni/loopback", "/opt/cni/bin/")
		if err != nil {
			return err
		}
		if err := c.start(ctx, n.Name, "podroute"); err != nil {
			return err
		}
	}
	return nil
}

// podSubnets waits for the ranges that the controller manager gives a node, one a family.
func (c *Cluster) podSubnets(ctx context.Context, node string) (subnets []string, err error) {
	err = Eventually(ctx, 30*time.Second, func(ctx context.Context) error {
		var n corev1.Node
		if err := c.Get(ctx, &n, "node", node); err != nil {
			return err
		}
		if subnets = n.Spec.PodCIDRs; len(subnets) != 2 {
			return fmt.Errorf("node %s has pod subnets %v", node, subnets)
		}
		return nil
	})
	return subnets, err
}
