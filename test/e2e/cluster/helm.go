package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// DaemonSet tells whether podroute comes to nodes as a DaemonSet.
func (o Options) DaemonSet() bool { return o.Install == InstallManifest || o.Install == InstallHelm }

// Installed says how podroute got onto the nodes, for people.
func (o Options) Installed() string {
	short := func(path string) string { return strings.TrimPrefix(path, o.Root+"/") }
	switch o.Install {
	case InstallManifest:
		return "kubectl apply -k " + short(o.Overlay)
	case InstallHelm:
		text := "helm install"
		for _, file := range o.values() {
			text += " -f " + short(file)
		}
		return text
	}
	return o.Install
}

func (o Options) values() []string {
	return append([]string{filepath.Join(o.Root, "deploy/helm/podroute/examples/tor.yaml")}, o.Values...)
}

// installChart installs podroute as a user of helm does: the chart brings the kinds along.
func (c *Cluster) installChart(ctx context.Context) error {
	helm := c.o.Helm
	if helm == "" {
		built, err := filepath.Glob(filepath.Join(c.o.Root, ".cache/bin/helm-v*"))
		if err != nil || len(built) == 0 {
			return errors.New("there is no helm: build it with make helm")
		}
		helm = built[len(built)-1]
	}
	args := []string{
		"--kubeconfig", c.Kubeconfig(), "install", "podroute", filepath.Join(c.o.Root, "deploy/helm/podroute"),
		"--namespace", "kube-system",
	}
	for _, file := range c.o.values() {
		args = append(args, "--values", file)
	}
	cmd := exec.CommandContext(ctx, helm, args...)
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("helm %s: %w: %s", strings.Join(args[2:], " "), err, strings.TrimSpace(said.String()))
	}
	return nil
}
