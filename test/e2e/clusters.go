package main

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/podroute/podroute/test/e2e/cluster"
	"github.com/podroute/podroute/test/e2e/scenarios"
)

// The clusters that tests run on: the same machines and network, podroute installed in two ways.
const (
	torCluster   = "tor"   // kubectl apply -k deploy/overlays/tor: everything runs here
	poolsCluster = "pools" // helm install, and nodes claim blocks of address pools: what that changes
)

// flags that say what cluster it shall be.
func (h *harness) flags(f *flag.FlagSet) {
	h.named(f)
	f.StringVar(&h.which, "cluster", "", "which cluster: "+torCluster+" or "+poolsCluster)
	f.StringVar(&h.o.Install, "install", "", "how podroute gets onto the nodes: manifest, helm, process or none; default: as the cluster asks")
	f.StringVar(&h.o.Overlay, "overlay", filepath.Join(h.root, "deploy/overlays/tor"), "kustomization for -install manifest")
	f.StringVar(&h.o.Helm, "helm", "", "the program, for -install helm; default: what make helm builds")
	f.Func("values", "FILE of values for -install helm, besides examples/tor.yaml; may be repeated", func(s string) error {
		h.o.Values = append(h.o.Values, s)
		return nil
	})
	f.BoolVar(&h.o.KeepFailed, "keep-failed", false, "leave the machines up when the cluster does not come up")
	f.StringVar(&h.o.ProxyMode, "proxy", "nftables", "mode of kube-proxy: nftables or iptables")
	f.Func("node-proxy", "NODE=MODE: the mode of one node's kube-proxy; may be repeated", func(s string) error {
		node, mode, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("must be NODE=MODE")
		}
		if h.o.ProxyModes == nil {
			h.o.ProxyModes = map[string]string{}
		}
		h.o.ProxyModes[node] = mode
		return nil
	})
}

// plan is a cluster, and what is to run on it.
type plan struct {
	which    string
	o        cluster.Options
	groups   []scenarios.Group
	upstream bool
}

// plans are those that were asked for: one by name, or all.
func (h *harness) plans(o cluster.Options) ([]plan, error) {
	var out []plan
	for _, which := range []string{torCluster, poolsCluster} {
		if h.which == "" || h.which == which {
			out = append(out, h.plan(which, o))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("-cluster %s: there are %s and %s", h.which, torCluster, poolsCluster)
	}
	return out, nil
}

func (h *harness) plan(which string, o cluster.Options) plan {
	install := cluster.InstallManifest
	p := plan{which: which, o: o, groups: scenarios.All(), upstream: true}
	if which == poolsCluster {
		install = cluster.InstallHelm
		p.groups, p.upstream = scenarios.OnPools(), false
		p.o.Name += "-" + poolsCluster
		p.o.Out = filepath.Join(h.root, "build", p.o.Name)
		p.o.Values = append([]string{filepath.Join(h.root, "test/e2e/cluster/manifests/pools.yaml")}, o.Values...)
	}
	if p.o.Install == "" {
		p.o.Install = install
	}
	return p
}
