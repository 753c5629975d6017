package cluster

import (
	"bytes"
	"crypto/rand"
	"embed"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed services manifests
var files embed.FS

// settings is what the files below services/ and manifests/ are filled with.
type settings struct {
	Lab          string
	Dir          string // of keys and configuration
	ControlPlane string
	ClusterCIDRs string
	ServiceCIDRs string
	Podroute     string
	Taints       string
	ProxyMode    string
	Node         Node
}

func (o *Options) settings(n Node) settings {
	s := settings{
		Lab: o.labName(), Dir: filepath.Join(o.Out, "cluster"), ControlPlane: ControlPlane,
		ClusterCIDRs: ClusterCIDRs, ServiceCIDRs: ServiceCIDRs,
		Podroute: filepath.Join(o.Root, "build", "podroute"), ProxyMode: o.ProxyMode, Node: n,
	}
	if mode := o.ProxyModes[n.Name]; mode != "" {
		s.ProxyMode = mode
	}
	if o.DaemonSet() {
		s.Taints = Taint
	}
	return s
}

func (s settings) fill(name string) ([]byte, error) {
	text, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	t, err := template.New(name).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, s); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// writeAll writes everything that the machines read, into an empty folder.
func (o *Options) writeAll() error {
	dir := filepath.Join(o.Out, "cluster")
	for _, d := range []string{dir, filepath.Join(o.Out, "logs")} {
		if err := os.RemoveAll(d); err != nil {
			return fmt.Errorf("an earlier cluster's files: %w", err)
		}
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := makeKeys(filepath.Join(dir, "pki")); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if err := o.writeUsers(dir); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	all := o.settings(Node{})
	for _, f := range []string{"control-plane.sh", "node.sh", "containerd.toml", "kubelet.yaml"} {
		if err := all.write("services/"+f, filepath.Join(dir, f)); err != nil {
			return err
		}
	}
	for _, service := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		if err := o.writeService(all, MachineControlPlane, service); err != nil {
			return err
		}
	}
	for _, n := range append(Nodes(), Spare()) {
		if err := o.writeNode(n); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	return nil
}

// nodeServices in the order in which they are started.
func (o *Options) nodeServices() []string {
	services := []string{"containerd", "kubelet", "kube-proxy"}
	if o.Install == InstallProcess {
		services = append(services, "podroute")
	}
	return services
}

func (o *Options) writeNode(n Node) error {
	dir, s := filepath.Join(o.Out, "cluster"), o.settings(n)
	for _, d := range []string{"containerd", "kubelet", "pods", "containers"} {
		if err := os.MkdirAll(filepath.Join(dir, "disk", n.Name, d), 0o755); err != nil {
			return err
		}
	}
	if err := s.write("services/kube-proxy.yaml", filepath.Join(dir, "kube-proxy-"+n.Name+".yaml")); err != nil {
		return err
	}
	for _, service := range o.nodeServices() {
		if err := o.writeService(s, n.Name, service); err != nil {
			return err
		}
	}
	return nil
}

// writeService writes a service's run script for runit, to be started by hand: a `down` file.
func (o *Options) writeService(s settings, machine, service string) error {
	body, err := s.fill("services/" + service)
	if err != nil {
		return err
	}
	dir := filepath.Join(o.Out, "cluster", "services", machine, service)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "down"), nil, 0o644); err != nil {
		return err
	}
	log := filepath.Join(o.Out, "logs", machine+"-"+service+".log")
	script := fmt.Sprintf("#!/bin/sh\nexec >>%s 2>&1\n%s", log, body)
	return os.WriteFile(filepath.Join(dir, "run"), []byte(script), 0o755)
}

func (s settings) write(name, file string) error {
	text, err := s.fill(name)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

// writeUsers writes the token file and each user's kubeconfig.
func (o *Options) writeUsers(dir string) error {
	type user struct{ file, name, groups string }
	users := []user{
		{"inside", "admin", "system:masters"},
		{"controller-manager", "system:kube-controller-manager", ""},
		{"scheduler", "system:kube-scheduler", ""},
		{"kube-proxy", "system:kube-proxy", ""},
	}
	for _, n := range append(Nodes(), Spare()) {
		users = append(users, user{n.Name, "system:node:" + n.Name, "system:nodes"})
	}
	var tokens strings.Builder
	for i, u := range users {
		secret := make([]byte, 16)
		if _, err := rand.Read(secret); err != nil {
			return err
		}
		token := base64.RawURLEncoding.EncodeToString(secret)
		fmt.Fprintf(&tokens, "%s,%s,%d,%s\n", token, u.name, i, u.groups)
		server := "https://" + ControlPlane + ":6443"
		if err := writeKubeconfig(dir, u.file, server, token); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "tokens.csv"), []byte(tokens.String()), 0o600)
}

// writeKubeconfig puts the authority's certificate inside, so that the file can be carried elsewhere.
func writeKubeconfig(dir, name, server, token string) error {
	ca, err := os.ReadFile(filepath.Join(dir, "pki", "ca.crt"))
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: podroute-e2e, cluster: {server: "%s", certificate-authority-data: %s}}]
users: [{name: %s, user: {token: %s}}]
contexts: [{name: podroute-e2e, context: {cluster: podroute-e2e, user: %s}}]
current-context: podroute-e2e
`, server, base64.StdEncoding.EncodeToString(ca), name, token, name)
	return os.WriteFile(filepath.Join(dir, name+".kubeconfig"), []byte(text), 0o600)
}
