package lab

import (
	"maps"
	"os"
	"slices"
	"strings"
)

// check merges the layers into the nodes, and finds what is wrong between parts of a file that are
// each fine by themselves.
func (f *topologyFile) check(root value) {
	t := f.top
	for _, n := range f.nodes {
		t.Nodes = append(t.Nodes, f.merge(n))
	}
	if len(t.Nodes) == 0 {
		root.errorf("topology.nodes: has no nodes")
	}
	for _, n := range t.Nodes {
		f.checkNode(n)
	}
	used := map[Endpoint]int{}
	for i, l := range t.Links {
		for _, e := range []Endpoint{l.A, l.B} {
			f.checkEndpoint(f.linkPlaces[i], e)
			if other, twice := used[e]; twice {
				f.linkPlaces[i].errorf("%s is an endpoint of topology.links[%d] already", e, other)
			}
			used[e] = i
		}
	}
}

func (f *topologyFile) checkNode(n Node) {
	at := f.places[n.Name]
	if n.Group != "" {
		if _, ok := f.groups[n.Group]; !ok {
			at.errorf("group %q is not in topology.groups", n.Group)
		}
	}
	if n.Kind == "" {
		at.errorf("has no kind; supported: %s, %s", KindLinux, KindBridge)
	}
	for _, b := range n.Binds {
		if _, err := os.Stat(b.Source); err != nil {
			f.bindPlaces[b.place].errorf("source, for node %s: %w", n.Name, err)
		}
	}
	if n.Kind == KindBridge && !interfaceName.MatchString(n.Name) {
		at.errorf("a bridge's name is an interface's too: at most 15 letters, digits, _ and -")
	}
	other := n.SharesNetworkOf()
	if other == "" {
		return
	}
	o, ok := f.top.Node(other)
	switch {
	case !ok:
		at.errorf("network-mode: no node %q", other)
	case o.SharesNetworkOf() != "":
		at.errorf("network-mode: node %q has no network of its own either", other)
	case n.Kind == KindBridge:
		at.errorf("network-mode: a bridge has a network of its own")
	}
}

func (f *topologyFile) checkEndpoint(at value, e Endpoint) {
	n, ok := f.top.Node(e.Node)
	switch {
	case !ok && (e.Node == "host" || e.Node == "mgmt-net" || e.Node == "macvlan"):
		at.errorf("endpoint %s: links to the host are not supported: a lab touches nothing of the host", e)
	case !ok:
		at.errorf("endpoint %s: no node %q", e, e.Node)
	case n.SharesNetworkOf() != "":
		at.errorf("endpoint %s: the node's network is node %q's; attach the link there", e, n.SharesNetworkOf())
	case n.Kind == KindBridge && e.Interface == n.Name:
		at.errorf("endpoint %s: that is the bridge itself; give the port another name", e)
	case e.Interface == "lo":
		at.errorf("endpoint %s: every node has a loopback interface of that name already", e)
	case e.Interface == "eth0" && n.Kind == KindLinux && n.NetworkMode != "none":
		at.errorf("endpoint %s: eth0 is the management interface of containerlab; begin with eth1, or set network-mode: none", e)
	}
}

// merge layers a node over its group, its kind and the defaults. Single values: the nearest wins.
// Mappings: key by key. Binds: target by target. exec: all of them, the farthest first. That is
// containerlab's order.
func (f *topologyFile) merge(n Node) Node {
	if n.Group == "" {
		n.Group = first(f.kinds[n.Kind].Group, f.defaults.Group)
	}
	group := f.groups[n.Group]
	n.Kind = first(n.Kind, group.Kind, f.defaults.Kind)
	near := []Node{n, group, f.kinds[n.Kind], f.defaults}

	out := Node{Name: n.Name, Kind: n.Kind, Group: n.Group}
	out.Env, out.Labels, out.Sysctls = map[string]string{}, map[string]string{}, map[string]string{}
	for _, l := range near {
		out.Image = first(out.Image, l.Image)
		out.PullPolicy = first(out.PullPolicy, l.PullPolicy)
		out.NetworkMode = first(out.NetworkMode, l.NetworkMode)
		if len(out.Cmd) == 0 {
			out.Cmd = l.Cmd
		}
		for _, b := range l.Binds {
			b.Source = strings.ReplaceAll(b.Source, nodeNameMark, n.Name)
			b.Target = strings.ReplaceAll(b.Target, nodeNameMark, n.Name)
			if !slices.ContainsFunc(out.Binds, func(have Bind) bool { return have.Target == b.Target }) {
				out.Binds = append(out.Binds, b)
			}
		}
		for _, c := range l.CapAdd {
			if !slices.Contains(out.CapAdd, c) {
				out.CapAdd = append(out.CapAdd, c)
			}
		}
	}
	for _, l := range slices.Backward(near) {
		out.Exec = append(out.Exec, l.Exec...)
		maps.Copy(out.Env, l.Env)
		maps.Copy(out.Labels, l.Labels)
		maps.Copy(out.Sysctls, l.Sysctls)
	}
	return out
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
