package lab

import (
	"fmt"
	"strings"
)

// Draw shows each node with its links, for a terminal.
func (t *Topology) Draw() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d nodes, %d links\n", t.Name, len(t.Nodes), len(t.Links))
	width := 0
	for _, l := range t.Links {
		width = max(width, len(l.A.Interface), len(l.B.Interface))
	}
	for _, n := range t.Nodes {
		fmt.Fprintf(&b, "\n%s", n.Name)
		switch {
		case n.Kind == KindBridge:
			b.WriteString("  (bridge)")
		case n.SharesNetworkOf() != "":
			fmt.Fprintf(&b, "  (in the network of %s)", n.SharesNetworkOf())
		}
		b.WriteByte('\n')
		lines := t.linksOf(n.Name)
		for i, l := range lines {
			branch := "├"
			if i == len(lines)-1 {
				branch = "└"
			}
			fmt.Fprintf(&b, "%s─ %-*s ── %s  mtu %d\n", branch, width, l.A.Interface, l.B, l.MTU)
		}
	}
	return b.String()
}

// linksOf a node, each seen from it: A is the node's end.
func (t *Topology) linksOf(node string) []Link {
	var out []Link
	for _, l := range t.Links {
		if l.A.Node == node {
			out = append(out, l)
		}
		if l.B.Node == node {
			out = append(out, Link{A: l.B, B: l.A, MTU: l.MTU})
		}
	}
	return out
}

// Mermaid is the topology as a Mermaid flow chart.
func (t *Topology) Mermaid() string {
	var b strings.Builder
	fmt.Fprintf(&b, "---\ntitle: %s\n---\ngraph TB\n", t.Name)
	for _, n := range t.Nodes {
		shape := "[%s]"
		if n.Kind == KindBridge {
			shape = "([%s])"
		}
		fmt.Fprintf(&b, "  %s"+shape+"\n", n.Name, n.Name)
	}
	for _, l := range t.Links {
		fmt.Fprintf(&b, "  %s ---|\"%s · %s\"| %s\n", l.A.Node, l.A.Interface, l.B.Interface, l.B.Node)
	}
	return b.String()
}

// Dot is the topology in Graphviz's language.
func (t *Topology) Dot() string {
	var b strings.Builder
	fmt.Fprintf(&b, "graph %q {\n  node [shape=box]\n", t.Name)
	for _, n := range t.Nodes {
		shape := ""
		if n.Kind == KindBridge {
			shape = " [shape=oval]"
		}
		fmt.Fprintf(&b, "  %q%s\n", n.Name, shape)
	}
	for _, l := range t.Links {
		fmt.Fprintf(&b, "  %q -- %q [taillabel=%q, headlabel=%q]\n", l.A.Node, l.B.Node, l.A.Interface, l.B.Interface)
	}
	b.WriteString("}\n")
	return b.String()
}
